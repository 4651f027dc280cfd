"""Suite -> jobs and their keys: train once, evaluate many.

A job's key is a hash of what its row in `bench.stages` and `bench.inputs` declares, resolved, of its upstream keys, and
of nothing else. Device, workers, labels and file paths are never part of a key. Components are resolved once per
distinct value, and hashes of what cells share are made once; cells stay index columns throughout.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.codehash import code_hash
from bench.components import Config, Tables, choice, parameter_names
from bench.exact import law_of
from bench.inputs import Needs
from bench.interfaces import ProcessSolver
from bench.reference import FloorKind, floor_kind
from bench.refusals import refusal, without_score
from bench.roles import Roles, digest
from bench.sample import SHOWN
from bench.stages import LAW, NOTHING, STAGES, TRAINING, Stage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.suite import Suite

DRAWN = ("direction", "solver")
"""Factors in which cells may differ that share everything else."""

COLUMNS = ("train", "reference", "sample", "train_time", "sample_time")
"""Columns of a plan that are no metric's; the others are `score/<metric>` and `floor/<metric>`."""

AFTER_SAMPLES = Needs(upstream=("sample",))
"""What is timed of a solver that adapts to the samples waits for them: what never ends is not timed."""

JobId = tuple[str, str]
"""(kind, key)."""


@dataclass(frozen=True)
class Job:
    """One piece of work: what it is, what it needs, and the hash of the code that will do it."""

    kind: str
    key: str
    code: str
    roles: Roles
    needs: Needs
    seed: int
    replica: int
    inputs: Mapping[str, JobId] = field(default_factory=dict)
    """By kind of job, the upstream job."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Plain JSON that the stage reads beside; part of the key."""
    carried: Mapping[str, Config] = field(default_factory=dict)
    """Roles that are no part of the key as they are: a metric, whose key tells what it prepares."""
    group: str = ""
    """Jobs of one group take about the same time; past ones estimate future ones."""
    cohort: str = ""
    """Train jobs of one cohort may train together; those without a name train alone."""
    long: bool = False
    """Whether it has a process to itself where others of its kind share one."""

    @property
    def id(self) -> JobId:
        """(kind, key)."""
        return self.kind, self.key

    @property
    def configs(self) -> dict[str, Config]:
        """Who plays each of its roles."""
        return {**self.roles.configs(self.needs), **self.carried}

    @property
    def fields(self) -> dict[str, Any]:
        """The single fields that it declares."""
        return self.roles.fields(self.needs)


@dataclass(frozen=True)
class Plan:
    """Distinct jobs, and for each cell the job of each kind that it stands on (None where there is none)."""

    jobs: dict[JobId, Job]
    cells: dict[str, list[JobId | None]]
    """`COLUMNS`, and score/<metric> and floor/<metric>."""
    refused: dict[int, str]
    """Cells that cannot be run, with the reason."""

    def take(self, keep: NDArray[np.bool_]) -> Plan:
        """The plan of the cells where `keep` (C,) is true, in their order; all jobs stay."""
        left = np.flatnonzero(keep).tolist()
        cells = {name: [column[cell] for cell in left] for name, column in self.cells.items()}
        return Plan(self.jobs, cells, {i: self.refused[cell] for i, cell in enumerate(left) if cell in self.refused})

    def count(self, kind: str) -> int:
        """Number of distinct jobs of a kind."""
        return sum(1 for job in self.jobs.values() if job.kind == kind)


def plan(suite: Suite, hardware: str) -> Plan:
    """Lay out every job of a suite. `hardware` names the machine that seconds speak of."""
    return _Planner(suite, hardware).plan()


@functools.cache
def _both(one: Needs, other: Needs) -> Needs:
    return one | other


