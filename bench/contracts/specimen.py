"""One cell on the plane, worked out exactly, so that metrics of any inputs have something to look at."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch

from bench.couplings import Independent
from bench.datasets.mixtures import Gaussian, GaussianMixture
from bench.exact import exact, integrate
from bench.interfaces import Given
from bench.paths import Linear
from bench.seeds import stream, uniforms
from bench.solvers.fixed import Euler

N = 128
FRAMES = 11
STEPS = 20


def specimen(inputs: tuple[str, ...]) -> Given:
    """A `Given` with these inputs alone, as fresh copies; they are the same each time.

    Samples of the three-Gaussian mixture, drawn by 20 Euler steps of its exact velocity under the linear path.
    """
    whole = _whole()
    names = set(inputs)
    names |= {"times"} if "trajectory" in names else set()
    names |= {"start_scale"} if {"start", "field"} & names else set()
    names |= {"integrate"} if {"field", "oracle"} & names else set()
    held: dict[str, Any] = {name: _copy(getattr(whole, name)) for name in names}
    return Given(**held)


def _copy(value: Any) -> Any:
    return value.copy() if isinstance(value, np.ndarray) else value


@functools.cache
def _whole() -> Given:
    law, path = GaussianMixture(), Linear()
    known = exact(law, Gaussian(), Independent(), path, "exact")
    z, even = (uniforms(0, f"contract/{part}", 0, N, 2, quasi=True) for part in ("start", "even"))
    start, times = Gaussian().from_uniform(z), torch.linspace(0, 1, FRAMES, dtype=torch.float64)
    states = Euler(STEPS).solve(known.velocity, torch.from_numpy(start), times).states
    reference = law.from_uniform(uniforms(0, "contract/reference", 0, N, law.coordinates, quasi=True))
    perfect = integrate(known.velocity, torch.from_numpy(Gaussian().from_uniform(even)), 2 * STEPS)
    return Given(
        samples=states[-1].numpy(),
        reference=reference,
        trajectory=states.numpy(),
        times=times.numpy(),
        start=start,
        start_scale=path.start_scale,
        floor=perfect.numpy(),
        law=law,
        training=law.draw(N // 2, 0, stream(0, "contract/training")).double().numpy(),
        field=known.velocity,
        oracle=known,
        integrate=integrate,
    )
