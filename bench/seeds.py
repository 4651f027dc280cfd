"""Random streams addressed by (seed, purpose, block), never by the order of calls.

A stream is the same on every machine and whoever else runs: two cells that differ in one factor only
see the same data, times and noise, and a job continued from a checkpoint needs no generator state.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray


def address(seed: int, purpose: str, block: int = 0, replica: int = 0) -> int:
    """63-bit integer that names the stream: the head of SHA-256 over the four parts."""
    text = f"{seed}/{replica}/{purpose}/{block}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1


def salted(seed: int, replica: int) -> int:
    """The seed of what is fixed once per seed, such as a finite training set; replica 0 leaves it as it is."""
    return address(seed, "replica", replica=replica) if replica else seed


def stream(seed: int, purpose: str, block: int = 0, replica: int = 0) -> torch.Generator:
    """Torch generator on the CPU, so that a result does not depend on the device that uses it."""
    import torch

    return torch.Generator().manual_seed(address(seed, purpose, block, replica))


@contextmanager
def global_stream(seed: int, purpose: str, block: int = 0, replica: int = 0) -> Iterator[None]:
    """Torch's own generators (on the CPU and on GPUs), NumPy's and Python's begin at an address here.

    For code that takes no generator: the draws of a module's initialisation, of Dropout and the like. Afterwards all
    are as they were.
    """
    import torch

    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    place, theirs, plain = address(seed, purpose, block, replica), np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(place)
        np.random.seed(place % 2**32)
        random.seed(place)
        try:
            yield
        finally:
            np.random.set_state(theirs)
            random.setstate(plain)


def numpy_stream(seed: int, purpose: str, block: int = 0, replica: int = 0) -> np.random.Generator:
    """NumPy generator (PCG64) at the same kind of address; scipy's quasi-random engines take it."""
    return np.random.default_rng(address(seed, purpose, block, replica))


def uniforms(
    seed: int, purpose: str, repeat: int, n: int, d: int, *, quasi: bool, replica: int = 0
) -> NDArray[np.float64]:
    """N points in (0, 1)^d, float64 (n, d): scrambled Sobol (quasi) or independent.

    Sobol points are drawn as the next power of two and cut to n; both are clipped to [2^-32, 1 - 2^-32] so
    that Phi^-1 stays finite. Owen 1998; Joe and Kuo 2008 (scipy.stats.qmc.Sobol).
    """
    from scipy.stats import qmc

    generator = numpy_stream(seed, purpose, repeat, replica)
    if quasi:
        u = qmc.Sobol(d, scramble=True, rng=generator).random_base2(max(n - 1, 0).bit_length())[:n]
    else:
        u = generator.random((n, d))
    return np.asarray(np.clip(u, 2.0**-32, 1 - 2.0**-32), dtype=np.float64)
