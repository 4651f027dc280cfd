"""The one table of inputs: what each thing that a metric may ask for depends on, and how a worker obtains it.

Planner, workers and the contracts' specimens read it; nobody else knows. A new input is a field of
`bench.interfaces.Given`, a row here and the function that fetches it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bench.exact import exact, in_own_precision, refuse_noise, start_scale, starts, training_points
from bench.flow import integrate
from bench.interfaces import in_data_units
from bench.sample import field_of, sample_job
from bench.score import Fetched
from bench.seeds import salted
from bench.task import Task

if TYPE_CHECKING:
    from bench.interfaces import Floats


@dataclass(frozen=True)
class Needs:
    """What a number depends on beside its seed and replica; a key is made of nothing else.

    factors: roles taken whole. A role is a factor, or `law` (the data set without what only concerns training), or
    `known` (what the oracle knows: its finite training set, or the law; nets that are trained have none). fields:
    single fields of a settings factor, `sampling.n`, or the data set's shape. upstream: kinds of job whose entries are
    read.
    """

    factors: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    upstream: tuple[str, ...] = ()

    def __hash__(self) -> int:
        """Of the same three, once: a plan looks these up a hundred thousand times."""
        return self._hash

    @functools.cached_property
    def _hash(self) -> int:
        return hash((self.factors, self.fields, self.upstream))

    def __or__(self, other: Needs) -> Needs:
        """Both, each once and in order."""
        return Needs(
            _united(self.factors, other.factors),
            _united(self.fields, other.fields),
            _united(self.upstream, other.upstream),
        )


def _united(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*one, *other)))


@dataclass(frozen=True)
class Input:
    """One thing that a metric may ask for. `fetch` runs in a worker and sees what `needs` declares alone."""

    name: str
    needs: Needs
    fetch: Callable[[Task], Fetched]


START = Needs(
    ("source", "path", "target", "prediction", "clock", "direction", "solver"),
    ("dataset.shape", "dataset.units", "sampling.n", "sampling.repeats", "sampling.start", "sampling.batch"),
)
"""What a `SampleJob` holds: where samples start and how they go on."""

FIELD = Needs(
    ("known", "path", "target", "prediction", "clock", "net", "direction"),
    ("dataset.shape", "dataset.units", "sampling.weights", "sampling.precision", "sampling.guidance"),
    ("train",),
)
"""What a velocity field depends on, as it is sampled. Of a trained net the training's key says most of it again."""

SAMPLES = START | FIELD
"""What samples depend on."""


def _points(task: Task, kind: str, name: str) -> Floats:
    """An array in float64, in whatever precision it is kept."""
    points: Floats = task.array(kind, name).astype(np.float64)
    return points


def fetch_samples(task: Task) -> Fetched:
    """(R, n, *S): the ends of the cell's flow."""
    return Fetched(each={"samples": _points(task, "sample", "samples")})


def fetch_floor_as_samples(task: Task) -> Fetched:
    """(R, n, *S): what a perfect sampler would have drawn, in the samples' place."""
    return Fetched(each={"samples": _points(task, "reference", "floor")})


def fetch_start(task: Task) -> Fetched:
    """(R, n, *S): where each sample began. Raises Undefined where its way adds noise."""
    refuse_noise(task.component("solver"))
    job, units = sample_job(task), task.component("dataset").units
    at_0 = in_data_units(units, starts(job))
    return Fetched(each={"start": at_0}, once={"start_scale": start_scale(job.source, job.path), "units": units})


def fetch_trajectory(task: Task) -> Fetched:
    """(F, m, *S) at times (F,). Raises Undefined where a way is no flow's."""
    refuse_noise(task.component("solver"))
    frames, times = _points(task, "sample", "frames"), task.array("sample", "times")
    return Fetched(first={"trajectory": frames, "times": times})


def fetch_reference(task: Task) -> Fetched:
    """(R, n, *S): draws of the data's law."""
    return Fetched(each={"reference": _points(task, "reference", "reference")})


def fetch_floor(task: Task) -> Fetched:
    """(R, n, *S): what a perfect sampler would have drawn."""
    return Fetched(each={"floor": _points(task, "reference", "floor")})


def fetch_law(task: Task) -> Fetched:
    """The data's law."""
    return Fetched(once={"law": task.component("law")})


def fetch_training(task: Task) -> Fetched:
    """(N, *S): the points of a finite training set. Raises Undefined where every draw is fresh."""
    law = task.component("dataset")
    points = training_points(law, salted(task.seed, task.replica))
    return Fetched(once={"training": in_data_units(law.units, points)})


def fetch_field(task: Task) -> Fetched:
    """The velocity that was sampled, asked in its own precision, and fine flows of it."""
    scale = start_scale(task.component("source"), task.component("path"))
    field = in_own_precision(*field_of(task))
    units = task.component("dataset").units
    return Fetched(once={"field": field, "start_scale": scale, "units": units, "integrate": integrate})


def fetch_oracle(task: Task) -> Fetched:
    """The exact velocities. Raises Undefined where they are not known."""
    coupling = task.component("coupling") if task.component("net").trained else None
    law, source, path, target = (task.component(role) for role in ("law", "source", "path", "target"))
    return Fetched(once={"oracle": exact(law, source, coupling, path, target), "integrate": integrate})


INPUTS: dict[str, Input] = {
    row.name: row
    for row in (
        Input("samples", Needs(upstream=("sample",)), fetch_samples),
        Input("start", START, fetch_start),
        Input("trajectory", Needs(("solver",), upstream=("sample",)), fetch_trajectory),
        Input("reference", Needs(upstream=("reference",)), fetch_reference),
        Input("floor", Needs(upstream=("reference",)), fetch_floor),
        Input("law", Needs(("law",)), fetch_law),
        Input("training", Needs(("dataset",)), fetch_training),
        Input("field", FIELD | Needs(("source",)), fetch_field),
        Input("oracle", Needs(("law", "source", "coupling", "path", "target", "net")), fetch_oracle),
    )
}
"""Every input that a metric may declare, by name; `Given` says what each is."""

FLOOR_INPUTS: dict[str, Input] = INPUTS | {
    "samples": replace(INPUTS["floor"], name="samples", fetch=fetch_floor_as_samples)
}
"""The same where a perfect sampler is scored."""
