"""What a notebook calls: `run`, `plan`, `explain`, `load`, `compare`. The command line prints what these return.

    import bench

    found = bench.run("suites/quick.yaml", profile="smoke")
    found.claims                       # a DataFrame, like .records, .cells and .effects
    found.figure("claims")             # shown by a notebook
    found.samples(0)                   # an array of the first cell's samples

Errors are those of `bench.errors`, in the words of the command line; a Ctrl-C is a KeyboardInterrupt, after the report.
"""

from __future__ import annotations

import functools
import html
import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.collecting import uncollected
from bench.errors import EngineError, StoreError, UsageError
from bench.words import shown, unknown

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray
    from rich.console import Console

    from bench.execute.estimate import Left
    from bench.explained import Explained
    from bench.planner import Plan
    from bench.report.compare import Comparison
    from bench.report.results import Results
    from bench.suite import Suite

Asked = str | Path | Mapping[str, Any]
"""A suite: its file, its name (see `bench.shipped`), or a dict of the same grammar."""


@dataclass(frozen=True)
class Run:
    """A finished run, read from its folder.

    records: a row per cell, metric and value; cells: a row per cell with its labels, status and entries in the store;
    claims: a row per claim with its verdict, effect and interval (`bench.verdicts.COLUMNS`); effects: main effects and
    interactions of the grid; all DataFrames, made when first asked for.
    """

    folder: Path

    @functools.cached_property
    def results(self) -> Results:
        """What the folder holds, as the report reads it. Raises StoreError where it holds no run."""
        from bench.report.results import load_results

        return load_results(self.folder)

    @property
    def records(self) -> pd.DataFrame:
        """A row per cell, metric and value, with unit, direction, n, status and provenance."""
        return self.results.records.copy()

    @property
    def cells(self) -> pd.DataFrame:
        """A row per cell: labels, varied parameters, status with its reason, entries in the store."""
        return self.results.cells.copy()

    @property
    def claims(self) -> pd.DataFrame:
        """A row per claim: verdict, effect, 95 % t interval, n, p or e, and a sentence."""
        from bench.verdicts import claims_table

        return claims_table(self.results)

    @property
    def effects(self) -> pd.DataFrame:
        """Main effects and two-way interactions of each score, with intervals and shares of variance."""
        from bench.verdicts import effects_table

        return effects_table(self.results)[0]

    @property
    def answer(self) -> str:
        """The suite's answer in one or two sentences."""
        from bench.verdicts import answer

        return answer(self.results)

    @property
    def ok(self) -> bool:
        """Whether no cell failed and none lacks a value; what was skipped, for it does not apply, does not count."""
        return bool(self.results.cells["status"].isin(["ok", "skipped"]).all()) and self.results.lost_values.empty

    @property
    def figures(self) -> list[str]:
        """Names of the figures that the run's report shows."""
        return sorted(file.stem for file in (self.folder / "figures").glob("*.*"))

    def figure(self, name: str) -> Picture:
        """A figure of the report, which a notebook shows. Raises UsageError for an unknown one, StoreError where the
        folder is gone or a newer run has written its own.
        """
        from bench.report.seal import INPUTS

        if load(self.folder).results.suite.get(INPUTS) != self.results.suite.get(INPUTS):
            raise StoreError(
                f"{self.folder}: a newer run has written its report here; bench.load tells of that one, and running "
                "this suite again draws its figures anew"
            )
        for file in sorted((self.folder / "figures").glob("*.*")):
            if file.stem == name:
                return Picture(file, file.read_bytes())
        raise UsageError(f"{self.folder}: {unknown('figure', name, self.figures)}")

    def samples(self, cell: int, array: str = "samples") -> NDArray[np.float64]:
        """An array of a cell's sampling, from the store beside the run's folder.

        "samples": (repeats, n, *S) in data units; "frames": (frames, points, *S), a few points on their way, at the
        internal times of "times". Raises UsageError for a cell or an array that is not there, StoreError for a store
        that is gone, Corrupt for an array that is not as it was written.
        """
        from bench.report.arrays import Arrays

        rows = self.results.cells.set_index("cell")["sample_entry"]
        if cell not in rows.index:
            raise UsageError(f"{self.folder}: no cell {cell}; its cells are {rows.index.min()} to {rows.index.max()}")
        root = self.folder.parent / "store"
        if not root.is_dir():
            raise StoreError(f"{root}: no store is there, so that samples are gone; run the suite again")
        found = Arrays(root).load(rows[cell], array)
        if found is None:
            row = self.results.cells.set_index("cell").loc[cell]
            raise UsageError(
                f"{self.folder}: cell {cell} has no array {array!r} in the store; it is {row['status']}"
                + (f": {row['reason']}" if row["reason"] else "")
            )
        return found

    def __repr__(self) -> str:
        return f"<run {self.folder}: {self.answer}>"

    def _repr_html_(self) -> str:
        from bench.report.claims import claims_text

        question = html.escape(str(self.results.suite["question"]))
        table = claims_text(self.results).to_html(index=False) if self.results.suite["claims"] else ""
        page = html.escape(str(self.folder / "report.html"))
        return f"<p><b>{question}</b></p><p>{html.escape(self.answer)}</p>{table}<p>report: {page}</p>"


