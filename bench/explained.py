"""What stands behind a number: a cell's configuration, its jobs and their entries, its values, how to run it alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.automatic import AUTOMATIC, EXCESS, FLOOR, SUFFIXES
from bench.errors import UsageError
from bench.kinds import KINDS
from bench.words import duration, hint

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from bench.execute import Outcome
    from bench.planner import Plan
    from bench.recipes import JobId
    from bench.states import State
    from bench.store import Store
    from bench.suite import Suite

SHOWN = 8
"""Labels of an axis that a message names, and scores that are shown of one of several seeds, at most."""


@dataclass(frozen=True)
class Explained:
    """One combination of labels, in one seed or in several.

    name: the suite's and its profile's. configuration: by factor, its parameters. cells: a row per seed with the cell's
    id, status and reason. jobs: a row per cell and job with kind, metric (of scores and floors), key, status (done,
    running, failed, left), reason, seconds, code ("ok" or "stale", empty without a result), entry and log (paths, empty
    where there is none). values: a row per cell and value with its floor and excess, nan where it has none. figures:
    files of the run's figures of samples and losses. only: the terms that select these cells and no others; command:
    what runs them alone. notices: what the store noticed, such as damage.
    """

    name: str
    labels: dict[str, str]
    configuration: dict[str, dict[str, Any]]
    cells: pd.DataFrame
    jobs: pd.DataFrame
    values: pd.DataFrame
    figures: list[Path]
    only: tuple[str, ...]
    command: str
    notices: list[str]

    def __str__(self) -> str:
        said = ", ".join(f"{axis}={label}" for axis, label in self.labels.items())
        one = len(self.cells) == 1
        first = self.cells.iloc[0]
        which = f"cell {first['cell']}, seed {first['seed']}" if one else f"{len(self.cells)} seeds"
        lines = [f"{self.name}: {said}{'; ' if said else ''}{which}", *self._configured()]
        lines += self._whole() if one else self._shortly()
        lines += [f"  figure: {file}" for file in self.figures]
        return "\n".join([*lines, f"  alone: {self.command}"])

    __repr__ = __str__

    def _configured(self) -> Iterator[str]:
        from bench.suite import text_of

        for factor, values in self.configuration.items():
            head = text_of(values.get("name", values.get("value", "")))
            rest = ", ".join(f"{k}: {text_of(v)}" for k, v in values.items() if k not in ("name", "value"))
            yield f"  {factor:<11} {head}{' ' if head and rest else ''}{rest}"

    def _whole(self) -> Iterator[str]:
        """Of one cell every job and every value."""
        cell = self.cells.iloc[0]
        yield f"  status      {cell['status']}{': ' if cell['reason'] else ''}{cell['reason']}"
        for job in self.jobs.to_dict("records"):
            took = job["seconds"]
            about = [job["status"], *([] if np.isnan(took) else [duration(took) if took >= 10 else f"{took:.2g} s"])]
            about += [f"code {job['code']}"] if job["code"] else []
            what = " ".join(filter(None, (job["kind"], job["metric"])))
            yield f"  {what:<11} {job['key']} {', '.join(about)}{': ' if job['reason'] else ''}{job['reason']}"
            yield from (f"    {what}: {job[what]}" for what in ("entry", "log") if job[what])
        there = self.values["value"].notna()
        for value in self.values[there].to_dict("records"):
            yield f"  {value['metric']}: {_with_floor(value)}"
        for reason, lost in self.values[~there].groupby("reason", sort=False)["metric"]:
            yield f"  no value of {', '.join(lost)}: {reason}"

    def _shortly(self) -> Iterator[str]:
        """Of each seed a line; what failed with its reason."""
        for cell in self.cells.to_dict("records"):
            own = self.values[(self.values["cell"] == cell["cell"]) & self.values["score"]]
            scores = [f"{value['metric']} {_with_floor(value)}" for value in own.head(SHOWN).to_dict("records")]
            counts = self.jobs.loc[self.jobs["cell"] == cell["cell"], "status"].value_counts()
            jobs = ", ".join(f"{n} {status}" for status, n in counts.items()) or "no jobs"
            yield f"  cell {cell['cell']}, seed {cell['seed']}: {'; '.join([cell['status'], jobs, *scores])}"
        failed = self.jobs[self.jobs["status"] == "failed"].drop_duplicates("key").to_dict("records")
        yield from (f"  failed: {job['kind']} {job['key'][:8]}: {job['reason']}" for job in failed)
        yield f"  a term more, such as seed={self.cells['seed'].iloc[0]}, tells all of one cell"


def explained(
    suite: Suite, cell: int | str | Sequence[str], results: Path, command: Callable[[tuple[str, ...]], str]
) -> Explained:
    """What is known of the cells that `cell` names: an id, or terms such as `path=linear`; see `Explained`.

    `command` makes what runs cells alone of the terms that select them. Raises UsageError where there is no such cell,
    and where terms leave several combinations.
    """
    from bench import records
    from bench.execute import Results
    from bench.states import states
    from bench.store import Store, fault
    from bench.suite.load import kept
    from bench.work import device_named, lay_out, provenance_here

    keep = _chosen(suite, cell)
    ids, one = np.flatnonzero(keep), kept(suite, keep)
    laid = lay_out(one, provenance_here(), device_named("auto"))
    store = Store(results / "store", fault, reading=True)
    found = states(laid, store, older=True)
    done = Results({job: _outcome(state, _reason(laid, found, job)) for job, state in found.items()})
    cells = records.cells_table(one, laid, done)
    table = records.records_table(one, laid, done, cells)
    first = {
        factor: {name: _file_named(one, value) for name, value in configs[one.cells.index[factor][0]].values.items()}
        for factor, configs in one.cells.configs.items()
    }
    only = alone(suite, keep)
    return Explained(
        "-".join(filter(None, (suite.name, suite.profile))),
        {axis: str(one.cells.labels[axis].iloc[0]) for axis in _varied(suite)}, first,
        cells[["cell", "seed", "status", "reason"]].assign(cell=ids),
        _jobs(laid, found, ids, store), _values(table, ids), _figures(results, suite), only, command(only),
        list(store.notices),
    )  # fmt: skip


def _file_named(suite: Suite, value: Any) -> Any:
    """A parameter's value, a file of data as the suite names it with the hash of what it holds."""
    file = suite.tables.data.get(value) if isinstance(value, str) else None
    return value if file is None else f"{file} ({value[:19]})"