class _Planner:
    def __init__(self, suite: Suite, hardware: str) -> None:
        self.suite, self.hardware = suite, hardware
        self.tables: Tables = suite.tables
        self.jobs: dict[JobId, Job] = {}
        self.metrics = {str(metric.name): metric for metric in suite.metrics}
        self.timed: dict[tuple[Config, ...], Roles] = {}
        self.asked: dict[tuple[str, Config], tuple[Needs, tuple[Any, ...]]] = {}
        self.sample_times: dict[tuple[int, Config], JobId] = {}
        self.resolved: dict[tuple[str, str | None, str], Config] = {}
        asked = any("trajectory" in self.tables.build(metric).inputs for metric in suite.metrics)
        self.ways = {} if asked else {"ways": SHOWN}

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
        for name in (*COLUMNS, *(f"{kind}/{metric}" for metric in self.metrics for kind in ("score", "floor"))):
            columns[name] = [None] * len(cells)
        at_direction, at_solver = factors.index("direction"), factors.index("solver")
        for cell, row in enumerate(stacked.tolist()):
            common = tuple(row[i] for i in upstream)
            if common not in given:
                given[common] = {f: cells.configs[f][i] for f, i in zip(factors, row, strict=False)}
            direction = cells.configs["direction"][row[at_direction]]
            solver = cells.configs["solver"][row[at_solver]]
            scoreless = without_score(self.tables.build, given[common], direction, solver)
            if scoreless:  # before anything is planned, so that nothing is trained for it
                refused[cell] = scoreless
                continue
            if common not in shared:
                shared[common] = self._shared(given[common], row[-1])
            known = shared[common]
            if known.refusal:
                refused[cell] = known.refusal
                continue
            for name, job in self._drawn(known, direction, solver).items():
                columns[name][cell] = job
        return Plan(self.jobs, columns, refused)

    def _shared(self, given: Mapping[str, Config], seed: int) -> _Shared:
        """What all cells have in common that differ in direction and solver alone."""
        build = self.tables.build
        reason = refusal(build, given)
        if reason:
            return _Shared(refusal=reason)
        values = {role: config for role, config in given.items() if role not in (*DRAWN, "replica")}
        if build(values["path"]).one_target:
            values["target"] = choice("target", "exact")  # the same number, so the same job
        values["law"] = self._law(values["dataset"])
        net = build(values["net"])
        if not net.trained:
            finite = build(values["dataset"]).points is not None
            values["known"] = values["dataset"] if finite else values["law"]
        known = _Shared(Roles(self.tables, values), seed, build(given["replica"]), net.trained)
        if net.trained:
            known.jobs["train"] = self._train(known)
            known.jobs["train_time"] = self._train_time(known)
        for name, metric in self.metrics.items():
            known.prepared[name] = self._prepared(metric, known)
        kind = floor_kind(build(values["law"]), build(values["source"]), build(values["sampling"]).start)
        known.jobs |= self._judged(known, kind)
        return known

    def _judged(self, known: _Shared, floor: FloorKind) -> dict[str, JobId | None]:
        """The reference and the floors that samples are judged by, of one kind of floor."""
        if floor not in known.judged:
            roles = known.roles
            jobs: dict[str, JobId | None] = {}
            jobs["reference"] = self._job(
                "reference", STAGES["reference"], known, roles, options={"floor": floor},
                group=f"reference/{roles['law'].name}/{roles.component('sampling').n}",
            )  # fmt: skip
            for name, metric in self.metrics.items():
                jobs[f"floor/{name}"] = self._floor(name, metric, known, jobs["reference"])
            known.judged[floor] = jobs
        return known.judged[floor]

    def _train(self, known: _Shared) -> JobId:
        training, net = known.roles.component("training"), known.roles["net"]
        alike = [net.digest, known.roles["training"].digest, str(known.roles.component("dataset").shape)]
        return self._job(
            "train", STAGES["train"], known, known.roles,
            group=f"train/{net.digest[:12]}/{training.batch}x{training.steps}",
            cohort="/".join(alike) if known.roles.component("net").stackable else "",
        )  # fmt: skip

    def _train_time(self, known: _Shared) -> JobId:
        """Seconds of a training by itself: neither its seed nor the sign of its time changes the work."""
        roles = self._as_timed(known.roles, {"clock": choice("clock", "noise_at_0")}, TRAINING)
        group = f"time/{self.jobs[known.train].group}" if known.train else ""
        return self._job(
            "train_time", STAGES["train_time"], _Shared(roles), roles,
            options={"hardware": self.hardware}, group=group,
        )  # fmt: skip

    def _drawn(self, known: _Shared, direction: Config, solver: Config) -> dict[str, JobId | None]:
        """All jobs of one direction and solver; made once."""
        at = (direction, solver)
        if at in known.drawn:
            return known.drawn[at]
        roles = Roles(self.tables, {"direction": direction, "solver": solver}, known.roles)
        settings, net = known.roles.component("sampling"), known.roles.component("net")
        group = f"{known.roles['net'].digest[:12]}/{solver.digest[:12]}/{settings.n}"
        jobs = dict(known.jobs)
        if roles.component("solver").stochastic:  # quasi-random starts are as random as any at its ends
            jobs |= self._judged(known, "independent")
        jobs["sample"] = sample = self._job(
            "sample", STAGES["sample"], known, roles, upstream=jobs, options=self.ways,
            group=f"sample/{group}x{settings.repeats}", long=net.trained and not net.stackable,
        )  # fmt: skip
        jobs["sample_time"] = self._sample_time(known, roles, sample, group)
        for name, metric in self.metrics.items():
            upstream = {**jobs, "prepared": known.prepared[name]}
            jobs[f"score/{name}"] = self._scored("score", name, metric, known, roles, upstream)
        known.drawn[at] = jobs
        return jobs

    def _sample_time(self, known: _Shared, roles: Roles, sample: JobId, group: str) -> JobId:
        """Seconds of sampling: of the very samples where the solver adapts to them, else of any such evaluations."""
        stage, options, solver = STAGES["sample_time"], {"hardware": self.hardware}, roles.component("solver")
        if solver.adaptive:
            upstream = {**known.jobs, "sample": sample}
            return self._job(
                "sample_time", stage, known, roles, AFTER_SAMPLES, upstream=upstream, options=options,
                group=f"time/{group}",
            )  # fmt: skip
        # The path is asked by predictions that are no velocity, and by steps that need more than the velocity.
        pathless = known.trained and known.roles.component("prediction") == "velocity"
        timed = self._alike(known, pathless=pathless and not isinstance(solver, ProcessSolver))
        at = (id(timed), roles["solver"])
        if at not in self.sample_times:
            self.sample_times[at] = self._job(
                "sample_time", stage, _Shared(timed), Roles(self.tables, {"solver": roles["solver"]}, timed),
                options=options, group=f"time/{group}",
            )  # fmt: skip
        return self.sample_times[at]

    def _alike(self, known: _Shared, *, pathless: bool) -> Roles:
        """A cell's roles, the solver aside, with all that does not change sampling's work at its default."""
        if pathless not in known.alike:
            settings = dict(known.roles["sampling"].values) | {"weights": "raw", "start": "quasi", "repeats": 1}
            plain = {
                "clock": choice("clock", "noise_at_0"),
                "direction": choice("direction", "forward"),
                "source": self._resolved("source", "gaussian"),
                "sampling": self._resolved("sampling", None, settings),
            }
            if pathless:
                plain |= {"path": self._resolved("path", "linear"), "target": choice("target", "exact")}
            asked = (*(role for role in STAGES["sample_time"].needs.factors if role != "solver"), "dataset", "sampling")
            known.alike[pathless] = self._as_timed(known.roles, plain, asked)
        return known.alike[pathless]

    def _as_timed(self, roles: Roles, plain: Mapping[str, Config], asked: Iterable[str]) -> Roles:
        """Roles with what does not change the work at its default; equal ones are one."""
        own = {role: config for role in asked if (config := plain.get(role) or roles.get(role)) is not None}
        return self.timed.setdefault(tuple(own.values()), Roles(self.tables, own))

    def _scored(
        self, kind: str, name: str, metric: Config, known: _Shared, roles: Roles, upstream: Mapping[str, JobId | None]
    ) -> JobId:
        """A score, or a floor's, by what the metric declares and nothing else."""
        needs, code = self._asked(kind, metric)
        group = f"score/{metric.digest[:12]}/{known.roles['sampling'].digest[:12]}"
        if "net" in needs.factors:
            group += f"/{known.roles['net'].digest[:12]}"
        return self._job(
            kind, STAGES[kind], known, roles, needs, upstream=upstream, metric=metric,
            code=code, group=group,
        )  # fmt: skip

    def _asked(self, kind: str, metric: Config) -> tuple[Needs, tuple[Any, ...]]:
        """What a metric's inputs need, and the functions that fetch them."""
        if (kind, metric) not in self.asked:
            rows = [STAGES[kind].inputs[one] for one in self.tables.build(metric).inputs]
            needs = functools.reduce(Needs.__or__, (row.needs for row in rows), Needs(upstream=("prepared",)))
            self.asked[kind, metric] = needs, tuple(row.fetch for row in rows)
        return self.asked[kind, metric]

    def _prepared(self, metric: Config, known: _Shared) -> JobId | None:
        """What the metric works out of the law once; one for all metrics and seeds that ask for the same."""
        preparation = self.tables.build(metric).prepares()
        if preparation is None:
            return None
        return self._job(
            "prepared", STAGES["prepared"], _Shared(known.roles), known.roles,
            options={"preparation": [type(preparation).__name__, preparation.name]},
            carried={"metric": metric},
            group=f"prepared/{preparation.name}/{known.roles['law'].name}",
        )  # fmt: skip

    def _floor(self, name: str, metric: Config, known: _Shared, reference: JobId | None) -> JobId | None:
        component = self.tables.build(metric)
        if not component.floored:
            return None
        prepared = {"prepared": known.prepared[name]}
        if component.draws_floor:  # one for all seeds
            n = known.roles.component("sampling").n
            return self._job(
                "floor", STAGES["floor"], _Shared(known.roles), known.roles, LAW, upstream=prepared, metric=metric,
                options={"n": n}, group=f"floor/{metric.digest[:12]}/{n}",
            )  # fmt: skip
        return self._scored("floor", name, metric, known, known.roles, {"reference": reference, **prepared})

    def _job(
        self,
        kind: str,
        stage: Stage,
        known: _Shared,
        roles: Roles,
        more: Needs = NOTHING,
        *,
        upstream: Mapping[str, JobId | None] | None = None,
        metric: Config | None = None,
        options: Mapping[str, Any] | None = None,
        code: Iterable[Any] = (),
        carried: Mapping[str, Config] | None = None,
        group: str = "",
        cohort: str = "",
        long: bool = False,
    ) -> JobId:
        """Enter a job, whose key is made here of what it needs and of nothing else."""
        needs = _both(stage.needs, more)
        inputs = {of: job for of in needs.upstream if (job := (upstream or {}).get(of)) is not None}
        parts = [kind, *roles.parts(needs), *(f"{of}:{key}" for of, (_, key) in inputs.items())]
        parts += [f"{name}={json.dumps(value)}" for name, value in sorted((options or {}).items())]
        parts += [str(known.seed), str(known.replica)]
        carried = dict(carried or {})
        if metric is not None:
            carried["metric"] = metric
            parts += [metric.digest, str(self.tables.build(metric).version)]
        job_id = (kind, digest(parts))
        if job_id not in self.jobs:
            played = [*roles.configs(needs).values(), *carried.values()]
            classes = dict.fromkeys(type(self.tables.build(config)) for config in played if config.name is not None)
            begins = [(each.__module__, each.__qualname__) for each in (stage.run, *stage.code, *code)]
            upstream_code = [self.jobs[job].code for job in inputs.values()]
            hashed = code_hash(classes=classes, upstream=upstream_code, definitions=begins)
            self.jobs[job_id] = Job(
                kind, job_id[1], hashed, roles, needs, known.seed, known.replica, inputs, dict(options or {}), carried,
                group, cohort, long,
            )  # fmt: skip
        return job_id

    def _law(self, dataset: Config) -> Config:
        """The data set with what only concerns training at its defaults."""
        plain = law_of(self.tables.build(dataset))
        given = {name: getattr(plain, name) for name in parameter_names(type(plain))}
        return self._resolved("dataset", dataset.name, given)

    def _resolved(self, kind: str, name: str | None, given: Mapping[str, Any] | None = None) -> Config:
        """A configuration that the plan makes of others; equal ones are one."""
        at = (kind, name, json.dumps(given or {}, sort_keys=True))
        if at not in self.resolved:
            config = self.tables.resolve(kind, name, given or {})
            assert isinstance(config, Config)
            self.resolved[at] = config
        return self.resolved[at]


class _Shared:
    """Roles, seed and jobs that many cells share, while planning."""

    def __init__(
        self,
        roles: Roles | None = None,
        seed: int = 0,
        replica: int = 0,
        trained: bool = True,
        refusal: str | None = None,
    ) -> None:
        self._roles, self.seed, self.replica, self.trained, self.refusal = roles, seed, replica, trained, refusal
        self.jobs: dict[str, JobId | None] = {}
        self.prepared: dict[str, JobId | None] = {}
        self.drawn: dict[tuple[Config, Config], dict[str, JobId | None]] = {}
        self.alike: dict[bool, Roles] = {}
        self.judged: dict[FloorKind, dict[str, JobId | None]] = {}

    @property
    def roles(self) -> Roles:
        """Who plays each role; a refused cell has none."""
        assert self._roles is not None
        return self._roles

    @property
    def train(self) -> JobId | None:
        """The training, where there is one."""
        return self.jobs.get("train")
