"""The report of one run: tables, figures and a page in GitHub's Markdown, made from its files alone.

The same files give the same bytes: the page bears no date, and nothing here draws random numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from bench.errors import StoreError
from bench.report import html
from bench.report.claims import claims_text
from bench.report.failures import failure_groups, failures
from bench.report.figures import draw_figures
from bench.report.latex import latex_files
from bench.report.results import Results, Score, load_results
from bench.report.seal import HTML, PAGE, REMEDY, SUITE, is_sealed, lay_out
from bench.report.tables import (
    compact,
    escape,
    headline_text,
    linked,
    markdown,
    plain_table,
    prose,
    published_text,
    table_files,
)
from bench.report.traced import trace
from bench.titles import titles
from bench.verdicts import answer, claims_table, effects_table, fronts_table, what_matters
from bench.words import duration

TEMPLATE = "report.md.jinja"
FAILURE_ROWS = 30
EFFECT_ROWS, SHARE_LEAST = 6, 0.005
"""Most factors and interactions that a score shows, and the least share of one that is shown."""

FOREST = "figures/claims."
"""The figure that shows the claims, which stands with them."""

DATED = ("started", "date", "time", "host", "hostname", "user")
"""Provenance that the page leaves out: it would change from run to run and tells a reader nothing."""


class Shown(NamedTuple):
    """A table of text, and which of its columns hold words and stand to the left."""

    table: pd.DataFrame
    words: Sequence[str]


@dataclass(frozen=True)
class Report:
    """What was written: the page, its headline as text cells, and what could not be made."""

    page: Path
    headline: pd.DataFrame
    note: str
    warnings: list[str]
    verified: bool
    """Whether what it was made from carries checksums; folders of older versions do not."""

    @property
    def path(self) -> Path:
        """Where the page is."""
        return self.page


def write_report(folder: Path, store_root: Path | None = None, traced: bool = False) -> Report:
    """Write tables/, figures/ and report.md of the run in `folder` (results/<suite>/).

    Without `store_root` (results/store) the figures of losses and samples stay as they are. With `traced` every
    number is compared with the entries that it was made from. Raises StoreError where the folder holds no run, or not
    what the run wrote.
    """
    results = load_results(Path(folder))
    with _fitting(results.folder):
        found = trace(results, store_root) if traced else None
        files = {name: text.encode("utf-8", "backslashreplace") for name, text in table_files(results).items()}
        files |= {name: text.encode("utf-8", "backslashreplace") for name, text in latex_files(results).items()}
        table, note = compact(results, headline_text(results))
        figures, drawn, warnings = draw_figures(results, store_root)
        about = _context(results)
        about |= {
            "headline": Shown(table, results.varied),
            "headline_note": note,
            "forest": next((figure for figure in figures if figure.file.startswith(FOREST)), None),
            "figures": [figure for figure in figures if not figure.file.startswith(FOREST)],
            "warnings": warnings,
        }
        files |= drawn
        files[PAGE] = _render(about).encode("utf-8", "backslashreplace")
        files[HTML] = html.render(results, about, drawn).encode("utf-8", "backslashreplace")
    lay_out(results.folder, results.suite, files)
    if found and found.words:
        warnings.append(found.words)
    return Report(results.folder / PAGE, table, note, warnings, is_sealed(results.suite))


@contextmanager
def _fitting(folder: Path) -> Iterator[None]:
    """Say where a folder's files, each of them readable, do not fit together."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise StoreError(
            f"{folder}: {SUITE} and the tables do not fit together ({type(error).__name__}: {error}); {REMEDY}"
        ) from error


def headline_plain(run: Report | Results | Path, width: int = 100) -> str:
    """The headline for a terminal of `width` columns, of a report, of results or of a run's folder."""
    if isinstance(run, Report):
        table, note = run.headline, run.note
    else:
        results = run if isinstance(run, Results) else load_results(Path(run))
        with _fitting(results.folder):
            table, note = compact(results, headline_text(results))
    return plain_table(table, width) + (f"{note}\n" if note else "")


def _render(about: Mapping[str, Any]) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip
    templates.filters |= {"text": escape, "linked": linked, "prose": prose}
    templates.filters["table"] = lambda shown: markdown(shown.table, shown.words)
    text = templates.get_template(TEMPLATE).render(about)
    lines = [line.rstrip() for line in text.splitlines()]
    kept = [line for i, line in enumerate(lines) if line or (i and lines[i - 1])]
    return "\n".join(kept).rstrip() + "\n"


