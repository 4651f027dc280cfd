"""Whether a function is the derivative of another: at many times, and by its integral over every part of [0, 1].

Neither alone is enough. Autodiff at points trusts how the coefficient was written, and sees no jump of it; an integral
asks only for its values, but a narrow fault hides between its nodes unless there are very many.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

Function = Callable[[Tensor], Tensor]
"""Of times t: (B,) to (B,), each row of its own time."""

POINTS = 2**15
"""Times at which derivatives are compared: no gap between them is wider than 1e-4."""

NEAREST = 1e-6
"""Distance from either end of the times that are graded towards it, as a part of the whole."""

PANELS = 512
"""Parts of the interval over which a derivative is integrated, 5 Gauss nodes each."""

LEVELS = 36
"""How often a part is halved while its integral differs from the change of the coefficient."""

LOCAL, ROUNDING = 1e-9, 4e-15
"""Slack of a part's integral: per width and size of the derivative, and per size of the coefficient."""


class Mismatch(NamedTuple):
    """The part [low, high] where integral and change differ most for its width."""

    low: float
    high: float
    integral: float
    change: float


def times(low: float, high: float) -> Tensor:
    """Increasing times strictly between low and high, float64: irregular, all over, and graded towards both ends."""
    golden = (math.sqrt(5) - 1) / 2
    inner = torch.arange(1, POINTS + 1, dtype=torch.float64) * golden % 1
    near = torch.logspace(math.log10(NEAREST), -1, 200, dtype=torch.float64)
    part = torch.cat([inner, near, 1 - near]).sort().values
    return low + (high - low) * part[(part > 0) & (part < 1)]


def derivative(of: Callable[[Tensor], Tensor], t: Tensor) -> Tensor | None:
    """Derivative at t: (B,) of a function whose row b depends on t_b alone; None where autodiff cannot tell."""
    try:
        value, slope = torch.autograd.functional.jvp(of, t, torch.ones_like(t))
        followed = of(t.clone().requires_grad_()).requires_grad
    except RuntimeError:  # it leaves torch, or has no derivative there
        return None
    flat = value.flatten(1) if value.dim() > 1 else value[:, None]
    constant = bool((flat == flat[0]).all())
    return slope if followed or constant else None


def mismatch(slope: Function, coefficient: Function, low: float, high: float) -> Mismatch | None:
    """Where the integral of `slope` is not the change of `coefficient`, or None.

    Parts that disagree are halved again and again: at a kink or a root's end the disagreement shrinks with them, while
    that of a wrong derivative stays the same in sum, however narrow the band in which it is wrong.
    """
    edges = torch.linspace(low, high, PANELS + 1, dtype=torch.float64)
    left, right = edges[:-1], edges[1:]
    for _ in range(LEVELS):
        integral, change, slack = _parts(slope, coefficient, left, right)
        gap = (integral - change).abs().nan_to_num(nan=math.inf)
        bad = gap > slack
        if not bool(bad.any()) or float(gap[bad].sum()) <= 1e-10:
            return None
        if int(bad.sum()) > 4 * PANELS:
            break
        middle = (left + right)[bad] / 2
        left, right = torch.cat([left[bad], middle]), torch.cat([middle, right[bad]])
    integral, change, _ = _parts(slope, coefficient, left, right)
    worst = int(((integral - change).abs().nan_to_num(nan=math.inf) / (right - left)).argmax())
    return Mismatch(*(float(part[worst]) for part in (left, right, integral, change)))


def _parts(slope: Function, coefficient: Function, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Integral of the slope, change of the coefficient and slack of their difference over each [left, right]."""
    nodes, weights = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(5))
    width = right - left
    at = left[:, None] + width[:, None] * (1 + nodes) / 2
    d = slope(at.flatten()).detach().double().view_as(at)
    ends = [coefficient(edge).detach().double() for edge in (left, right)]
    sizes = d.abs().nan_to_num(posinf=0.0).mean(1)
    slack = LOCAL * width * (1 + sizes) + ROUNDING * (1 + ends[1].abs())
    return (d * weights).sum(1) * width / 2, ends[1] - ends[0], slack
