"""What a run found, as tidy tables: one row per cell, metric and value.

A metric's direction stands in the column `better` (lower, higher or none), since `direction` is a factor.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bench.automatic import AUTOMATIC, EXCESS, FLOOR, FLOOR_SD
from bench.csv_text import csv_text
from bench.datafiles import NAME
from bench.errors import StoreError
from bench.kinds import KINDS
from bench.stats import excess

if TYPE_CHECKING:
    from bench.execute import Outcome, Results
    from bench.interfaces import Metric
    from bench.planner import Plan
    from bench.recipes import JobId
    from bench.suite import Suite
    from bench.suite.model import Claim, Published

ALWAYS = ("dataset.name", "path.name", "net.name", "solver.name")
"""Resolved columns that every table of cells carries, whether they vary or not."""

VERSIONS = ("python", "torch", "pot")
"""Libraries whose versions each record carries; the rest stand in suite.json and in the store."""

STANDING = ("train", "sample")
"""Kinds of job that a cell stands or falls with."""


def cells_table(suite: Suite, plan: Plan, results: Results) -> pd.DataFrame:
    """One row per cell: labels, resolved parameters that vary, status with reason, entries in the store."""
    cells = suite.cells
    resolved = cells.resolved()
    varied = [name for name in resolved if _distinct(resolved[name]) > 1]
    shown = [name for name in resolved if name in ALWAYS or name in varied]
    shown = [name for name in shown if name not in suite.axes]
    table: pd.DataFrame = pd.concat(
        [
            pd.DataFrame({"cell": np.arange(len(cells)), "seed": cells.seed}),
            cells.labels.astype(str).reset_index(drop=True),
            resolved[shown].reset_index(drop=True),
        ],
        axis=1,
    )
    statuses = [_status(plan, results, cell) for cell in range(len(cells))]
    table["status"] = [status for status, _ in statuses]
    table["reason"] = [reason for _, reason in statuses]
    for kind in ("train", "sample", "reference"):
        table[f"{kind}_entry"] = [_place(results, job) for job in plan.cells[kind]]
    return table


def fixed(suite: Suite) -> dict[str, Any]:
    """Resolved parameters that are the same in every cell."""
    resolved = suite.cells.resolved()
    return {str(name): resolved[name].iloc[0] for name in resolved if _distinct(resolved[name]) == 1}


def _distinct(column: pd.Series[Any]) -> int:
    """Number of distinct values, none among them: pandas leaves that out of nunique."""
    return int(column.map(repr).nunique())


def records_table(suite: Suite, plan: Plan, results: Results, cells: pd.DataFrame) -> pd.DataFrame:
    """Tidy records; a cell without a result has its rows too, empty, with status and reason."""
    head = cells[["cell", "seed", *suite.axes]]
    sizes = [int(config.values["n"]) for config in suite.cells.configs["sampling"]]
    n = np.asarray(sizes)[suite.cells.index["sampling"]]
    metrics = _metrics(suite)
    rows = [row for cell in range(len(cells)) for row in _rows(metrics, plan, results, cell, int(n[cell]))]
    return head.merge(pd.DataFrame(rows), on="cell")


def _metrics(suite: Suite) -> dict[str, Metric]:
    """The suite's metrics by name."""
    return {str(config.name): suite.tables.build(config) for config in suite.metrics}


