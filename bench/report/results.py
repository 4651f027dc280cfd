"""What a run left in its folder, read once: the suite, its cells and a number per cell and value.

Axes keep the suite's order and so do their labels. A value that was measured with several sample sizes, or
a time that was taken on several devices, becomes one column for each: such numbers never share a column.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.automatic import AUTOMATIC, EXCESS, FLOOR, FLOOR_SD, SUFFIXES
from bench.csv_text import read_csv
from bench.errors import Corrupt, StoreError
from bench.nfe import largest
from bench.report.seal import REMEDY, SUITE, TABLES, read_suite, read_table
from bench.report.shape import lacking
from bench.stats import is_excess, is_solver_axis, named_unit, over_seeds

COST_AXES = frozenset({"solver", "solver.steps", "solver.nfe", "solver.rtol", "solver.atol", "solver.tolerance"})
"""Parameters of a solver along which a curve runs; the others tell curves apart."""

NUMBERS = ("value", "n", "repeats", "seconds", "threads", "peak_mb")
TEXTS = ("status", "reason", "device", "note", "commit", "unit", "better", "log")


@dataclass(frozen=True)
class Score:
    """A column of scores: one value of one metric at one sample size.

    `key`, `floor`, `floor_sd` (over draws of the floor) and `excess` are columns of `Results.wide`, all but the key
    empty where there is none; `value` is its name in the records; n: samples per evaluation; `approximate`: whether any
    floor is.
    """

    key: str
    value: str
    unit: str
    direction: str
    n: int | None
    repeats: int | None
    floor: str
    floor_sd: str
    excess: str
    approximate: bool

    @property
    def label(self) -> str:
        """Axis title of a figure."""
        name = self.value.replace("_", " ") if self.value.isidentifier() else self.value
        tail = self.key.removeprefix(self.value)[1:-1]
        at = "".join(f", {part.replace('=', ' = ')}" for part in tail.split("][") if part)
        return f"{name}{at} [{self.unit}]" if self.unit else f"{name}{at}"

    @property
    def slug(self) -> str:
        """The key as a part of a file's name."""
        return file_part(self.key)

    @property
    def better(self) -> str:
        """Which way is better, in words."""
        return {"lower": "lower is better", "higher": "higher is better"}.get(self.direction, "neither way is better")

    @property
    def lower_is_better(self) -> bool:
        """False only where the metric says that higher is."""
        return self.direction != "higher"


