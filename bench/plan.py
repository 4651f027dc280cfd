"""Suite -> jobs and their keys: train once, evaluate many.

A job's key is a hash of the factors that its stage depends on, resolved, and of its upstream keys. Device,
workers, labels and file paths are never part of a key. Components are resolved once per distinct value;
cells stay index columns throughout.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.builds import build
from bench.components import Config, Tables, choice
from bench.reference import floor_kind

if TYPE_CHECKING:
    from bench.suite import Suite

KINDS = ("train", "reference", "sample", "floor", "score", "time")
"""Kinds of job, in the order in which they become possible."""

TRAINING = ("dataset", "source", "coupling", "path", "target", "prediction", "clock", "net", "training")
ORACLE = ("dataset", "source", "path", "target", "prediction", "clock", "net")
DRAWING = ("direction", "solver", "sampling")

JobId = tuple[str, str]
"""(kind, key)."""


@dataclass(frozen=True)
class Job:
    """One piece of work: what it is, what it needs, and the build of the code that will do it."""

    kind: str
    key: str
    build: str
    configs: Mapping[str, Config]
    seed: int
    replica: int
    inputs: Mapping[str, JobId] = field(default_factory=dict)
    group: str = ""
    """Jobs of one group take about the same time; past ones estimate future ones."""
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> JobId:
        """(kind, key)."""
        return self.kind, self.key


@dataclass(frozen=True)
class Plan:
    """Distinct jobs, and for each cell the job of each kind that it stands on (None where there is none)."""

    jobs: dict[JobId, Job]
    cells: dict[str, list[JobId | None]]
    """Columns: train, reference, sample, time, and score/<metric>, floor/<metric>."""
    refused: dict[int, str]
    """Cells that cannot be run, with the reason."""

    def count(self, kind: str) -> int:
        """Number of distinct jobs of a kind."""
        return sum(1 for job in self.jobs.values() if job.kind == kind)


def plan(suite: Suite, hardware: str) -> Plan:
    """Lay out every job of a suite. `hardware` names the machine that time jobs speak of."""
    return _Planner(suite, hardware).plan()


def key_of(kind: str, parts: Iterable[str | int]) -> str:
    """32 hex digits; stable across machines, runs and Python versions."""
    return hashlib.sha256("\n".join([kind, *map(str, parts)]).encode()).hexdigest()[:32]


class _Planner:
    def __init__(self, suite: Suite, hardware: str) -> None:
        self.suite, self.hardware = suite, hardware
        self.tables: Tables = suite.tables
        self.built: dict[Config, Any] = {}
        self.jobs: dict[JobId, Job] = {}

    def plan(self) -> Plan:
        cells = self.suite.cells
        factors = sorted(cells.index)
        stacked = np.stack([cells.index[factor] for factor in factors] + [cells.seed], axis=1)
        columns: dict[str, list[JobId | None]] = {}
        refused: dict[int, str] = {}
        shared: dict[tuple[int, ...], _Shared] = {}
        upstream = [factors.index(f) for f in (*TRAINING, "sampling", "replica")] + [len(factors)]
        names = ["train", "reference", "sample", "time"]
        names += [f"{kind}/{metric.name}" for metric in self.suite.metrics for kind in ("score", "floor")]
        for name in names:
            columns[name] = [None] * len(cells)
        for cell, row in enumerate(stacked.tolist()):
            common = tuple(row[i] for i in upstream)
            if common not in shared:
                values = {f: cells.configs[f][i] for f, i in zip(factors, row, strict=False)}
                shared[common] = self._shared(values, row[-1])
            known = shared[common]
            if known.refusal:
                refused[cell] = known.refusal
                continue
            direction = cells.configs["direction"][row[factors.index("direction")]]
            solver = cells.configs["solver"][row[factors.index("solver")]]
            drawn = self._drawn(known, direction, solver)
            columns["train"][cell], columns["reference"][cell] = known.train, known.reference
            for name, job in drawn.items():
                columns[name][cell] = job
        return Plan(self.jobs, columns, refused)

    def _shared(self, values: dict[str, Config], seed: int) -> _Shared:
        """What all cells have in common that differ in direction and solver alone."""
        reason = self._refusal(values)
        if reason:
            return _Shared(refusal=reason)
        values = dict(values)
        if not self._component(values["path"]).has_noise_velocity:
            values["target"] = choice("target", "exact")  # the same number, so the same job
        replica = int(values["replica"].values["value"])
        law = self._law(values["dataset"])
        sampling = self._component(values["sampling"])
        trained = self._component(values["net"]).trained
        shared = _Shared(values=values, law=law, seed=seed, replica=replica, trained=trained)
        if trained:
            shared.train = self._train(values, seed, replica)
        kind = floor_kind(self._component(law), self._component(values["source"]), sampling.start)
        parts = (law.digest, sampling.n, sampling.repeats, kind, seed, replica)
        shared.reference = self._add(
            Job(
                "reference",
                key_of("reference", parts),
                build(["bench.reference"], [type(self._component(law))]),
                {"dataset": law, "sampling": values["sampling"]},
                seed,
                replica,
                group=f"reference/{law.name}/{sampling.n}",
                options={"floor": kind},
            )
        )
        for metric in self.suite.metrics:
            shared.floors[str(metric.name)] = self._floor(metric, shared.reference)
        return shared

    def _train(self, values: dict[str, Config], seed: int, replica: int) -> JobId:
        used = {factor: values[factor] for factor in TRAINING}
        classes = [type(self._component(c)) for c in used.values() if c.name is not None]
        training = self._component(values["training"])
        return self._add(
            Job(
                "train",
                key_of("train", [*(c.digest for c in used.values()), seed, replica]),
                build(["bench.train"], classes),
                used,
                seed,
                replica,
                group=f"train/{values['net'].digest[:12]}/{training.batch}x{training.steps}",
            )
        )

    def _drawn(self, known: _Shared, direction: Config, solver: Config) -> dict[str, JobId | None]:
        """Sample, time and score jobs of one direction and solver; made once."""
        at = (direction, solver)
        if at in known.drawn:
            return known.drawn[at]
        sampling = known.values["sampling"]
        parts = [direction.digest, solver.digest, sampling.digest]
        component = self._component(solver)
        if known.train is not None:
            upstream = [self.jobs[known.train].build]
            key = key_of("sample", [known.train[1], *parts])
            used = {factor: known.values[factor] for factor in TRAINING}
            inputs = {"train": known.train}
        else:
            oracle = [(known.law if f == "dataset" else known.values[f]) for f in ORACLE]
            upstream = [build(classes=[type(self._component(c)) for c in oracle if c.name is not None])]
            key = key_of("sample", [*(c.digest for c in oracle), known.seed, known.replica, *parts])
            used = {factor: known.values[factor] for factor in ORACLE}
            inputs = {}
        settings = self._component(sampling)
        group = f"{known.values['net'].digest[:12]}/{solver.digest[:12]}/{settings.n}"
        sample = self._add(
            Job(
                "sample",
                key,
                build(["bench.sample"], [type(component)], upstream),
                {**used, "direction": direction, "solver": solver, "sampling": sampling},
                known.seed,
                known.replica,
                inputs,
                f"sample/{group}x{settings.repeats}",
            )
        )
        jobs: dict[str, JobId | None] = {"sample": sample, "time": self._time(known, solver, sample, group)}
        for metric in self.suite.metrics:
            jobs[f"floor/{metric.name}"] = known.floors[str(metric.name)]
            jobs[f"score/{metric.name}"] = self._score(metric, sample, known.reference)
        known.drawn[at] = jobs
        return jobs

    def _time(self, known: _Shared, solver: Config, sample: JobId, group: str) -> JobId:
        """Weights, data and seed matter to the clock only where the solver adapts to them."""
        settings, drawn = self._component(known.values["sampling"]), self.jobs[sample]
        component = self._component(solver)
        if component.adaptive:
            about = [sample[1]]
        elif known.trained:
            about = [known.values["net"].digest, str(self._component(known.law).shape)]
        else:
            about = [known.law.digest, known.values["path"].digest, known.values["target"].digest]
        return self._add(
            Job(
                "time",
                key_of("time", [*about, solver.digest, settings.n, self.hardware]),
                build(["bench.timing"], [type(component), type(self._component(known.values["net"]))]),
                drawn.configs,
                known.seed,
                known.replica,
                drawn.inputs if component.adaptive else {},
                f"time/{group}",
            )
        )

    def _score(self, metric: Config, sample: JobId, reference: JobId | None) -> JobId:
        component = self._component(metric)
        assert reference is not None
        inputs = {"sample": sample}
        if "reference" in component.inputs:
            inputs["reference"] = reference
        return self._scored("score", metric, inputs, self.jobs[sample])

    def _floor(self, metric: Config, reference: JobId) -> JobId | None:
        if not self._component(metric).floored:
            return None
        return self._scored("floor", metric, {"reference": reference}, self.jobs[reference])

    def _scored(self, kind: str, metric: Config, inputs: Mapping[str, JobId], of: Job) -> JobId:
        component = self._component(metric)
        parts = [metric.digest, component.version, *(key for _, key in inputs.values())]
        return self._add(
            Job(
                kind,
                key_of(kind, parts),
                build(["bench.score"], [type(component)], [self.jobs[i].build for i in inputs.values()]),
                {"metric": metric},
                of.seed,
                of.replica,
                inputs,
                f"score/{metric.digest[:12]}/{of.configs['sampling'].digest[:12]}",
            )
        )

    def _add(self, job: Job) -> JobId:
        self.jobs.setdefault(job.id, job)
        return job.id

    def _component(self, config: Config) -> Any:
        if config not in self.built:
            self.built[config] = self.tables.build(config)
        return self.built[config]

    def _law(self, dataset: Config) -> Config:
        """The data set with what only concerns training at its defaults."""
        component = self._component(dataset)
        if not component.training_only:
            return dataset
        defaults = {f.name: f.default for f in dataclasses.fields(component) if f.name in component.training_only}
        plain = dataclasses.replace(component, **defaults)
        given = {f.name: getattr(plain, f.name) for f in dataclasses.fields(plain)}
        law = self.tables.resolve("dataset", dataset.name, given)
        assert isinstance(law, Config)
        return law

    def _refusal(self, values: Mapping[str, Config]) -> str | None:
        """Why a combination cannot be run, or None."""
        dataset, source = self._component(values["dataset"]), self._component(values["source"])
        if not source.standard_normal and source.shape != dataset.shape:
            return f"source {values['source'].name} has shape {source.shape}, the data {dataset.shape}"
        if self._component(values["net"]).trained:
            if self._component(values["sampling"]).weights == "ema" and (
                self._component(values["training"]).ema is None
            ):
                return "sampling.weights: ema needs training.ema; set a decay such as 0.999"
            return None
        if dataset.mixture() is None:
            return f"the oracle knows Gaussian mixtures only, and {values['dataset'].name} is none"
        if not source.standard_normal:
            return f"the oracle needs the source gaussian, not {values['source'].name}"
        if not self._component(values["coupling"]).independent:
            return f"the oracle needs independent pairs, not the coupling {values['coupling'].name}"
        return None


@dataclass
class _Shared:
    """Jobs that many cells share, while planning."""

    refusal: str | None = None
    values: dict[str, Config] = field(default_factory=dict)
    law: Config = field(default_factory=lambda: Config("dataset", None, "{}"))
    seed: int = 0
    replica: int = 0
    trained: bool = True
    train: JobId | None = None
    reference: JobId | None = None
    floors: dict[str, JobId | None] = field(default_factory=dict)
    drawn: dict[tuple[Config, Config], dict[str, JobId | None]] = field(default_factory=dict)
