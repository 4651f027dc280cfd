"""Gaussian mixtures in any dimension: the laws for which the marginal velocity is known exactly."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Gt, Le, Len
from scipy.special import logsumexp, ndtri

from bench.datasets.finite import FinitePoints
from bench.interfaces import Dataset, Mixture
from bench.seeds import numpy_stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.interfaces import Floats


class _MixtureLaw(FinitePoints):
    """Everything that follows from a mixture's weights, means and covariances."""

    @property
    @abstractmethod
    def law(self) -> Mixture:
        """Weights, means and covariances."""

    @cached_property
    def factors(self) -> Floats:
        """Cholesky factors of the covariances, (K, d, d)."""
        return np.linalg.cholesky(self.law.covariances).astype(np.float64)

    @property
    def shape(self) -> tuple[int, ...]:
        """(d,)."""
        return (self.law.means.shape[1],)

    @property
    def modes(self) -> tuple[float, ...]:
        """The weights."""
        return tuple(float(w) for w in self.law.weights)

    @property
    def inner(self) -> int:
        """One coordinate for each axis."""
        return self.shape[0]

    def place(self, mode: NDArray[np.int64], u: Floats) -> Floats:
        """Mean plus Cholesky factor times Phi^-1(u), mode by mode."""
        z = ndtri(u)
        placed = np.empty_like(z)
        for k, (mean, factor) in enumerate(zip(self.law.means, self.factors, strict=True)):
            here = mode == k  # part by part: a factor for each point would be d times the points
            placed[here] = mean + z[here] @ factor.T
        return placed

    def mixture(self) -> Mixture:
        """The law itself."""
        return self.law

    def density(self, x: Floats) -> Floats:
        """Sum of the weighted normal densities at x: (B, d), per unit volume."""
        weights, means, covariances = self.law
        whiten = np.linalg.inv(self.factors)
        z = np.einsum("kij,bkj->bki", whiten, x[:, None, :] - means)
        log_det = np.linalg.slogdet(covariances)[1] + x.shape[1] * np.log(2 * np.pi)
        terms = np.log(weights) - 0.5 * ((z**2).sum(-1) + log_det)
        value: Floats = np.exp(logsumexp(terms, axis=1))
        return value

    @property
    def limits(self) -> tuple[float, float, float, float]:
        """The means and 3.5 standard deviations around each, along the first two axes (twice the one of a line)."""
        spread = 3.5 * np.sqrt(np.diagonal(self.law.covariances, axis1=1, axis2=2))
        low, high = (self.law.means - spread).min(0), (self.law.means + spread).max(0)
        return float(low[0]), float(high[0]), float(low[1 % len(low)]), float(high[1 % len(high)])


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


Vector = tuple[float, ...]
Covariance = Annotated[float, Gt(0)] | Vector | tuple[Vector, ...]
"""A variance for all axes, one for each, or a matrix."""

PUBLISHED = Mixture(
    np.array([0.3, 0.5, 0.2]),
    np.array([[-2.0, -1.0], [1.0, 3.0], [4.0, -2.0]]),
    np.array([[[0.5, 0.1], [0.1, 0.4]], [[0.6, -0.2], [-0.2, 0.5]], [[0.4, 0.0], [0.0, 0.6]]]),
)


