"""Probability paths: how a source point x0 becomes a data point x1 as t runs from 0 to 1.

To add one, write alpha, sigma (and gamma) with their derivatives and a line in PATHS; `velocity` follows.

Singular ends, where E|u_t|^2 diverges: both of noisy_bridge (gamma') and t = 1 of vp (sigma'). These paths have a
`margin`, which keeps training times off the ends. At the ends themselves gamma' and sigma' are infinite, never
clamped; the products gamma gamma' and sigma sigma' are finite, by formulas without a division. Every coefficient is
computed from r = 1 - t where it vanishes at t = 1, so that float32 is good to a few roundings up to the end (as
written, cos(pi t / 2) is below 0 there, and sqrt(1 - exp(-T)) is 9 % off at r = 1e-6).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor

from bench.interfaces import Path


@dataclass(frozen=True)
class Linear(Path):
    """Straight line, x_t = t x1 + (1 - (1 - sigma_min) t) x0; sigma_min = 0 gives (1 - t) x0 + t x1.

    With sigma_min > 0 the path ends at the data blurred by N(0, sigma_min^2 I).
    Liu et al. 2022, arXiv:2209.03003 (sigma_min = 0); Lipman et al. 2022, arXiv:2210.02747 (sigma_min > 0).
    """

    sigma_min: Annotated[float, Ge(0), Lt(1)] = 0.0

    def alpha(self, t: Tensor) -> Tensor:
        """Return t."""
        return t

    def sigma(self, t: Tensor) -> Tensor:
        """Return 1 - (1 - sigma_min) t as (1 - t) + sigma_min t, which does not round sigma_min off against 1."""
        return (1 - t) + self.sigma_min * t

    def d_alpha(self, t: Tensor) -> Tensor:
        """Return 1."""
        return torch.ones_like(t)

    def d_sigma(self, t: Tensor) -> Tensor:
        """Return -(1 - sigma_min)."""
        return torch.full_like(t, -(1 - self.sigma_min))


@dataclass(frozen=True)
class Trigonometric(Path):
    """Quarter circle, x_t = sin(pi t / 2) x1 + cos(pi t / 2) x0: the variance of unit data stays 1.

    Albergo et al. 2023, arXiv:2303.08797.
    """

    def alpha(self, t: Tensor) -> Tensor:
        """Return sin(pi t / 2)."""
        return (math.pi / 2 * t).sin()

    def sigma(self, t: Tensor) -> Tensor:
        """Return cos(pi t / 2) as sin(pi (1 - t) / 2), which is exactly 0 at t = 1."""
        return (math.pi / 2 * (1 - t)).sin()

    def d_alpha(self, t: Tensor) -> Tensor:
        """Return (pi / 2) sigma."""
        return math.pi / 2 * self.sigma(t)

    def d_sigma(self, t: Tensor) -> Tensor:
        """Return -(pi / 2) alpha."""
        return -math.pi / 2 * self.alpha(t)


@dataclass(frozen=True)
class VariancePreserving(Path):
    """DDPM's schedule in continuous time, alpha = exp(-T / 2), sigma = sqrt(1 - exp(-T)).

    T = beta_min r + (beta_max - beta_min) r^2 / 2 with r = 1 - t. alpha_0 > 0 leaves a trace of the data at t = 0
    (.0066 of it with the defaults); sampling starts from N(0, I) all the same. sigma' grows as
    1 / sqrt(1 - t), so training times keep 1e-3 away from the ends.
    Song et al. 2021, arXiv:2011.13456, equation 33.
    """

    margin: ClassVar[float] = 1e-3

    beta_min: Annotated[float, Gt(0)] = 0.1
    beta_max: Annotated[float, Gt(0)] = 20.0

    def __post_init__(self) -> None:
        """Refuse a schedule that falls."""
        if self.beta_max < self.beta_min:
            raise ValueError(f"beta_max ({self.beta_max}) must not be below beta_min ({self.beta_min})")

    def _spent(self, t: Tensor) -> Tensor:
        """T at t."""
        r = 1 - t
        return r * (self.beta_min + (self.beta_max - self.beta_min) / 2 * r)

    def _rate(self, t: Tensor) -> Tensor:
        """-dT/dt."""
        return self.beta_min + (self.beta_max - self.beta_min) * (1 - t)

    def alpha(self, t: Tensor) -> Tensor:
        """Return exp(-T / 2)."""
        return (-self._spent(t) / 2).exp()

    def sigma(self, t: Tensor) -> Tensor:
        """Return sqrt(-expm1(-T)); 1 - exp(-T) would cancel near t = 1."""
        return (-torch.expm1(-self._spent(t))).sqrt()

    def d_alpha(self, t: Tensor) -> Tensor:
        """Return -T' exp(-T / 2) / 2."""
        return self._rate(t) * self.alpha(t) / 2

    def d_sigma(self, t: Tensor) -> Tensor:
        """Return sigma sigma' / sigma, infinite at t = 1."""
        return self.sigma_d_sigma(t) / self.sigma(t)

    def sigma_d_sigma(self, t: Tensor) -> Tensor:
        """Return T' exp(-T) / 2, finite everywhere."""
        return -self._rate(t) * (-self._spent(t)).exp() / 2


