"""What every net for images has: a check of the grid, and the condition on time and class."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from bench.nets.embeddings import TimeEmbedding

TIME_SCALE = 1000.0
"""Times in [0, 1] are shown to the sinusoidal embedding as 0 to 1000, the steps of a DDPM."""

COARSEST = 4
"""Pixels to one of a U-Net's coarsest grid, along a side."""


def of_patches(shape: tuple[int, ...], patch: int, net: str, build: Callable[[int], nn.Module]) -> nn.Module:
    """A U-Net for images of this shape, (channels, height, width), of which `build` makes the module for so many
    channels.

    With `patch` p > 1 it sees p x p pixels as one of p^2 channels (pixel-unshuffle, Shi et al. 2016,
    arXiv:1609.05158): images are padded with zeros to sides that are multiples of 4 p and unshuffled; what comes out is
    shuffled back and cropped. Raises ValueError unless sides are multiples of p, at p = 1 of 4.
    """
    if patch == 1:
        return build(image_shape(shape, COARSEST, net)[0])
    channels, _, _ = image_shape(shape, patch, f"{net} with patch {patch}")
    return _OfPatches(build(channels * patch**2), patch)


class _OfPatches(nn.Module):
    """A net for squares of pixels, (B, C p^2, H / p, W / p), as one for pixels."""

    def __init__(self, net: nn.Module, patch: int) -> None:
        super().__init__()
        self.net, self.patch = net, patch

    def forward(self, x: Tensor, tau: Tensor, labels: Tensor | None = None) -> Tensor:
        """Velocity at x: (B, C, H, W), tau: (B,), labels: (B,) int64; returns (B, C, H, W)."""
        height, width = x.shape[-2:]
        lacks = [-side % (COARSEST * self.patch) for side in (width, height)]
        around = [part for lack in lacks for part in (lack // 2, lack - lack // 2)]
        seen = nn.functional.pixel_unshuffle(nn.functional.pad(x, around), self.patch)
        out = nn.functional.pixel_shuffle(self.net(seen, tau, labels), self.patch)
        return out[..., around[2] : around[2] + height, around[0] : around[0] + width]


def image_shape(shape: tuple[int, ...], multiple: int, net: str) -> tuple[int, int, int]:
    """The shape as (channels, height, width); ValueError unless both sides are multiples of `multiple`."""
    if len(shape) != 3:
        raise ValueError(
            f"{net} is for images of shape (channels, height, width), not for points of shape {shape}; "
            "choose a data set of images, or net: mlp"
        )
    channels, height, width = shape
    if height % multiple or width % multiple or not min(shape):
        raise ValueError(
            f"{net} needs images whose sides are multiples of {multiple}, such as 28 x 28 or 8 x 8, "
            f"not {height} x {width}; pad or crop the images"
        )
    return channels, height, width


class Condition(nn.Module):
    """c = Linear(SiLU(Linear(sinusoidal(1000 tau)))) + Embedding(label), (B, width).

    sinusoidal: `features` wide. Labels are in [0, classes], `classes` being the null class of classifier-free
    guidance (Ho and Salimans 2022, arXiv:2207.12598); without classes there is no embedding.
    """

    def __init__(self, features: int, width: int, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.time = TimeEmbedding("sinusoidal", features, TIME_SCALE)
        self.layers = nn.Sequential(nn.Linear(features, width), nn.SiLU(), nn.Linear(width, width))
        self.label = nn.Embedding(classes + 1, width) if classes else None

    def forward(self, tau: Tensor, labels: Tensor | None) -> Tensor:
        """Condition at tau: (B,) on labels: (B,) int64; labels left out mean the null class for every point."""
        c: Tensor = self.layers(self.time(tau))
        if self.label is None:
            if labels is not None:
                raise ValueError("the net was built without classes and knows no labels; set the net's `classes`")
            return c
        if labels is None:
            labels = torch.full(tau.shape, self.classes, device=tau.device)
        self._check(labels, tau)
        embedded: Tensor = self.label(labels)
        return c + embedded

    def _check(self, labels: Tensor, tau: Tensor) -> None:
        if labels.shape != tau.shape or labels.dtype != torch.int64:
            raise ValueError(
                f"labels must be int64 of shape {tuple(tau.shape)}, one for each image, "
                f"not {str(labels.dtype).removeprefix('torch.')} of shape {tuple(labels.shape)}"
            )
        # On another device this check would wait for all that runs there; the embedding refuses by itself.
        if labels.device.type == "cpu" and labels.numel() and not 0 <= labels.min() <= labels.max() <= self.classes:
            raise ValueError(
                f"labels must lie between 0 and {self.classes} (the null class), not between "
                f"{int(labels.min())} and {int(labels.max())}; set the net's `classes` to the number of classes"
            )
