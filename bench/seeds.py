"""Random streams addressed by (seed, purpose, block), never by the order of calls.

A stream is the same on every machine and whoever else runs: two cells that differ in one factor only
see the same data, times and noise, and a job continued from a checkpoint needs no generator state.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def address(seed: int, purpose: str, block: int = 0, replica: int = 0) -> int:
    """63-bit integer that names the stream: the head of SHA-256 over the four parts."""
    text = f"{seed}/{replica}/{purpose}/{block}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1


def stream(seed: int, purpose: str, block: int = 0, replica: int = 0) -> torch.Generator:
    """Torch generator on the CPU, so that a result does not depend on the device that uses it."""
    import torch

    return torch.Generator().manual_seed(address(seed, purpose, block, replica))


def numpy_stream(seed: int, purpose: str, block: int = 0, replica: int = 0) -> np.random.Generator:
    """NumPy generator (PCG64) at the same kind of address; scipy's quasi-random engines take it."""
    return np.random.default_rng(address(seed, purpose, block, replica))
