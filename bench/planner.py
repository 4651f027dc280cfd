"""Suite -> jobs and their keys: train once, evaluate many.

A job's key is a hash of what its row in `bench.stages` and `bench.inputs` declares, resolved, of its upstream keys, and
of nothing else. Device, workers, labels and file paths are never part of a key. Components are resolved once per
distinct value, and hashes of what cells share are made once; cells stay index columns throughout.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.codehash import code_hash
from bench.collecting import uncollected
from bench.components import Config, Tables, choice, parameter_names
from bench.exact import law_of
from bench.inputs import Needs
from bench.interfaces import ProcessSolver
from bench.recipes import NONE, Drawn, Job, JobId, Recipe, Seeded, Setting
from bench.reference import FloorKind, floor_kind
from bench.refusals import refusal, without_score
from bench.roles import Roles, digest
from bench.sample import SHOWN
from bench.stages import LAW, NOTHING, STAGES, TRAINING

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.suite import Suite

DRAWN = ("direction", "solver")
"""Factors in which cells may differ that share everything else."""

SETTING = (*TRAINING, "sampling", "replica")
"""All other factors."""

COLUMNS = ("train", "reference", "sample", "train_time", "sample_time")
"""Columns of a plan that are no metric's; the others are `score/<metric>` and `floor/<metric>`."""

AFTER_SAMPLES = Needs(upstream=("sample",))
"""What is timed of a solver that adapts to the samples waits for them: what never ends is not timed."""


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
        return sum(1 for of, _ in self.jobs if of == kind)


