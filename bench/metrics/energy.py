"""Energy distance between two empirical measures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from bench.interfaces import Given, Measured, Metric


@dataclass(frozen=True)
class EnergyDistance(Metric):
    """sqrt(2 E|x - y| - E|x - x'| - E|y - y'|), all pairs included, in the root of data units.

    The V-statistic, as for MMD: it is never negative, and the unbiased form is invalid on quasi-random
    samples. Szekely and Rizzo 2013, J. Statist. Plann. Inference 143.
    """

    values: ClassVar[Mapping[str, Measured]] = {"energy_distance": Measured("√(data units)", "lower")}
    always: ClassVar[bool] = True

    def measure(self, given: Given) -> Mapping[str, float]:
        """Energy distance of samples (n, *S) against reference (m, *S)."""
        from scipy.spatial.distance import cdist, pdist

        assert given.samples is not None
        assert given.reference is not None
        x = given.samples.reshape(len(given.samples), -1)
        y = given.reference.reshape(len(given.reference), -1)
        within = sum(2 * float(pdist(part).sum()) / len(part) ** 2 for part in (x, y))
        return {"energy_distance": math.sqrt(max(2 * float(cdist(x, y).mean()) - within, 0.0))}
