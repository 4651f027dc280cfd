"""A U-Net for trainings of a minute on a core: every operation is one that a processor does well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, MultipleOf
from torch import Tensor, nn
from torch.nn import functional

from bench.interfaces import Net
from bench.nets.images import Condition, image_shape

FACTORS = (1, 2, 4)
"""Channels of the three grids in units of the width, the finest first."""

TIME_FEATURES = 32
"""Width of the time embedding; the condition is twice as wide."""

GROUPS = 8


@dataclass(frozen=True)
class LeanUNet(Net):
    """The plain U-Net for short trainings: it need not carry the noise, and its blocks are told the time.

    With w = `width`, p = `patch` and Block = SiLU((1 + scale) GroupNorm_8(conv(h)) + shift), (scale, shift) =
    Linear(SiLU(c)), c the condition on time and class, and grids of 14, 7 and 4 for MNIST at p = 2:

        p^2 C -> w at 14, w -> 2w at 7, h + Block(h) at 7          3 x 3 convolutions; stride 2 from grid to grid
        2w -> 4w at 4, twice h + Block(h) at 4
        4w -> 2w at 7, Block([h, skip]); 2w -> w at 14, likewise   1 x 1 convolutions, pixels shuffled to twice the side
        out(h) + g(c) x                                            1 x 1 convolution; g a number for each channel

    It differs from `unet` in these. The gain g lets the noise in a velocity by, which a narrow net else has to carry
    through all its layers (the skip of Karras et al. 2022, arXiv:2206.00364, learned). Time and class act after the
    norm, which takes most of what is added before it away again (Perez et al. 2017, arXiv:1709.07871). Both out and g
    begin at 0. Transposed convolutions, which took 41 % of a forward pass in bf16 on a CPU, give way to shuffled pixels
    (Shi et al. 2016, arXiv:1609.05158), and sides are rounded up on the way down instead of padded. Sides must be
    multiples of p.

    width: channels at the finest grid. classes: number of classes that the net is conditioned on. patch: side of
    the squares of pixels that are one pixel to the net.
    """

    width: Annotated[int, Ge(8), MultipleOf(8)] = 16
    classes: Annotated[int, Ge(0)] = 0
    patch: Annotated[int, Ge(1)] = 2

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        """Module for images of this shape, (channels, height, width)."""
        channels, _, _ = image_shape(shape, self.patch, f"unet_lean with patch {self.patch}")
        return _LeanUNetModule(self, channels * self.patch**2)


class _LeanUNetModule(nn.Module):
    def __init__(self, config: LeanUNet, channels: int) -> None:
        super().__init__()
        self.patch = config.patch
        fine, half, quarter = (factor * config.width for factor in FACTORS)
        self.condition = Condition(TIME_FEATURES, 2 * TIME_FEATURES, config.classes)
        self.first = _Block(channels, fine)
        self.down_1, self.at_half = _Block(fine, half, stride=2), _Block(half, half)
        self.down_2 = _Block(half, quarter, stride=2)
        self.middle = nn.ModuleList(_Block(quarter, quarter) for _ in range(2))
        self.up_2, self.merge = nn.Conv2d(quarter, 4 * half, 1), _Block(2 * half, half)
        self.up_1, self.last = nn.Conv2d(half, 4 * fine, 1), _Block(2 * fine, fine)
        self.out, self.gain = nn.Conv2d(fine, channels, 1), nn.Linear(2 * TIME_FEATURES, channels)
        for parameter in (*self.out.parameters(), *self.gain.parameters()):
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, tau: Tensor, labels: Tensor | None = None) -> Tensor:
        """Velocity at x: (B, C, H, W), tau: (B,), labels: (B,) int64; returns (B, C, H, W) in x's precision."""
        c = functional.silu(self.condition(tau, labels))
        seen = functional.pixel_unshuffle(x, self.patch)
        fine = self.first(seen, c)
        half = self.down_1(fine, c)
        half = half + self.at_half(half, c)
        h = self.down_2(half, c)
        for block in self.middle:
            h = h + block(h, c)
        h = self.merge(torch.cat([_grown(self.up_2(h), half), half], dim=1), c)
        h = self.last(torch.cat([_grown(self.up_1(h), fine), fine], dim=1), c)
        out = self.out(h).to(x.dtype) + self.gain(c).to(x.dtype)[:, :, None, None] * seen
        return functional.pixel_shuffle(out, self.patch)


def _grown(h: Tensor, to: Tensor) -> Tensor:
    """Features at twice the side, (B, C, H, W) to (B, C / 4, 2H, 2W), cropped to the sides of `to`."""
    return functional.pixel_shuffle(h, 2)[..., : to.shape[-2], : to.shape[-1]]


class _Block(nn.Module):
    """SiLU((1 + scale) GroupNorm(conv(h)) + shift), (scale, shift) linear in c; h: (B, in, H, W), c: (B, features)."""

    def __init__(self, fan_in: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(fan_in, width, 3, stride=stride, padding=1)
        self.norm = nn.GroupNorm(GROUPS, width)
        self.adapt = nn.Linear(2 * TIME_FEATURES, 2 * width)

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        """One block; returns (B, width, H', W').

        The norm's own affine map takes scale and shift along, for which each image's channels pass for channels of one:
        apart from it, in bf16 on a CPU, they made a step 1.1 and an evaluation 1.25 times as long.
        """
        scale, shift = self.adapt(c).to(self.norm.weight.dtype).chunk(2, dim=1)
        weight, bias = self.norm.weight * (1 + scale), torch.addcmul(shift, self.norm.bias, 1 + scale)
        h = self.conv(h)
        channels = h.reshape(1, -1, *h.shape[2:])
        normed = torch.group_norm(channels, len(h) * GROUPS, weight.flatten(), bias.flatten(), self.norm.eps)
        return functional.silu(normed.view_as(h))