def plan(suite: Suite, hardware: str) -> Plan:
    """Lay out every job of a suite. `hardware` names the machine that seconds speak of."""
    with uncollected():
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
        self.columns = (*COLUMNS, *(f"{kind}/{metric}" for metric in self.metrics for kind in ("score", "floor")))
        self.places = {name: place for place, name in enumerate(self.columns)}
        self.timed: dict[tuple[Config, ...], Roles] = {}
        self.asked: dict[tuple[str, Config], tuple[Needs, tuple[Any, ...]]] = {}
        self.sample_times: dict[tuple[int, Config], JobId] = {}
        self.resolved: dict[tuple[str, str | None, str], Config] = {}
        asked = any("trajectory" in self.tables.build(metric).inputs for metric in suite.metrics)
        self.ways = {} if asked else {"ways": SHOWN}

    def plan(self) -> Plan:
        """Every cell in turn; what cells share is planned once."""
        cells = self.suite.cells
        columns: dict[str, list[JobId | None]] = {name: [None] * len(cells) for name in self.columns}
        held = [*columns.values()]
        refused: dict[int, str] = {}
        settings: dict[tuple[int, ...], Setting] = {}
        own, drawn = (zip(*(cells.index[factor].tolist() for factor in each), strict=True) for each in (SETTING, DRAWN))
        for cell, (at, place, seed) in enumerate(zip(own, drawn, cells.seed.tolist(), strict=True)):
            if at not in settings:
                settings[at] = Setting({f: cells.configs[f][i] for f, i in zip(SETTING, at, strict=True)})
            setting = settings[at]
            if place not in setting.drawn:
                configs = [cells.configs[f][i] for f, i in zip(DRAWN, place, strict=True)]
                setting.drawn[place] = self._drawn(setting, *configs)
            found = setting.drawn[place]
            if found.refusal:
                refused[cell] = found.refusal
                continue
            if seed not in setting.seeds:
                setting.seeds[seed] = self._seeded(setting, seed)
            for column, job in zip(held, self._cell(setting, found, setting.seeds[seed]), strict=True):
                column[cell] = job
        return Plan(self.jobs, columns, refused)

    def _settle(self, setting: Setting) -> None:
        """Who plays each role in a setting, or why nobody can."""
        build, given = self.tables.build, setting.given
        setting.refusal = refusal(build, given) or ""
        if setting.refusal:
            return
        values = {role: config for role, config in given.items() if role != "replica"}
        if build(values["path"]).one_target:
            values["target"] = choice("target", "exact")  # the same number, so the same job
        values["law"] = self._law(values["dataset"])
        if not build(values["net"]).trained:
            finite = build(values["dataset"]).points is not None
            values["known"] = values["dataset"] if finite else values["law"]
        setting.known, setting.replica = Roles(self.tables, values), build(given["replica"])

    def _drawn(self, setting: Setting, direction: Config, solver: Config) -> Drawn:
        """One direction and solver of a setting. Whether it is refused is told before anything is planned for it."""
        scoreless = without_score(self.tables.build, setting.given, direction, solver)
        if not scoreless and setting.refusal is None:
            self._settle(setting)
        if why := scoreless or setting.refusal:
            return Drawn(why)
        roles = Roles(self.tables, {"direction": direction, "solver": solver}, setting.roles)
        return Drawn("", roles, self.tables.build(solver).stochastic)

    def _seeded(self, setting: Setting, seed: int) -> Seeded:
        """What all cells of a setting and a seed have in common, whatever their direction and solver."""
        known, roles, build = Seeded(seed), setting.roles, self.tables.build
        if roles.component("net").trained:
            known.jobs["train"] = train = self._train(setting, seed)
            if "train_time" not in setting.jobs:
                setting.jobs["train_time"] = self._train_time(setting, train)
            known.jobs["train_time"] = setting.jobs["train_time"]
        for name, metric in self.metrics.items():
            if f"prepared/{name}" not in setting.jobs:
                setting.jobs[f"prepared/{name}"] = self._prepared(metric, setting)
        kind = floor_kind(build(roles["law"]), build(roles["source"]), build(roles["sampling"]).start)
        known.jobs |= self._judged(setting, known, kind)
        return known

    def _judged(self, setting: Setting, known: Seeded, floor: FloorKind) -> dict[str, JobId | None]:
        """The reference and the floors that samples are judged by, of one kind of floor."""
        if floor not in known.judged:
            roles, name = setting.roles, f"reference/{floor}"
            if name not in setting.recipes:
                setting.recipes[name] = self._recipe(
                    "reference", roles, replica=setting.replica, options={"floor": floor},
                    group=f"reference/{roles['law'].name}/{roles.component('sampling').n}",
                )  # fmt: skip
            jobs: dict[str, JobId | None] = {"reference": self._enter(setting.recipes[name], known.seed)}
            for metric in self.metrics:
                jobs[f"floor/{metric}"] = self._floor(metric, setting, known.seed, jobs)
            known.judged[floor] = jobs
        return known.judged[floor]

    def _train(self, setting: Setting, seed: int) -> JobId:
        if "train" not in setting.recipes:
            roles = setting.roles
            training, net = roles.component("training"), roles["net"]
            alike = [net.digest, roles["training"].digest, str(roles.component("dataset").shape)]
            setting.recipes["train"] = self._recipe(
                "train", roles, replica=setting.replica,
                group=f"train/{net.digest[:12]}/{training.batch}x{training.steps}",
                cohort="/".join(alike) if roles.component("net").stackable else "",
            )  # fmt: skip
        return self._enter(setting.recipes["train"], seed)

    def _train_time(self, setting: Setting, train: JobId) -> JobId:
        """Seconds of a training by itself: neither its seed nor the sign of its time changes the work."""
        roles = self._as_timed(setting.roles, {"clock": choice("clock", "noise_at_0")}, TRAINING)
        group = f"time/{self.jobs[train].recipe.group}"
        return self._enter(self._recipe("train_time", roles, options={"hardware": self.hardware}, group=group))

    def _cell(self, setting: Setting, drawn: Drawn, known: Seeded) -> list[JobId | None]:
        """All jobs of a cell, in the order of the columns."""
        if drawn.stochastic not in known.shared:
            # Quasi-random starts are as random as any at its ends.
            more = self._judged(setting, known, "independent") if drawn.stochastic else {}
            jobs = known.jobs | more
            known.shared[drawn.stochastic] = jobs, [jobs.get(name) for name in self.columns]
        jobs, shared = known.shared[drawn.stochastic]
        row = [*shared]
        if drawn.sample is None:
            drawn.sample = self._sample(setting, drawn, jobs)
        row[self.places["sample"]] = jobs["sample"] = self._enter(drawn.sample, known.seed, jobs)
        if drawn.sample_time is None:
            drawn.sample_time = self._sample_time(setting, drawn, jobs)
        timed = drawn.sample_time
        row[self.places["sample_time"]] = self._enter(timed, known.seed, jobs) if isinstance(timed, Recipe) else timed
        for name, metric in self.metrics.items():
            jobs["prepared"] = setting.jobs[f"prepared/{name}"]
            if name not in drawn.scores:
                drawn.scores[name] = self._scored("score", metric, drawn.roles, setting.replica, jobs)
            row[self.places[f"score/{name}"]] = self._enter(drawn.scores[name], known.seed, jobs)
        return row

    def _sample(self, setting: Setting, drawn: Drawn, jobs: Mapping[str, JobId | None]) -> Recipe:
        roles = drawn.roles
        settings, net, solver = roles.component("sampling"), roles.component("net"), roles["solver"]
        drawn.group = f"{roles['net'].digest[:12]}/{solver.digest[:12]}/{settings.n}"
        return self._recipe(
            "sample", roles, upstream=jobs, replica=setting.replica, options=self.ways,
            group=f"sample/{drawn.group}x{settings.repeats}", long=net.trained and not net.stackable,
        )  # fmt: skip

    def _sample_time(self, setting: Setting, drawn: Drawn, jobs: Mapping[str, JobId | None]) -> Recipe | JobId:
        """Seconds of sampling: of the very samples where the solver adapts to them, else of any such evaluations, in
        one job for all seeds.
        """
        roles, options, group = drawn.roles, {"hardware": self.hardware}, f"time/{drawn.group}"
        solver = roles.component("solver")
        if solver.adaptive:
            return self._recipe(
                "sample_time", roles, AFTER_SAMPLES, upstream=jobs, replica=setting.replica,
                options=options, group=group,
            )  # fmt: skip
        # The path is asked by predictions that are no velocity, and by steps that need more than the velocity.
        pathless = roles.component("net").trained and roles.component("prediction") == "velocity"
        timed = self._alike(setting, pathless=pathless and not isinstance(solver, ProcessSolver))
        at = (id(timed), roles["solver"])
        if at not in self.sample_times:
            alone = Roles(self.tables, {"solver": roles["solver"]}, timed)
            self.sample_times[at] = self._enter(self._recipe("sample_time", alone, options=options, group=group))
        return self.sample_times[at]

    def _alike(self, setting: Setting, *, pathless: bool) -> Roles:
        """A cell's roles, the solver aside, with all that does not change sampling's work at its default."""
        if pathless not in setting.alike:
            settings = dict(setting.roles["sampling"].values) | {"weights": "raw", "start": "quasi", "repeats": 1}
            plain = {
                "clock": choice("clock", "noise_at_0"),
                "direction": choice("direction", "forward"),
                "source": self._resolved("source", "gaussian"),
                "sampling": self._resolved("sampling", None, settings),
            }
            if pathless:
                plain |= {"path": self._resolved("path", "linear"), "target": choice("target", "exact")}
            asked = (*(role for role in STAGES["sample_time"].needs.factors if role != "solver"), "dataset", "sampling")
            setting.alike[pathless] = self._as_timed(setting.roles, plain, asked)
        return setting.alike[pathless]

    def _as_timed(self, roles: Roles, plain: Mapping[str, Config], asked: Iterable[str]) -> Roles:
        """Roles with what does not change the work at its default; equal ones are one."""
        own = {role: config for role in asked if (config := plain.get(role) or roles.get(role)) is not None}
        return self.timed.setdefault(tuple(own.values()), Roles(self.tables, own))

    def _scored(
        self, kind: str, metric: Config, roles: Roles, replica: int, upstream: Mapping[str, JobId | None]
    ) -> Recipe:
        """A score, or a floor's, by what the metric declares and nothing else."""
        needs, code = self._asked(kind, metric)
        group = f"score/{metric.digest[:12]}/{roles['sampling'].digest[:12]}"
        if "net" in needs.factors:
            group += f"/{roles['net'].digest[:12]}"
        return self._recipe(
            kind, roles, needs, upstream=upstream, replica=replica, metric=metric, code=code, group=group
        )  # fmt: skip

    def _asked(self, kind: str, metric: Config) -> tuple[Needs, tuple[Any, ...]]:
        """What a metric's inputs need, and the functions that fetch them."""
        if (kind, metric) not in self.asked:
            rows = [STAGES[kind].inputs[one] for one in self.tables.build(metric).inputs]
            needs = functools.reduce(Needs.__or__, (row.needs for row in rows), Needs(upstream=("prepared",)))
            self.asked[kind, metric] = needs, tuple(row.fetch for row in rows)
        return self.asked[kind, metric]

    def _prepared(self, metric: Config, setting: Setting) -> JobId | None:
        """What the metric works out of the law once; one for all metrics and seeds that ask for the same."""
        preparation = self.tables.build(metric).prepares()
        if preparation is None:
            return None
        recipe = self._recipe(
            "prepared", setting.roles,
            options={"preparation": [type(preparation).__name__, preparation.name]},
            carried={"metric": metric},
            group=f"prepared/{preparation.name}/{setting.roles['law'].name}",
        )  # fmt: skip
        return self._enter(recipe)

    def _floor(self, name: str, setting: Setting, seed: int, jobs: Mapping[str, JobId | None]) -> JobId | None:
        metric = self.metrics[name]
        component = self.tables.build(metric)
        if not component.floored:
            return None
        upstream, at = {**jobs, "prepared": setting.jobs[f"prepared/{name}"]}, f"floor/{name}"
        if component.draws_floor:  # one for all seeds
            if at not in setting.jobs:
                n = setting.roles.component("sampling").n
                recipe = self._recipe(
                    "floor", setting.roles, LAW, upstream=upstream, metric=metric,
                    options={"n": n}, group=f"floor/{metric.digest[:12]}/{n}",
                )  # fmt: skip
                setting.jobs[at] = self._enter(recipe, 0, upstream)
            return setting.jobs[at]
        if at not in setting.recipes:
            setting.recipes[at] = self._scored("floor", metric, setting.roles, setting.replica, upstream)
        return self._enter(setting.recipes[at], seed, upstream)

    def _recipe(
        self,
        kind: str,
        roles: Roles,
        more: Needs = NOTHING,
        *,
        upstream: Mapping[str, JobId | None] | None = None,
        replica: int = 0,
        metric: Config | None = None,
        options: Mapping[str, Any] | None = None,
        code: Iterable[Any] = (),
        carried: Mapping[str, Config] | None = None,
        group: str = "",
        cohort: str = "",
        long: bool = False,
    ) -> Recipe:
        """All of a job but its seed, and the keys of what it stands on; a key is made of what it needs alone.

        upstream: the jobs of one seed, which in another are of the same code.
        """
        stage, build = STAGES[kind], self.tables.build
        needs = _both(stage.needs, more)
        there = [(of, job) for of in needs.upstream if (job := (upstream or {}).get(of)) is not None]
        tail, carried = [str(replica)], dict(carried or {})
        if metric is not None:
            carried["metric"] = metric
            tail += [metric.digest, str(build(metric).version)]
        played = [*roles.configs(needs).values(), *carried.values()]
        classes = dict.fromkeys(type(build(config)) for config in played if config.name is not None)
        begins = [(each.__module__, each.__qualname__) for each in (stage.run, *stage.code, *code)]
        hashed = code_hash(
            classes=classes, upstream=[self.jobs[job].recipe.code for _, job in there], definitions=begins
        )  # fmt: skip
        head = [kind, *roles.parts(needs)]
        given = [f"{name}={json.dumps(value)}" for name, value in sorted((options or {}).items())]
        return Recipe(
            "\n".join(head), tuple(of for of, _ in there), "".join(f"{part}\n" for part in given), "\n".join(tail),
            kind, hashed, roles, needs, replica, options or NONE, carried or NONE, group, cohort, long,
        )  # fmt: skip

    def _enter(self, recipe: Recipe, seed: int = 0, jobs: Mapping[str, Any] = NONE) -> JobId:
        """Enter the job of a recipe and a seed, which stands on some of these jobs."""
        inputs = NONE
        above = ""
        if recipe.upstream:
            inputs = {of: jobs[of] for of in recipe.upstream}
            for of, (_, key) in inputs.items():
                above += f"{of}:{key}\n"
        job_id = (recipe.kind, digest([f"{recipe.head}\n{above}{recipe.given}{seed}\n{recipe.tail}"]))
        if job_id not in self.jobs:
            self.jobs[job_id] = Job(job_id, recipe, seed, inputs)
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
