"""Fields whose flows are known in closed form, at any speed: what a solver's error is measured by."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from bench.interfaces import Field


class Known(NamedTuple):
    """A velocity (t, x) and the point where its flow takes x: (B, 2) from time 0 to t."""

    velocity: Field
    flow: Callable[[Tensor, float], Tensor]


def swirl(speed: float) -> Known:
    """dx/dt = w [cos(3 w t) x + (1 + sin(w t) / 2) J x] with J a quarter turn: linear, grows and turns."""
    return Known(functools.partial(_swirl, speed), functools.partial(_swirled, speed))


def swing(speed: float) -> Known:
    """dx/dt = w cos(2 w t) sin(2 x), each coordinate by itself: not linear in x, and not in t."""
    return Known(functools.partial(_swing, speed), functools.partial(_swung, speed))


def _swirl(w: float, t: Tensor, x: Tensor) -> Tensor:
    turned = torch.stack([-x[:, 1], x[:, 0]], dim=1)
    return w * (torch.cos(3 * w * t) * x + (1 + torch.sin(w * t) / 2) * turned)


def _swirled(w: float, x: Tensor, t: float) -> Tensor:
    """Return x exp(sin(3 w t) / 3), turned by w t + (1 - cos(w t)) / 2."""
    angle = w * t + (1 - math.cos(w * t)) / 2
    turn = torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]], dtype=x.dtype)
    return math.exp(math.sin(3 * w * t) / 3) * x @ turn


def _swing(w: float, t: Tensor, x: Tensor) -> Tensor:
    return w * torch.cos(2 * w * t) * torch.sin(2 * x)


def _swung(w: float, x: Tensor, t: float) -> Tensor:
    """By exp(sin(2 w t)) tan x grows, within the branch of the arctangent that x is in."""
    branch = torch.round(x / math.pi) * math.pi
    return branch + torch.atan(torch.tan(x - branch) * math.exp(math.sin(2 * w * t)))
