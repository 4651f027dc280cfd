"""Whether the numbers of a report are those of the store: each is made again from the entries that its record names."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.automatic import AUTOMATIC, EXCESS, FLOOR_SD
from bench.errors import Corrupt, StoreError
from bench.report.results import Results
from bench.report.seal import REMEDY
from bench.stats import excess
from bench.store.entries import FORMS, locate, read_entry

NAMED = re.compile(r"([a-z_]{1,40})/([0-9a-f]{2,64})-([0-9a-f]{2,64})#([A-Za-z_]\w{0,199})", re.ASCII)
PRINTED = "%.9g"
"""How records keep a number."""


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
    jobs = _Jobs(store_root)
    confirmed = absent = 0
    for row in records.loc[records["entries"] != "", ["cell", "base", "value", "entries"]].itertuples(index=False):
        found = [jobs.numbers(name) for name in str(row.entries).split(" ")]
        numbers = [each for each in found if each is not None]
        if len(numbers) < len(found):
            absent += 1
            continue
        due, there = _made(str(row.base), numbers), float(str(row.value))
        if PRINTED % due != PRINTED % there:
            raise StoreError(
                f"{results.folder}/tables/records.csv: cell {row.cell}, {row.base}: {there:.9g}, and the store holds "
                f"{due:.9g} ({row.entries}); {REMEDY}"
            )
        confirmed += 1
    return Traced(confirmed, absent)


def _made(name: str, numbers: Sequence[Sequence[float]]) -> float:
    """A record's number out of its entries': a sum of single ones, an excess, a spread or a mean over evaluations."""
    if name in AUTOMATIC:
        return math.fsum(value for each in numbers for value in each)
    if name.endswith(EXCESS):
        return excess(numbers[0], numbers[1]) if len(numbers) == 2 else math.nan
    values = numbers[0]
    return float(np.std(values, ddof=1)) if name.endswith(FLOOR_SD) else float(np.mean(values))


class _Jobs:
    """The numbers of the store's entries, each entry read once."""

    def __init__(self, root: Path | None) -> None:
        self.root = root if root is not None and root.is_dir() else None
        self._read: dict[tuple[str, str, str], dict[str, Any] | None] = {}

    def numbers(self, name: str) -> list[float] | None:
        """The numbers that `kind/key-code#value` names; None where the store does not hold them whole."""
        match = NAMED.fullmatch(name)
        if match is None or match[1] not in FORMS:
            raise Corrupt(f"{name[:100]!r} in the column entries of records.csv names no entry; {REMEDY}")
        job = self._job(match[1], match[2], match[3])
        if job is None:
            return None
        held = job.get("values")
        value = held.get(match[4]) if isinstance(held, dict) and match[4] in held else job.get(match[4])
        numbers = value if isinstance(value, list) else [value]
        plain = [float(number) for number in numbers if isinstance(number, int | float)]
        return plain if len(plain) == len(numbers) else None

    def _job(self, kind: str, key: str, code: str) -> dict[str, Any] | None:
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
