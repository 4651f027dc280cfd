"""Adaptive solvers, through torchdiffeq: the step follows an error estimate over the whole batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Gt
from torch import Tensor

from bench.errors import NotConverged
from bench.interfaces import Field, Solution, Solver, checked_times


@dataclass(frozen=True)
class _Adaptive(Solver):
    """An embedded Runge-Kutta pair; `rtol` and `atol` bound the local error.

    A step is cut at t = 1 by torchdiffeq itself, and the trial evaluation that sizes the first step is clamped
    to it, which on slow fields would lie at .01 |x| / |v|: the field is never asked outside [0, 1]. `max_steps`
    counts the steps tried, rejected ones included. States between the steps come from torchdiffeq's quartic
    interpolation, which for dopri8 is coarser than its steps; the end does not.
    """

    adaptive: ClassVar[bool] = True
    method: ClassVar[str]

    rtol: Annotated[float, Gt(0)] = 1e-5
    atol: Annotated[float, Gt(0)] = 1e-5
    max_steps: Annotated[int, Gt(0)] = 10_000

    def solve(self, velocity: Field, x: Tensor, times: Tensor) -> Solution:
        """States at times (F,) by dense output. Raises NotConverged past max_steps."""
        from torchdiffeq import odeint  # brings scipy's solvers along, which a plan does not pay for

        asked = _Counted(velocity, self)
        with torch.no_grad():
            try:
                states: Tensor = odeint(
                    asked,
                    x,
                    checked_times(times).to(x.device),
                    method=self.method,
                    rtol=self.rtol,
                    atol=self.atol,
                    options={"step_t": torch.ones(1, dtype=torch.float64, device=x.device)},
                )
            except AssertionError as error:
                raise NotConverged(f"{self.method} stopped: {error}; loosen rtol and atol") from error
        return Solution(states, asked.rejected)


@dataclass(frozen=True)
class AdaptiveHeun(_Adaptive):
    """Heun's 2(1) pair, one evaluation a step.

    As torchdiffeq has it, the slope at the predicted point is taken over as the next step's first.
    """

    order: ClassVar[int] = 2
    method: ClassVar[str] = "adaptive_heun"


@dataclass(frozen=True)
class Bosh3(_Adaptive):
    """Bogacki and Shampine's 3(2) pair, three evaluations a step (Appl. Math. Lett. 2, 1989)."""

    order: ClassVar[int] = 3
    method: ClassVar[str] = "bosh3"


@dataclass(frozen=True)
class Dopri5(_Adaptive):
    """Dormand and Prince's 5(4) pair, six evaluations a step (J. Comp. Appl. Math. 6, 1980)."""

    order: ClassVar[int] = 5
    method: ClassVar[str] = "dopri5"


@dataclass(frozen=True)
class Dopri8(_Adaptive):
    """Prince and Dormand's 8(7) pair, thirteen evaluations a step (J. Comp. Appl. Math. 7, 1981)."""

    order: ClassVar[int] = 8
    method: ClassVar[str] = "dopri8"


class _Counted(torch.nn.Module):
    """The field with torchdiffeq's callbacks, through which steps are counted and bounded."""

    def __init__(self, velocity: Field, solver: _Adaptive) -> None:
        super().__init__()
        self.velocity, self.solver = velocity, solver
        self.tried = self.rejected = 0

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """dx/dt, as torchdiffeq asks for it."""
        # Only the second call ever lies beyond 1: the trial that sizes the first step.
        return self.velocity(t.clamp(0, 1), x)

    def callback_step(self, t0: Tensor, y0: Tensor, dt: Tensor) -> None:
        """Count the step that torchdiffeq tries."""
        self.tried += 1
        if self.tried > self.solver.max_steps:
            raise NotConverged(
                f"{self.solver.method} was at t = {float(t0):.3g} after {self.solver.max_steps} steps; loosen rtol and "
                f"atol or raise max_steps"
            )

    def callback_reject_step(self, t0: Tensor, y0: Tensor, dt: Tensor) -> None:
        """Count the step that torchdiffeq takes back."""
        self.rejected += 1
