"""A data set of one's own: the law that samples are to follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Le
from numpy.typing import NDArray

from bench.datasets.finite import FinitePoints

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Example(FinitePoints):
    """Points spread evenly over an annulus: `radius` is its outer edge, `hole` the inner one as a share of that.

    From FinitePoints it has the parameter `points`, for training on so many points drawn once.
    """

    radius: Annotated[float, Gt(0)] = 3.0
    hole: Annotated[float, Ge(0), Le(0.95)] = 0.5

    @property
    def inner(self) -> int:
        """Uniform numbers that place a point: one for its radius, one for its angle."""
        return 2

    def place(self, mode: NDArray[np.int64], u: Floats) -> Floats:
        """Points (B, 2) from uniforms u: (B, 2) in (0, 1). mode: (B,), all 0, since the law is in one piece."""
        radius = self.radius * np.sqrt(self.hole**2 + (1 - self.hole**2) * u[:, 0])
        angle = 2 * np.pi * u[:, 1]
        return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)

    def density(self, x: Floats) -> Floats:
        """Probability per unit area at x: (B, 2); without this method it is not known, and nothing asks for it."""
        r = np.linalg.norm(x, axis=1)
        area = np.pi * self.radius**2 * (1 - self.hole**2)
        inside: Floats = np.where((r >= self.hole * self.radius) & (r <= self.radius), 1 / area, 0.0)
        return inside

    @property
    def limits(self) -> tuple[float, float, float, float]:
        """(x_min, x_max, y_min, y_max) of figures."""
        return -self.radius, self.radius, -self.radius, self.radius


DATASETS = {"example": Example}
