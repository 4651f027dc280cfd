"""A net of one's own: what is trained to predict the velocity."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge
from torch import Tensor, nn

from bench.interfaces import Net


@dataclass(frozen=True)
class Example(Net):
    """Two hidden layers of `width`; the time opens and shuts the units of the second, each by a gate of its own."""

    # All weights are in nn.Linear layers and the module takes any axes in front, so that several train as one.
    # Leave the line out of a net for which either is not so; it then trains alone.
    stackable: ClassVar[bool] = True

    width: Annotated[int, Ge(1)] = 64

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        """A fresh module for points of this shape; torch's global generator has been seeded."""
        return _Module(self.width, shape)


class _Module(nn.Module):
    def __init__(self, width: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        size, self.axes = prod(shape), len(shape)
        self.first = nn.Linear(size + 1, width)
        self.second = nn.Linear(width, width)
        self.gate = nn.Linear(1, width)
        self.last = nn.Linear(width, size)

    def forward(self, x: Tensor, tau: Tensor) -> Tensor:
        """What is predicted at points x: (..., B, *S) and times tau: (..., B) in [0, 1]; (..., B, *S)."""
        time = tau[..., None]
        hidden = torch.tanh(self.first(torch.cat([x.flatten(-self.axes), time], dim=-1)))
        hidden = torch.tanh(self.second(hidden)) * torch.sigmoid(self.gate(time))
        out: Tensor = self.last(hidden).view_as(x)
        return out


NETS = {"example": Example}
