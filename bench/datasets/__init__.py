"""Data sets: laws with documented modes, densities and ranges, pictures, and the sources made of them."""

from __future__ import annotations

from bench.datasets.checkerboard import Checkerboard
from bench.datasets.curves import Rings, SCurve, SklearnMoons, SklearnSCurve, SklearnSwissRoll, Spirals, SwissRoll
from bench.datasets.images import Digits, FashionMnist, Mnist
from bench.datasets.mixtures import (
    EightGaussians,
    Gaussian,
    GaussianMixture,
    RandomMixture,
    TorchdynGaussians,
    TwoGaussians,
)
from bench.datasets.moons import TwoMoons
from bench.datasets.own import OwnPictures, Points
from bench.datasets.pinwheel import Pinwheel
from bench.interfaces import Dataset

DATASETS: dict[str, type[Dataset]] = {
    "gaussian_mixture": GaussianMixture,
    "two_gaussians": TwoGaussians,
    "eight_gaussians": EightGaussians,
    "torchdyn_gaussians": TorchdynGaussians,
    "random_mixture": RandomMixture,
    "checkerboard": Checkerboard,
    "two_moons": TwoMoons,
    "swiss_roll": SwissRoll,
    "s_curve": SCurve,
    "spirals": Spirals,
    "pinwheel": Pinwheel,
    "rings": Rings,
    "sklearn_moons": SklearnMoons,
    "sklearn_s_curve": SklearnSCurve,
    "sklearn_swiss_roll": SklearnSwissRoll,
    "digits": Digits,
    "mnist": Mnist,
    "fashion_mnist": FashionMnist,
    "points": Points,
    "pictures": OwnPictures,
}

SOURCES: dict[str, type[Dataset]] = {"gaussian": Gaussian, **DATASETS}
