"""Each law catches a component that is wrong in just its way, and says so."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from bench.contracts import CONTRACTS, Subject, outcome
from bench.couplings import Independent
from bench.datasets.checkerboard import Checkerboard
from bench.datasets.mixtures import Gaussian, GaussianMixture
from bench.interfaces import Given, Measured, Metric, Net, Solution
from bench.metrics.mmd import MMD
from bench.paths import Linear, NoisyBridge
from bench.solvers.adaptive import Dopri5
from bench.solvers.fixed import Euler


class Smaller(Checkerboard):
    """Density twice too small."""

    def density(self, x):
        return super().density(x) / 2


class Elsewhere(Checkerboard):
    """Density of the squares that are empty."""

    def density(self, x):
        return super().density(x + np.array([2.0, 0.0]))


class Narrow(Checkerboard):
    """A window that cuts the law."""

    limits = (-4.0, 2.0, -4.0, 4.0)


class Uneven(Checkerboard):
    """Draws that leave out what from_uniform places."""

    def draw(self, n, seed, generator):
        return super().draw(n, seed, generator).abs()


class Covariance(GaussianMixture):
    """A spread by the covariance, where its Cholesky factor is due."""

    def place(self, mode, u):
        from scipy.special import ndtri

        return self.law.means[mode] + np.einsum("bij,bj->bi", self.law.covariances[mode], ndtri(u))


class Heavier(Gaussian):
    """Not N(0, I) at all."""

    def place(self, mode, u):
        return 1.2 * super().place(mode, u)


class Infinite(Gaussian):
    """A quantile without a clamp."""

    def place(self, mode, u):
        return np.where(u > 1e-9, u, -np.inf)


class Global(Gaussian):
    """Randomness from the global generator."""

    def draw(self, n, seed, generator):
        return torch.randn(n, 2)


class Repeats(Independent):
    """The first data point, over and over."""

    def pair(self, x0, x1, generator):
        return x0, x1[:1].expand_as(x1)


class Blends(Independent):
    """Points that nobody drew."""

    def pair(self, x0, x1, generator):
        return x0, (x1 + x1.flip(0)) / 2


class Exchanges(Independent):
    """Data for source."""

    def pair(self, x0, x1, generator):
        return x1, x0


class Shuffles(Independent):
    """An order out of nowhere."""

    independent: ClassVar[bool] = False

    def pair(self, x0, x1, generator):
        return x0, x1[torch.randperm(len(x1))]


class Wide(Linear):
    """Constants in the default precision."""

    def d_alpha(self, t):
        return torch.ones(len(t))


class Unrooted(NoisyBridge):
    """The product by its factors: infinite at the ends."""

    def gamma_d_gamma(self, t):
        return self.gamma(t) * self.d_gamma(t)


class Unkept(NoisyBridge):
    """Training times up to the ends, where the target is infinite."""

    margin: ClassVar[float] = 0.0


class Halfway(Linear):
    """An end that is not the data."""

    def alpha(self, t):
        return 0.9 * t

    def d_alpha(self, t):
        return 0.9 * torch.ones_like(t)


class Late(Euler):
    """Asks past the end."""

    def _asked(self, velocity):
        return lambda t, x: velocity(t + 0.02, x)


class Careless(Euler):
    """Asks twice what it counts."""

    def _asked(self, velocity):
        return lambda t, x: (velocity(t, x), velocity(t, x))[0]


class Frameless(Euler):
    """The end at every time."""

    def solve(self, velocity, x, times):
        end = super().solve(velocity, x, times)
        return Solution(end.states[-1:].expand_as(end.states), 0)


class Deaf(Dopri5):
    """A tolerance of its own."""

    def solve(self, velocity, x, times):
        return Dopri5(0.3, 0.3).solve(velocity, x, times)


@dataclass(frozen=True)
class Builds(Net):
    """A small net with one fault, or none."""

    fault: ClassVar[str] = ""

    def build(self, shape):
        return _Module(self.fault)


class _Module(nn.Module):
    def __init__(self, fault):
        super().__init__()
        self.fault = fault
        self.frequency = 2 * torch.randn(1).item() if fault == "loose" else 2.0
        self.layers = nn.Sequential(nn.Linear(3, 8), nn.SiLU(), nn.Linear(8, 2))
        if fault == "unused":
            self.spare = nn.Linear(2, 2)

    def forward(self, x, tau):
        seen = 0 * tau if self.fault == "timeless" else (self.frequency * tau).sin()
        out = self.layers(torch.cat([x, seen[:, None].to(x.dtype)], dim=1))
        if self.fault == "batch":
            out = out - out.mean(0)
        return out + torch.randn_like(out) if self.fault == "noisy" else out


class Loose(Builds):
    """A random frequency that no state dict holds."""

    fault: ClassVar[str] = "loose"


class Batched(Builds):
    """Statistics over the batch."""

    fault: ClassVar[str] = "batch"


class Unused(Builds):
    """A layer that nothing uses."""

    fault: ClassVar[str] = "unused"


class Timeless(Builds):
    """A net that does not look at the time."""

    fault: ClassVar[str] = "timeless"


class Noisy(Builds):
    """A draw in evaluation."""

    fault: ClassVar[str] = "noisy"


@dataclass(frozen=True)
class Means(Metric):
    """Distance of the means, with one fault or none."""

    values: ClassVar[Mapping[str, Measured]] = {"means": Measured("data units", "lower")}

    def measure(self, given):
        return {"means": float(np.linalg.norm(given.samples.mean(0) - given.reference.mean(0)))}


class Offset(Means):
    """Not 0 on itself."""

    def measure(self, given):
        return {"means": super().measure(given)["means"] + 0.1}


class Lopsided(Means):
    """A divergence."""

    def measure(self, given):
        return {"means": super().measure(given)["means"] / given.samples.std()}


class Random(MMD):
    """A subset that changes."""

    def measure(self, given):
        some = np.random.default_rng().permutation(len(given.samples))[:50]
        return super().measure(Given(samples=given.samples[some], reference=given.reference))


class Undeclared(Means):
    """A value more than declared."""

    def measure(self, given):
        return {**super().measure(given), "more": 1.0}


class Upside(Means):
    """A distance said to be better the higher."""

    values: ClassVar[Mapping[str, Measured]] = {"means": Measured("data units", "higher")}


class First(Means):
    """The first point stands for all."""

    def measure(self, given):
        return {"means": float(np.linalg.norm(given.samples[0] - given.reference[0]))}


FAULTS = [
    ("dataset", Smaller, "density_integrates_to_one", "is 0.5 where 1 is due"),
    ("dataset", Elsewhere, "density_is_that_of_the_draws", "where the density is 0"),
    ("dataset", Narrow, "window_holds_the_law", "hold 75"),
    ("dataset", Uneven, "draws_and_placed_uniforms_agree_in_law", "differ in law along direction"),
    ("dataset", Covariance, "mixture_is_that_of_the_draws", "the covariance of the points"),
    ("dataset", Infinite, "extreme_uniforms_give_finite_points", "u = (1e-12, 1e-12)"),
    ("dataset", Global, "draws_follow_their_stream", "take all randomness from the generator"),
    ("source", Heavier, "is_standard_normal_where_it_says_so", "axis 0 is not N(0, 1)"),
    ("coupling", Repeats, "keeps_both_marginals", "one x1 occurs 0 times, another 12800 times"),
    ("coupling", Blends, "pairs_the_batchs_own_points", "6 of 7 paired x1"),
    ("coupling", Exchanges, "pairs_the_batchs_own_points", "(source, data) in that order"),
    ("coupling", Shuffles, "follows_its_generator", "the same generator gives other pairs"),
    ("path", Wide, "keeps_shape_and_dtype", "d_alpha(t) is torch.float32 where the inputs are torch.float64"),
    ("path", Unrooted, "products_equal_their_factors", "gamma_d_gamma at t = 0 and 1 is [nan, nan]"),
    ("path", Unkept, "is_finite_at_all_training_times", "set the class's margin to 1e-3"),
    ("path", Halfway, "runs_from_noise_to_data", "alpha runs from 0 to 0.9"),
    ("solver", Late, "never_asks_outside_the_unit_interval", "to 1.01"),
    ("solver", Careless, "counts_its_evaluations", "evaluations() says 100, the field was called 200 times"),
    ("solver", Frameless, "integrates_a_constant_field_exactly", "the state at t = "),
    ("solver", Deaf, "meets_its_tolerance", "at a tolerance of 1e-05 the error is"),
    ("net", Loose, "weights_alone_make_the_net", "persistent buffers"),
    ("net", Batched, "treats_each_point_by_itself", "not statistics over the batch"),
    ("net", Unused, "gradients_reach_every_parameter", "spare.weight, spare.bias"),
    ("net", Timeless, "depends_on_points_and_times", "tau does not matter"),
    ("net", Noisy, "is_pure", "differs from call to call"),
    ("metric", Offset, "is_0_where_nothing_differs", "means of samples against themselves is 0.1"),
    ("metric", Lopsided, "is_symmetric", "symmetric = False"),
    ("metric", Random, "gives_the_same_again", "numpy_stream(given.seed"),
    ("metric", Undeclared, "returns_what_it_declares", "['means', 'more']"),
    ("metric", Upside, "gets_worse_with_distance", "check the direction"),
    ("metric", First, "does_not_see_the_order_of_points", "means of shuffled points"),
]


@pytest.mark.parametrize(("room", "cls", "name", "words"), FAULTS, ids=[f"{c[0]}-{c[1].__name__}" for c in FAULTS])
def test_a_fault_breaks_its_law(room, cls, name, words):
    (law,) = [law for law in CONTRACTS[room] if law.__name__ == name]
    found = outcome(Subject(room, "wrong", cls), law)
    assert found.status == "FAILED", found
    assert words in found.words
    assert found.words.count("; mend: ") == 1


def test_what_these_are_made_of_is_right():
    for room, cls in (("net", Builds), ("metric", Means)):
        for law in CONTRACTS[room]:
            found = outcome(Subject(room, "right", cls), law)
            assert found.status != "FAILED", found
