"""Whether samples repeat a finite training set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bench.interfaces import Given, Measured, Metric

if TYPE_CHECKING:
    from scipy.spatial import KDTree

    from bench.interfaces import Floats


@dataclass(frozen=True)
class NearestTrainingPoint(Metric):
    """Mean distance from a sample to the nearest training point, and its ratio to that of fresh draws.

    nearest_training_point: E min_i |x - y_i| in data units. nearest_training_ratio: the same over that of the
    reference, which is fresh draws of the law: 1 where samples are as far from the training set as new data
    are, 0 where they are copies of it. Meehan et al. 2020, arXiv:2004.05675, compare the same distances.
    """

    values: ClassVar[Mapping[str, Measured]] = {
        "nearest_training_point": Measured("data units", "none"),
        "nearest_training_ratio": Measured("1", "none"),
    }
    inputs: ClassVar[tuple[str, ...]] = ("samples", "reference", "training")
    floored: ClassVar[bool] = False

    def measure(self, given: Given) -> Mapping[str, float]:
        """Distances of samples (n, *S) and reference (m, *S) to the training points (N, *S)."""
        from scipy.spatial import KDTree

        assert given.samples is not None
        assert given.reference is not None
        assert given.training is not None
        tree = KDTree(given.training.reshape(len(given.training), -1))
        own, fresh = _mean_distance(tree, given.samples), _mean_distance(tree, given.reference)
        return {"nearest_training_point": own, "nearest_training_ratio": own / fresh}


def _mean_distance(tree: KDTree, points: Floats) -> float:
    distances, _ = tree.query(points.reshape(len(points), -1))
    return float(np.mean(distances))
