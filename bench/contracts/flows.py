"""What a path promises of the oracle on it: that its exact flow takes the path's law at 0 to its law at 1.

The laws are the path's own, alpha x1 + sigma x0 + gamma xi with x1 from a mixture of three Gaussians and x0, xi ~
N(0, I): a path may end at blurred data, or begin with a trace of them.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from bench.contracts.require import Law, holds, significant
from bench.datasets.mixtures import GaussianMixture
from bench.interfaces import Field, Path
from bench.nets.oracle import OracleField
from bench.paths import Linear
from bench.seeds import uniforms
from bench.solvers.fixed import RK4

POINTS, CLOUDS = 256, 6
"""Points of a cloud, and clouds that flow."""

EVEN = (50, 400)
"""Even steps of RK4 of a flow as it is sampled."""

STEPS = (60, 120, 240, 480)
"""Steps of RK4, dense at both ends, of a flow as it is exactly; more are taken where fewer do not do."""

WITHIN = 1e-3
"""Root mean square distance of two equal flows, in data units: about 1e-5 is usual at 60 steps."""

MEND = (
    "the exact velocity is made of alpha', sigma sigma' and gamma gamma' at all t in [0, 1]: look at their values "
    "before the margin and after 1 - margin, and at start and end"
)


def exact_flow_is_that_of_its_signal_and_noise(path: Path) -> str | None:
    """The oracle's flow is that of the straight line at equal alpha / s, times alpha + s (s^2 = sigma^2 + gamma^2).

    x_t = alpha x1 + s e is (alpha + s) times the line's point at time alpha / (alpha + s): their exact flows are one.
    """
    start = _cloud(path, 0.0, "start", 0)[: POINTS // 2]
    due = _by_the_line(path, start)
    apart = float("inf")
    for steps in STEPS:
        apart = float((_flow(_oracle(path), start, steps) - due).square().sum(1).mean().sqrt())
        if apart <= WITHIN:
            return None
    holds(False, f"the exact flow from t = 0 to 1 ends {significant(apart)} from where alpha / s says", MEND)
    return None


def exact_flow_ends_in_its_own_law(path: Path) -> str | None:
    """The oracle's flow has no W2 in excess against the path's own law at 1: none beyond that of a perfect flow.

    It is sampled by 50 even steps of RK4, or by more where a right path is too steep for these. The floor is the
    straight line's exact flow of the same starts.
    """
    starts = torch.cat([_cloud(path, 0.0, "start", repeat) for repeat in range(CLOUDS)])
    reference = _cloud(path, 1.0, "reference", 0)
    floors = [_wasserstein(part, reference) for part in _by_the_line(path, starts).split(POINTS)]
    floor, spread, score = float(np.mean(floors)), float(np.std(floors, ddof=1)), float("inf")
    for steps in EVEN:
        flown = _flow(_oracle(path), starts, steps, "uniform")
        holds(bool(flown.isfinite().all()), "the exact flow from t = 0 to 1 is not finite", MEND)
        score = float(np.mean([_wasserstein(part, reference) for part in flown.split(POINTS)]))
        if score <= floor + spread:
            return None
    holds(
        False,
        f"the exact flow, sampled, ends at W2 = {significant(score)} from the path's own law at t = 1, where a perfect "
        f"one scores {significant(floor)} +- {significant(spread)}",
        MEND,
    )
    return None


LAWS: tuple[Law, ...] = (exact_flow_is_that_of_its_signal_and_noise, exact_flow_ends_in_its_own_law)


def _oracle(path: Path) -> Field:
    module = OracleField(GaussianMixture().mixture(), path)
    return lambda t, x: module(x, t.to(x.dtype).expand(len(x)))


def _by_the_line(path: Path, start: Tensor) -> Tensor:
    """Where the exact flow of a path takes points: by the straight line's, from its time of equal alpha / s to that."""
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    size = path.alpha(ends) + path.noise_variance(ends).sqrt()
    begin, end = (path.alpha(ends) / size).tolist()
    line = _oracle(Linear())
    return size[1] * _flow(lambda t, x: (end - begin) * line(begin + (end - begin) * t, x), start / size[0], STEPS[1])


def _flow(field: Field, x: Tensor, steps: int, spacing: Literal["uniform", "cosine"] = "cosine") -> Tensor:
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    return RK4(steps, spacing=spacing).solve(field, x, ends).states[-1]


def _cloud(path: Path, t: float, purpose: str, repeat: int) -> Tensor:
    """Quasi-random draws of x_t, (POINTS, 2) float64."""
    law = GaussianMixture()
    k = law.coordinates
    u = uniforms(0, f"contract/flow/{purpose}", repeat, POINTS, k + 4, quasi=True)
    x1, normal = torch.from_numpy(law.from_uniform(u[:, :k])), torch.from_numpy(ndtri(u[:, k:]))
    return path.position(torch.full((POINTS,), t, dtype=torch.float64), normal[:, :2], x1, normal[:, 2:])


def _wasserstein(x: Tensor, y: Tensor) -> float:
    """W2 of two clouds of as many points, (n, 2)."""
    import ot

    even = np.full(len(x), 1 / len(x))
    return float(np.sqrt(ot.emd2(even, even, torch.cdist(x, y).square().numpy(), numItermax=10_000_000)))
