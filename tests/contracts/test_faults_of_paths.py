"""Paths that are wrong in a narrow place, at some parameters or in one of their parts: each breaks the law named."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import pytest
import torch
from annotated_types import Ge, Gt

from bench.contracts import CONTRACTS, Subject, outcome
from bench.interfaces import Path
from bench.paths import Linear, NoisyBridge, NoisyConstant, NoisySmooth, Trigonometric, VariancePreserving


def where(t, inside, factor):
    return torch.where(inside, factor, 1.0).to(t)


class Start(Trigonometric):
    """Wrong sign below .015."""

    def d_alpha(self, t):
        return super().d_alpha(t) * where(t, t < 0.015, -1.0)


class End(Trigonometric):
    """Two per cent too much above .985."""

    def d_sigma(self, t):
        return super().d_sigma(t) * where(t, t > 0.985, 1.02)


class Band(Trigonometric):
    """Three times too much in a band of .004."""

    def d_alpha(self, t):
        return super().d_alpha(t) * where(t, (t - 0.505).abs() < 0.002, 3.0)


class Sliver(Trigonometric):
    """Three times too much in a band of .0002."""

    def d_sigma(self, t):
        return super().d_sigma(t) * where(t, (t - 0.7312345).abs() < 0.0001, 3.0)


class AtZero(Linear):
    """Wrong at t = 0 alone, where every Euler step begins."""

    def d_alpha(self, t):
        return super().d_alpha(t) * where(t, t == 0, 0.0)


class AtOne(Linear):
    """Wrong at t = 1 alone."""

    def d_sigma(self, t):
        return super().d_sigma(t) * where(t, t == 1, 2.0)


class NoiseStart(NoisyBridge):
    """Half the noise's velocity next to the margin."""

    def d_gamma(self, t):
        return super().d_gamma(t) * where(t, t < 0.0015, 0.5)


class Product(NoisyBridge):
    """A product that is wrong where training does not go, but sampling does."""

    def gamma_d_gamma(self, t):
        return super().gamma_d_gamma(t) * where(t, t < 5e-4, -1.0)


class ProductInside(VariancePreserving):
    """A product that is wrong in a band."""

    def sigma_d_sigma(self, t):
        return super().sigma_d_sigma(t) * where(t, (t - 0.3).abs() < 0.002, 1.5)

    def d_sigma(self, t):
        return VariancePreserving.sigma_d_sigma(self, t) / self.sigma(t)


@dataclass(frozen=True)
class Power(Path):
    """A derivative that is right at the default only."""

    p: Annotated[float, Ge(1)] = 1.0

    def alpha(self, t):
        return t**self.p

    def sigma(self, t):
        return 1 - t**self.p

    def d_alpha(self, t):
        return t ** (self.p - 1)

    def d_sigma(self, t):
        return -(t ** (self.p - 1))


@dataclass(frozen=True)
class Unbounded(Linear):
    """A number without bounds that matters off its default."""

    shift: float = 0.0

    def d_alpha(self, t):
        return super().d_alpha(t) + self.shift


@dataclass(frozen=True)
class Choice(Linear):
    """Wrong where a switch is on."""

    fast: bool = False

    def d_sigma(self, t):
        return super().d_sigma(t) * (2 if self.fast else 1)


@dataclass(frozen=True)
class Optional(Linear):
    """Wrong where a number is given at all."""

    extra: Annotated[float, Gt(0)] | None = None

    def d_sigma(self, t):
        return super().d_sigma(t) * (1 if self.extra is None else 1 + self.extra)


@dataclass(frozen=True)
class AtItsEnd(NoisyConstant):
    """Wrong at the lower end of a range."""

    s: Annotated[float, Ge(0.25)] = 0.5

    def d_alpha(self, t):
        return super().d_alpha(t) * (1.1 if self.s == 0.25 else 1)


class Jumps(Linear):
    """A coefficient with a jump that no derivative shows."""

    def alpha(self, t):
        return t + where(t, t > 0.4567, 1.001) - 1


class Velocity(NoisySmooth):
    """A velocity of its own that forgets the noise late on."""

    def velocity(self, t, x0, x1, xi):
        kept = where(t, t > 0.99, 0.0)[:, None] if xi.dim() == 2 else 1.0
        return super().velocity(t, x0, x1, kept * xi)


class Position(Linear):
    """A position, with its velocity, that the coefficients know nothing of."""

    def position(self, t, x0, x1, xi):
        return super().position(t, x0, x1, xi) + (math.pi * t).sin().view(-1, *[1] * (x1.dim() - 1))

    def velocity(self, t, x0, x1, xi):
        bump = math.pi * (math.pi * t).cos()
        return super().velocity(t, x0, x1, xi) + bump.view(-1, *[1] * (x1.dim() - 1))


class Variance(NoisyConstant):
    """A noise variance without the path's own noise."""

    def noise_variance(self, t):
        return self.sigma(t) ** 2


class HalfTurn(NoisyBridge):
    """Half the variance's derivative, said twice over."""

    def s_d_s(self, t, target="exact"):
        return super().s_d_s(t, target) / 2


class Together(Linear):
    """A derivative divided by how many times are asked."""

    def d_alpha(self, t):
        return super().d_alpha(t) * (1 if len(t) > 1 else 0.9)


class Single(VariancePreserving):
    """1 - exp in place of expm1: right in float64."""

    margin: ClassVar[float] = 0.0

    def sigma(self, t):
        return (1 - (-self._spent(t)).exp()).clamp_min(1e-30).sqrt()


class Rounded(Linear):
    """Another formula in float32."""

    def d_alpha(self, t):
        return super().d_alpha(t) * (1.01 if t.dtype == torch.float32 else 1.0)


