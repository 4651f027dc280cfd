"""What is known of a cell beside its samples: its law, its training points, the exact velocities, fine flows.

Metrics that declare `law`, `training`, `start`, `field` or `oracle` get them from here.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import torch

from bench.errors import Undefined
from bench.interfaces import Coupling, Dataset, Exact, Field, Path, Solver
from bench.nets.oracle import OracleField
from bench.paths import Linear
from bench.sample import SampleJob, start

if TYPE_CHECKING:
    from bench.interfaces import Floats


def law_of(dataset: Dataset) -> Dataset:
    """The data set with what only concerns training at its defaults."""
    defaults = {f.name: f.default for f in dataclasses.fields(dataset) if f.name in dataset.training_only}  # type: ignore[arg-type]
    return dataclasses.replace(dataset, **defaults) if defaults else dataset  # type: ignore[type-var]


def exact(dataset: Dataset, source: Dataset, coupling: Coupling | None, path: Path, target: str) -> Exact:
    """The exact velocities of a cell's law and path. Raises Undefined where they are not known.

    coupling: none for a cell whose net is the oracle, which has none.
    """
    law = law_of(dataset)
    mixture = law.mixture()
    if mixture is None:
        raise Undefined("the exact velocity is known for Gaussian mixtures only, and this data set is none")
    if not source.standard_normal:
        raise Undefined("the exact velocity is known for a normal source only")
    if coupling is not None and not coupling.independent:
        raise Undefined("the exact velocity is known for independent pairs only")

    def field(of: Path, goal: str) -> Field:
        """The exact velocity of a path and a target, (B, *S)."""
        module = OracleField(mixture, of, goal)
        return lambda t, x: module(x, t.to(x.dtype).expand(len(x)))

    velocity = field(path, "exact")
    regressed = field(path, target) if target != "exact" and path.has_noise_velocity else velocity
    linear = velocity if path == Linear() else field(Linear(), "exact")
    return Exact(law, path, velocity, regressed, linear)


def training_points(dataset: Dataset, seed: int) -> Floats:
    """The points of a finite training set, (N, *S). Raises Undefined where every draw is fresh."""
    points = dataset.training_set(seed)
    if points is None:
        raise Undefined("every training point is a fresh draw, so there is no training set to be near to")
    return points.double().numpy()


def starts(job: SampleJob) -> Floats:
    """Where every repeat's samples began, (R, n, *S)."""
    return np.stack([start(job, repeat) for repeat in range(job.sampling.repeats)])


def start_scale(source: Dataset, path: Path) -> float | None:
    """Standard deviation of the start law; none if it is not normal."""
    return path.start_scale if source.standard_normal else None


def refuse_noise(solver: Solver) -> None:
    """Raise Undefined for a solver with noise of its own: its samples are no function of where they began."""
    if solver.stochastic:
        raise Undefined("the solver adds noise of its own, so a sample's way is not that of a flow from its start")


def in_own_precision(field: Field, dtype: torch.dtype) -> Field:
    """The field asked in its own precision and answering in the asker's, so that fine flows add up in float64."""
    return lambda t, x: field(t, x.to(dtype)).to(x.dtype)
