"""Stochastic samplers: another process with the same law at every time as the flow."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge
from torch import Tensor

from bench.interfaces import Field, Noise, Score, Solution, StochasticSolver, checked_times
from bench.solvers.fixed import FixedStep
from bench.solvers.tableau import EULER, Tableau, at_times


@dataclass(frozen=True)
class EulerMaruyama(FixedStep, StochasticSolver):
    """Euler-Maruyama for dX = [v + eps_t score] dt + sqrt(2 eps_t) dW: weak order 1, one evaluation a step.

    Its law at each t is the flow's, whatever eps_t >= 0 (Albergo et al. 2023, arXiv:2303.08797, theorem 2.10).
    The score follows from the velocity, so it costs no evaluation; v, eps and score are taken at the left end.

        schedule: linear     eps_t = epsilon (1 - t)          no noise at the data end, where v says little of the score
        schedule: constant   eps_t = epsilon
        schedule: sine       eps_t = epsilon sin^2(pi t)      no noise at either end

    These are among the diffusions of Ma et al. 2024, arXiv:2401.08740. Compare it with others under
    `sampling.start: independent`: noise of its own undoes the evenness of a quasi-random start.
    """

    tableau: ClassVar[Tableau] = EULER

    epsilon: Annotated[float, Ge(0)] = field(default=1.0, kw_only=True)
    schedule: Literal["linear", "constant", "sine"] = field(default="linear", kw_only=True)

    def diffusion(self, t: float) -> float:
        """eps_t, in squared data units per unit of time."""
        if self.schedule == "constant":
            return self.epsilon
        return self.epsilon * (1 - t if self.schedule == "linear" else math.sin(math.pi * t) ** 2)

    def simulate(self, velocity: Field, score: Score, noise: Noise, x: Tensor, times: Tensor) -> Solution:
        """States at times (F,) of one path of the process per point; between knots interpolated linearly."""
        knots = self.knots()

        def walk(x: Tensor) -> Iterator[Tensor]:
            asked = knots.to(x.device, x.dtype).unbind()
            for step, (t0, h) in enumerate(zip(knots.tolist(), knots.diff().tolist(), strict=False)):
                v, eps = velocity(asked[step], x), self.diffusion(t0)
                drift = v + eps * score(asked[step], x, v) if eps else v
                x = torch.add(x, drift, alpha=h)
                if eps:
                    x = torch.add(x, noise(step), alpha=math.sqrt(2 * eps * h))
                yield x

        with torch.no_grad():
            return Solution(at_times(walk(x), x, knots, checked_times(times)), rejected=0)
