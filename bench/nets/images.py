"""What every net for images has: a check of the grid, and the condition on time and class."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.nets.embeddings import TimeEmbedding

TIME_SCALE = 1000.0
"""Times in [0, 1] are shown to the sinusoidal embedding as 0 to 1000, the steps of a DDPM."""


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
