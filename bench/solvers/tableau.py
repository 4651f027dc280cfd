"""Explicit Runge-Kutta methods as data, and the loop that steps any of them over a grid of times."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.interfaces import Field


@dataclass(frozen=True)
class Tableau:
    """Butcher tableau of an explicit method with `stages` field evaluations a step.

    k_i = v(x + h sum_j a_ij k_j, t + c_i h) and x(t + h) = x + h sum_i b_i k_i; row i of a has i entries.
    Butcher 1964, J. Austral. Math. Soc. 4; Hairer, Norsett and Wanner, Solving ODEs I, II.1.
    """

    order: int
    c: tuple[float, ...]
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]

    @property
    def stages(self) -> int:
        """Field evaluations a step."""
        return len(self.b)


EULER = Tableau(order=1, c=(0,), a=((),), b=(1,))
MIDPOINT = Tableau(order=2, c=(0, 1 / 2), a=((), (1 / 2,)), b=(0, 1))
HEUN = Tableau(order=2, c=(0, 1), a=((), (1,)), b=(1 / 2, 1 / 2))
KUTTA_3_8 = Tableau(
    order=4,
    c=(0, 1 / 3, 2 / 3, 1),
    a=((), (1 / 3,), (-1 / 3, 1), (1, -1, 1)),
    b=(1 / 8, 3 / 8, 3 / 8, 1 / 8),
)


def march(tableau: Tableau, velocity: Field, x: Tensor, knots: Tensor) -> Iterator[Tensor]:
    """The states at knots[1:], one a step. knots: (N + 1,) float64, increasing; x: (B, *S)."""
    c = torch.tensor(tableau.c, dtype=torch.float64)
    # Convex combinations of a step's ends: no stage time can round to beyond the last knot.
    asked = knots[:-1, None] * (1 - c) + knots[1:, None] * c
    for h, times in zip(knots.diff().tolist(), asked.to(x.device, x.dtype).unbind(), strict=True):
        slopes: list[Tensor] = []
        for t, row in zip(times.unbind(), tableau.a, strict=True):
            slopes.append(velocity(t, _plus(x, h, row, slopes)))
        x = _plus(x, h, tableau.b, slopes)
        yield x


def at_times(states: Iterator[Tensor], x: Tensor, knots: Tensor, times: Tensor) -> Tensor:
    """States at `times` (F,), linear between knots, out of the start x and the states at knots[1:]."""
    frames = x.new_empty(len(times), *x.shape)
    frames[0] = x
    wanted, due = times.tolist(), 1
    edges = knots.tolist()
    for t0, t1, end in zip(edges[:-1], edges[1:], states, strict=True):
        while due < len(wanted) and wanted[due] <= t1:
            part = (wanted[due] - t0) / (t1 - t0)
            frames[due] = end if part == 1 else torch.lerp(x, end, part)
            due += 1
        x = end
    return frames


def _plus(x: Tensor, h: float, weights: tuple[float, ...], slopes: list[Tensor]) -> Tensor:
    """X + h sum_i weights_i slopes_i."""
    for weight, slope in zip(weights, slopes, strict=True):
        if weight:
            x = torch.add(x, slope, alpha=h * weight)
    return x
