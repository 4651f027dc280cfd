"""Training on a fixed number of points instead of fresh draws: one parameter that every data set shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Gt, Le
from torch import Tensor

from bench.interfaces import Dataset
from bench.seeds import stream

_TINY = 1e-12
"""Keeps uniforms off 0 and 1, where Phi^-1 is infinite."""


@dataclass(frozen=True, kw_only=True)
class FinitePoints(Dataset):
    """A law whose training set may be finite.

    `points` (none: every training point is fresh): a net trains on this many points, drawn once per seed,
    each step's batch uniformly and with replacement from them. The law that samples are scored against
    stays the same.
    """

    training_only: ClassVar[tuple[str, ...]] = ("points",)

    points: Annotated[int, Gt(0), Le(1_000_000)] | None = None

    def uniforms(self, n: int, seed: int, generator: torch.Generator) -> Tensor:
        """Uniforms of n training points: fresh, or out of the `points` that `seed` fixes."""
        if self.points is None:
            return super().uniforms(n, seed, generator)
        # Only the uniforms of the chosen points are placed: the cost of a large set stays that of drawing it.
        return self._fixed(seed)[torch.randint(self.points, (n,), generator=generator)]

    def training_set(self, seed: int) -> Tensor | None:
        """All points that training with this seed ever sees, (points, *S) float32; None without `points`."""
        if self.points is None:
            return None
        return torch.from_numpy(self.from_uniform(self._fixed(seed).numpy())).float()

    def _fixed(self, seed: int) -> Tensor:
        assert self.points is not None
        u = torch.rand(self.points, self.coordinates, generator=stream(seed, "points"), dtype=torch.float64)
        return u.clamp_(_TINY, 1 - _TINY)
