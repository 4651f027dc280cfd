"""Wasserstein-2 distance between two empirical measures, exactly and sliced, by POT."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from annotated_types import Gt

from bench.errors import NotConverged
from bench.interfaces import Given, Measured, Metric
from bench.seeds import numpy_stream

if TYPE_CHECKING:
    from bench.interfaces import Floats


@dataclass(frozen=True)
class Wasserstein(Metric):
    """W2 = sqrt(min over plans of E|x - y|^2), in data units, by the exact network simplex.

    POT's emd2 of squared distances returns the square; this is its root. Bonneel et al. 2011. In d > 4 dimensions W2 of
    n draws of one law falls as n^(-1/d) only (Fournier and Guillin 2015), so that floors grow with d and hide small
    differences: read the excess, or use the sliced distance.
    """

    values: ClassVar[Mapping[str, Measured]] = {"wasserstein": Measured("data units", "lower")}
    always: ClassVar[bool] = True

    def measure(self, given: Given) -> Mapping[str, float]:
        """W2 of samples (n, *S) against reference (m, *S). Raises NotConverged."""
        assert given.samples is not None
        assert given.reference is not None
        return {"wasserstein": math.sqrt(squared_wasserstein(given.samples, given.reference))}


@dataclass(frozen=True)
class WassersteinSquared(Metric):
    """W2^2, in squared data units: POT's emd2 of squared distances without the root, as some papers report it."""

    values: ClassVar[Mapping[str, Measured]] = {"wasserstein_squared": Measured("data units^2", "lower")}
    always: ClassVar[bool] = True
    excess: ClassVar[bool] = False

    def measure(self, given: Given) -> Mapping[str, float]:
        """W2^2 of samples (n, *S) against reference (m, *S). Raises NotConverged."""
        assert given.samples is not None
        assert given.reference is not None
        return {"wasserstein_squared": squared_wasserstein(given.samples, given.reference)}


@dataclass(frozen=True)
class SlicedWasserstein(Metric):
    """sqrt(mean over directions theta of W2^2(<theta, x>, <theta, y>)), in data units, by POT.

    `projections` directions, uniform on the sphere and the same for every cell, seed and repeat. A shift by m
    scores sqrt(mean <theta, m>^2), about |m| / sqrt(d). Rabin et al. 2011; Bonneel et al. 2015.
    """

    values: ClassVar[Mapping[str, Measured]] = {"sliced_wasserstein": Measured("data units", "lower")}
    always: ClassVar[bool] = True

    projections: Annotated[int, Gt(0)] = 128

    def measure(self, given: Given) -> Mapping[str, float]:
        """Sliced W2 of samples (n, *S) against reference (m, *S)."""
        import ot

        assert given.samples is not None
        assert given.reference is not None
        x, y = _flat(given.samples), _flat(given.reference)
        theta = self.directions(x.shape[1]).T
        value = ot.sliced_wasserstein_distance(x, y, n_projections=self.projections, p=2, projections=theta)
        return {"sliced_wasserstein": float(value)}

    def directions(self, d: int) -> Floats:
        """Unit vectors, (projections, d), fixed once and for all."""
        theta = numpy_stream(0, "projections").standard_normal((self.projections, d))
        unit: Floats = theta / np.linalg.norm(theta, axis=1, keepdims=True)
        return unit


def squared_wasserstein(samples: Floats, reference: Floats) -> float:
    """W2^2 of (n, *S) against (m, *S), exactly. Raises NotConverged."""
    import ot

    x, y = _flat(samples), _flat(reference)
    middle = y.mean(0)  # POT expands the square, which far from 0 leaves no digits of a distance
    x, y = x - middle, y - middle
    cost = ot.dist(x, y, metric="sqeuclidean")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        squared, log = ot.emd2([], [], cost, numItermax=10_000_000, log=True)
    if log.get("warning") is not None:
        raise NotConverged(f"the exact transport between {len(x)} and {len(y)} points: {log['warning']}")
    return max(float(squared), 0.0)


def _flat(points: Floats) -> Floats:
    return points.reshape(len(points), -1)
