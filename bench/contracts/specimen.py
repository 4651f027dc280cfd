"""One cell on the plane, worked out exactly, so that metrics of any inputs have something to look at."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from bench import reference, sample
from bench.datasets.mixtures import Gaussian, GaussianMixture
from bench.inputs import INPUTS
from bench.interfaces import Given
from bench.nets.oracle import Oracle
from bench.paths import Linear
from bench.score import Fetched
from bench.settings import Sampling
from bench.solvers.fixed import Euler
from bench.task import Array

SAMPLING = Sampling(n=128, repeats=1)
STEPS, POINTS = 20, 64


def specimen(inputs: tuple[str, ...]) -> Given:
    """A `Given` with these inputs alone, obtained as a worker does, as fresh copies; they are the same each time.

    Samples of the three-Gaussian mixture, drawn by 20 Euler steps of its exact velocity under the linear path.
    """
    found = Fetched()
    for name in inputs:
        found = found | INPUTS[name].fetch(_Cell())
    held: dict[str, Any] = {
        name: value.copy() if isinstance(value, np.ndarray) else value for name, value in found.at(0).items()
    }
    return Given(**held)


class _Cell:
    """The cell's jobs as `bench.task.Task`."""

    seed, replica = 0, 0
    device = torch.device("cpu")
    options: Mapping[str, Any] = {"floor": "flow"}

    def component(self, role: str) -> Any:
        """Who plays a role."""
        return _roles()[role]

    def array(self, kind: str, name: str) -> Array:
        """An array that the cell's sampling or its reference made."""
        return _made(kind)[name]

    def find(self, kind: str, name: str) -> Array | None:
        """Nothing is prepared."""
        return None

    def weights(self, name: str) -> None:
        """Nothing is trained."""

    def report(self, done: int, total: int) -> None:
        """Nobody waits."""


@functools.cache
def _roles() -> dict[str, Any]:
    law = GaussianMixture()
    return {
        "dataset": GaussianMixture(points=POINTS), "law": law, "known": law, "source": Gaussian(), "path": Linear(),
        "target": "exact", "prediction": "velocity", "clock": "noise_at_0", "direction": "forward", "net": Oracle(),
        "solver": Euler(STEPS), "sampling": SAMPLING, "coupling": None,
    }  # fmt: skip


@functools.cache
def _made(kind: str) -> Mapping[str, Array]:
    stage = {"sample": sample.run, "reference": reference.run}[kind]
    return stage(_Cell()).arrays
