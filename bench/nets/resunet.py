"""A residual U-Net with attention at its coarsest grid and adaptive group norm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Gt, MultipleOf
from torch import Tensor, nn

from bench.interfaces import Net
from bench.nets.images import Condition, of_patches

FACTORS = (1, 2, 2)
"""Channels of the three grids in units of the width, the finest first."""

GROUPS = 8


@dataclass(frozen=True)
class AttentionUNet(Net):
    """Residual U-Net of three grids (28, 14 and 7 wide for MNIST) with channels w, 2w, 2w, w = `width`.

    After Dhariwal and Nichol 2021, arXiv:2105.05233, in small: each residual block is

        h + conv(SiLU((1 + scale) GroupNorm(conv(SiLU(GroupNorm(h)))) + shift)),    (scale, shift) = Linear(SiLU(c))

    with c the condition on time and class, 4w wide; its second convolution, the attention's projection and the last
    convolution begin at 0, as theirs do. On the way up a block gets the skip of its mirror image on the way down
    concatenated. Self-attention over all pixels follows each block of the coarsest grid alone. Sides must be
    multiples of 4.

    blocks: residual blocks of a grid on the way down; one more on the way up. heads: of the attention; they
    share 2w channels evenly. classes: number of classes that the net is conditioned on. patch: side of the squares
    of pixels that are one pixel to the net, `of_patches`.
    """

    width: Annotated[int, Ge(8), MultipleOf(8)] = 64
    blocks: Annotated[int, Gt(0)] = 1
    heads: Annotated[int, Gt(0)] = 4
    classes: Annotated[int, Ge(0)] = 0
    patch: Annotated[int, Ge(1)] = 1

    def __post_init__(self) -> None:
        """Refuse heads that cannot share the coarsest grid's channels."""
        channels = FACTORS[-1] * self.width
        if channels % self.heads:
            raise ValueError(f"heads ({self.heads}) must divide the {channels} channels at width {self.width}")

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        """Module for images of this shape, (channels, height, width)."""
        return of_patches(shape, self.patch, "unet_attention", lambda channels: _AttentionUNetModule(self, channels))


class _AttentionUNetModule(nn.Module):
    def __init__(self, config: AttentionUNet, channels: int) -> None:
        super().__init__()
        features = 4 * config.width
        widths = [factor * config.width for factor in FACTORS]
        coarsest = len(widths) - 1

        def block(fan_in: int, grid: int) -> _Block:
            """A residual block of a grid, with attention on the coarsest."""
            return _Block(fan_in, widths[grid], features, config.heads if grid == coarsest else 0)

        self.condition = Condition(config.width, features, config.classes)
        self.first = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.down, self.shrink, self.up, self.grow = (nn.ModuleList() for _ in range(4))
        h, skips = widths[0], [widths[0]]
        for grid, width in enumerate(widths):
            self.down.append(nn.ModuleList(block(width if i else h, grid) for i in range(config.blocks)))
            h = width
            skips += [width] * config.blocks
            if grid < coarsest:
                self.shrink.append(nn.Conv2d(width, width, 3, stride=2, padding=1))
                skips.append(width)
        self.middle = nn.ModuleList([block(h, coarsest), _Block(h, h, features, 0)])
        for grid, width in reversed(list(enumerate(widths))):
            entries = [(width if i else h) + skips.pop() for i in range(config.blocks + 1)]
            self.up.append(nn.ModuleList(block(entry, grid) for entry in entries))
            h = width
            if grid:
                self.grow.append(nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(h, h, 3, padding=1)))
        self.out = nn.Sequential(nn.GroupNorm(GROUPS, h), nn.SiLU(), _zero(nn.Conv2d(h, channels, 3, padding=1)))

    def forward(self, x: Tensor, tau: Tensor, labels: Tensor | None = None) -> Tensor:
        """Velocity at x: (B, C, H, W), tau: (B,), labels: (B,) int64; returns (B, C, H, W) in x's precision."""
        c = nn.functional.silu(self.condition(tau, labels))
        h = self.first(x)
        skips = [h]
        for grid, blocks in enumerate(self.down):
            for block in _each(blocks):
                h = block(h, c)
                skips.append(h)
            if grid < len(self.shrink):
                h = self.shrink[grid](h)
                skips.append(h)
        for block in self.middle:
            h = block(h, c)
        for grid, blocks in enumerate(self.up):
            for block in _each(blocks):
                h = block(torch.cat([h, skips.pop()], dim=1), c)
            if grid < len(self.grow):
                h = self.grow[grid](h)
        out: Tensor = self.out(h)
        return out.to(x.dtype)


class _Block(nn.Module):
    """A residual block, and attention after it if it has heads; h: (B, in, H, W), c: (B, features) after SiLU."""

    def __init__(self, fan_in: int, width: int, features: int, heads: int) -> None:
        super().__init__()
        self.before = nn.Sequential(nn.GroupNorm(GROUPS, fan_in), nn.SiLU(), nn.Conv2d(fan_in, width, 3, padding=1))
        self.norm = nn.GroupNorm(GROUPS, width)
        self.adapt = nn.Linear(features, 2 * width)
        self.after = _zero(nn.Conv2d(width, width, 3, padding=1))
        self.skip = nn.Identity() if fan_in == width else nn.Conv2d(fan_in, width, 1)
        self.attention = _Attention(width, heads) if heads else nn.Identity()

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        """One block; returns (B, width, H, W)."""
        scale, shift = self.adapt(c)[:, :, None, None].chunk(2, dim=1)
        inner = self.norm(self.before(h)) * (1 + scale) + shift
        out: Tensor = self.attention(self.skip(h) + self.after(nn.functional.silu(inner)))
        return out


class _Attention(nn.Module):
    """h + Projection(softmax(q k^T / sqrt(d)) v) over the pixels of h: (B, width, H, W)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(GROUPS, width)
        self.qkv = nn.Conv2d(width, 3 * width, 1)
        self.project = _zero(nn.Conv2d(width, width, 1))

    def forward(self, h: Tensor) -> Tensor:
        """Each pixel looks at all; returns (B, width, H, W)."""
        parts = self.qkv(self.norm(h)).flatten(2).unflatten(1, (3, self.heads, -1)).transpose(-1, -2)
        q, k, v = parts.unbind(1)  # each (B, heads, H W, width / heads)
        seen = nn.functional.scaled_dot_product_attention(q, k, v)
        out: Tensor = h + self.project(seen.transpose(-1, -2).reshape(h.shape))
        return out


def _each(blocks: nn.Module) -> nn.ModuleList:
    assert isinstance(blocks, nn.ModuleList)
    return blocks


def _zero(conv: nn.Conv2d) -> nn.Conv2d:
    """The convolution with all its weights at 0: what it ends begins as the identity, or as nothing."""
    nn.init.zeros_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv
