"""Whether the numbers of a report are those of the store.

Each number is made again from the entries that its record names, and these must be entries of the record's cell: what
they were made from, their seed and their parameters are compared with the cell's row. No number may lack entries, and
no cell a row for each value. Labels are the suite's own words, which the store does not know.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.automatic import AUTOMATIC, EXCESS, FLOOR_SD
from bench.errors import Corrupt, StoreError
from bench.kinds import KINDS
from bench.report.results import Results
from bench.report.seal import REMEDY
from bench.stats import excess
from bench.store.entries import FORMS, locate, read_entry

NAMED = re.compile(r"([a-z_]{1,40})/([0-9a-f]{2,64})-([0-9a-f]{2,64})#([A-Za-z_]\w{0,199})", re.ASCII)
PRINTED = "%.9g"
"""How records keep a number."""


STANDING = ("train", "sample", "reference")
"""Kinds of entries that a row of cells.csv names."""

LAWS = ("known", "law")
"""Roles in which a job has the cell's data set under another name."""


class Named(NamedTuple):
    """An entry and a value of it."""

    kind: str
    key: str
    code: str
    value: str

    @property
    def entry(self) -> str:
        """The entry as cells.csv names it."""
        return f"{self.kind}/{self.key}-{self.code}"

    @property
    def text(self) -> str:
        """The whole as records.csv names it."""
        return f"{self.entry}#{self.value}"


class Traced(NamedTuple):
    """Numbers that the store confirms, and those whose entries it does not hold."""

    confirmed: int
    absent: int

    @property
    def words(self) -> str:
        """One sentence, of what cannot be said."""
        if not self.absent:
            return ""
        every = self.absent + self.confirmed
        return (
            f"{self.absent} of {every} numbers could not be held against the store, which lacks what they were made of"
        )


def trace(results: Results, store_root: Path | None) -> Traced | None:
    """Compare every number with its entries; StoreError at the first that differs. None where records name none."""
    records = results.records
    if "entries" not in records or not records["entries"].astype(bool).any():
        return None
    _check_rows(results)
    jobs = _Jobs(store_root)
    rows = results.cells.to_dict("records")
    cells: dict[int, dict[str, Any]] = {int(row["cell"]): {str(k): v for k, v in row.items()} for row in rows}
    for cell in cells.values():
        _check_cell(results, cell, jobs)
    confirmed = absent = 0
    numbered = records[records["value"].notna()]
    for row in numbered[["cell", "base", "value", "entries"]].itertuples(index=False):
        place = f"{results.folder}/tables/records.csv: cell {row.cell}, {row.base}"
        named = [_named(name) for name in str(row.entries).split(" ")]
        found = [jobs.job(*name[:3]) for name in named]
        if None in found:
            absent += 1
            continue
        for name, job in zip(named, found, strict=True):
            if name.value not in str(row.base) or not _belongs(name, job or {}, cells[int(str(row.cell))]):
                raise StoreError(f"{place}: {name.text} is no entry of this cell; {REMEDY}")
        numbers = [_numbers(job or {}, name.value) for name, job in zip(named, found, strict=True)]
        due, there = _made(str(row.base), numbers), float(str(row.value))
        if PRINTED % due != PRINTED % there:
            raise StoreError(f"{place}: {there:.9g}, and the store holds {due:.9g} ({row.entries}); {REMEDY}")
        confirmed += 1
    return Traced(confirmed, absent)


def _check_rows(results: Results) -> None:
    """StoreError where a number names no entries, or a cell lacks a row for a value, or a combination a seed."""
    records, cells = results.records, results.cells
    bare = records[records["value"].notna() & (records["entries"] == "")]
    for row in bare[["cell", "base"]].itertuples(index=False):
        raise StoreError(
            f"{results.folder}/tables/records.csv: cell {row.cell}, {row.base}: a number that names no entry; {REMEDY}"
        )
    for value in set(results.suite["values"]) - set(AUTOMATIC):
        if lacking := set(cells["cell"]) - set(records.loc[records["base"] == value, "cell"]):
            raise StoreError(
                f"{results.folder}/tables/records.csv: cell {min(lacking)} has no row for {value}; {REMEDY}"
            )
    if results.suite.get("settled") or results.folder.name.endswith("-only"):
        return  # their cells have as many seeds as were asked for
    if not len(cells):
        raise StoreError(f"{results.folder}/tables/cells.csv: no cells; {REMEDY}")
    seeds = set(map(int, results.suite["seeds"]))
    for combo, there in cells.groupby("combo")["seed"]:
        if set(map(int, there)) != seeds:
            raise StoreError(f"{results.folder}/tables/cells.csv: combination {combo} lacks a seed; {REMEDY}")


def _check_cell(results: Results, cell: Mapping[str, Any], jobs: _Jobs) -> None:
    """StoreError where an entry that a cell names was made of another seed or of other parameters."""
    for kind in STANDING:
        if not (named := cell.get(f"{kind}_entry")):
            continue
        name = _named(f"{named}#{kind}")
        job = jobs.job(*name[:3])
        if job is None:
            continue
        if kind != "reference" and job.get("seed") != int(cell["seed"]):
            wrong = "seed"
        else:
            wrong = next((column for column, value in _parameters(job) if not _same(cell.get(column), value)), "")
        if wrong:
            raise StoreError(
                f"{results.folder}/tables/cells.csv: cell {cell['cell']}: {named} is of another {wrong}; {REMEDY}"
            )


def _belongs(name: Named, job: Mapping[str, Any], cell: Mapping[str, Any]) -> bool:
    """Whether an entry is a cell's own, or made of its own. Times are shared by cells whose work is the same."""
    if name.kind in STANDING:
        return cell.get(f"{name.kind}_entry") == name.entry
    if KINDS[name.kind].alone:
        shared = [(column, value) for column, value in _parameters(job) if column in ("net.name", "solver.name")]
        return all(_same(cell.get(column), value) for column, value in shared)
    inputs = job.get("inputs")
    for kind, upstream in inputs.items() if isinstance(inputs, dict) else ():
        if kind in STANDING and _named(f"{cell.get(f'{kind}_entry')}#{kind}").key != upstream[1]:
            return False
    return True


def _parameters(job: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """A job's parameters by the columns of cells.csv: `path.name`, `solver.steps`."""
    configs = job.get("configs")
    for role, config in configs.items() if isinstance(configs, dict) else ():
        factor = "dataset" if role in LAWS else role
        for parameter, value in config.items() if isinstance(config, dict) else ():
            yield f"{factor}.{parameter}", value


def _same(there: object, due: object) -> bool:
    """Whether a cell of a table says a parameter; a column that is not there says nothing against it."""
    if there is None or not isinstance(due, str | int | float) or isinstance(due, bool):
        return True
    if isinstance(due, str):
        return str(there) == due
    try:
        return float(str(there)) == float(due)
    except ValueError:
        return False


def _made(name: str, numbers: Sequence[Sequence[float]]) -> float:
    """A record's number out of its entries': a sum of single ones, an excess, a spread or a mean over evaluations."""
    if name in AUTOMATIC:
        return math.fsum(value for each in numbers for value in each)
    if name.endswith(EXCESS):
        return excess(numbers[0], numbers[1]) if len(numbers) == 2 and all(numbers) else math.nan
    values = numbers[0] or [math.nan]
    return float(np.std(values, ddof=1)) if name.endswith(FLOOR_SD) else float(np.mean(values))


class _Jobs:
    """The numbers of the store's entries, each entry read once."""

    def __init__(self, root: Path | None) -> None:
        self.root = root if root is not None and root.is_dir() else None
        self._read: dict[tuple[str, str, str], dict[str, Any] | None] = {}

    def job(self, kind: str, key: str, code: str) -> dict[str, Any] | None:
        """What an entry's job.json says; None where the store does not hold it whole."""
        if (kind, key, code) not in self._read:
            entry = None
            if self.root is not None:
                try:
                    relative = str(locate(self.root, kind, key, code).relative_to(self.root))
                    entry = read_entry(self.root, relative, kind, key, code, deep=False)
                except (Corrupt, OSError):
                    entry = None  # the next run says so and makes it anew
            self._read[kind, key, code] = entry.job if entry else None
        return self._read[kind, key, code]


def _named(text: str) -> Named:
    """What `kind/key-code#value` names. Raises Corrupt for other text."""
    match = NAMED.fullmatch(text)
    if match is None or match[1] not in FORMS:
        raise Corrupt(f"{text[:100]!r} in tables/cells.csv or tables/records.csv names no entry; {REMEDY}")
    return Named(*match.groups())


def _numbers(job: Mapping[str, Any], value: str) -> list[float]:
    """The numbers of a value in an entry; none where it holds no such numbers."""
    held = job.get("values")
    found = held[value] if isinstance(held, dict) and value in held else job.get(value)
    numbers = found if isinstance(found, list) else [found]
    plain = [float(number) for number in numbers if isinstance(number, int | float)]
    return plain if len(plain) == len(numbers) else []
