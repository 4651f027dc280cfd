"""Data sets: laws on the plane with documented modes, densities and ranges, and the sources made of them."""

from __future__ import annotations

from bench.datasets.mixtures import EightGaussians, Gaussian, GaussianMixture, TwoGaussians
from bench.interfaces import Dataset

DATASETS: dict[str, type[Dataset]] = {
    "gaussian_mixture": GaussianMixture,
    "two_gaussians": TwoGaussians,
    "eight_gaussians": EightGaussians,
}

SOURCES: dict[str, type[Dataset]] = {"gaussian": Gaussian, **DATASETS}
