"""The pinwheel: Gaussian blades bent by a rotation that grows with the radius."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from annotated_types import Ge, Gt, Le
from scipy.special import ndtri

from bench.datasets.finite import FinitePoints

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.interfaces import Floats


@dataclass(frozen=True)
class Pinwheel(FinitePoints):
    """Bent blades around a centre, one Gaussian each, turned clockwise the further out they are.

    With f = (1 + radial z_1, tangential z_2), z ~ N(0, I), blade k of K and R(b) the clockwise rotation by b:

        x = scale R(rate exp(|f|) + 2 pi k / K) f

    Johnson et al. 2016, arXiv:1603.06277, who turn by rate exp(f_1). |f| differs from f_1 by about
    tangential^2 / 2, and a rotation that depends on |f| alone preserves area, so that the density is exact.
    With the defaults almost all points lie within radius 4.2. A mode is a blade. `radial` and `tangential`:
    standard deviations along and across a blade, before scaling; `scale`: data units.
    """

    arms: Annotated[int, Ge(1), Le(16)] = 5
    radial: Annotated[float, Gt(0)] = 0.3
    tangential: Annotated[float, Gt(0)] = 0.1
    rate: Annotated[float, Ge(0), Le(2)] = 0.25
    scale: Annotated[float, Gt(0)] = 2.0

    @property
    def modes(self) -> tuple[float, ...]:
        """Equal shares, one for each blade."""
        return (1 / self.arms,) * self.arms

    @property
    def inner(self) -> int:
        """One coordinate for each axis."""
        return 2

    def place(self, mode: NDArray[np.int64], u: Floats) -> Floats:
        """A Gaussian point Phi^-1(u) of the straight blade, then the blade's and the radius's rotation."""
        f = np.array([1.0, 0.0]) + np.array([self.radial, self.tangential]) * ndtri(u)
        return self.scale * _clockwise(f, self._bend(f) + 2 * np.pi * mode / self.arms)

    def density(self, x: Floats) -> Floats:
        """Mean over blades of the normal density of f, where f is x: (B, 2) turned back; over scale^2."""
        y = x / self.scale
        bend = self._bend(y)
        total = np.zeros(len(x))
        for k in range(self.arms):
            z = _clockwise(y, -(bend + 2 * np.pi * k / self.arms)) - np.array([1.0, 0.0])
            total += np.exp(-0.5 * ((z / np.array([self.radial, self.tangential])) ** 2).sum(1))
        value: Floats = total / (self.arms * 2 * np.pi * self.radial * self.tangential * self.scale**2)
        return value

    @property
    def limits(self) -> tuple[float, float, float, float]:
        """The distance from the centre that 3.5 standard deviations of both kinds reach, all ways."""
        edge = self.scale * float(np.hypot(1 + 3.5 * self.radial, 3.5 * self.tangential))
        return -edge, edge, -edge, edge

    def _bend(self, f: Floats) -> Floats:
        # Any function of |f| preserves area; this one stops growing where exp would overflow far out.
        value: Floats = self.rate * np.exp(np.minimum(np.linalg.norm(f, axis=1), 30.0))
        return value


def _clockwise(x: Floats, angle: Floats) -> Floats:
    """x: (B, 2) turned clockwise by angle: (B,), radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([x[:, 0] * cos + x[:, 1] * sin, x[:, 1] * cos - x[:, 0] * sin], axis=1)
