"""Fixed-step solvers: one Runge-Kutta method over a grid of times that is known beforehand."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge
from torch import Tensor

from bench.interfaces import Field, Solution, Solver, checked_times
from bench.solvers.tableau import EULER, HEUN, KUTTA_3_8, MIDPOINT, Tableau, at_times, march

Count = Annotated[int, Ge(1)]


class Default(IntEnum):
    """Number of steps where none is given, by identity told apart from the same number given."""

    STEPS = 100


@dataclass(frozen=True)
class FixedStep(Solver):
    """`steps` steps of one method, or as many as a budget of `nfe` field evaluations allows.

    spacing places the knots t_k, with u = k / N for k = 0..N:

        uniform   t = u
        cosine    t = (1 - cos(pi u)) / 2      dense at both ends
        power     t = 1 - (1 - u)^rho          dense at the data end; rho >= 1, 2 unless given

    The power grid is that of Karras et al. 2022, arXiv:2206.00364, eq. 5, on sigma = 1 - t with sigma_min = 0.
    (Below 1 its last step would be N^-rho long, and the method's order lost.)
    """

    tableau: ClassVar[Tableau]
    stages: ClassVar[int]
    twins: ClassVar[tuple[tuple[str, ...], ...]] = (("steps", "nfe"),)
    """Parameters that follow from one another: where an axis varies one of them, it varies both."""

    steps: Count = Default.STEPS
    nfe: Count | None = field(default=None, kw_only=True)
    spacing: Literal["uniform", "cosine", "power"] = field(default="uniform", kw_only=True)
    rho: Annotated[float, Ge(1)] | None = field(default=None, kw_only=True)

    def __init_subclass__(cls) -> None:
        """Take order and stages from the tableau."""
        super().__init_subclass__()
        cls.order, cls.stages = cls.tableau.order, cls.tableau.stages

    def __post_init__(self) -> None:
        """Settle steps and nfe, which follow from one another, and rho, which power alone has."""
        steps = int(self.steps)
        if self.nfe is not None and self.nfe % self.stages:
            below = self.nfe // self.stages * self.stages
            up = self.nfe - below > self.stages / 2 or not below
            near = below + self.stages if up else below
            raise ValueError(
                f"nfe {self.nfe} is no multiple of the {self.stages} evaluations of a step; the nearest is {near}"
            )
        if self.nfe is not None:
            steps = self.nfe // self.stages
            if self.steps is not Default.STEPS and self.steps != steps:
                raise ValueError(f"steps {self.steps} and nfe {self.nfe} contradict each other; give one of them")
        if self.rho is not None and self.spacing != "power":
            raise ValueError(f"rho belongs to spacing: power, not to {self.spacing}")
        # Resolved alike, euler(steps=10) and euler(nfe=10) are the same work.
        object.__setattr__(self, "steps", steps)
        object.__setattr__(self, "nfe", steps * self.stages)
        if self.spacing == "power" and self.rho is None:
            object.__setattr__(self, "rho", 2.0)

    def knots(self) -> Tensor:
        """Ends of the steps, (steps + 1,) float64 on the CPU; exactly 0 and 1 at the ends."""
        u = torch.linspace(0, 1, self.steps + 1, dtype=torch.float64)
        if self.spacing == "cosine":
            u = (1 - (math.pi * u).cos()) / 2
        elif self.spacing == "power" and self.rho is not None:
            u = 1 - (1 - u) ** self.rho
        return u

    def solve(self, velocity: Field, x: Tensor, times: Tensor) -> Solution:
        """States at times (F,); between knots they are interpolated linearly."""
        knots = self.knots()
        with torch.no_grad():
            states = march(self.tableau, self._asked(velocity), x, knots)
            return Solution(at_times(states, x, knots, checked_times(times)), rejected=0)

    def _asked(self, velocity: Field) -> Field:
        return velocity

    def evaluations(self) -> int:
        """Stages times steps."""
        return self.stages * self.steps

    def refined(self, times: int) -> FixedStep:
        """With `times` as many steps and evaluations."""
        return replace(self, steps=times * self.steps, nfe=None)


@dataclass(frozen=True)
class Euler(FixedStep):
    """x + h v(x, t): order 1, one evaluation a step.

    grid: left asks the field at the left end of each step. grid: inclusive spreads N times over [0, 1] with
    both ends, k / (N - 1), yet steps by 1 / N, so the field is asked slightly late: the slip of several
    published samplers, kept to show its cost.
    """

    tableau: ClassVar[Tableau] = EULER

    grid: Literal["left", "inclusive"] = "left"

    def __post_init__(self) -> None:
        """Refuse the inclusive grid with a single step, which has no second end, and with uneven ones."""
        super().__post_init__()
        if self.grid == "inclusive" and self.steps < 2:
            raise ValueError("grid: inclusive needs steps of 2 or more")
        if self.grid == "inclusive" and self.spacing != "uniform":
            raise ValueError(f"grid: inclusive is a slip of uniform grids, not of spacing: {self.spacing}")

    def _asked(self, velocity: Field) -> Field:
        if self.grid == "left":
            return velocity
        late = self.steps / (self.steps - 1)
        return lambda t, x: velocity((t * late).clamp(max=1), x)


@dataclass(frozen=True)
class Midpoint(FixedStep):
    """x + h v(x + h/2 v(x, t), t + h/2): order 2, two evaluations a step."""

    tableau: ClassVar[Tableau] = MIDPOINT


@dataclass(frozen=True)
class Heun(FixedStep):
    """Trapezoid with an Euler predictor: order 2, two evaluations a step."""

    tableau: ClassVar[Tableau] = HEUN


@dataclass(frozen=True)
class RK4(FixedStep):
    """Fourth-order Runge-Kutta (Kutta's 3/8 rule, as torchdiffeq has it), four evaluations a step."""

    tableau: ClassVar[Tableau] = KUTTA_3_8
