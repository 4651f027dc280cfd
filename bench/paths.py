"""Probability paths: how a source point x0 becomes a data point x1 as t runs from 0 to 1.

To add one, write alpha, sigma (and gamma) with their derivatives and a line in PATHS; `velocity` follows.
"""

from __future__ import annotations

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
        """Return 1 - (1 - sigma_min) t."""
        return 1 - (1 - self.sigma_min) * t

    def d_alpha(self, t: Tensor) -> Tensor:
        """Return 1."""
        return torch.ones_like(t)

    def d_sigma(self, t: Tensor) -> Tensor:
        """Return -(1 - sigma_min)."""
        return torch.full_like(t, -(1 - self.sigma_min))


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


PATHS: dict[str, type[Path]] = {
    "linear": Linear,
    "noisy_constant": NoisyConstant,
    "noisy_bridge": NoisyBridge,
}
