"""A solver of one's own: how a trained velocity field is integrated from noise to data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge
from torch import Tensor

from bench.interfaces import Field, Solution, Solver, checked_times


@dataclass(frozen=True)
class Example(Solver):
    """Ralston's method: k1 = v(t, x), k2 = v(t + 2h/3, x + 2h/3 k1), a step h (k1 + 3 k2) / 4. Order 2.

    Ralston 1962, Math. Comp. 16: of the two-stage methods the one with the least bound on its error.
    """

    order: ClassVar[int] = 2  # `bench check` measures it

    steps: Annotated[int, Ge(1)] = 50

    def solve(self, velocity: Field, x: Tensor, times: Tensor) -> Solution:
        """States (F, B, *S) at times: (F,), linear between the ends of steps. x: (B, *S) at t = 0."""
        wanted, frames = checked_times(times).tolist(), [x]
        with torch.no_grad():
            for k in range(self.steps):
                end = self._step(velocity, x, k)
                while len(frames) < len(wanted) and wanted[len(frames)] <= (k + 1) / self.steps:
                    frames.append(torch.lerp(x, end, wanted[len(frames)] * self.steps - k))
                x = end
        return Solution(torch.stack(frames), rejected=0)

    def _step(self, velocity: Field, x: Tensor, k: int) -> Tensor:
        h = 1 / self.steps
        one = velocity(torch.tensor(k * h, dtype=x.dtype, device=x.device), x)
        two = velocity(torch.tensor((k + 2 / 3) * h, dtype=x.dtype, device=x.device), x + 2 / 3 * h * one)
        return x + h * (one + 3 * two) / 4

    def evaluations(self) -> int:
        """Network evaluations of a sample by formula, which the run's count is held against."""
        return 2 * self.steps


SOLVERS = {"example": Example}