def _rows(metrics: Mapping[str, Metric], plan: Plan, results: Results, cell: int, n: int) -> Iterator[dict[str, Any]]:
    for name, about in AUTOMATIC.items():
        if about.kind not in plan.cells:
            continue  # what scoring took is added up below
        job = plan.cells[about.kind][cell]
        if job is None and cell not in plan.refused:
            continue  # the oracle has no training to report on
        outcome = _outcome(plan, results, cell, job)
        value = outcome.entry.job.get(name) if outcome.ok and outcome.entry else None
        if value is None and outcome.ok:
            continue  # no epochs where every training point is fresh
        note = "machine busy" if outcome.entry and outcome.entry.job.get("busy") else ""
        yield _row(cell, name, value, about.unit, about.better, n, outcome, note=note, made=_made(name, outcome))
    spent, last = 0.0, None
    scores: list[Outcome] = []
    for key, metric in metrics.items():
        done = _outcome(plan, results, cell, plan.cells[f"score/{key}"][cell])
        spent += done.entry.job["score_seconds"] if done.ok and done.entry else math.nan
        scores.append(done)
        floor_job = plan.cells[f"floor/{key}"][cell]
        floor_done = _outcome(plan, results, cell, floor_job)
        for value, measured in metric.values.items():
            scored, floored = _of_value(done, value), _of_value(floor_done, value)
            name, unit, direction = metric.label(value), measured.unit, measured.direction
            values = _values(scored, value)
            mine, its = _made(value, scored), _made(value, floored)
            yield _row(cell, name, _mean(values), unit, direction, n, scored, made=mine)
            if floor_job is None or direction == "none":
                continue
            floors = _values(floored, value)
            note = "" if metric.draws_floor else _floor_note(plan, results, cell)
            yield _row(cell, f"{name}{FLOOR}", _mean(floors), unit, "none", n, floored, note=note, made=its)
            if metric.draws_floor:
                sd = float(np.std(floors, ddof=1)) if len(floors) > 1 else None
                yield _row(cell, f"{name}{FLOOR_SD}", sd, unit, "none", n, floored, made=its)
            if not metric.excess:
                continue
            both = scored if not scored.ok else floored
            over = excess(values, floors) if values and floors else None
            made = f"{mine} {its}" if mine and its else ""
            yield _row(cell, f"{name}{EXCESS}", over, unit, direction, n, both, note=note, made=made)
        last = done if last is None or last.ok else last  # the first that failed, where one did
    if last is not None:
        about = AUTOMATIC["score_seconds"]
        value = None if math.isnan(spent) else spent
        yield _row(
            cell, "score_seconds", value, about.unit, about.better, n, last, made=_made("score_seconds", *scores)
        )


def _row(
    cell: int,
    metric: str,
    value: float | None,
    unit: str,
    direction: str,
    n: int,
    outcome: Outcome,
    note: str = "",
    made: str = "",
) -> dict[str, Any]:
    job: Mapping[str, Any] = outcome.entry.job if outcome.entry else {}
    notes = [text for text in (note, "stale" if outcome.stale else "") if text]
    started = job.get("started")
    return {
        "cell": cell,
        "metric": metric,
        "value": value,
        "unit": unit,
        "better": direction,
        "n": n,
        "repeats": job.get("repeats", 1) if job else None,
        "status": outcome.status,
        "reason": outcome.reason,
        "log": f"store/{outcome.log}" if outcome.log else "",
        "note": "; ".join(notes),
        "seconds": job.get("seconds"),
        "device": job.get("device", ""),
        "threads": job.get("threads"),
        "started": datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds") if started else "",
        "peak_mb": job.get("peak_mb"),
        "commit": job.get("commit") or "",
        "dirty": job.get("dirty"),
        "code": job.get("code", ""),
        "entries": made if value is not None else "",
        "versions": " ".join(f"{name} {job['versions'][name]}" for name in VERSIONS) if job.get("versions") else "",
    }


def _made(value: str, *outcomes: Outcome) -> str:
    """What a number was made from: `<kind>/<key>-<code>#<value>` of each entry, with a space between."""
    entries = [outcome.entry for outcome in outcomes if outcome.entry is not None]
    return " ".join(f"{entry.kind}/{entry.key}-{entry.code}#{value}" for entry in entries)


def _outcome(plan: Plan, results: Results, cell: int, job: JobId | None) -> Outcome:
    from bench.execute import Outcome

    if cell in plan.refused:
        return Outcome("skipped", plan.refused[cell])
    return results.outcomes[job] if job else Outcome("skipped", "")


def _of_value(outcome: Outcome, value: str) -> Outcome:
    """What became of one value of a score: one that a cell lacks is skipped, its job and the cell are well."""
    job: Mapping[str, Any] = outcome.entry.job if outcome.ok and outcome.entry else {}
    if undefined := job.get("undefined"):
        return replace(outcome, status="skipped", reason=undefined)
    refused = job.get("refused", {}).get(value)
    return replace(outcome, status="failed", reason=refused) if refused else outcome