@dataclass(frozen=True)
class Picture:
    """A figure's file, SVG or WebP, and what it held when it was asked for."""

    file: Path
    content: bytes = field(repr=False)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        if self.file.suffix == ".svg":
            return {"image/svg+xml": self.content.decode()}
        return {f"image/{self.file.suffix[1:]}": self.content}


@dataclass(frozen=True)
class Planned:
    """What a run would do.

    kinds: of each kind of job (index) how many there are, are stored and are to do: jobs, stored, to_do; stale: jobs
    that are stored by older code and would be done again; left: what the rest will take on `device`, going by past
    jobs (`bench.execute.estimate.Left`), with `workers` at once; notices: what the store noticed; warnings: mistakes of
    design, in words with what to do (`bench.advice`).
    """

    suite: Suite
    plan: Plan
    kinds: pd.DataFrame
    stale: int
    left: Left
    device: str
    workers: int
    notices: list[str]
    warnings: list[str]

    @property
    def seconds(self) -> float:
        """What is to do is expected to take so long, without the jobs of which nothing is known."""
        return self.left.seconds + self.left.rough_seconds

    @property
    def cells(self) -> pd.DataFrame:
        """A row per cell: its seed and labels."""
        return self.suite.cells.labels.assign(seed=self.suite.cells.seed)

    @property
    def refused(self) -> dict[int, str]:
        """Cells that cannot be run as they are combined, with the reason."""
        return dict(self.plan.refused)

    def __str__(self) -> str:
        from bench.words import duration

        suite, refused = self.suite, self.plan.refused
        excluded = sum(exclusion.count for exclusion in suite.exclusions)
        lines = [
            f"{suite.name}: {suite.question}",
            f"  {len(suite.cells)} cells, {len(suite.seeds)} seeds, {excluded} excluded, {len(refused)} refused",
        ]
        lines += [
            f"  {row.jobs:>6} {row.Index:<11} {row.stored} stored, {row.to_do} to do" for row in self.kinds.itertuples()
        ]
        if self.stale:
            lines.append(
                f"  {self.stale} of them are stored by older code and will be done again (--stale=keep uses them)"
            )
        lines += self._cost(duration)
        reasons = list(refused.values())
        lines += [f"  refused: {reasons.count(reason)} cells: {reason}" for reason in sorted(set(reasons))]
        lines += [f"  warning: {text}" for text in self.warnings]
        return "\n".join(lines)

    __repr__ = __str__

    def _cost(self, duration: Callable[[float], str]) -> list[str]:
        """What it will take, for how much of the work that is known, and memory, in a few lines."""
        left, missing = self.left, int(self.kinds["to_do"].sum())
        if not missing:
            return ["  nothing to do"]
        lines, where = [], f"on {self.device}, {self.workers} at once"
        if left.known:
            lines.append(f"  about {duration(left.seconds)} {where} for {left.known} of {missing} jobs, from past ones")
        if left.rough:
            rough = f"  roughly {duration(left.rough_seconds)}{' more' if left.known else f' {where}'}"
            lines.append(f"{rough} for {left.rough} of {missing}, whose like was not done yet: by others of their kind")
        if left.unknown:
            kinds = ", ".join(f"{count} {kind}" for kind, count in left.unknown.items())
            lines.append(
                f"  unknown: the time of {sum(left.unknown.values())} of {missing} jobs ({kinds}), no past jobs"
            )
        if left.peak_mb:
            lines.append(f"  memory: up to {left.peak_mb:,.0f} MiB a process, from past jobs")
        return lines


