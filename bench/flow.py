"""Flows whose end is taken for exact: refined until it stands still, at any scale of the law.

Every path x_t = alpha x1 + s e has its detail where alpha / s passes through the law's own scales: parts M apart
come apart near alpha / s = 1 / M, a part of standard deviation h is told from a point near alpha / s = 1 / h. On the
straight line alpha / s = t / (1 - t), so a law far from unit scale crowds all of it near t = 0 or t = 1, between the
knots of any even grid. Knots at equal steps of log(t / (1 - t)) meet it at every scale alike.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from bench.errors import NotConverged, Undefined
from bench.interfaces import Field, Mixture
from bench.nets.oracle import OracleField
from bench.paths import Linear
from bench.solvers.fixed import RK4
from bench.solvers.tableau import KUTTA_3_8, march

FLOW_STEPS = 60
"""Even RK4 steps of the floor's flow; kept wherever they suffice, as they do for laws near unit scale."""

GRADED_STEPS = 160
"""Graded RK4 steps that judge the even ones; doubled where they do not agree."""

DOUBLINGS = 6
"""After these a flow counts as one that does not settle."""

STILL = 3e-5
"""Of the typical gap between neighbouring ends: the RMS distance by which a floor's flow may still move.

W2 moves by no more than the points do, and a floor's standard deviation over seeds is .8 % of that gap or more
(measured: 4 to 27 % in 2 dimensions, 1 to 1.5 % in 5 to 20, .8 % for two parts in 10; 64 to 2048 points), so this is
below a hundredth of it throughout. What is really left is a hundred times less (against DOP853).
"""

SETTLED = 5e-4
"""Of the spread of the ends: the RMS distance by which a fine flow may move when its steps are halved.

At order 4 a fifteenth of it is left. Smooth fields near unit scale move by 1e-4 or less at 20 steps against 40.
"""

REACH = math.log(1e6)
"""Largest |log(t / (1 - t))| of the knots of a flow whose field says nothing of its scales."""


def exact_ends(law: Mixture, z: Tensor) -> Tensor:
    """Ends of the exact flow of the straight path from z ~ N(0, I): (n, d) float64, distributed as `law`.

    Even steps where they agree with graded ones to STILL of the ends' typical gap; else graded ones, doubled until
    so little is left of their error, as the rate at which they settle foretells it. Raises NotConverged.
    """
    field = OracleField(law, Linear())

    def velocity(t: Tensor, x: Tensor) -> Tensor:
        """The law's exact velocity at scalar t, x: (n, d)."""
        answer: Tensor = field(x, t.expand(len(x)))
        return answer

    low, high = _scales(law)
    even, finer = (
        _even(velocity, z, FLOW_STEPS),
        _through(velocity, z, _graded(GRADED_STEPS, low, high, GRADED_STEPS / 3)),
    )
    steps, moved, left = GRADED_STEPS, math.inf, math.inf
    if not bool(finer.isfinite().all()):
        raise NotConverged(
            "the exact flow of the law's mixture is not finite: a covariance is singular; give each part some width in "
            "every direction"
        )
    for _ in range(DOUBLINGS):
        allowed = STILL * _gap(finer)
        if apart(even, finer) <= allowed:
            return even
        if left <= allowed:
            return finer
        steps, before, coarser = 2 * steps, moved, finer
        finer = _through(velocity, z, _graded(steps, low, high, steps / 3))
        moved = apart(coarser, finer)
        # At order 4 each doubling leaves a sixteenth; only where it leaves a quarter or less is the rate relied on.
        left = moved**2 / before if 4 * moved <= before < math.inf else moved
    if left <= STILL * _gap(finer):
        return finer
    raise NotConverged(
        f"the exact flow of a mixture of {len(law.weights)} parts in {z.shape[1]} dimensions, what a perfect sampler "
        f"would draw, still moves by {moved:.1g} from {steps // 2} to {steps} steps; bring the law's widths nearer to "
        f"one another, or use `sampling: {{start: independent}}`, whose floor needs no flow"
    )


