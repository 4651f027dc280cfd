"""How far a net's velocity is from the exact one, where the net was trained: on the path's own marginals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from scipy.special import ndtri

from bench.interfaces import Exact, Given, Measured, Metric
from bench.seeds import uniforms

if TYPE_CHECKING:
    from bench.interfaces import Floats

TIMES = 32
"""Midpoints of [eps, 1 - eps] over which squared errors are averaged; eps is the path's margin."""

DRAWS = 256
"""Draws of x_t at each time."""


@dataclass(frozen=True)
class VelocityError(Metric):
    """RMSE of velocity vectors, sqrt(E|v_net - v|^2) on x_t of the path, in data units per unit of time.

    v is the exact conditional mean of the cell's own target. velocity_error_t10, _t50, _t90: at t = .1, .5, .9;
    velocity_error: over t uniform on [eps, 1 - eps]. Its square is d times `excess_loss` of `ErrorBudget`: a norm sums
    over the d coordinates, a loss averages over them.
    """

    values: ClassVar[Mapping[str, Measured]] = {
        "velocity_error": Measured("data units per time", "lower"),
        "velocity_error_t10": Measured("data units per time", "lower"),
        "velocity_error_t50": Measured("data units per time", "lower"),
        "velocity_error_t90": Measured("data units per time", "lower"),
    }
    inputs: ClassVar[tuple[str, ...]] = ("field", "oracle")
    floored: ClassVar[bool] = False

    def measure(self, given: Given) -> Mapping[str, float]:
        """RMSE over all times and at three of them."""
        at = squared_errors(given, [0.1, 0.5, 0.9], TIMES * DRAWS // 8)
        mean = float(squared_errors(given, midpoints(given.oracle), DRAWS).mean())
        roots = np.sqrt(at).tolist()
        return dict(zip(self.values, [math.sqrt(mean), *roots], strict=True))


def midpoints(exact: Exact | None) -> list[float]:
    """TIMES times in the middle of equal parts of [eps, 1 - eps]."""
    assert exact is not None
    eps = exact.path.margin
    return [eps + (1 - 2 * eps) * (k + 0.5) / TIMES for k in range(TIMES)]


def squared_errors(given: Given, times: Sequence[float], draws: int) -> Floats:
    """E|v_net - v|^2 at each time, (T,), over `draws` quasi-random held-out x_t; v: the target's exact mean."""
    assert given.field is not None
    assert given.oracle is not None
    exact = given.oracle
    x1, noise = _held_out(exact, len(times) * draws, given)
    errors = []
    with torch.no_grad():
        for place, time in enumerate(times):
            part = slice(place * draws, (place + 1) * draws)
            t = torch.tensor([time], dtype=torch.float64)
            alpha, spread = exact.path.alpha(t), exact.path.noise_variance(t).sqrt()
            x_t = float(alpha) * x1[part] + float(spread) * noise[part]
            difference = given.field(t[0], x_t) - exact.regressed(t[0], x_t)
            errors.append(float((difference**2).flatten(1).sum(1).mean()))
    return np.asarray(errors)


def _held_out(exact: Exact, n: int, given: Given) -> tuple[torch.Tensor, torch.Tensor]:
    """Data and noise that no training saw, (n, *S) each: a normal source's and the path's noise are one."""
    law = exact.law
    k, d = law.coordinates, math.prod(law.shape)
    u = uniforms(given.seed, "held out", given.repeat, n, k + d, quasi=True)
    noise = ndtri(u[:, k:]).reshape(n, *law.shape)
    return torch.from_numpy(law.from_uniform(u[:, :k])), torch.from_numpy(noise)