def alone(suite: Suite, keep: NDArray[np.bool_]) -> tuple[str, ...]:
    """Terms of `--only` that fit the cells of one combination where `keep` (C,) is true, and no others."""
    first = int(np.flatnonzero(keep)[0])
    terms = [f"{axis}={suite.cells.labels[axis].iloc[first]}" for axis in _varied(suite)]
    seeds = suite.cells.seed[keep]
    alike = _alike(suite, first)
    return tuple(terms if alike.sum() == keep.sum() else [*terms, f"seed={','.join(map(str, seeds))}"])


def _varied(suite: Suite) -> list[str]:
    """Axes of which the cells have several labels."""
    return [axis for axis in suite.axes if suite.cells.labels[axis].nunique() > 1]


def _alike(suite: Suite, cell: int) -> NDArray[np.bool_]:
    """Cells (C,) with the labels of this one, in whatever seed."""
    labels = suite.cells.labels
    found = np.ones(len(suite.cells), dtype=bool)
    for axis in suite.axes:
        codes = labels[axis].cat.codes.to_numpy()
        found &= codes == codes[cell]
    return found


def _chosen(suite: Suite, cell: int | str | Sequence[str]) -> NDArray[np.bool_]:
    """Cells (C,) of one combination. Raises UsageError."""
    from bench.suite.selectors import fitting

    count, terms = len(suite.cells), [cell] if isinstance(cell, str) else cell
    if isinstance(terms, Sequence) and len(terms) == 1 and terms[0].strip().lstrip("-").isdecimal():
        terms = int(terms[0])
    if not isinstance(terms, Sequence):
        if not 0 <= terms < count:
            near = min(max(terms, 0), count - 1)
            raise UsageError(f"no cell {terms}; {suite.name} has {count}, 0 to {count - 1}, of which {near} is nearest")
        return np.asarray(np.arange(count) == terms)
    for word in terms:
        if "=" not in word:
            known = [f"{axis}={label}" for axis in suite.axes for label in suite.cells.labels[axis].cat.categories]
            same = [term for term in known if term.partition("=")[2] == word]
            said = f"Did you mean {same[0]!r}?" if same else hint(word, known)
            raise UsageError(f"{word}: neither a cell's number, 0 to {count - 1}, nor key=value. {said}")
    keep = fitting(suite.cells, terms, "")
    left = suite.cells.labels[keep].drop_duplicates()
    if len(left) > 1:
        more = [
            f"{axis} ({', '.join(map(str, names[:SHOWN]))}{', ...' if len(names) > SHOWN else ''})"
            for axis in suite.axes
            if len(names := list(dict.fromkeys(left[axis]))) > 1
        ]
        raise UsageError(
            f"{' '.join(terms) or 'no term'}: leaves {len(left)} combinations in {int(keep.sum())} of {count} cells; "
            f"say more of {', '.join(more)}"
        )
    return keep


