"""A small diffusion transformer: an image as a sequence of patches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Gt, MultipleOf
from torch import Tensor, nn

from bench.interfaces import Net
from bench.nets.images import Condition, image_shape

TIME_FEATURES = 256
"""Width of the sinusoidal time embedding, as published."""

EXPANSION = 4
"""How many times as wide as the net the inner layer of a block is, as published."""

SMALL = 0.02
"""Standard deviation of the first weights of time and class embedding, as published."""


@dataclass(frozen=True)
class DiT(Net):
    """DiT with adaLN-zero, Peebles and Xie 2022, arXiv:2212.09748, in small: patches of 4 x 4, `depth` blocks.

    Patches become tokens of `width` by a linear map, plus fixed sines and cosines of row and column. A block is

        h + a1 Attention((1 + s1) LayerNorm(h) + b1),    then    h + a2 MLP((1 + s2) LayerNorm(h) + b2)

    with (b1, s1, a1, b2, s2, a2) = Linear(SiLU(c)), c the condition on time and class. That Linear and the last
    layer begin at 0: each block begins as the identity and the net as 0. Norms have no weights of their own.

    patch: side of a patch; both sides of the image must be multiples of it. heads: of the attention; they share
    the width evenly. classes: number of classes that the net is conditioned on.
    """

    width: Annotated[int, Ge(8), MultipleOf(4)] = 192
    depth: Annotated[int, Gt(0)] = 4
    heads: Annotated[int, Gt(0)] = 3
    patch: Annotated[int, Gt(0)] = 4
    classes: Annotated[int, Ge(0)] = 0

    def __post_init__(self) -> None:
        """Refuse heads that cannot share the width."""
        if self.width % self.heads:
            raise ValueError(f"heads ({self.heads}) must divide the width ({self.width})")

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        """Module for images of this shape, (channels, height, width)."""
        return _DiTModule(self, image_shape(shape, self.patch, "dit"))


class _DiTModule(nn.Module):
    places: Tensor

    def __init__(self, config: DiT, shape: tuple[int, int, int]) -> None:
        super().__init__()
        channels, height, width = shape
        self.patch, self.grid = config.patch, (height // config.patch, width // config.patch)
        self.condition = Condition(TIME_FEATURES, config.width, config.classes)
        self.tokens = nn.Conv2d(channels, config.width, config.patch, stride=config.patch)
        self.register_buffer("places", _places(*self.grid, config.width), persistent=False)
        self.blocks = nn.ModuleList(_Block(config.width, config.heads) for _ in range(config.depth))
        self.norm = _norm(config.width)
        self.adapt = nn.Linear(config.width, 2 * config.width)
        self.out = nn.Linear(config.width, channels * config.patch**2)
        self._begin()

    def _begin(self) -> None:
        """First weights as published: Xavier for linear maps, small embeddings, 0 where adaLN-zero has it."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.xavier_uniform_(self.tokens.weight.view(len(self.tokens.weight), -1))
        if self.tokens.bias is not None:
            nn.init.zeros_(self.tokens.bias)
        for module in self.condition.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=SMALL)
        ends = [self.out, self.adapt, *(block.adapt for block in self.blocks)]
        for end in ends:
            assert isinstance(end, nn.Linear)
            nn.init.zeros_(end.weight)

    def forward(self, x: Tensor, tau: Tensor, labels: Tensor | None = None) -> Tensor:
        """Velocity at x: (B, C, H, W), tau: (B,), labels: (B,) int64; returns (B, C, H, W) in x's precision."""
        c = nn.functional.silu(self.condition(tau, labels))
        h = self.tokens(x).flatten(2).transpose(1, 2) + self.places
        for block in self.blocks:
            h = block(h, c)
        shift, scale = self.adapt(c)[:, None].chunk(2, dim=2)
        pixels = self.out(self.norm(h) * (1 + scale) + shift)
        out = nn.functional.pixel_shuffle(pixels.transpose(1, 2).unflatten(2, self.grid), self.patch)
        return out.to(x.dtype)


class _Block(nn.Module):
    """Attention, then a perceptron, each shifted, scaled and gated by c; h: (B, N, width), c: (B, width)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.adapt = nn.Linear(width, 6 * width)
        self.norm = _norm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, EXPANSION * width), nn.GELU(approximate="tanh"), nn.Linear(EXPANSION * width, width)
        )

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        """One block; returns (B, N, width)."""
        b1, s1, a1, b2, s2, a2 = self.adapt(c)[:, None].chunk(6, dim=2)
        h = h + a1 * self._attention(self.norm(h) * (1 + s1) + b1)
        out: Tensor = h + a2 * self.mlp(self.norm(h) * (1 + s2) + b2)
        return out

    def _attention(self, h: Tensor) -> Tensor:
        q, k, v = self.qkv(h).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each (B, heads, N, d)
        seen = _attend(q, k, v)
        out: Tensor = self.project(seen.transpose(1, 2).flatten(2))
        return out


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) v; in single precision on a CPU, where a bf16 gradient takes eight times as long."""
    if q.device.type == "cpu" and q.dtype == torch.bfloat16:
        with torch.autocast("cpu", enabled=False):
            return nn.functional.scaled_dot_product_attention(q.float(), k.float(), v.float()).to(q.dtype)
    return nn.functional.scaled_dot_product_attention(q, k, v)


def _norm(width: int) -> nn.LayerNorm:
    return nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)


def _places(rows: int, columns: int, width: int) -> Tensor:
    """Sines and cosines of each token's column and row at 10000^(-4k / width), (rows columns, width)."""
    frequencies = torch.exp(-torch.arange(width // 4) * (math.log(10_000) / (width // 4)))
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    angles = [place.flatten()[:, None] * frequencies for place in (column, row)]
    return torch.cat([part for angle in angles for part in (angle.sin(), angle.cos())], dim=1)
