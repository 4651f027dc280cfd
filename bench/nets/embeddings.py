"""Time embeddings: what a net sees of tau in [0, 1]."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

TimeKind = Literal["raw", "sinusoidal", "fourier"]


class TimeEmbedding(nn.Module):
    """Map tau: (..., B) to (..., B, features).

    raw: tau itself (features = 1). sinusoidal: sines then cosines of scale tau at the frequencies
    exp(-k log(10000) / (features / 2 - 1)), Vaswani et al. 2017, arXiv:1706.03762. fourier: sines then
    cosines of 2 pi f tau with fixed f ~ N(0, scale^2), Tancik et al. 2020, arXiv:2006.10739.
    """

    frequencies: Tensor

    def __init__(self, kind: TimeKind, features: int, scale: float) -> None:
        super().__init__()
        self.kind, self.scale = kind, scale
        self.features = 1 if kind == "raw" else features
        half = features // 2
        if kind == "sinusoidal":
            frequencies = torch.exp(-torch.arange(half) * math.log(10_000) / max(half - 1, 1)) * scale
        else:
            frequencies = 2 * math.pi * scale * torch.randn(half)
        self.register_buffer("frequencies", frequencies, persistent=kind == "fourier")

    def forward(self, tau: Tensor) -> Tensor:
        """Embed tau: (..., B); returns (..., B, features)."""
        if self.kind == "raw":
            return tau[..., None]
        angle = tau[..., None] * self.frequencies
        return torch.cat([angle.sin(), angle.cos()], dim=-1)