def integrate(velocity: Field, x: Tensor, steps: int) -> Tensor:
    """The state at t = 1 of the flow from x at t = 0: `steps` even steps of RK4, or more where these do not suffice.

    They do if half as many lead to the same ends but for SETTLED of their spread. If not, `steps` even knots and as
    many graded ones together, doubled until it does not matter. x: (B, *S). Raises Undefined where the flow does not
    settle; an end that is not finite, however fine the steps, comes back as it is.
    """
    end, coarser = _even(velocity, x, steps), _even(velocity, x, (steps + 1) // 2)
    for doubling in range(DOUBLINGS):
        if apart(end, coarser) <= SETTLED * _spread(end):
            return end
        if doubling > 1 and not bool((end + coarser).isfinite().any()):
            break
        count = steps * 2**doubling
        knots = torch.cat([_graded(count, -REACH, REACH), torch.linspace(0, 1, count + 1, dtype=torch.float64)])
        end, coarser = _through(velocity, x, knots.unique()), end
    if apart(end, coarser) <= SETTLED * _spread(end) or not bool(end.isfinite().all()):
        return end
    raise Undefined(
        f"the fine flow of this field does not settle: {2 * count} steps end {apart(end, coarser):.1g} away from half "
        f"as many (root mean square, on a spread of {_spread(end):.1g}); raise the metric's number of steps"
    )


def apart(x: Tensor, y: Tensor) -> float:
    """sqrt(mean |x - y|^2) of two (n, *S); nan where one is not finite."""
    return float((x - y).square().flatten(1).sum(1).mean().sqrt())


def _even(velocity: Field, x: Tensor, steps: int) -> Tensor:
    """The state at t = 1 after `steps` equal steps of RK4."""
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    return RK4(steps).solve(velocity, x, ends).states[-1]


def _through(velocity: Field, x: Tensor, knots: Tensor) -> Tensor:
    """The state at the last of the knots (N + 1,) after a step of RK4 between each two."""
    end = x
    with torch.no_grad():
        for state in march(KUTTA_3_8, velocity, x, knots):
            end = state
    return end


def _graded(steps: int, low: float, high: float, beyond: float = 1) -> Tensor:
    """0, times at equal steps of log(t / (1 - t)), and 1: (steps + 1,) float64.

    t / (1 - t) goes from exp(low) / beyond to exp(high) beyond; growing with `steps`, it refines the two end steps too.
    """
    margin = math.log(beyond)
    inner = torch.linspace(low - margin, high + margin, steps - 1, dtype=torch.float64).sigmoid()
    return torch.cat([inner.new_zeros(1), inner, inner.new_ones(1)])


def _scales(law: Mixture) -> tuple[float, float]:
    """Smallest and largest log(t / (1 - t)) at which the straight path shows detail of a mixture; 0 lies between."""
    variances = torch.linalg.eigvalsh(torch.as_tensor(law.covariances, dtype=torch.float64))
    means = torch.as_tensor(law.means, dtype=torch.float64)
    away = means - torch.as_tensor(law.weights, dtype=torch.float64) @ means
    widest = math.sqrt(float(variances.max()) + float(away.square().sum(1).max()))
    narrowest = math.sqrt(max(float(variances.min()), torch.finfo(torch.float64).eps * widest**2))
    return min(-math.log(widest), 0.0), max(-math.log(narrowest), 0.0)


def _gap(points: Tensor) -> float:
    """Median distance from a point to its nearest neighbour; of a single point its length. points: (n, d)."""
    from scipy.spatial import cKDTree  # a third of a second, which a plan does not pay

    if len(points) == 1:
        return float(points.norm())
    held = points.numpy()
    return float(np.median(np.asarray(cKDTree(held).query(held, k=2)[0])[:, 1]))


def _spread(points: Tensor) -> float:
    """Root mean square distance of points (n, *S) from their mean; of a single point its length."""
    return apart(points, points.mean(0, keepdim=True) if len(points) > 1 else torch.zeros_like(points))