@dataclass(frozen=True)
class Results:
    """A run's results. `wide` has a row per cell (index: cell id) and a column per value, nan where none."""

    folder: Path
    suite: dict[str, Any]
    cells: pd.DataFrame
    records: pd.DataFrame
    wide: pd.DataFrame
    scores: tuple[Score, ...]

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the label columns."""
        return tuple(self.suite["axes"])

    @functools.cached_property
    def made(self) -> dict[Any, Any]:
        """What takes long and several tables and figures show, by name: made once."""
        return {}

    @functools.cached_property
    def varied(self) -> tuple[str, ...]:
        """Axes with more than one label."""
        return tuple(axis for axis in self.axes if self.cells[axis].nunique() > 1)

    @functools.cached_property
    def combinations(self) -> pd.DataFrame:
        """One row per combination of axes, in the suite's order; index: `combo`; the columns of `cells`."""
        return self.cells.drop_duplicates("combo").set_index("combo").sort_index()

    def labels(self, axis: str) -> list[str]:
        """An axis's labels (any column of `cells`) in the suite's order."""
        return [str(label) for label in dict.fromkeys(self.cells[axis])]

    def over_seeds(self, key: str) -> pd.DataFrame:
        """mean, low, high, half, n of a column of `wide` over seeds, and `of`; index: `combo`.

        An excess's interval is not even about its mean: see `bench.stats.over_seeds`.
        """
        if ("over seeds", key) not in self.made:
            table = over_seeds(self.wide[key], self.cells["combo"], excess=self.holds_excess(key))
            self.made["over seeds", key] = table.reindex(self.combinations.index)
        found: pd.DataFrame = self.made["over seeds", key]
        return found.copy()

    def holds_excess(self, key: str) -> bool:
        """Whether a column of `wide` is an excess."""
        return is_excess(self.bases.get(key, key))

    @functools.cached_property
    def bases(self) -> dict[str, str]:
        """Of each column of `wide`, the value's name in the records."""
        once = self.records.drop_duplicates("metric")
        return dict(zip(once["metric"], once["base"], strict=True))

    @functools.cached_property
    def ends(self) -> pd.Series[str]:
        """How each cell ended: its status, and where that is ok, how the first score ended that it should have
        and lacks (or its floor or excess). Times are not asked for: they say themselves where they are missing.
        """
        lost = self.lost_values[~self.lost_values["base"].isin(list(AUTOMATIC))].drop_duplicates("cell")
        status, ended = self.cells["status"], lost.set_index("cell")["status"]
        return status.where(status != "ok", ended.reindex(status.index).fillna("ok"))

    @property
    def lost_values(self) -> pd.DataFrame:
        """The records of values that should be there and are not; what does not apply to a cell is none of them."""
        return self.records[self.records["missing"] & (self.records["status"] != "skipped")]

    def seeds_ok(self) -> pd.DataFrame:
        """How many cells have all their scores and how many there are: `sum`, `size`; index: `combo`."""
        return self.ends.eq("ok").groupby(self.cells["combo"]).agg(["sum", "size"]).astype(int)

    def lost(self, key: str) -> dict[int, str]:
        """Of each combination that lacks values of a column, how they ended: `failed`, or `failed, skipped`."""
        rows = self.records[(self.records["metric"] == key) & self.records["missing"]]
        statuses = rows.groupby(self.cells["combo"].reindex(rows["cell"]).to_numpy())["status"].unique()
        return {int(str(combo)): ", ".join(found) for combo, found in statuses.items()}

    def at_largest_nfe(self, axes: Sequence[str]) -> list[int]:
        """Of the combinations that agree on these columns the one that spends most, the first of equals."""
        nfe = self.over_seeds("nfe")["mean"]
        about = self.combinations
        groups = nfe.groupby([about[axis] for axis in axes], sort=False) if axes else [((), nfe)]
        return [int((largest(part) or part.index.tolist())[0]) for _, part in groups]

    @functools.cached_property
    def settings(self) -> tuple[str, ...]:
        """What tells cells apart but for what a solver spends: the axes that are not the solver's, and its name."""
        solver = "solver.name" in self.combinations and self.combinations["solver.name"].nunique() > 1
        return (*self.other_axes, *(["solver.name"] if solver else []))

    def approximate(self, score: Score) -> set[int]:
        """Combinations whose floor is approximate."""
        noted = (self.records["metric"] == score.floor) & self.records["note"].str.contains("approximate")
        return set(self.cells.loc[self.records.loc[noted, "cell"], "combo"])

    def times(self, name: str) -> dict[str, str]:
        """Columns of `wide` that hold a time, by device; one device, one column."""
        found = self.records[(self.records["base"] == name) & self.records["value"].notna()]
        return {str(device): str(key) for key, device in found.groupby("metric", sort=False)["device"].first().items()}

    @property
    def solver_axes(self) -> tuple[str, ...]:
        """Varied axes of the solver."""
        return tuple(axis for axis in self.varied if is_solver_axis(axis))

    @property
    def other_axes(self) -> tuple[str, ...]:
        """Varied axes that are not the solver's."""
        return tuple(axis for axis in self.varied if not is_solver_axis(axis))


def load_results(folder: Path) -> Results:
    """Read suite.json, tables/cells.csv and tables/records.csv of one run."""
    folder = folder.absolute()
    try:
        suite = read_suite(folder)
        if fault := lacking(suite):
            raise Corrupt(f"{folder / SUITE}: {fault}; {REMEDY}")
        cells, records = (read_csv(read_table(folder, name, suite)) for name in TABLES)
    except Corrupt:
        raise
    except FileNotFoundError:
        raise StoreError(f"{folder}: holds no results; run the suite first") from None
    except (OSError, ValueError) as error:
        raise StoreError(f"{folder}: no results that can be read ({error}); {REMEDY}") from error
    try:
        return _joined(folder, suite, cells, records)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise StoreError(
            f"{folder}: {SUITE} and the tables do not fit together ({type(error).__name__}: {error}); {REMEDY}"
        ) from error


def read_back(folder: Path, suite: dict[str, Any], cells: bytes, records: bytes) -> Results:
    """What a run found, from the contents of its files."""
    return _joined(folder, suite, read_csv(cells), read_csv(records))


def _joined(folder: Path, suite: dict[str, Any], cells: pd.DataFrame, records: pd.DataFrame) -> Results:
    missing = [axis for axis in ("cell", "seed", "status", *suite["axes"]) if axis not in cells]
    if missing:
        raise StoreError(f"{folder}/tables/cells.csv: no column {', '.join(missing)}; {REMEDY}")
    for column in ("cell", "seed"):
        cells[column], records[column] = cells[column].astype(int), records[column].astype(int)
    cells = cells.set_index("cell", drop=False).rename_axis(None)
    cells["combo"] = _combine(cells, suite["axes"])
    if "solver.name" in cells:
        cells["solver.kind"] = _kinds(cells, suite["axes"])
    values = suite["values"]
    names = [name for name in values if name not in AUTOMATIC and not name.endswith(SUFFIXES)]
    records = _typed(records, names)
    wide = records.drop_duplicates(["cell", "metric"], keep="last").pivot(
        index="cell", columns="metric", values="value"
    )
    wide = wide.reindex(cells.index).astype(float).rename_axis(columns=None)
    for name in AUTOMATIC:
        wide[name] = wide.get(name, np.nan)
    scores = tuple(score for name in names for score in _scores(name, values[name], records))
    return Results(folder, suite, cells, records, wide, scores)


