"""A path of one's own: how a point moves from the source to the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le
from torch import Tensor

from bench.interfaces import Path


@dataclass(frozen=True)
class Example(Path):
    """x_t = t^p x1 + (1 - t)^p x0: slow near both ends for p > 1, the straight line for p = 1."""

    # A field is a parameter of suites; its annotation says what is allowed, and `bench check` draws others from it.
    p: Annotated[float, Ge(1), Le(4)] = 2.0

    # All four take times t: (B,) in [0, 1], 0 at the source and 1 at the data, and return (B,).

    def alpha(self, t: Tensor) -> Tensor:
        """Weight of the data x1."""
        return t**self.p

    def sigma(self, t: Tensor) -> Tensor:
        """Weight of the source x0."""
        return (1 - t) ** self.p

    def d_alpha(self, t: Tensor) -> Tensor:
        """Time derivative of alpha, of which the velocity is made."""
        return self.p * t ** (self.p - 1)

    def d_sigma(self, t: Tensor) -> Tensor:
        """Time derivative of sigma."""
        return -self.p * (1 - t) ** (self.p - 1)

    # A path with noise of its own has gamma and d_gamma as well; see bench/interfaces.py.


PATHS = {"example": Example}
