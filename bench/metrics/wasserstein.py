"""Wasserstein-2 distance between two empirical measures, exactly, by POT."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from bench.errors import NotConverged
from bench.interfaces import Given, Measured, Metric


@dataclass(frozen=True)
class Wasserstein(Metric):
    """W2 = sqrt(min over plans of E|x - y|^2), in data units, by the exact network simplex.

    POT's emd2 of squared distances returns the square; this is its root. Bonneel et al. 2011.
    """

    values: ClassVar[Mapping[str, Measured]] = {"wasserstein": Measured("data units", "lower")}

    def measure(self, given: Given) -> Mapping[str, float]:
        """W2 of samples (n, *S) against reference (m, *S). Raises NotConverged."""
        import ot

        assert given.samples is not None
        assert given.reference is not None
        x = given.samples.reshape(len(given.samples), -1)
        y = given.reference.reshape(len(given.reference), -1)
        cost = ot.dist(x, y, metric="sqeuclidean")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            squared, log = ot.emd2([], [], cost, numItermax=10_000_000, log=True)
        if log.get("warning") is not None:
            raise NotConverged(f"the exact transport between {len(x)} and {len(y)} points: {log['warning']}")
        return {"wasserstein": math.sqrt(max(float(squared), 0.0))}
