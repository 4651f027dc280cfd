"""Samplers of diffusion models: other processes with the same law at every time as the flow."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Gt
from torch import Tensor

from bench.interfaces import Field, Noise, Process, ProcessSolver, Solution, checked_times
from bench.solvers.fixed import FixedStep
from bench.solvers.tableau import EULER, Tableau, at_times


@dataclass(frozen=True)
class EulerMaruyama(FixedStep, ProcessSolver):
    """Euler-Maruyama for dX = [v + eps_t score] dt + sqrt(2 eps_t) dW: weak order 1, one evaluation a step.

    Its law at each t is the flow's, whatever eps_t >= 0 (Albergo et al. 2023, arXiv:2303.08797, theorem 2.10), if
    v is the velocity of that law, as it is for the exact target. A displacement target's v is not that of the path's
    laws, while the score that follows from it is theirs: its law then depends on eps_t and is neither the path's nor
    that of the flow of v; the larger eps_t, the nearer to the path's.
    The score follows from the velocity, so it costs no evaluation; v, eps and score are taken at the left end.

        schedule: linear     eps_t = epsilon (1 - t)          no noise at the data end, where v says little of the score
        schedule: constant   eps_t = epsilon
        schedule: sine       eps_t = epsilon sin^2(pi t)      no noise at either end

    These are among the diffusions of Ma et al. 2024, arXiv:2401.08740. Compare it with others under
    `sampling.start: independent`: noise of its own undoes the evenness of a quasi-random start.
    """

    tableau: ClassVar[Tableau] = EULER
    stochastic: ClassVar[bool] = True

    epsilon: Annotated[float, Ge(0)] = field(default=1.0, kw_only=True)
    schedule: Literal["linear", "constant", "sine"] = field(default="linear", kw_only=True)

    def diffusion(self, t: float) -> float:
        """eps_t, in squared data units per unit of time."""
        if self.schedule == "constant":
            return self.epsilon
        return self.epsilon * (1 - t if self.schedule == "linear" else math.sin(math.pi * t) ** 2)

    def simulate(self, velocity: Field, process: Process, noise: Noise, x: Tensor, times: Tensor) -> Solution:
        """States at times (F,) of one path of the process per point; between knots interpolated linearly."""
        knots = self.knots()

        def walk(x: Tensor) -> Iterator[Tensor]:
            """The states at knots[1:], one a step."""
            asked = knots.to(x.device, x.dtype).unbind()
            for step, (t0, h) in enumerate(zip(knots.tolist(), knots.diff().tolist(), strict=False)):
                v, eps = velocity(asked[step], x), self.diffusion(t0)
                drift = v + eps * process.score(asked[step], x, v) if eps else v
                x = torch.add(x, drift, alpha=h)
                if eps:
                    x = torch.add(x, noise(step), alpha=math.sqrt(2 * eps * h))
                yield x

        with torch.no_grad():
            return Solution(at_times(walk(x), x, knots, checked_times(times)), rejected=0)


@dataclass(frozen=True)
class DDIM(FixedStep, ProcessSolver):
    """x_s = alpha_s E[x1 | x_t] + s_s E[e | x_t] from each knot t to the next one s: order 1, one evaluation a step.

    Song et al. 2021, arXiv:2010.02502, equation 12 with eta = 0, written for any path x_t = alpha x1 + s e. On the
    straight line it is Euler's method; on the path vp its steps follow the noise rather than the time.

    clip: bound on |E[x1 | x_t]|, 1 for images, as Ho et al. have it and later DDIM code, the first not; E[e | x_t]
    then is what is left of x_t, (x_t - alpha E[x1 | x_t]) / s. Where alpha is small, a small error of the net in the
    noise is a large one in the data, and without a bound some samples are lost to it.
    """

    tableau: ClassVar[Tableau] = EULER
    eta: ClassVar[float] = 0.0

    clip: Annotated[float, Gt(0)] | None = field(default=None, kw_only=True)

    def simulate(self, velocity: Field, process: Process, noise: Noise, x: Tensor, times: Tensor) -> Solution:
        """States at times (F,) of one way per point; between knots interpolated linearly."""
        knots = self.knots()

        def walk(x: Tensor) -> Iterator[Tensor]:
            """The states at knots[1:], one a step."""
            asked, ends = knots.to(x.device, x.dtype).unbind(), knots.tolist()
            for step in range(self.steps):
                data, rest = process.ends(asked[step], x, velocity(asked[step], x))
                here, there = process.weights(ends[step]), process.weights(ends[step + 1])
                if self.clip is not None:
                    data = data.clamp(-self.clip, self.clip)
                    rest = (x - here[0] * data) / here[1]
                to_data, to_rest, fresh = transition(here, there, self.eta)
                x = to_data * data + to_rest * rest
                if fresh:
                    x = torch.add(x, noise(step), alpha=fresh)
                yield x

        with torch.no_grad():
            return Solution(at_times(walk(x), x, knots, checked_times(times)), rejected=0)


@dataclass(frozen=True)
class DDPM(DDIM):
    """Ancestral sampling: each step draws from q(x_s | x_t, x1) with E[x1 | x_t] for x1, one evaluation a step.

    Ho et al. 2020, arXiv:2006.11239, equations 6 and 7, with the posterior's variance; at fewer steps than the
    schedule's 1000 the same law between the knots, which is DDIM with eta = 1 (arXiv:2010.02502, equation 16).
    Compare it with others under `sampling.start: independent`.
    """

    stochastic: ClassVar[bool] = True
    eta: ClassVar[float] = 1.0


def transition(here: tuple[float, float], there: tuple[float, float], eta: float) -> tuple[float, float, float]:
    """Weights of (data, noise, fresh noise) in a step from (alpha_t, s_t) to (alpha_s, s_s).

    The fresh noise has variance eta^2 (s_s^2 / s_t^2) (s_t^2 - (alpha_t / alpha_s)^2 s_s^2), eta^2 times that of
    q(x_s | x_t, x1), and the old noise keeps what is left of s_s^2.
    """
    (alpha_t, s_t), (alpha_s, s_s) = here, there
    fresh = eta**2 * (s_s / s_t) ** 2 * max(s_t**2 - (alpha_t / alpha_s) ** 2 * s_s**2, 0.0)
    return alpha_s, math.sqrt(max(s_s**2 - fresh, 0.0)), math.sqrt(fresh)
