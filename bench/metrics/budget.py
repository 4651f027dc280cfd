"""Where a cell's error comes from: its solver, its net, its target or its path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Gt
from torch import Tensor

from bench.errors import Undefined
from bench.interfaces import Given, Measured, Metric
from bench.metrics.velocity import mean_squared_error

ROUNDING = 1e-10
"""Differences below this are rounding of two equal flows and count as 0."""


@dataclass(frozen=True)
class ErrorBudget(Metric):
    """Root mean square distances between flows from the same starting noise z, in data units.

    solver_error: the samples against the fine flow of the same field. model_error: the fine flow of the field
    against that of the exact velocity of the cell's own target. target_error: the latter against the exact
    velocity with the exact target; 0 where both are the same. path_error: the latter against the exact flow of
    the linear path, whose end is the data's own law: what the path's start and end laws miss, and 0 otherwise,
    because paths x_t = alpha x1 + s e with s^2 = sigma^2 + gamma^2 and equal ends have one flow map (it depends on
    alpha / s alone).

    Each pairs two laws, so it bounds from above the W2 between them, without a sampling floor; their sum bounds
    W2(samples, exact samples). A field that is sampled reversed is judged as it is sampled. Fine flows: `fine_steps`
    steps of RK4, or more until their ends stand still to about 1e-4 of their spread (`bench.flow`): a part below that
    is the fine flow's own error. A field whose flow does not settle has no budget.

    excess_loss: E|v_net - v|^2 / d over t uniform on [eps, 1 - eps] and x_t on the path, v the exact mean of the
    cell's target and d the number of coordinates, over which training averages too. For prediction: velocity,
    weighting: none and uniform or stratified times that is the training loss on fresh data less the least that is
    possible; for others it is this same error of the velocity, not the excess of what was minimised. The velocity of
    a noise or data prediction stands still at its clamp, and what that alone costs counts as model error and as excess
    loss: a perfect net of these predictions does not reach 0.
    """

    values: ClassVar[Mapping[str, Measured]] = {
        "solver_error": Measured("data units", "lower"),
        "model_error": Measured("data units", "lower"),
        "target_error": Measured("data units", "lower"),
        "path_error": Measured("data units", "lower"),
        "excess_loss": Measured("squared velocity per coordinate", "lower"),
    }
    inputs: ClassVar[tuple[str, ...]] = ("samples", "start", "field", "oracle")
    floored: ClassVar[bool] = False
    version: ClassVar[int] = 3

    fine_steps: Annotated[int, Gt(0)] = 40

    def measure(self, given: Given) -> Mapping[str, float]:
        """The four errors and the excess loss; samples and start: (n, *S)."""
        assert given.samples is not None
        assert given.start is not None
        assert given.field is not None
        assert given.oracle is not None
        assert given.integrate is not None
        if given.start_scale is None:
            raise Undefined("the error budget needs a normal source")
        exact, integrate = given.oracle, given.integrate
        z = torch.from_numpy(given.start)
        net = integrate(given.field, z, self.fine_steps)
        target = integrate(exact.regressed, z, self.fine_steps)
        path = target if exact.regressed is exact.velocity else integrate(exact.velocity, z, self.fine_steps)
        linear = path
        if exact.linear is not exact.velocity:
            linear = integrate(exact.linear, z / given.start_scale, self.fine_steps)
        return {
            "solver_error": _apart(torch.from_numpy(given.samples), net),
            "model_error": _apart(net, target),
            "target_error": _apart(target, path),
            "path_error": _apart(path, linear),
            "excess_loss": mean_squared_error(given) / z[0].numel(),
        }


def _apart(x: Tensor, y: Tensor) -> float:
    """sqrt(mean |x - y|^2) of two (n, *S)."""
    root = float(((x - y) ** 2).flatten(1).sum(1).mean().sqrt())
    return 0.0 if root < ROUNDING else root
