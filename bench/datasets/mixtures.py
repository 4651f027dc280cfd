"""Gaussian mixtures on the plane: the laws for which the marginal velocity is known exactly."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from annotated_types import Gt
from scipy.special import logsumexp, ndtri

from bench.datasets.finite import FinitePoints
from bench.interfaces import Dataset, Mixture

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.interfaces import Floats


class _MixtureLaw(FinitePoints):
    """Everything that follows from a mixture's weights, means and covariances."""

    @property
    @abstractmethod
    def law(self) -> Mixture:
        """Weights, means and covariances."""

    @property
    def modes(self) -> tuple[float, ...]:
        """The weights."""
        return tuple(float(w) for w in self.law.weights)

    @property
    def inner(self) -> int:
        """One coordinate for each axis."""
        return 2

    def place(self, mode: NDArray[np.int64], u: Floats) -> Floats:
        """Mean plus Cholesky factor times Phi^-1(u), mode by mode."""
        factors = np.linalg.cholesky(self.law.covariances)
        moved: Floats = self.law.means[mode] + np.einsum("bij,bj->bi", factors[mode], ndtri(u))
        return moved

    def mixture(self) -> Mixture:
        """The law itself."""
        return self.law

    def density(self, x: Floats) -> Floats:
        """Sum of the weighted normal densities at x: (B, 2), per unit area."""
        weights, means, covariances = self.law
        d = x[:, None, :] - means
        whiten = np.linalg.inv(np.linalg.cholesky(covariances))
        z = np.einsum("kij,bkj->bki", whiten, d)
        log_det = np.linalg.slogdet(covariances)[1]
        terms = np.log(weights) - 0.5 * ((z**2).sum(-1) + log_det) - np.log(2 * np.pi)
        value: Floats = np.exp(logsumexp(terms, axis=1))
        return value

    @property
    def limits(self) -> tuple[float, float, float, float]:
        """The means and 3.5 standard deviations around each."""
        spread = 3.5 * np.sqrt(np.diagonal(self.law.covariances, axis1=1, axis2=2))
        low, high = (self.law.means - spread).min(0), (self.law.means + spread).max(0)
        return float(low[0]), float(high[0]), float(low[1]), float(high[1])


@dataclass(frozen=True)
class Gaussian(Dataset):
    """Standard normal N(0, I): the usual source."""

    standard_normal: ClassVar[bool] = True

    @property
    def inner(self) -> int:
        """One coordinate for each axis."""
        return 2

    def place(self, mode: NDArray[np.int64], u: Floats) -> Floats:
        """Phi^-1(u), one coordinate each."""
        value: Floats = ndtri(u)
        return value

    def mixture(self) -> Mixture:
        """One component, N(0, I)."""
        return Mixture(np.ones(1), np.zeros((1, 2)), np.eye(2)[None])

    def density(self, x: Floats) -> Floats:
        """exp(-|x|^2 / 2) / (2 pi) at x: (B, 2), per unit area."""
        value: Floats = np.exp(-0.5 * (x**2).sum(1)) / (2 * np.pi)
        return value

    @property
    def limits(self) -> tuple[float, float, float, float]:
        """3.5 standard deviations."""
        return -3.5, 3.5, -3.5, 3.5


@dataclass(frozen=True)
class GaussianMixture(_MixtureLaw):
    """Three unequal, correlated Gaussians: weights .3, .5, .2 at (-2, -1), (1, 3), (4, -2)."""

    @cached_property
    def law(self) -> Mixture:
        """Weights, means and covariances as published."""
        return Mixture(
            np.array([0.3, 0.5, 0.2]),
            np.array([[-2.0, -1.0], [1.0, 3.0], [4.0, -2.0]]),
            np.array([[[0.5, 0.1], [0.1, 0.4]], [[0.6, -0.2], [-0.2, 0.5]], [[0.4, 0.0], [0.0, 0.6]]]),
        )


@dataclass(frozen=True)
class TwoGaussians(_MixtureLaw):
    """Equal mix of unit Gaussians at (-distance, 0) and (distance, 0), in data units."""

    distance: Annotated[float, Gt(0)] = 4.0

    @cached_property
    def law(self) -> Mixture:
        """Two components with identity covariance."""
        return Mixture(
            np.full(2, 0.5),
            np.array([[-self.distance, 0.0], [self.distance, 0.0]]),
            np.tile(np.eye(2), (2, 1, 1)),
        )


@dataclass(frozen=True)
class EightGaussians(_MixtureLaw):
    """Eight equal Gaussians at multiples of 45 degrees on a circle.

    The defaults are `torchcfm.utils.sample_8gaussians`, whose per-axis variance is sqrt(.1), not .1: it takes
    the root and then uses it as a covariance. Published numbers depend on that slip. `radius`: data units;
    `variance`: per axis.
    """

    radius: Annotated[float, Gt(0)] = 5.0
    variance: Annotated[float, Gt(0)] = 0.1**0.5

    @cached_property
    def law(self) -> Mixture:
        """Eight components at multiples of 45 degrees."""
        angles = np.arange(8) * np.pi / 4
        means = self.radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        return Mixture(np.full(8, 1 / 8), means, np.tile(self.variance * np.eye(2), (8, 1, 1)))
