"""Networks: velocity fields to train, and the oracle, which needs no training."""

from __future__ import annotations

from bench.interfaces import Net
from bench.nets.dit import DiT
from bench.nets.leanunet import LeanUNet
from bench.nets.mlp import MLP, ResidualMLP
from bench.nets.oracle import Oracle
from bench.nets.resunet import AttentionUNet
from bench.nets.unet import UNet

NETS: dict[str, type[Net]] = {
    "mlp": MLP,
    "residual_mlp": ResidualMLP,
    "unet": UNet,
    "unet_lean": LeanUNet,
    "unet_attention": AttentionUNet,
    "dit": DiT,
    "oracle": Oracle,
}