def _context(results: Results) -> dict[str, Any]:
    """Everything that the template shows, worded and counted here."""
    suite, cells = results.suite, results.cells
    groups, missing = failure_groups(results), failures(results)
    stated = claims_table(results)
    shown = claims_text(results, stated)
    return {
        "suite": suite,
        "seeds": suite["seeds"],
        "dataset": _dataset(results),
        "cells": len(cells),
        "combinations": len(results.combinations),
        "axes": [(axis, results.labels(axis)) for axis in results.axes],
        "statuses": _counts(results.ends),
        "jobs": _jobs(suite.get("jobs") or {}),
        "duration": "" if suite.get("seconds") is None else duration(suite["seconds"]),
        "provenance": _provenance(results),
        "scores": results.scores,
        "pivots": [(score.key, f"tables/{score.slug}.md") for score in results.scores],
        "reading": _reading(results),
        "settled": bool(suite.get("settled")),
        "answer": answer(results),
        **_effects(results),
        "claims": stated.to_dict("records"),
        "claims_table": Shown(shown, ("claim", "verdict", "effect", "source")),
        "published": Shown(published_text(results), ("where", "metric", "grade", "source"))
        if suite.get("published")
        else None,
        "failures": len(missing),
        "missing": ", ".join(f"{count} {status}" for status, count in _counts(missing["status"]).items()),
        "failure_table": Shown(groups.head(FAILURE_ROWS), ("status", "of", "where", "reason", "log")),
        "failure_rest": max(0, len(groups) - FAILURE_ROWS),
        "exclusions": suite.get("exclusions") or [],
        "fixed": _fixed(suite.get("fixed") or {}),
        "notices": [*(suite.get("notices") or []), *_noted(results.records)],
    }


def _counts(statuses: pd.Series[str]) -> dict[str, int]:
    """How many there are of each status, ok first."""
    found = {str(status): int(count) for status, count in statuses.value_counts().sort_index().items()}
    return {status: found[status] for status in sorted(found, key=lambda status: status != "ok")}


def _dataset(results: Results) -> str:
    """The one data set of a run, or its data sets, by name; empty where the folder does not say."""
    names = results.labels("dataset.name") if "dataset.name" in results.cells else []
    return ", ".join(names or [str(results.suite["fixed"].get("dataset.name") or "")])


def _effects(results: Results) -> dict[str, Any]:
    """What matters, as a table of the largest shares, and what it leaves out."""
    table, left_out = effects_table(results)
    found = what_matters(table, {score.key: score.direction for score in results.scores})
    shown = found[found["share"] >= SHARE_LEAST].groupby("metric", sort=False).head(EFFECT_ROWS)
    names = titles(results.scores)
    shown = shown.assign(
        metric=[names[key] for key in shown["metric"]], share=[f"{100 * share:.0f} %" for share in shown["share"]]
    )
    shown.columns = ["metric", "factor", "share of variance", "best level", "its effect"]
    return {
        "effects": Shown(shown, ("metric", "factor", "best level")) if len(shown) else None,
        "effects_left": [(metric, text) for metric, text in left_out.items() if text],
        "fronts": len(fronts_table(results)) > 0,
    }


def _noted(records: pd.DataFrame) -> list[str]:
    """What the records say of themselves: timings beside other work, results of older code."""
    found = []
    for base, what in (("sample_seconds", "sampling"), ("train_seconds", "training")):
        timed = records[(records["base"] == base) & records["value"].notna()]
        if busy := int(timed["note"].str.contains("busy").sum()):
            found.append(f"{busy} of {len(timed)} {what} times were taken while the machine was busy with other work.")
    if stale := records.loc[records["note"].str.contains("stale"), "cell"].nunique():
        found.append(f"{stale} cells hold results of older code, kept as asked.")
    return found


def _jobs(jobs: Mapping[str, Mapping[str, Any]]) -> str:
    """Jobs in words: `train: 6 done; score: 54 done, 12 taken from the store`."""
    words = {"done": "done", "stored": "taken from the store", "failed": "failed"}
    parts = [
        f"{kind} " + ", ".join(f"{counts[key]} {word}" for key, word in words.items() if counts.get(key))
        for kind, counts in jobs.items()
        if any(counts.get(key) for key in words)
    ]
    return "; ".join(parts)


