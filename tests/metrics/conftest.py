"""A cell's inputs with exact velocities, as the engine would hand them to a metric."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from bench import exact, flow
from bench.couplings import COUPLINGS
from bench.datasets.mixtures import Gaussian, TwoGaussians
from bench.interfaces import checked_times
from bench.paths import Linear
from bench.reference import ReferenceJob, reference, start_noise
from bench.score import Fetched, score
from bench.solvers import SOLVERS

torch.set_num_threads(1)  # as in a worker: these clouds are too small for a second thread to help


@dataclass(frozen=True)
class Offered:
    """What a cell has to offer; arrays (R, n, *S), the trajectory with its times."""

    samples: Any
    start: Any
    reference: Any
    floor: Any
    trajectory: Any
    start_scale: float | None
    law: Any
    field: Any
    oracle: Any
    integrate: Any
    seed: int

    def score(self, metric):
        each = {
            name: getattr(self, name) for name in metric.inputs if name in ("samples", "start", "reference", "floor")
        }
        once = {name: getattr(self, name) for name in metric.inputs if name in ("law", "field", "oracle")}
        once |= {"start_scale": self.start_scale, "integrate": self.integrate}
        first = {}
        if "trajectory" in metric.inputs:
            first = dict(zip(("trajectory", "times"), self.trajectory, strict=True))
        values, refused = score(metric, Fetched(each, first, once), seed=self.seed)
        assert not refused
        return values


@pytest.fixture
def unit():
    """The standard normal law as data, where every flow is known in closed form."""
    return TwoGaussians(distance=1e-9)


@pytest.fixture
def cell():
    """Inputs of a cell whose field is the exact one of its target plus `error(t, x)`; float64."""

    def make(law, path=None, target="exact", solver=("euler", 20), error=None, n=256, seed=0):
        path = path or Linear()
        known = exact.exact(law, Gaussian(), COUPLINGS["independent"](), path, target)
        field = known.regressed if error is None else lambda t, x: known.regressed(t, x) + error(t, x)
        z = start_noise(seed, 0, n, 2, quasi=True)
        start = path.start_scale * z
        times = checked_times(torch.linspace(0, 1, 41))
        name, steps = solver
        states = SOLVERS[name](steps=steps).solve(field, torch.from_numpy(start), times).states.numpy()
        drawn = reference(ReferenceJob(law, n, 1, "scramble", seed))
        return Offered(
            samples=states[-1][None],
            start=start[None],
            reference=drawn.reference,
            floor=drawn.floor,
            trajectory=(states, times.numpy()),
            start_scale=path.start_scale,
            law=law,
            field=field,
            oracle=known,
            integrate=flow.integrate,
            seed=seed,
        )

    return make


@pytest.fixture
def shift():
    """A velocity error that is the same everywhere, and its length."""
    b = torch.tensor([0.3, -0.4], dtype=torch.float64)
    return (lambda t, x: b.expand_as(x)), float(np.hypot(0.3, 0.4))
