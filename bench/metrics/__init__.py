"""Metrics: pure functions of samples and reference, each with its unit and direction."""

from __future__ import annotations

from bench.interfaces import Metric
from bench.metrics.mmd import MMD
from bench.metrics.wasserstein import Wasserstein

METRICS: dict[str, type[Metric]] = {"wasserstein": Wasserstein, "mmd": MMD}