def run(
    suite: Asked,
    *,
    profile: str | None = None,
    device: str = "auto",
    results: str | Path = "results",
    seeds: int | Sequence[int] | None = None,
    only: str | Sequence[str] = (),
    workers: int | None = None,
    keep_stale: bool = False,
    fail_fast: bool = False,
    limits: Mapping[str, object] | None = None,
    allow_plugins: Sequence[str | Path] = (),
    quiet: bool = False,
) -> Run:
    """Do what is missing of a suite, write its report and return what was found.

    suite: a file, the name of one in suites/ here or of one that comes with the package, or a dict of the same grammar;
    seeds: a number of them or a list, in place of the suite's own; only: terms such as "path=linear"; limits: as in a
    suite, {"minutes": 10}; quiet: without progress and messages. What is stored is not done again. Works in a notebook,
    under pytest and in a script without a main guard. Raises SuiteError with every mistake of a suite, UsageError for
    wrong arguments, EngineError where the run ended early, be it for want of processes or of disk (what was finished is
    stored), StoreError where no report can be written, KeyboardInterrupt after an interruption; of cells that fail
    `Run.cells` tells why.
    """
    from bench.console import Plain
    from bench.execute import LocalEngine
    from bench.limits import limits_asked
    from bench.work import work

    out, err = Plain(quiet=quiet), Plain(quiet=quiet, stderr=True)
    engine = LocalEngine(_asked_workers(workers))
    engine.warm_up()
    found = load_asked(suite, profile, only, allow_plugins, err, seeds)
    asked = limits_asked(limits or {}, "limits[{!r}]".format)
    did = work(
        found, engine, device, Path(results), out, err, command=_command(suite, profile, only, seeds),
        keep_stale=keep_stale, fail_fast=fail_fast, partial=bool(only), limits=asked,
    )  # fmt: skip
    if did.done.interrupted:
        raise KeyboardInterrupt
    if did.done.error:
        raise EngineError(f"{did.done.error}; what was finished is stored, and the same call goes on from there")
    return load(did.folder)


def plan(
    suite: Asked,
    *,
    profile: str | None = None,
    results: str | Path = "results",
    seeds: int | Sequence[int] | None = None,
    only: str | Sequence[str] = (),
    workers: int | None = None,
    allow_plugins: Sequence[str | Path] = (),
) -> Planned:
    """What `run` would do: distinct jobs, what is stored, how long the rest will take going by past jobs."""
    from bench.console import err

    return planned(load_asked(suite, profile, only, allow_plugins, err, seeds), Path(results), workers)


def explain(
    suite: Asked,
    cell: int | str | Sequence[str],
    *,
    profile: str | None = None,
    results: str | Path = "results",
    allow_plugins: Sequence[str | Path] = (),
) -> Explained:
    """What stands behind the numbers of a cell: configuration, jobs and their entries, values, how to run it alone.

    cell: its number in the tables of a whole run, or terms such as "path=linear" that leave one combination, in one
    seed or several. Nothing is run or written. Raises UsageError for a cell that is not there, and where terms leave
    several combinations.
    """
    from bench.console import err
    from bench.explained import explained

    found = load_asked(suite, profile, (), allow_plugins, err)
    more = [word for path in allow_plugins for word in ("--allow-plugin", str(path))]
    more += ["--results", str(results)] if Path(results) != Path("results") else []

    def command(only: tuple[str, ...]) -> str:
        """What runs these cells alone, into the same results."""
        return " ".join([_command(suite, profile, only, None), *([shlex.join(more)] if more and named else [])])

    named = isinstance(suite, str | Path)
    return explained(found, cell, Path(results), command)