class NoiseInABand(Linear):
    """Noise that only a fine grid sees, and that `noisy` does not say."""

    noisy = False

    def gamma(self, t):
        return where(t, (t - 0.5001).abs() < 0.001, 1.1) - 1


class Differences(Linear):
    """A velocity by differences of positions: right in float64, and lost in the float32 of training."""

    def velocity(self, t, x0, x1, xi):
        h = 1e-6
        return (self.position(t + h, x0, x1, xi) - self.position(t - h, x0, x1, xi)) / (2 * h)


FAULTS = [
    (Differences, "float32_is_float64_rounded", "velocity in float32"),
    (Start, "coefficients_have_their_derivatives", "d_alpha(t) at t = 1e-06 is"),
    (Start, "derivatives_integrate_to_their_coefficients", "d_alpha integrates to"),
    (Start, "exact_flow_ends_in_its_own_law", "where a perfect one scores"),
    (Start, "exact_flow_is_that_of_its_signal_and_noise", "from where alpha / s says"),
    (End, "coefficients_have_their_derivatives", "d_sigma(t) at t = "),
    (End, "derivatives_integrate_to_their_coefficients", "d_sigma integrates to"),
    (Band, "coefficients_have_their_derivatives", "d_alpha(t) at t = 0.50"),
    (Band, "derivatives_integrate_to_their_coefficients", "over [0.50"),
    (Sliver, "coefficients_have_their_derivatives", "d_sigma(t) at t = 0.731"),
    (AtZero, "coefficients_have_their_derivatives", "d_alpha(t) at t = 0 is 0 where 1 is due"),
    (AtOne, "coefficients_have_their_derivatives", "d_sigma(t) at t = 1 is -2 where -1 is due"),
    (NoiseStart, "coefficients_have_their_derivatives", "d_gamma(t) at t = 0.001"),
    (NoiseStart, "derivatives_integrate_to_their_coefficients", "d_gamma integrates to"),
    (Product, "products_integrate_to_their_squares", "gamma_d_gamma integrates to"),
    (ProductInside, "products_equal_their_factors", "sigma_d_sigma(t) at t = 0.30"),
    (Power, "coefficients_have_their_derivatives", "with p = "),
    (Power, "derivatives_integrate_to_their_coefficients", "with p = "),
    (Unbounded, "coefficients_have_their_derivatives", "shift = "),
    (Choice, "coefficients_have_their_derivatives", "fast = True"),
    (Optional, "coefficients_have_their_derivatives", "extra = "),
    (AtItsEnd, "coefficients_have_their_derivatives", "with s = 0.25: "),
    (Jumps, "derivatives_integrate_to_their_coefficients", "over [0.4567"),
    (Velocity, "position_and_velocity_are_those_of_the_coefficients", "velocity at t = 0.99"),
    (Position, "position_and_velocity_are_those_of_the_coefficients", "position at t = "),
    (Variance, "position_and_velocity_are_those_of_the_coefficients", "noise_variance(t)"),
    (HalfTurn, "position_and_velocity_are_those_of_the_coefficients", "s_d_s(t)"),
    (HalfTurn, "products_integrate_to_their_squares", "s_d_s integrates to"),
    (HalfTurn, "exact_flow_is_that_of_its_signal_and_noise", "from where alpha / s says"),
    (Together, "treats_each_time_by_itself", "d_alpha(t) in a batch"),
    (Rounded, "float32_is_float64_rounded", "d_alpha(t) in float32"),
    (NoiseInABand, "says_whether_it_is_noisy", "noisy is False"),
]


@pytest.mark.parametrize(("cls", "law", "words"), FAULTS, ids=[f"{c[0].__name__}-{c[1]}" for c in FAULTS])
def test_a_fault_breaks_its_law(breaks, cls, law, words):
    breaks("path", cls, law, words)


def test_rounding_that_float64_hides_is_caught():
    failed = [
        law.__name__ for law in CONTRACTS["path"] if outcome(Subject("path", "wrong", Single), law).status != "ok"
    ]
    assert {"float32_is_float64_rounded", "is_finite_at_all_training_times"} & set(failed)


@dataclass(frozen=True)
class Kinked(Path):
    """A path with a kink at 1/3: right, though its derivative jumps there."""

    def alpha(self, t):
        return torch.maximum(t / 2, 1 - 1.25 * (1 - t))

    def sigma(self, t):
        return 1 - self.alpha(t)

    def d_alpha(self, t):
        return torch.where(t / 2 > 1 - 1.25 * (1 - t), 0.5, 1.25).to(t)

    def d_sigma(self, t):
        return -self.d_alpha(t)


@dataclass(frozen=True)
class Gentle(Path):
    """t^p with p just above 1: the derivative's own slope is infinite at 0."""

    p: Annotated[float, Gt(1)] = 1.1

    def alpha(self, t):
        return t**self.p

    def sigma(self, t):
        return 1 - t**self.p

    def d_alpha(self, t):
        return self.p * t ** (self.p - 1)

    def d_sigma(self, t):
        return -self.p * t ** (self.p - 1)


@dataclass(frozen=True)
class Table(Path):
    """Coefficients out of NumPy, which autodiff cannot follow."""

    def alpha(self, t):
        return torch.from_numpy(np.sin(np.pi / 2 * t.numpy()))

    def sigma(self, t):
        return torch.from_numpy(np.sin(np.pi / 2 * (1 - t.numpy())))

    def d_alpha(self, t):
        return math.pi / 2 * self.sigma(t)

    def d_sigma(self, t):
        return -math.pi / 2 * self.alpha(t)


@pytest.mark.parametrize("cls", [Kinked, Gentle, Table])
def test_a_right_path_of_an_uncommon_kind_passes(keeps, cls):
    keeps("path", cls)
