"""Fixed-step solvers on the uniform grid k / steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge
from torch import Tensor
from torchdiffeq import odeint

from bench.interfaces import Field, Solution, Solver, checked_times

Steps = Annotated[int, Ge(1)]


@dataclass(frozen=True)
class _FixedStep(Solver):
    """`steps` equal steps of one Runge-Kutta method; `stages` field evaluations each."""

    method: ClassVar[str]
    stages: ClassVar[int]

    steps: Steps = 100

    def solve(self, velocity: Field, x: Tensor, times: Tensor) -> Solution:
        """States at times (F,); between grid points they are interpolated linearly."""
        grid = torch.linspace(0, 1, self.steps + 1, dtype=torch.float64)
        with torch.no_grad():
            states: Tensor = odeint(
                self._asked(velocity),
                x,
                checked_times(times),
                method=self.method,
                options={"grid_constructor": lambda _func, _y0, _t: grid},
            )
        return Solution(states, rejected=0)

    def _asked(self, velocity: Field) -> Field:
        return velocity

    def evaluations(self) -> int:
        """Stages times steps."""
        return self.stages * self.steps


@dataclass(frozen=True)
class Euler(_FixedStep):
    """x + h v(x, t): order 1, one evaluation a step.

    grid: left asks the field at the left end of each step, k / N. grid: inclusive spreads N times over
    [0, 1] with both ends, k / (N - 1), yet steps by 1 / N, so the field is asked slightly late: the slip
    of several published samplers, kept to show its cost.
    """

    method: ClassVar[str] = "euler"
    order: ClassVar[int] = 1
    stages: ClassVar[int] = 1

    grid: Literal["left", "inclusive"] = "left"

    def __post_init__(self) -> None:
        """Refuse the inclusive grid with a single step, which has no second end."""
        if self.grid == "inclusive" and self.steps < 2:
            raise ValueError("grid: inclusive needs steps of 2 or more")

    def _asked(self, velocity: Field) -> Field:
        if self.grid == "left":
            return velocity
        late = self.steps / (self.steps - 1)
        return lambda t, x: velocity((t * late).clamp(max=1), x)


@dataclass(frozen=True)
class Midpoint(_FixedStep):
    """x + h v(x + h/2 v(x, t), t + h/2): order 2, two evaluations a step."""

    method: ClassVar[str] = "midpoint"
    order: ClassVar[int] = 2
    stages: ClassVar[int] = 2


@dataclass(frozen=True)
class Heun(_FixedStep):
    """Trapezoid with an Euler predictor: order 2, two evaluations a step."""

    method: ClassVar[str] = "heun2"
    order: ClassVar[int] = 2
    stages: ClassVar[int] = 2


@dataclass(frozen=True)
class RK4(_FixedStep):
    """Fourth-order Runge-Kutta (Kutta's 3/8 rule, as torchdiffeq has it), four evaluations a step."""

    method: ClassVar[str] = "rk4"
    order: ClassVar[int] = 4
    stages: ClassVar[int] = 4