@dataclass(frozen=True)
class _Noisy(Path):
    """Straight line with noise of its own, x_t = (1 - t) x0 + t x1 + gamma_t xi."""

    s: Annotated[float, Gt(0)] = 0.5

    def alpha(self, t: Tensor) -> Tensor:
        """Return t."""
        return t

    def sigma(self, t: Tensor) -> Tensor:
        """Return 1 - t."""
        return 1 - t

    def d_alpha(self, t: Tensor) -> Tensor:
        """Return 1."""
        return torch.ones_like(t)

    def d_sigma(self, t: Tensor) -> Tensor:
        """Return -1."""
        return -torch.ones_like(t)


@dataclass(frozen=True)
class NoisyConstant(_Noisy):
    """Straight line plus constant noise, gamma_t = s.

    It starts at the source and ends at the data, each convolved with N(0, s^2 I).
    I-CFM of Tong et al. 2023, arXiv:2302.00482.
    """

    def gamma(self, t: Tensor) -> Tensor:
        """Return s."""
        return torch.full_like(t, self.s)


@dataclass(frozen=True)
class NoisyBridge(_Noisy):
    """Straight line plus a Brownian bridge's marginal noise, gamma_t = s sqrt(t (1 - t)).

    gamma' diverges at both ends, so training times keep 1e-3 away from them.
    SB-CFM of Tong et al. 2023, arXiv:2302.00482; Albergo et al. 2023, arXiv:2303.08797.
    """

    margin: ClassVar[float] = 1e-3

    def gamma(self, t: Tensor) -> Tensor:
        """Return s sqrt(t (1 - t)); clamped at 0 against rounding outside [0, 1]."""
        return self.s * (t * (1 - t)).clamp_min(0).sqrt()

    def d_gamma(self, t: Tensor) -> Tensor:
        """Return s (1 - 2 t) / (2 sqrt(t (1 - t))), infinite at the ends."""
        return self.s * (1 - 2 * t) / (2 * (t * (1 - t)).sqrt())

    def gamma_d_gamma(self, t: Tensor) -> Tensor:
        """Return s^2 (1 - 2 t) / 2, finite everywhere."""
        return self.s**2 * (1 - 2 * t) / 2


@dataclass(frozen=True)
class NoisySmooth(_Noisy):
    """Straight line plus noise that comes and goes smoothly, gamma_t = s sin^2(pi t).

    Both gamma and gamma' vanish at the ends, so nothing is singular there.
    Albergo et al. 2023, arXiv:2303.08797.
    """

    def gamma(self, t: Tensor) -> Tensor:
        """Return s sin^2(pi t), from the nearer end, so that it is exactly 0 at both."""
        return self.s * (math.pi * torch.minimum(t, 1 - t)).sin() ** 2

    def d_gamma(self, t: Tensor) -> Tensor:
        """Return s pi sin(2 pi t)."""
        return self.s * math.pi * (2 * math.pi * t).sin()


PATHS: dict[str, type[Path]] = {
    "linear": Linear,
    "trigonometric": Trigonometric,
    "vp": VariancePreserving,
    "noisy_constant": NoisyConstant,
    "noisy_bridge": NoisyBridge,
    "noisy_smooth": NoisySmooth,
}
