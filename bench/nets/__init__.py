"""Networks: velocity fields to train, and the oracle, which needs no training."""

from __future__ import annotations

from bench.interfaces import Net
from bench.nets.mlp import MLP, ResidualMLP
from bench.nets.oracle import Oracle

NETS: dict[str, type[Net]] = {"mlp": MLP, "residual_mlp": ResidualMLP, "oracle": Oracle}