def _status(plan: Plan, results: Results, cell: int) -> tuple[str, str]:
    """The status of a cell's training and sampling, with its reason; what could not be scored or timed is a row."""
    if cell in plan.refused:
        return "skipped", plan.refused[cell]
    outcomes = [results.outcomes[job] for kind in STANDING if (job := plan.cells[kind][cell]) is not None]
    worst = next((outcome for outcome in outcomes if not outcome.ok), outcomes[-1])
    return worst.status, worst.reason


def _values(outcome: Outcome, name: str) -> list[float]:
    if not (outcome.ok and outcome.entry):
        return []
    values: dict[str, list[float]] = outcome.entry.job["values"]
    if name not in values:
        raise StoreError(f"{outcome.entry.place}: holds no value {name}; move it away, and run the suite again")
    return values[name]


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _floor_note(plan: Plan, results: Results, cell: int) -> str:
    job = plan.cells["reference"][cell]
    entry = results.outcomes[job].entry if job and job in results.outcomes else None
    return "approximate" if entry and entry.job.get("floor") == "scramble" else ""


def _place(results: Results, job: JobId | None) -> str:
    outcome = results.outcomes.get(job) if job else None
    if outcome is None or outcome.entry is None:
        return ""
    return f"{outcome.entry.kind}/{outcome.entry.place.name}"


def page(
    suite: Suite,
    results: Results,
    provenance: Mapping[str, Any],
    command: str,
    seconds: float,
) -> dict[str, Any]:
    """What the report says about a suite beside its records: plain JSON."""
    values: dict[str, dict[str, Any]] = {
        name: {"unit": about.unit, "direction": about.better, "floored": False} for name, about in AUTOMATIC.items()
    }
    shown = dict[str, str]()
    for metric in _metrics(suite).values():
        for value, measured in metric.values.items():
            shown[value] = name = metric.label(value)
            shown[f"{value}_excess"] = f"{name}{EXCESS}"
            values[name] = {"unit": measured.unit, "direction": measured.direction, "floored": metric.floored}
    return {
        "suite": suite.name,
        "report": _report_code(),
        "question": suite.question,
        "profile": suite.profile,
        "seeds": list(suite.seeds),
        "axes": list(suite.axes),
        "fixed": fixed(suite),
        "claims": [_claim(claim, shown) for claim in suite.claims],
        "published": [_published(number, shown) for number in suite.published],
        "exclusions": [{"where": e.where, "because": e.because, "cells": e.count} for e in suite.exclusions],
        "plugins": [{"file": plugin.file, "sha256": plugin.sha256} for plugin in suite.plugins],
        "data": _data(suite),
        "metrics": [metric.name for metric in suite.metrics],
        "values": values,
        "terms": terms(suite),
        "provenance": dict(provenance),
        "notices": [],
        "command": command,
        "seconds": round(seconds, 1),
        "jobs": {
            kind: {
                "done": results.count(kind, stored=False),
                "stored": results.count(kind, stored=True),
                "failed": results.failed(kind),
            }
            for kind in KINDS
        },
    }


def _data(suite: Suite) -> list[dict[str, str]]:
    """The files of data that the suite's cells and metrics name, each with the hash of what it holds."""
    configs = [*suite.metrics, *(config for held in suite.cells.configs.values() for config in held)]
    names = {name for config in configs for name in NAME.findall(config.plain)}
    files = {name: file for name, file in suite.tables.data.items() if name in names}
    return [{"file": file, "sha256": name.removeprefix("sha256:")} for name, file in files.items()]


def terms(suite: Suite) -> dict[str, str]:
    """What the components and choices that a reader meets here are, in the first line of their own docstrings.

    Left out is what is usual and the same everywhere; the data set is named always.
    """
    from bench.components import CHOICES, ROOMS, first_line

    found = dict[str, str]()
    for factor, configs in suite.cells.configs.items():
        if factor in CHOICES and len(configs) > 1:
            found[factor] = CHOICES[factor].meaning
        for config in configs if factor in ROOMS else ():
            if config.name and (factor == "dataset" or len(configs) > 1 or config.name != ROOMS[factor].default):
                found[f"{factor} {config.name}"] = first_line(suite.tables.cls(factor, config.name))
    for config in suite.metrics:
        found[f"metric {config.name}"] = first_line(suite.tables.cls("metric", config.name))
    return {name: words for name, words in found.items() if words}


