"""How far a net's velocity is from the exact one, where the net was trained: on the path's own marginals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from scipy.special import ndtri

from bench.interfaces import Exact, Given, Measured, Metric
from bench.seeds import uniforms

if TYPE_CHECKING:
    from bench.interfaces import Floats

EDGES = (0.0, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0)
"""Panels of time, in parts of [eps, 1 - eps], eps the path's margin; squared errors are averaged over each.

The error of a net has its detail where the law's scales show, which for laws far from unit scale is near an end: even
times miss it (measured on a mixture a thousand times narrower or wider: 6 and 19 times too small with 32 midpoints).
"""

NODES = 4
"""Gauss-Legendre times in each panel."""

DRAWS = 1024
"""Draws of x_t at each time of a panel a tenth of the whole or longer, and at single times."""

DRAWS_AT_ENDS = 128
"""Draws of x_t at each time of a shorter panel."""


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
    version: ClassVar[int] = 2

    def measure(self, given: Given) -> Mapping[str, float]:
        """RMSE over all times and at three of them."""
        at = squared_errors(given, [0.1, 0.5, 0.9], [DRAWS] * 3)
        roots = np.sqrt(at).tolist()
        return dict(zip(self.values, [math.sqrt(mean_squared_error(given)), *roots], strict=True))


def mean_squared_error(given: Given) -> float:
    """E|v_net - v|^2 over t uniform on [eps, 1 - eps] and held-out x_t; v: the target's exact mean."""
    assert given.oracle is not None
    eps = given.oracle.path.margin
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    times, shares, draws = [], [], []
    for low, high in pairwise(EDGES):
        times += [eps + (1 - 2 * eps) * part for part in low + (high - low) * (1 + nodes) / 2]
        shares += list((high - low) * weights / 2)
        draws += [DRAWS if high - low >= 0.1 else DRAWS_AT_ENDS] * NODES
    return float(np.dot(shares, squared_errors(given, times, draws)))


def squared_errors(given: Given, times: Sequence[float], draws: Sequence[int]) -> Floats:
    """E|v_net - v|^2 at each time, (T,), over so many quasi-random held-out x_t; v: the target's exact mean."""
    assert given.field is not None
    assert given.oracle is not None
    exact = given.oracle
    x1, noise = (part.split(list(draws)) for part in _held_out(exact, sum(draws), given))
    errors = []
    with torch.no_grad():
        for time, data, normal in zip(times, x1, noise, strict=True):
            t = torch.tensor([time], dtype=torch.float64)
            alpha, spread = exact.path.alpha(t), exact.path.noise_variance(t).sqrt()
            x_t = float(alpha) * data + float(spread) * normal
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
