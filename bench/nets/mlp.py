"""Multilayer perceptrons for points on the plane."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Gt, MultipleOf
from torch import Tensor, nn

from bench.interfaces import Net
from bench.nets.embeddings import TimeEmbedding, TimeKind

ACTIVATIONS = {"relu": nn.ReLU, "silu": nn.SiLU, "gelu": nn.GELU, "selu": nn.SELU, "tanh": nn.Tanh}
Activation = Literal["relu", "silu", "gelu", "selu", "tanh"]


@dataclass(frozen=True)
class MLP(Net):
    """`depth` hidden layers of `width`, each Linear and activation, then Linear back to the point.

    join: concat feeds (x, time features) to the first hidden layer; join: add puts
    Linear(x) + Linear(time features) in front of `depth` layers of width to width.
    """

    stackable: ClassVar[bool] = True

    width: Annotated[int, Gt(0)] = 128
    depth: Annotated[int, Gt(0)] = 3
    activation: Activation = "relu"
    time: TimeKind = "raw"
    time_features: Annotated[int, Ge(2), MultipleOf(2)] = 64
    time_scale: Annotated[float, Gt(0)] = 1.0
    join: Literal["concat", "add"] = "concat"

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        """Module for points of this shape, flattened inside."""
        return _MLPModule(self, shape)


class _MLPModule(nn.Module):
    def __init__(self, config: MLP, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.axes, size = len(shape), prod(shape)
        self.time = TimeEmbedding(config.time, config.time_features, config.time_scale)
        width, features = config.width, self.time.features
        first = [size + features] if config.join == "concat" else [width]
        widths = first + [width] * config.depth
        self.from_x = nn.Linear(size, width) if config.join == "add" else None
        self.from_time = nn.Linear(features, width) if config.join == "add" else None
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(widths):
            layers += [nn.Linear(fan_in, fan_out), ACTIVATIONS[config.activation]()]
        self.layers = nn.Sequential(*layers, nn.Linear(width, size))

    def forward(self, x: Tensor, tau: Tensor) -> Tensor:
        """Velocity at x: (..., B, *S), tau: (..., B); returns (..., B, *S)."""
        flat, features = x.flatten(-self.axes), self.time(tau)
        if self.from_x is not None and self.from_time is not None:
            joined = self.from_x(flat) + self.from_time(features)
        else:
            joined = torch.cat([flat, features], dim=-1)
        out: Tensor = self.layers(joined).view_as(x)
        return out


@dataclass(frozen=True)
class ResidualMLP(Net):
    """Linear(x) + Linear(time features), then `blocks` of h + Linear(act(Linear(h))), then Linear back.

    The inner layer of a block is `expansion` times as wide. The defaults with a raw time have the 396,034
    parameters of the network in arXiv:2503.10636.
    """

    stackable: ClassVar[bool] = True

    width: Annotated[int, Gt(0)] = 128
    blocks: Annotated[int, Gt(0)] = 3
    expansion: Annotated[int, Gt(0)] = 4
    activation: Activation = "gelu"
    time: TimeKind = "raw"
    time_features: Annotated[int, Ge(2), MultipleOf(2)] = 64
    time_scale: Annotated[float, Gt(0)] = 1.0

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        """Module for points of this shape, flattened inside."""
        return _ResidualModule(self, shape)


class _ResidualModule(nn.Module):
    def __init__(self, config: ResidualMLP, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.axes, size = len(shape), prod(shape)
        width, inner = config.width, config.width * config.expansion
        self.time = TimeEmbedding(config.time, config.time_features, config.time_scale)
        self.from_x = nn.Linear(size, width)
        self.from_time = nn.Linear(self.time.features, width)
        activation = ACTIVATIONS[config.activation]
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, inner), activation(), nn.Linear(inner, width)) for _ in range(config.blocks)
        )
        self.out = nn.Linear(width, size)

    def forward(self, x: Tensor, tau: Tensor) -> Tensor:
        """Velocity at x: (..., B, *S), tau: (..., B); returns (..., B, *S)."""
        h = self.from_x(x.flatten(-self.axes)) + self.from_time(self.time(tau))
        for block in self.blocks:
            h = h + block(h)
        out: Tensor = self.out(h).view_as(x)
        return out