def _provenance(results: Results) -> list[tuple[str, str]]:
    """What the numbers were made with, as (name, text) pairs, without dates."""
    given: dict[str, Any] = {}
    for key, value in results.suite["provenance"].items():
        given |= {str(k): v for k, v in value.items()} if isinstance(value, dict) else {str(key): value}
    commit, dirty = given.pop("commit", None), given.pop("dirty", None)
    code = f"commit {str(commit)[:12]}" if commit else "not under version control"
    rows = [("code", code + (", with uncommitted changes" if dirty else ""))]
    records = results.records
    made = sorted(set(records["commit"]) - {"", "None", "nan", str(commit)})
    if made:
        rows.append(("some results are of", ", ".join(f"commit {one[:12]}" for one in made[:5])))
    devices = [device for device in dict.fromkeys(records["device"]) if device]
    threads = sorted({int(count) for count in records["threads"].dropna()})
    rows += [("device", ", ".join(devices))] if devices else []
    rows += [("threads per job", ", ".join(map(str, threads)))] if threads else []
    for key, title in (("plugins", "plugins"), ("data", "files of data")):
        files = [f"{each['file']} (sha256 {each['sha256'][:12]})" for each in results.suite.get(key) or []]
        rows += [(title, ", ".join(files))] if files else []
    rows += [(key, str(value)) for key, value in given.items() if key not in DATED and value not in (None, "")]
    return rows


def _fixed(fixed: Mapping[str, Any]) -> Shown | None:
    """Settings that are the same in all cells, a row per factor."""
    rows: dict[str, list[str]] = {}
    for key, value in fixed.items():
        factor, _, name = key.partition(".")
        shown = "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        rows.setdefault(factor, []).append(f"{name} = {shown}" if name and name != "name" else shown)
    table = pd.DataFrame([(factor, ", ".join(parts)) for factor, parts in rows.items()], columns=["factor", "setting"])
    return Shown(table, ("factor", "setting")) if rows else None


def _reading(results: Results) -> list[tuple[str, str]]:
    """How to read the numbers: a paragraph for each thing that this run shows."""
    scores, wide, called = results.scores, results.wide, titles(results.scores)
    least = int((results.suite.get("seeds") and len(results.suite["seeds"])) or 0)
    paragraphs = [(called[score.key], _score_words(score)) for score in scores]
    if least > 1:
        text = (
            "means over seeds with a 95 % t interval, as 0.53 ± 0.04; one seed is one observation. `(2/3)` behind a "
            "number says that only so many cells have it: a cell that failed is counted, never averaged away. "
            "Seeds that fall into two clusters have no mean: `0.27 to 0.39 (4 seeds) and 0.89 to 1.09 (3)`."
        )
    else:
        text = "one seed each: there is no interval, and a difference seen here was seen once."
    paragraphs.append(("Numbers", text))
    if any(score.floor for score in scores):
        text = "what a perfect sampler would score against the same reference with as many samples."
        if any(score.approximate for score in scores):
            text += " `≈` marks a floor from a second draw of the data, where the exact flow is not known."
        for score in scores:
            if score.floor_sd:
                mean, sd = (wide[column].mean() for column in (score.floor, score.floor_sd))
                drawn = f"with a standard deviation of {sd:.2g} over random draws of the data"
                text += f" {called[score.key]}: {mean:.3g}, {drawn}."
        paragraphs.append(("Floor", text))
    if any(score.excess for score in scores):
        text = (
            "what a score holds beyond its floor, in the score's unit. The gap score² − floor² is averaged over "
            "evaluations and seeds and has the 95 % t interval; the root comes last, of the mean and of both ends, "
            "each with its sign. So its interval is not even: `0.09 (-0.05 to 0.15)`. Below 0 is below the floor. Each "
            "seed's own root stands in the records; claims on an excess compare gaps."
        )
        paragraphs.append(("Excess", text))
    if wide["nfe"].notna().any():
        text = "field evaluations per sample, counted as they are made; an adaptive solver's is a mean over seeds."
        paragraphs.append(("NFE", text))
    if devices := results.times("sample_seconds"):
        on = " or ".join(name for name in devices if name) or "one device"
        text = f"median seconds for one evaluation's samples, warm, on {on}; times of different devices do not compare."
        if "cuda" in on:
            text += " What noise a sampler draws as it goes (ddpm, euler_maruyama) is drawn on the CPU and counts."
        paragraphs.append(("Sampling time", text))
    given = results.suite.get("terms") or {}
    return [*paragraphs, *((str(name), str(words)) for name, words in given.items())]


def _score_words(score: Score) -> str:
    """A score's unit, direction, sample size and repeats."""
    unit = f"in {score.unit}, " if score.unit else ""
    size = f", {score.n} samples per evaluation" if score.n else ""
    mean = f", {score.repeats} evaluations averaged within a seed" if (score.repeats or 1) > 1 else ""
    return f"`{score.key}` in files, {unit}{score.better}{size}{mean}."