def load(folder: str | Path) -> Run:
    """A run that has ended, from its folder. Raises StoreError where none is there."""
    found = Run(Path(folder))
    _ = found.results
    return found


def compare(now: Run | str | Path, before: Run | str | Path) -> Comparison:
    """What moved beyond noise between two runs, and which verdicts changed; see `bench.report.compare`."""
    from bench.report.compare import compare as side_by_side

    one, other = (each if isinstance(each, Run) else load(each) for each in (now, before))
    return side_by_side(one.results, other.results)


def load_asked(
    suite: Asked,
    profile: str | None,
    only: str | Sequence[str],
    allow: Sequence[str | Path],
    err: Console,
    seeds: int | Sequence[int] | None = None,
) -> Suite:
    """A suite in a profile, with its plugins named before they run. Raises SuiteError with every mistake in it."""
    from bench.shipped import suite_file

    with uncollected():
        from bench.suite import load_suite  # and with it torch

    if not isinstance(suite, str | Path | Mapping):
        raise UsageError(f"a suite is a file, a name or a dict, not {shown(suite)}")
    if isinstance(seeds, int) and seeds < 1:
        raise UsageError(f"seeds={seeds}: give a number of seeds from 1 on, or a list of seeds")
    source = suite_file(suite) if isinstance(suite, str | Path) else suite
    listed = list(range(seeds)) if isinstance(seeds, int) else seeds
    return load_suite(source, profile, _terms(only), tuple(allow), err.print, listed)


def _terms(only: str | Sequence[str]) -> tuple[str, ...]:
    return (only,) if isinstance(only, str) else tuple(only)


def _asked_workers(workers: int | None) -> int | None:
    if workers is not None and workers < 1:
        raise UsageError(f"workers={workers}: give a number of processes from 1 on, or leave it out")
    return workers


def planned(suite: Suite, results: Path, workers: int | None) -> Planned:
    """What a run of a suite would do."""
    import pandas as pd

    from bench.advice import warnings
    from bench.execute import Estimator, LocalEngine
    from bench.execute.driver import look_up, redone_of
    from bench.kinds import KINDS
    from bench.work import device_named, lay_out, provenance_here, store_of

    store, device, slots = store_of(results), device_named("auto"), LocalEngine(_asked_workers(workers)).slots
    laid = lay_out(suite, provenance_here(), device)
    found = look_up(laid, store)
    missing = [job for at, job in laid.jobs.items() if at not in found]
    jobs, stored = (Counter(kind for kind, _ in of) for of in (laid.jobs, found))
    rows = [(kind, jobs[kind], stored[kind]) for kind in KINDS if jobs[kind]]
    kinds = pd.DataFrame(rows, columns=["kind", "jobs", "stored"]).set_index("kind")
    return Planned(
        suite, laid, kinds.assign(to_do=kinds["jobs"] - kinds["stored"]), redone_of(laid, found, store),
        Estimator(store, device).cost(missing, slots), device, slots, list(store.notices),
        warnings(suite, laid, found, results),
    )  # fmt: skip


def _command(suite: Asked, profile: str | None, only: str | Sequence[str], seeds: int | Sequence[int] | None) -> str:
    """What runs this again: the command line's words where it has them."""
    if isinstance(suite, str | Path) and seeds is None:
        options = [
            *(("--profile", profile) if profile else ()),
            *(word for term in _terms(only) for word in ("--only", term)),
        ]
        return shlex.join(["bench", "run", str(suite), *options])
    named = repr(str(suite)) if isinstance(suite, str | Path) else "{...}"
    asked = {"profile": profile, "only": list(_terms(only)) or None, "seeds": seeds}
    given = "".join(f", {name}={value!r}" for name, value in asked.items() if value is not None)
    return f"bench.run({named}{given})  # in Python"