def _claim(claim: Claim, shown: Mapping[str, str]) -> dict[str, Any]:
    """`sides` are the two selectors without what both say: what tells the sides apart."""
    own = [
        _selector({key: value for key, value in one.items() if other.get(key) != value}) or _selector(one)
        for one, other in ((claim.better, claim.than), (claim.than, claim.better))
    ]
    return {
        "claim": claim.claim,
        "metric": shown.get(claim.metric, claim.metric),
        "better": _selector(claim.better),
        "than": f"{claim.reaches:g} × floor" if claim.reaches else _selector(claim.than),
        "sides": own,
        "by": claim.by,
        "margin": claim.margin,
        "at": claim.at,
        "reaches": claim.reaches,
        "source": claim.source,
        "because": claim.because,
        "topic": claim.topic,
        "pairs": [list(pair) for pair in claim.pairs],
    }


def _published(number: Published, shown: Mapping[str, str]) -> dict[str, Any]:
    return {
        "where": number.where,
        "metric": shown.get(number.metric, number.metric),
        "mean": number.mean,
        "sd": number.sd,
        "n": number.n,
        "source": number.source,
        "cells": list(number.cells),
    }


def as_written(
    cells: pd.DataFrame, records: pd.DataFrame, about: Mapping[str, Any]
) -> tuple[dict[str, Any], bytes, bytes]:
    """suite.json and the two tables as `write` lays them out, for those who read them without a folder."""
    texts = _texts(cells, records)
    return _as_read(about), texts["tables/cells.csv"], texts["tables/records.csv"]


OURS = re.compile(r"^\s*(?:from|import) bench\.([\w.]+)", re.MULTILINE)
"""Imports of this package's modules, as a file writes them."""

VOLATILE = ("seconds", "jobs", "command", "provenance", "notices")
"""What a page says of the run rather than of the results."""


def write(folder: Path, cells: pd.DataFrame, records: pd.DataFrame, about: Mapping[str, Any]) -> None:
    """suite.json and the two tables that everything else is made from, with their checksums."""
    from bench.report.seal import write_run

    write_run(folder, _texts(cells, records), _as_read(about))


def is_current(folder: Path, cells: pd.DataFrame, records: pd.DataFrame, about: Mapping[str, Any]) -> bool:
    """Whether a folder's report already says all this, whole, and made by this version of the report's code."""
    from bench.report import seal

    return seal.is_current(folder, _texts(cells, records), _as_read(about), VOLATILE)


def _as_read(about: Mapping[str, Any]) -> dict[str, Any]:
    """What is said of a suite as it will be read again: plain JSON."""
    plain: dict[str, Any] = json.loads(json.dumps(about, default=_plain))
    return plain


def _texts(cells: pd.DataFrame, records: pd.DataFrame) -> dict[str, bytes]:
    texts = {
        "tables/cells.csv": csv_text(cells),
        "tables/records.csv": csv_text(records, "%.9g"),
    }
    return {name: text.encode("utf-8", "backslashreplace") for name, text in texts.items()}


def _report_code() -> str:
    """Hash of the files that draw the report, so that a better report is drawn without a new result.

    By whole files, which is quick: a comment that changed costs a report, and no job.
    """
    root = Path(__file__).parent
    files = {file for file in (root / "report").rglob("*") if file.suffix in (".py", ".jinja", ".css", ".js")}
    todo = [file for file in files if file.suffix == ".py"]
    while todo:
        for name in OURS.findall(todo.pop().read_text(encoding="utf-8")):
            path = root.joinpath(*name.split("."))
            for file in (path.with_suffix(".py"), path / "__init__.py"):
                if file not in files and file.is_file():
                    files.add(file)
                    todo.append(file)
    lines = [f"{file.relative_to(root)} {hashlib.sha256(file.read_bytes()).hexdigest()}" for file in sorted(files)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else str(value)


def _selector(selector: Mapping[str, Any]) -> str:
    terms = []
    for key, value in selector.items():
        several = isinstance(value, tuple | list)
        terms.append(f"{key}: {' or '.join(map(str, value)) if several else value}")
    return ", ".join(terms)