@dataclass(frozen=True)
class GaussianMixture(_MixtureLaw):
    """Gaussians of your own in any dimension; by default three: weights .3, .5, .2 at (-2, -1), (1, 3), (4, -2).

    `means`: K lists of d numbers, data units. `weights`: K numbers above 0, taken relative to their sum (none: equal).
    `covariances`: for each part a variance for all axes, one for each axis, or a d x d matrix (none: the identity).
    The default three are unequal and correlated, as published.
    """

    means: Annotated[tuple[Annotated[Vector, Len(1)], ...], Len(1, 1000)] | None = None
    weights: tuple[Annotated[float, Gt(0)], ...] | None = None
    covariances: tuple[Covariance, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse what is no mixture, with the part that is at fault."""
        if self.means is None and (self.weights is not None or self.covariances is not None):
            raise ValueError("weights and covariances are of parts; give their `means` as well")
        _ = self.law

    @cached_property
    def law(self) -> Mixture:
        """Weights (K,), means (K, d) and covariances (K, d, d). Raises ValueError."""
        if self.means is None:
            return PUBLISHED
        d, parts = len(self.means[0]), len(self.means)
        for number, mean in enumerate(self.means, 1):
            if len(mean) != d:
                raise ValueError(f"the mean of part {number} has {len(mean)} numbers, that of part 1 has {d}")
        for name, given in (("weights", self.weights), ("covariances", self.covariances)):
            if given is not None and len(given) != parts:
                raise ValueError(f"{parts} means and {len(given)} {name}; give one of each for every part")
        weights = np.ones(parts) if self.weights is None else np.asarray(self.weights)
        covariances = np.stack(
            [_covariance(given, d, number) for number, given in enumerate(self.covariances or (1.0,) * parts, 1)]
        )
        return Mixture(weights / weights.sum(), np.asarray(self.means, dtype=np.float64), covariances)


def _covariance(given: Covariance, d: int, part: int) -> Floats:
    """A part's covariance (d, d). Raises ValueError where it is none."""
    try:
        array = np.asarray(given, dtype=np.float64)
    except ValueError:
        array = np.empty((0,))  # rows of different lengths
    matrix: Floats = array * np.eye(d) if array.ndim == 0 else np.diag(array) if array.ndim == 1 else array
    if matrix.shape != (d, d):
        raise ValueError(f"the covariance of part {part} is not a number, {d} numbers or a {d} x {d} matrix")
    if not np.array_equal(matrix, matrix.T) or np.linalg.eigvalsh(matrix)[0] <= 0:
        raise ValueError(f"the covariance of part {part} is not symmetric with positive eigenvalues")
    return matrix


@dataclass(frozen=True)
class RandomMixture(_MixtureLaw):
    """A Gaussian mixture in `dimension` d number `number`: one law of a family, for studies of how things scale with d.

    Means ~ N(0, separation^2 I). Each covariance has random axes and along them standard deviations spread evenly in
    their logarithm between width / stretch and width * stretch. Weights are those of Dirichlet(5, ..., 5). Distances
    between means grow as sqrt(2 d) separation, those within a part as sqrt(2 d) width. All in data units.
    """

    dimension: Annotated[int, Ge(1), Le(2000)] = 10
    parts: Annotated[int, Ge(1), Le(100)] = 5
    separation: Annotated[float, Ge(0)] = 2.0
    width: Annotated[float, Gt(0)] = 0.5
    stretch: Annotated[float, Ge(1)] = 2.0
    number: Annotated[int, Ge(0)] = 0

    @cached_property
    def law(self) -> Mixture:
        """Weights (K,), means (K, d) and covariances (K, d, d), the same for the same parameters."""
        d, k = self.dimension, self.parts
        random = numpy_stream(self.number, "random mixture")
        weights, means = random.dirichlet(np.full(k, 5.0)), self.separation * random.standard_normal((k, d))
        axes = np.linalg.qr(random.standard_normal((k, d, d)))[0]
        deviations = self.width * self.stretch ** np.linspace(-1, 1, d)
        covariances = np.einsum("kij,j,klj->kil", axes, deviations**2, axes)
        return Mixture(weights, means, (covariances + covariances.transpose(0, 2, 1)) / 2)


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


@dataclass(frozen=True)
class TorchdynGaussians(_MixtureLaw):
    """Equal Gaussians on a circle as `torchdyn.datasets.generate_gaussians` has them, of standard deviation `std`.

    Part k of `count` stands at angle 2 pi k / count. There each part is shifted once more by N(0, noise^2 I), .001 by
    default, which is left out here. `radius`, `std`: data units.
    """

    count: Annotated[int, Ge(1), Le(1000)] = 8
    radius: Annotated[float, Gt(0)] = 0.5
    std: Annotated[float, Gt(0)] = 0.1

    @cached_property
    def law(self) -> Mixture:
        """`count` components with covariance std^2 I."""
        angles = 2 * np.pi * np.arange(self.count) / self.count
        means = self.radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        return Mixture(np.full(self.count, 1 / self.count), means, np.tile(self.std**2 * np.eye(2), (self.count, 1, 1)))
