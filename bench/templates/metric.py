"""A metric of one's own: what samples score."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from bench.interfaces import Given, Measured, Metric

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Example(Metric):
    """Wasserstein-2 distance between the normal laws that have the mean and covariance of samples and reference.

    sqrt(|m - n|^2 + tr(C + D - 2 (C D)^(1/2))), in data units. Dowson and Landau 1982, J. Multivariate Anal. 12.
    """

    values: ClassVar[Mapping[str, Measured]] = {"example": Measured("data units", "lower")}
    # Without these lines it is as they say: it looks at samples and reference, and a perfect sampler does not score 0,
    # so that its score, the floor, is measured too.
    inputs: ClassVar[tuple[str, ...]] = ("samples", "reference")
    floored: ClassVar[bool] = True

    def measure(self, given: Given) -> Mapping[str, float]:
        """One number per name in `values`. samples: (n, *S), reference: (m, *S), float64; neither is written into."""
        assert given.samples is not None
        assert given.reference is not None
        (m, c), (n, d) = _moments(given.samples), _moments(given.reference)
        shared = np.sqrt(np.maximum(np.linalg.eigvals(c @ d).real, 0)).sum()
        squared = float(np.square(m - n).sum() + np.trace(c) + np.trace(d) - 2 * shared)
        return {"example": math.sqrt(max(squared, 0.0))}


def _moments(points: Floats) -> tuple[Floats, Floats]:
    flat = points.reshape(len(points), -1)
    return flat.mean(axis=0), np.atleast_2d(np.cov(flat, rowvar=False))


METRICS = {"example": Example}