def _outcome(state: State, reason: str) -> Outcome:
    """A job's state as the records read it."""
    from bench.execute import Outcome

    if state.entry is not None:
        return Outcome("ok", entry=state.entry, stored=True, stale=state.stale)
    return Outcome(state.ended or state.status, reason)


def _reason(laid: Plan, found: Mapping[JobId, State], job: JobId) -> str:
    """Why a job has no result of the present code; empty where it has one."""
    state = found[job]
    if state.status == "failed":
        return state.reason
    if state.status == "running":
        return f"runs by {state.owner.words}" if state.owner else "runs"
    if state.status == "done":
        return ""
    todo = list(laid.jobs[job].inputs.values())
    while todo:
        kind, key = other = todo.pop()
        if found[other].status == "failed":
            return f"needs {kind} {key[:8]}, which has no result ({found[other].ended}: {found[other].reason})"
        todo += laid.jobs[other].inputs.values()
    return "not run yet"


def _jobs(laid: Plan, found: dict[JobId, State], ids: NDArray[np.int64], store: Store) -> pd.DataFrame:
    """A row per cell and job that it stands on, those that jobs need included, in the order of kinds."""
    import pandas as pd

    rows, order = [], list(KINDS)
    for i, cell in enumerate(ids.tolist()):
        todo = [job for column in laid.cells.values() if (job := column[i]) is not None]
        needed = dict.fromkeys(todo)
        while todo:
            new = [job for job in laid.jobs[todo.pop()].inputs.values() if job not in needed]
            needed |= dict.fromkeys(new)
            todo += new
        for job in sorted(needed, key=lambda job: order.index(job[0])):
            state, code, metric = found[job], laid.jobs[job].code, laid.jobs[job].recipe.carried.get("metric")
            entry, log = state.entry, store.log(*job, code)
            if entry is not None and "log.txt" in entry.files:
                log = entry.file("log.txt")
            seconds = entry.job.get("seconds") if entry else None
            rows.append(
                {
                    "cell": cell, "kind": job[0], "metric": metric.name if metric else "", "key": job[1],
                    "status": state.status,
                    "reason": ": ".join(filter(None, (state.ended, _reason(laid, found, job)))),
                    "seconds": float("nan") if seconds is None else float(seconds),
                    "code": ("stale" if state.stale else "ok") if entry else "",
                    "entry": str(entry.place) if entry else "", "log": str(log) if log.is_file() else "",
                }
            )  # fmt: skip
    columns = ["cell", "kind", "metric", "key", "status", "reason", "seconds", "code", "entry", "log"]
    return pd.DataFrame(rows, columns=columns)


def _values(table: pd.DataFrame, ids: NDArray[np.int64]) -> pd.DataFrame:
    """A row per cell and value, its floor and excess beside it; score: whether a metric of the suite made it."""
    import pandas as pd

    wide = table.assign(value=pd.to_numeric(table["value"]).astype(float))
    held = wide.set_index(["cell", "metric"])["value"]
    own = wide[~wide["metric"].str.endswith(SUFFIXES)]
    places = list(zip(own["cell"], own["metric"], strict=True))
    beside = {
        name: [held.get((cell, f"{metric}{end}"), np.nan) for cell, metric in places]
        for name, end in (("floor", FLOOR), ("excess", EXCESS))
    }
    kept = own[["cell", "metric", "value", "unit", "better", "status", "reason", "note"]].assign(
        **beside, cell=ids[own["cell"].to_numpy()], score=~own["metric"].isin(list(AUTOMATIC))
    )
    return kept[kept["value"].notna() | (kept["reason"] != "")].reset_index(drop=True)


def _with_floor(value: Mapping[Any, Any]) -> str:
    """A value with its unit, floor and excess; why there is none."""
    from bench.stats import named_unit

    if np.isnan(value["value"]):
        return f"no value ({value['reason']})"
    beside = [f"{name} {value[name]:.4g}" for name in ("floor", "excess") if not np.isnan(value[name])]
    beside += [value["note"]] if value["note"] else []
    inside = f" ({', '.join(beside)})" if beside else ""
    return f"{value['value']:.6g} {named_unit(value['unit'])}".rstrip() + inside


def _figures(results: Path, suite: Suite) -> list[Path]:
    """Figures of what the store holds of cells, samples above all, in the suite's report if it has been written."""
    from bench.report.figures import STORE_FIGURES

    folder = results / "-".join(filter(None, (suite.name, suite.profile))) / "figures"
    return [file for name in STORE_FIGURES for file in sorted(folder.glob(f"{name}.*"))]
