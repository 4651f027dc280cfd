"""What a component promises. One page; every room implements one of these.

A component is a frozen dataclass whose fields are its parameters, so that a suite can name and validate
them. Shapes: B points of shape S (the plane: S = (2,)). Time t runs from 0 (source, noise) to 1 (data).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Field = Callable[[Tensor, Tensor], Tensor]
"""Velocity dx/dt = field(t, x) in internal time; t: scalar tensor, x: (B, *S)."""

Noise = Callable[[int], Tensor]
"""Standard normals of one step, noise(step): (B, *S), the same whenever they are asked for."""

Integrate = Callable[[Field, Tensor, int], Tensor]
"""End of a flow: integrate(field, x, steps) with x: (B, *S) at t = 0, in that many steps or, where these do not
suffice, more; returns (B, *S) at t = 1. Raises Undefined where the flow does not settle."""


class Mixture(NamedTuple):
    """Gaussian mixture, the law for which the marginal velocity is known exactly.

    weights: (K,), sum 1; means: (K, d); covariances: (K, d, d). float64.
    """

    weights: Floats
    means: Floats
    covariances: Floats


class Dataset(ABC):
    """A law to draw from. `shape` is S; `modes` are the probabilities of its parts.

    `training_only` names the parameters that change what a net is trained on but not the law that its
    samples are scored against. `standard_normal` marks N(0, I), which as a source takes the data's shape.
    `images` marks a law whose points are pictures, S = (channels, height, width), in [-1, 1]; it has `pictures`.
    """

    training_only: ClassVar[tuple[str, ...]] = ()
    standard_normal: ClassVar[bool] = False
    images: ClassVar[bool] = False

    @property
    def points(self) -> int | None:
        """The size of a finite training set; none where every training point is fresh."""
        return None

    @property
    def shape(self) -> tuple[int, ...]:
        """S; the plane unless said otherwise, by a property or a plain class attribute."""
        return (2,)

    @property
    def units(self) -> tuple[tuple[float, ...], tuple[float, ...]] | tuple[()]:
        """(centre, scale), a number for each axis, of a law whose points x are not trained on in the data's units.

        In data units they are centre + scale x. Samples and what they are scored against are taken back to these.
        """
        return ()

    @property
    def judge(self) -> Dataset:
        """The law that samples are scored against: this one, unless part of the data was held out for that."""
        return self

    @property
    def modes(self) -> tuple[float, ...]:
        """Probability of each part of the law, sum 1; one part unless said otherwise."""
        return (1.0,)

    @property
    def classes(self) -> int:
        """Number of classes that `draw_labelled` tells apart; 1 for a law that overrides `draw` alone."""
        drawn_apart = type(self).draw is not Dataset.draw and type(self).draw_labelled is Dataset.draw_labelled
        return 1 if drawn_apart else len(self.modes)

    @property
    @abstractmethod
    def inner(self) -> int:
        """Number of uniform coordinates that place a point inside a mode."""

    @abstractmethod
    def place(self, mode: NDArray[np.int64], u: Floats) -> Floats:
        """Map uniforms to points. mode: (B,) in [0, K); u: (B, inner) in (0, 1); returns (B, *S)."""

    def from_uniform(self, u: Floats) -> Floats:
        """Points of this law from uniforms u: (B, inner), or (B, 1 + inner) if there are several modes.

        The first coordinate then chooses the mode, the rest lie inside it. Returns (B, *S), float64.
        """
        return self.place(self.mode_of(u), u[:, self.coordinates - self.inner :])

    def mode_of(self, u: Floats) -> NDArray[np.int64]:
        """Mode that each row of `from_uniform`'s uniforms falls into: (B,) in [0, K)."""
        if len(self.modes) == 1:
            return np.zeros(len(u), dtype=np.int64)
        return np.searchsorted(np.cumsum(self.modes)[:-1], u[:, 0], side="right").astype(np.int64)

    @property
    def coordinates(self) -> int:
        """Uniform coordinates that one point of `from_uniform` consumes."""
        return self.inner + (len(self.modes) > 1)

    def draw(self, n: int, seed: int, generator: torch.Generator) -> Tensor:
        """N training points, (n, *S) float32. `seed` fixes what is drawn once (a finite training set)."""
        return self.draw_labelled(n, seed, generator)[0]

    def draw_labelled(self, n: int, seed: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """What `draw` returns, and the class of each point: (n,) int64, the mode unless said otherwise."""
        u = self.uniforms(n, seed, generator).numpy()
        return torch.from_numpy(self.from_uniform(u)).float(), torch.from_numpy(self.mode_of(u))

    def uniforms(self, n: int, seed: int, generator: torch.Generator) -> Tensor:
        """Uniforms that `draw` maps to points, (n, coordinates) float64 strictly inside (0, 1)."""
        return torch.rand(n, self.coordinates, generator=generator, dtype=torch.float64).clamp_(1e-12, 1 - 1e-12)

    def training_set(self, seed: int) -> Tensor | None:
        """The finite training set of a seed, (points, *S) float32, or None where every point is fresh."""
        return None

    def pictures(self, part: Literal["train", "test"]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Pictures (N, *S), values 0 to 255, and their classes (N,); both are shared and read-only."""
        raise TypeError(f"{type(self).__name__} is a law without pictures")

    def mixture(self) -> Mixture | None:
        """The law as a Gaussian mixture where it is one; the oracle and the error budget need it."""
        return None

    def density(self, x: Floats) -> Floats | None:
        """Probability density at x: (B, *S), per unit volume, or None where it is not known."""
        return None

    @property
    @abstractmethod
    def limits(self) -> tuple[float, float, float, float]:
        """(x_min, x_max, y_min, y_max): a window for figures that holds the law's first two axes, in data units."""


def in_data_units(units: Sequence[Sequence[float]], points: Floats) -> Floats:
    """Points (..., d) of a law of such `units`, as the data have them."""
    if not len(units):
        return points
    centre, scale = (np.asarray(part) for part in units)
    taken: Floats = centre + scale * points
    return taken


class Path(ABC):
    """x_t = alpha_t x1 + sigma_t x0 + gamma_t xi, with x0 ~ source, x1 ~ data, xi ~ N(0, I).

    The coefficients take t: (B,) and return (B,). `margin` (eps) keeps training times in [eps, 1 - eps]
    where E|u_t|^2 diverges at an end.
    """

    margin: ClassVar[float] = 0.0

    @property
    def noisy(self) -> bool:
        """True where the path has a noise of its own (gamma is not identically 0)."""
        return type(self).gamma is not Path.gamma

    @property
    def has_noise_velocity(self) -> bool:
        """True where gamma' is not identically 0: only there does the displacement target differ."""
        return type(self).d_gamma is not Path.d_gamma

    @property
    def one_target(self) -> bool:
        """True where both targets are the same by construction: no noise velocity, and none of them written anew."""
        cls = type(self)
        plain = cls.velocity is Path.velocity and cls.displacement is Path.displacement
        return plain and not self.has_noise_velocity

    @property
    def start_scale(self) -> float:
        """Standard deviation of the start law for a standard normal source.

        sqrt(alpha_0^2 + sigma_0^2 + gamma_0^2): a trace of the data at t = 0 (alpha_0 > 0) is replaced by
        noise of the same size, and that bias belongs to the path.
        """
        t = torch.zeros(1, dtype=torch.float64)
        return float((self.alpha(t) ** 2 + self.sigma(t) ** 2 + self.gamma(t) ** 2).sqrt())

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """Weight of the data."""

    @abstractmethod
    def sigma(self, t: Tensor) -> Tensor:
        """Weight of the source."""

    @abstractmethod
    def d_alpha(self, t: Tensor) -> Tensor:
        """Time derivative of alpha."""

    @abstractmethod
    def d_sigma(self, t: Tensor) -> Tensor:
        """Time derivative of sigma."""

    def gamma(self, t: Tensor) -> Tensor:
        """Weight of the path's own noise xi."""
        return torch.zeros_like(t)

    def d_gamma(self, t: Tensor) -> Tensor:
        """Time derivative of gamma; may diverge at the ends."""
        return torch.zeros_like(t)

    def sigma_d_sigma(self, t: Tensor) -> Tensor:
        """Sigma sigma', finite even where sigma' is not."""
        return self.sigma(t) * self.d_sigma(t)

    def gamma_d_gamma(self, t: Tensor) -> Tensor:
        """Gamma gamma', finite even where gamma' is not."""
        return self.gamma(t) * self.d_gamma(t)

    def noise_variance(self, t: Tensor) -> Tensor:
        """s^2 = sigma^2 + gamma^2, of all the noise in x_t for a standard normal source. t: (B,); returns (B,)."""
        return self.sigma(t) ** 2 + self.gamma(t) ** 2

    def s_d_s(self, t: Tensor, target: str = "exact") -> Tensor:
        """S s', half the derivative of s^2, finite everywhere; a displacement target lacks the part of gamma. (B,)."""
        turn = self.sigma_d_sigma(t)
        return turn + self.gamma_d_gamma(t) if target == "exact" else turn

    def position(self, t: Tensor, x0: Tensor, x1: Tensor, xi: Tensor) -> Tensor:
        """x_t. t: (B,); x0, x1, xi: (B, *S); returns (B, *S)."""
        return _mix(x1, (self.alpha(t), x1), (self.sigma(t), x0), (self.gamma(t), xi))

    def velocity(self, t: Tensor, x0: Tensor, x1: Tensor, xi: Tensor) -> Tensor:
        """u_t = dx_t/dt at fixed x0, x1, xi: the exact conditional velocity. Shapes as in `position`."""
        return _mix(x1, (self.d_alpha(t), x1), (self.d_sigma(t), x0), (self.d_gamma(t), xi))

    def displacement(self, t: Tensor, x0: Tensor, x1: Tensor) -> Tensor:
        """d_t = alpha' x1 + sigma' x0: what drops the noise's own velocity. Shapes as in `position`."""
        return _mix(x1, (self.d_alpha(t), x1), (self.d_sigma(t), x0))


def _mix(like: Tensor, *terms: tuple[Tensor, Tensor]) -> Tensor:
    """Sum of coefficient (B,) times points (B, *S)."""
    tail = (-1,) + (1,) * (like.dim() - 1)
    return sum((c.view(tail) * x for c, x in terms[1:]), terms[0][0].view(tail) * terms[0][1])


class Coupling(ABC):
    """Which source point goes with which data point of a batch.

    `transport_batch` is the number of points that are paired together before they are cut into training
    batches (none: the training batch). `labelled` asks for the classes of the data points. `permutes` promises that
    every call uses each point of both batches exactly once; others use each equally often on average.
    """

    independent: ClassVar[bool] = False
    permutes: ClassVar[bool] = False
    labelled: ClassVar[bool] = False
    transport_batch: int | None = None

    @abstractmethod
    def pair(self, x0: Tensor, x1: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Pairs of (x0, x1), each (B, *S); the marginals must stay the batch's own."""

    def pair_labelled(
        self, x0: Tensor, x1: Tensor, labels: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Pairs where the classes of the data points, labels: (B,), are known; called if `labelled`."""
        return self.pair(x0, x1, generator)


class Net(ABC):
    """A velocity field to train. The module maps x: (B, *S), tau: (B,) in [0, 1] to (B, *S).

    `stackable` promises that the module keeps its weights in nn.Linear layers and takes any axes before these,
    x: (..., B, *S), tau: (..., B): such nets train several at a time, which small ones gain much by.

    `classes` is the number of classes that the module is conditioned on (0: unconditional). A conditional module
    maps (x, tau, labels) with labels: (B,) int64 in [0, classes], where `classes` itself is the null class of
    classifier-free guidance (Ho and Salimans 2022, arXiv:2207.12598); without labels everybody is of that class.
    """

    trained: ClassVar[bool] = True
    stackable: ClassVar[bool] = False
    classes: int = 0

    @abstractmethod
    def build(self, shape: tuple[int, ...]) -> nn.Module:
        """A freshly initialised module for points of this shape (torch's global generator is seeded)."""


class Solution(NamedTuple):
    """What a solver returns: states (F, B, *S) at the asked times, rejected steps (adaptive solvers)."""

    states: Tensor
    rejected: int


class Solver(ABC):
    """Integrates dx/dt = field(t, x) from t = 0 to t = 1, and never asks outside [0, 1].

    Its `order` is measured by what `refined` returns, an adaptive solver's error by what `tightened` does.
    """

    adaptive: ClassVar[bool] = False
    stochastic: ClassVar[bool] = False
    order: ClassVar[int]

    @abstractmethod
    def solve(self, velocity: Field, x: Tensor, times: Tensor) -> Solution:
        """States at `times` (F,) float64, which begin with 0 and end with 1. x: (B, *S)."""

    def evaluations(self) -> int | None:
        """Number of field evaluations by formula; None where the solver adapts."""
        return None

    def refined(self, times: int) -> Solver | None:
        """Return this solver with `times` as many steps, None where it adapts; by default `steps` is multiplied."""
        if self.adaptive or "steps" not in _parameters(self):
            return None
        finer: Solver = replace(self, steps=times * self.steps)  # type: ignore
        return finer

    def tightened(self, tolerance: float) -> Solver | None:
        """Return this solver at a tolerance, None where its steps are fixed; by default `rtol` and `atol`."""
        if not self.adaptive or not {"rtol", "atol"} <= _parameters(self):
            return None
        tighter: Solver = replace(self, rtol=tolerance, atol=tolerance)  # type: ignore
        return tighter


def _parameters(component: object) -> set[str]:
    """Names of a component's parameters."""
    return {field.name for field in fields(component)}  # type: ignore[arg-type]


@dataclass(frozen=True)
class Process:
    """What a path x_t = alpha x1 + s e, e ~ N(0, I), says of a point beside its velocity v there.

    score(t, x, v): grad log p_t. ends(t, x, v): the conditional means (E[x1 | x_t = x], E[e | x_t = x]).
    weights(t): (alpha, s) at a time as a number. t in [0, 1); x, v: (B, *S).
    """

    score: Callable[[Tensor, Tensor, Tensor], Tensor]
    ends: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
    weights: Callable[[float], tuple[float, float]]


class ProcessSolver(Solver):
    """Steps by more of the path than its velocity: its score, or its ends; its `solve` is the plain flow.

    `stochastic` says that its steps add noise, so that its samples are no function of where they began.
    """

    @abstractmethod
    def simulate(self, velocity: Field, process: Process, noise: Noise, x: Tensor, times: Tensor) -> Solution:
        """States at `times` (F,), one way per point. x: (B, *S); the process is asked before t = 1 only."""


@dataclass(frozen=True)
class Measured:
    """A value that a metric returns: its unit and which way is better ("lower", "higher" or "none")."""

    unit: str
    direction: str


@dataclass(frozen=True)
class Exact:
    """What is known exactly of a cell: its law, its path, and velocities in internal time (float64).

    velocity: the marginal velocity of the path. regressed: what the cell's target regresses on, the same
    object where the target is exact. linear: the velocity of the path (1 - t) x0 + t x1, the same object as
    `velocity` where that is the path; its flow takes noise to the data's own law.
    """

    law: Dataset
    path: Path
    velocity: Field
    regressed: Field
    linear: Field


@dataclass(frozen=True)
class Given:
    """What a metric may look at; it gets exactly the inputs that it declares (`bench.inputs`), the rest is None.

    | input | what |
    | --- | --- |
    | samples | (n, *S) float64, the ends of the cell's flow |
    | start | (n, *S) float64, where each sample began at t = 0 |
    | trajectory | (F, m, *S) at `times` (F,): the ways of the first m samples of the first repeat |
    | reference | (n, *S) float64, draws of the data's law |
    | floor | (n, *S) float64, what a perfect sampler would have drawn |
    | law | the data's law, without what only concerns training |
    | training | (N, *S) float64, the points of a finite training set |
    | field | the cell's velocity as it was sampled, in internal time, `start_scale` and `units` |
    | oracle | the exact velocities, where the data admits them |

    All points are in data units; `field`, `oracle` and `start_scale` speak of the units that were trained on, of which
    `in_data_units(units, x)` makes the others (for most laws they are the same, and `units` is empty).
    `field` takes a scalar t and x: (B, *S) of any precision, asks the net in the net's own and answers in x's;
    it is differentiable in x. start_scale: standard deviation of the normal start law, none for another source.
    integrate(velocity, x, steps): the state at t = 1 of a flow from x at t = 0, refined until it stands still.
    prepared: what the metric `prepares`, where it has been made.
    """

    samples: Floats | None = None
    reference: Floats | None = None
    trajectory: Floats | None = None
    times: Floats | None = None
    start: Floats | None = None
    start_scale: float | None = None
    units: tuple[tuple[float, ...], ...] | None = None
    floor: Floats | None = None
    law: Dataset | None = None
    training: Floats | None = None
    field: Field | None = None
    oracle: Exact | None = None
    integrate: Integrate | None = None
    prepared: NDArray[np.generic] | None = None
    seed: int = 0
    repeat: int = 0


class Preparation(ABC):
    """What metrics work out of a law once, whatever the samples: features of real images, say.

    A frozen dataclass. It is made by a job of its own, kept in the store, and given to every score that asks for it.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """What tells it from other preparations, the contents of files that it reads among it."""

    @abstractmethod
    def make(self, law: Dataset) -> NDArray[np.generic]:
        """The array. Raises Undefined for a law that has none."""


class Metric(ABC):
    """A pure function of its declared inputs; it never writes into them.

    `values` names what `measure` returns. `floored` says that the score of a perfect sampler is not 0 and
    is reported beside it; a floored metric declares samples, reference and law alone. The floor is the score of
    `Given.floor`'s kind of samples, or, for a metric with `floors` of its own, their mean, the same for every seed.
    A higher `version` makes stored scores of this metric stale.
    """

    values: ClassVar[Mapping[str, Measured]]
    inputs: ClassVar[tuple[str, ...]] = ("samples", "reference")
    floored: ClassVar[bool] = True
    excess: ClassVar[bool] = True
    """Squares of score and floor subtract, so that sqrt|score^2 - floor^2| is what the score holds beyond its floor."""
    version: ClassVar[int] = 1
    always: ClassVar[bool] = False
    """Whether there is a value for any samples and reference, so that no plan need try it to tell of those without."""

    @abstractmethod
    def measure(self, given: Given) -> Mapping[str, float]:
        """One number per name in `values`.

        Raises Undefined where the metric has no value for such a cell, another JobError where it failed.
        """

    @property
    def symmetric(self) -> bool:
        """Samples and reference may be exchanged in values for which lower is better; False for a divergence."""
        return True

    def label(self, value: str) -> str:
        """The name of a value in tables: with what its numbers cannot be compared without, such as an extractor."""
        return value

    def prepares(self) -> Preparation | None:
        """What comes as `Given.prepared`, if it has been made; a metric that lacks it makes its own."""
        return None

    @property
    def draws_floor(self) -> bool:
        """True for a metric with `floors` of its own."""
        return type(self).floors is not Metric.floors

    def floors(
        self, law: Dataset, n: int, seed: int, prepared: NDArray[np.generic] | None = None
    ) -> Mapping[str, Sequence[float]]:
        """What n points of the law score in several draws, a list for each value; by default there are none."""
        return {}


def checked_times(times: Sequence[float] | Tensor) -> Tensor:
    """Report times as float64 (F,): increasing, first 0, last 1. Raises ValueError otherwise."""
    t = torch.as_tensor(times, dtype=torch.float64)
    if t.dim() != 1 or len(t) < 2 or t[0] != 0 or t[-1] != 1 or not bool((t.diff() > 0).all()):
        raise ValueError(f"times must increase from 0 to 1, got {t.tolist()}")
    return t
