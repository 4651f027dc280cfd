"""Adaptive solvers: the step follows an error estimate over the whole batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Gt
from torch import Tensor
from torchdiffeq import odeint

from bench.errors import NotConverged
from bench.interfaces import Field, Solution, Solver, checked_times


@dataclass(frozen=True)
class Dopri5(Solver):
    """Dormand and Prince's 5(4) pair with dense output; `rtol` and `atol` bound the local error.

    A step is cut at t = 1, and the trial evaluation that sizes the first step is too: the field is never
    asked outside [0, 1].
    """

    adaptive: ClassVar[bool] = True
    order: ClassVar[int] = 5
    method: ClassVar[str] = "dopri5"

    rtol: Annotated[float, Gt(0)] = 1e-5
    atol: Annotated[float, Gt(0)] = 1e-5
    max_steps: Annotated[int, Gt(0)] = 10_000

    def solve(self, velocity: Field, x: Tensor, times: Tensor) -> Solution:
        """States at times (F,) by dense output. Raises NotConverged past max_steps."""
        asked = _Counted(velocity)
        with torch.no_grad():
            try:
                states: Tensor = odeint(
                    asked,
                    x,
                    checked_times(times),
                    method=self.method,
                    rtol=self.rtol,
                    atol=self.atol,
                    options={"step_t": torch.ones(1, dtype=torch.float64), "max_num_steps": self.max_steps},
                )
            except AssertionError as error:
                raise NotConverged(
                    f"{self.method} stopped: {error}; loosen rtol and atol or raise max_steps"
                ) from error
        return Solution(states, asked.rejected)


class _Counted(torch.nn.Module):
    """The field with torchdiffeq's callback for rejected steps."""

    def __init__(self, velocity: Field) -> None:
        super().__init__()
        self.velocity = velocity
        self.rejected = 0

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return self.velocity(t.clamp(0, 1), x)

    def callback_reject_step(self, t0: Tensor, y0: Tensor, dt: Tensor) -> None:
        self.rejected += 1