def _typed(records: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Records with numbers as numbers, what is not finite as nan, `metric` qualified (see `_qualify`), the value's own
    name in `base`, and in `missing` whether a value should be there and is not.
    """
    records = records.assign(base=records["metric"])
    for column in NUMBERS:
        given = records[column] if column in records else pd.Series("", index=records.index)
        records[column] = pd.to_numeric(given, errors="coerce").astype(float)
    for column in TEXTS:
        records[column] = records[column].astype(str) if column in records else ""
    infinite = np.isinf(records["value"]) & (records["status"] == "ok")
    records.loc[infinite, ["status", "reason"]] = "diverged", "the value is infinite"
    records["value"] = records["value"].where(np.isfinite(records["value"]))
    records["missing"] = records["value"].isna() & ~records["status"].isin(["ok", ""])
    records["metric"] = _qualify(records, names)
    return records


def file_part(text: str) -> str:
    """Text as a part of a file's name: letters, digits, `.`, `_` and single dashes."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._") else "-" for c in text)
    return "-".join(part for part in kept.split("-") if part) or "value"


def _combine(cells: pd.DataFrame, axes: Sequence[str]) -> pd.Series[int]:
    if not axes:
        return pd.Series(0, index=cells.index)
    return cells.groupby(list(axes), sort=False).ngroup()


def _kinds(cells: pd.DataFrame, axes: Sequence[str]) -> pd.Series[str]:
    """Names of solvers, with what varies among those of one name beside what they cost, if no axis shows it."""
    kinds = cells["solver.name"].copy()
    settings = [c for c in map(str, cells) if c.startswith("solver.") and c not in {"solver.name", *COST_AXES, *axes}]
    for _, part in cells.groupby("solver.name"):
        for column in settings:
            if part[column].nunique() > 1:
                shown = column.removeprefix("solver.") + " " + part[column].where(part[column] != "", "none")
                kinds[part.index] += ", " + shown
    return kinds


def _qualify(records: pd.DataFrame, names: Sequence[str]) -> pd.Series[str]:
    """Column names of the values: with n where a score has several, with the device where a time has.

    A missing value has an n and so a column; what device it would have been timed on nobody knows.
    """
    metric = records["metric"].copy()
    there = records["value"].notna()
    for name in names:
        own = records["metric"].isin([name, *(f"{name}{end}" for end in SUFFIXES)])
        if records.loc[own & there & (records["metric"] == name), "n"].nunique() > 1:
            own &= records["n"].notna()
            metric[own] += records.loc[own, "n"].map(lambda n: f"[n={n:g}]")
    timed = (records["unit"] == "s") & there
    for name in records.loc[timed, "metric"].unique():
        own = timed & (records["metric"] == name)
        if records.loc[own, "device"].nunique() > 1:
            metric[own] += "[" + records.loc[own, "device"] + "]"
    return metric


def dataset_axis(axes: Iterable[str]) -> str | None:
    """The one of some axes that varies the data set, whose scores do not compare: the axis of panels."""
    return next((axis for axis in axes if axis.partition(".")[0] == "dataset"), None)


def _scores(name: str, about: dict[str, Any], records: pd.DataFrame) -> list[Score]:
    """One Score per column that the value became; none where no cell has it."""
    found = records[(records["base"] == name) & records["value"].notna()]
    columns = set(records.loc[records["value"].notna(), "metric"])
    scores = []
    for key, rows in sorted(found.groupby("metric", sort=False), key=lambda item: float(item[1]["n"].iloc[0])):
        tail = str(key).removeprefix(name)
        floor, floor_sd, excess = (f"{name}{end}{tail}" for end in (FLOOR, FLOOR_SD, EXCESS))
        notes = records.loc[records["metric"] == floor, "note"]
        scores.append(
            Score(
                key=str(key),
                value=name,
                unit=named_unit(about.get("unit")),
                direction=str(about.get("direction") or "lower"),
                n=_only(rows["n"]),
                repeats=_only(rows["repeats"]),
                floor=floor if floor in columns else "",
                floor_sd=floor_sd if floor_sd in columns else "",
                excess=excess if excess in columns else "",
                approximate=bool(notes.str.contains("approximate").any()),
            )
        )
    return scores


def _only(numbers: pd.Series[float]) -> int | None:
    """The one number of a column, or none where there are none or several."""
    distinct = numbers.dropna().unique()
    return int(distinct[0]) if len(distinct) == 1 else None
