"""Suite -> jobs and their keys: train once, evaluate many.

A job's key is a hash of the factors that its stage depends on, resolved, and of its upstream keys. Device,
workers, labels and file paths are never part of a key. Components are resolved once per distinct value;
cells stay index columns throughout.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.codehash import code_hash
from bench.components import Config, Tables, choice, parameter_names
from bench.exact import law_of
from bench.reference import floor_kind
from bench.refusals import refusal, without_score

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
    """One piece of work: what it is, what it needs, and the hash of the code that will do it."""

    kind: str
    key: str
    code: str
    configs: Mapping[str, Config]
    seed: int
    replica: int
    inputs: Mapping[str, JobId] = field(default_factory=dict)
    group: str = ""
    """Jobs of one group take about the same time; past ones estimate future ones."""
    cohort: str = ""
    """Train jobs of one cohort may train together; those without a name train alone."""
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
    """Columns: train, reference, sample, time, train_time, and score/<metric>, floor/<metric>."""
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
        """Every cell in turn; what cells share is planned once."""
        cells = self.suite.cells
        factors = sorted(cells.index)
        stacked = np.stack([cells.index[factor] for factor in factors] + [cells.seed], axis=1)
        columns: dict[str, list[JobId | None]] = {}
        refused: dict[int, str] = {}
        shared: dict[tuple[int, ...], _Shared] = {}
        given: dict[tuple[int, ...], dict[str, Config]] = {}
        upstream = [factors.index(f) for f in (*TRAINING, "sampling", "replica")] + [len(factors)]
        names = ["train", "reference", "sample", "time", "train_time"]
        names += [f"{kind}/{metric.name}" for metric in self.suite.metrics for kind in ("score", "floor")]
        for name in names:
            columns[name] = [None] * len(cells)
        for cell, row in enumerate(stacked.tolist()):
            common = tuple(row[i] for i in upstream)
            if common not in given:
                given[common] = {f: cells.configs[f][i] for f, i in zip(factors, row, strict=False)}
            direction = cells.configs["direction"][row[factors.index("direction")]]
            solver = cells.configs["solver"][row[factors.index("solver")]]
            scoreless = without_score(self._component, given[common], direction, solver)
            if scoreless:  # before anything is planned, so that nothing is trained for it
                refused[cell] = scoreless
                continue
            if common not in shared:
                shared[common] = self._shared(given[common], row[-1])
            known = shared[common]
            if known.refusal:
                refused[cell] = known.refusal
                continue
            drawn = self._drawn(known, direction, solver)
            columns["train"][cell], columns["reference"][cell] = known.train, known.reference
            columns["train_time"][cell] = known.train_time
            for name, job in drawn.items():
                columns[name][cell] = job
        return Plan(self.jobs, columns, refused)

    def _shared(self, values: dict[str, Config], seed: int) -> _Shared:
        """What all cells have in common that differ in direction and solver alone."""
        reason = refusal(self._component, values)
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
            shared.train_time = self._train_time(self.jobs[shared.train])
        kind = floor_kind(self._component(law), self._component(values["source"]), sampling.start)
        parts = (law.digest, sampling.n, sampling.repeats, sampling.reference, kind, seed, replica)
        shared.reference = self._add(
            Job(
                "reference",
                key_of("reference", parts),
                code_hash(["bench.reference"], [type(self._component(law))]),
                {"dataset": law, "sampling": values["sampling"]},
                seed,
                replica,
                group=f"reference/{law.name}/{sampling.n}",
                options={"floor": kind},
            )
        )
        for metric in self.suite.metrics:
            shared.prepared[str(metric.name)] = self._prepared(metric, law)
            shared.floors[str(metric.name)] = self._floor(metric, shared)
        return shared

    def _train(self, values: dict[str, Config], seed: int, replica: int) -> JobId:
        used = {factor: values[factor] for factor in TRAINING}
        classes = [type(self._component(c)) for c in used.values() if c.name is not None]
        training, net = self._component(values["training"]), self._component(values["net"])
        alike = [values["net"].digest, values["training"].digest, str(self._component(values["dataset"]).shape)]
        return self._add(
            Job(
                "train",
                key_of("train", [*(c.digest for c in used.values()), seed, replica]),
                code_hash(["bench.train"], classes),
                used,
                seed,
                replica,
                group=f"train/{values['net'].digest[:12]}/{training.batch}x{training.steps}",
                cohort="/".join(alike) if net.stackable else "",
            )
        )

    def _train_time(self, train: Job) -> JobId:
        """The clock of a training by itself: what a step computes and what is drawn for it, no seed and no sign."""
        about = [train.configs[factor] for factor in ("net", "training", "dataset", "source", "coupling", "path")]
        classes = [type(self._component(config)) for config in about if config.name is not None]
        return self._add(
            Job(
                "time",
                key_of("time", ["train", *(config.digest for config in about), self.hardware]),
                code_hash(["bench.timing", "bench.train"], classes),
                train.configs,
                train.seed,
                train.replica,
                group=f"time/{train.group}",
                options={"of": "train"},
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
            upstream = [self.jobs[known.train].code]
            key = key_of("sample", [known.train[1], *parts])
            used = {factor: known.values[factor] for factor in TRAINING}
            inputs = {"train": known.train}
        else:
            oracle = [(self._oracle_law(known) if f == "dataset" else known.values[f]) for f in ORACLE]
            upstream = [code_hash(classes=[type(self._component(c)) for c in oracle if c.name is not None])]
            key = key_of("sample", [*(c.digest for c in oracle), known.seed, known.replica, *parts])
            used = {factor: known.values[factor] for factor in ORACLE}
            inputs = {}
        settings = self._component(sampling)
        group = f"{known.values['net'].digest[:12]}/{solver.digest[:12]}/{settings.n}"
        sample = self._add(
            Job(
                "sample",
                key,
                code_hash(["bench.sample"], [type(component)], upstream),
                {**used, "direction": direction, "solver": solver, "sampling": sampling},
                known.seed,
                known.replica,
                inputs,
                f"sample/{group}x{settings.repeats}",
                options={} if self._component(known.values["net"]).stackable or not known.trained else {"long": True},
            )
        )
        jobs: dict[str, JobId | None] = {"sample": sample, "time": self._time(known, solver, sample, group)}
        for metric in self.suite.metrics:
            jobs[f"floor/{metric.name}"] = known.floors[str(metric.name)]
            jobs[f"score/{metric.name}"] = self._score(metric, sample, known)
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
            about = [self._oracle_law(known).digest]
            about += [known.values[factor].digest for factor in ("path", "target", "prediction")]
        about += [str(of) for of in (settings.n, settings.batch, settings.guidance, settings.precision)]
        return self._add(
            Job(
                "time",
                key_of("time", [*about, solver.digest, self.hardware]),
                code_hash(["bench.timing"], [type(component), type(self._component(known.values["net"]))]),
                drawn.configs,
                known.seed,
                known.replica,
                {**drawn.inputs, "sample": sample} if component.adaptive else {},
                f"time/{group}",
            )
        )

    def _score(self, metric: Config, sample: JobId, known: _Shared) -> JobId:
        """Its key holds what the metric declares and nothing else; where samples start belongs to the sampling."""
        asked, drawn = set(self._component(metric).inputs), self.jobs[sample]
        inputs: dict[str, JobId] = {}
        about: list[Config] = []
        if asked & {"samples", "trajectory", "start"}:
            inputs["sample"] = sample
        if asked & {"reference", "floor"} and known.reference is not None:
            inputs["reference"] = known.reference
        if "field" in asked:
            about += [drawn.configs["direction"]]
            if known.train is None:
                about += [drawn.configs[factor] for factor in ORACLE]
            else:
                inputs["train"] = known.train
        if "oracle" in asked:
            about += [known.law, *(known.values[factor] for factor in ("source", "coupling", "path", "target"))]
        if "law" in asked:
            about += [known.law]
        if "training" in asked:
            about += [known.values["dataset"]]
        inputs |= known.prepared[str(metric.name)]
        return self._scored("score", metric, inputs, drawn, about)

    def _prepared(self, metric: Config, law: Config) -> dict[str, JobId]:
        """As an input: what the metric works out of the law once."""
        preparation = self._component(metric).prepares()
        if preparation is None:
            return {}
        job = Job(
            "reference",
            key_of("prepared", [type(preparation).__name__, preparation.name, law.digest]),
            code_hash([], [type(preparation), type(self._component(law))]),
            {"metric": metric, "dataset": law},
            seed=0,
            replica=0,
            group=f"prepared/{preparation.name}/{law.name}",
            options={"of": "metric"},
        )
        return {"prepared": self._add(job)}

    def _floor(self, metric: Config, known: _Shared) -> JobId | None:
        component, reference = self._component(metric), known.reference
        if not component.floored or reference is None:
            return None
        of, inputs = self.jobs[reference], known.prepared[str(metric.name)]
        if component.draws_floor:
            return self._drawn_floor(metric, known.law, self._component(of.configs["sampling"]).n, inputs)
        about = [of.configs["dataset"]] if "law" in component.inputs else []
        return self._scored("floor", metric, {"reference": reference, **inputs}, of, about)

    def _drawn_floor(self, metric: Config, law: Config, n: int, inputs: Mapping[str, JobId]) -> JobId:
        """A floor of draws of its own, one for all seeds."""
        component = self._component(metric)
        parts = [metric.digest, component.version, law.digest, n, *(key for _, key in inputs.values())]
        classes = [type(component), type(self._component(law))]
        return self._add(
            Job(
                "floor",
                key_of("floor", parts),
                code_hash(["bench.score"], classes, [self.jobs[i].code for i in inputs.values()]),
                {"metric": metric, "dataset": law},
                seed=0,
                replica=0,
                inputs=inputs,
                group=f"floor/{metric.digest[:12]}/{n}",
                options={"n": n},
            )
        )

    def _scored(
        self, kind: str, metric: Config, inputs: Mapping[str, JobId], of: Job, about: Sequence[Config]
    ) -> JobId:
        component = self._component(metric)
        parts = [metric.digest, component.version, *(key for _, key in inputs.values())]
        group = f"score/{metric.digest[:12]}/{of.configs['sampling'].digest[:12]}"
        if about:
            parts += [*(config.digest for config in about), of.seed, of.replica]
        if "field" in component.inputs:
            parts += [self._component(of.configs["sampling"]).weights]
            group += f"/{of.configs['net'].digest[:12]}"
        plain = set(component.inputs) <= {"samples", "reference", "floor"}
        classes = [type(component), *(type(self._component(config)) for config in about if config.name is not None)]
        modules = ["bench.score"] if plain else ["bench.score", "bench.exact"]
        return self._add(
            Job(
                kind,
                key_of(kind, parts),
                code_hash(modules, classes, [self.jobs[i].code for i in inputs.values()]),
                {"metric": metric} if plain else {"metric": metric, **of.configs},
                of.seed,
                of.replica,
                inputs,
                group,
            )
        )

    def _add(self, job: Job) -> JobId:
        self.jobs.setdefault(job.id, job)
        return job.id

    def _component(self, config: Config) -> Any:
        if config not in self.built:
            self.built[config] = self.tables.build(config)
        return self.built[config]

    def _oracle_law(self, known: _Shared) -> Config:
        """What the oracle knows: the finite training set where there is one, else the data's law."""
        dataset = known.values["dataset"]
        return known.law if self._component(dataset).points is None else dataset

    def _law(self, dataset: Config) -> Config:
        """The data set with what only concerns training at its defaults."""
        plain = law_of(self._component(dataset))
        given = {name: getattr(plain, name) for name in parameter_names(type(plain))}
        law = self.tables.resolve("dataset", dataset.name, given)
        assert isinstance(law, Config)
        return law


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
    train_time: JobId | None = None
    reference: JobId | None = None
    floors: dict[str, JobId | None] = field(default_factory=dict)
    prepared: dict[str, dict[str, JobId]] = field(default_factory=dict)
    drawn: dict[tuple[Config, Config], dict[str, JobId | None]] = field(default_factory=dict)
