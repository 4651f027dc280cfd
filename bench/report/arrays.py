"""Arrays of the store, and which cells of a run stand for the rest in a figure of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from bench.files import open_regular
from bench.report.canvas import shown
from bench.report.results import Results
from bench.store.arrays import array_file, array_shape, load_array
from bench.store.entries import DONE, check_file, listed, read_seal

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Cell = dict[str, Any]
T = TypeVar("T")
MOST_PANELS = 12
LINE = 28
"""Characters of a line of a panel's title."""


@dataclass(frozen=True)
class Arrays:
    """Arrays of store entries, by the paths that cells.csv gives, as DONE lists them; never unpickled."""

    root: Path

    def load(self, entry: object, name: str) -> Floats | None:
        """An entry's array as float64, or none where there is no such file; Corrupt where it is another now."""
        if (file := self._listed(entry, name)) is None:
            return None
        relative, listed = file
        check_file(self.root, relative, listed, deep=True)
        with open_regular(self.root, relative, listed["size"]) as stream:
            return np.asarray(load_array(stream, relative), dtype=np.float64)

    def shape(self, entry: object, name: str) -> tuple[int, ...]:
        """An entry's array's shape, read from its head alone; () where there is no such file."""
        if (file := self._listed(entry, name)) is None:
            return ()
        with open_regular(self.root, file[0], file[1]["size"]) as stream:
            return array_shape(stream, file[0])

    def _listed(self, entry: object, name: str) -> tuple[str, dict[str, Any]] | None:
        """An array's file below the root, with what DONE says of it."""
        if not entry:
            return None
        done = f"{entry}/{DONE}"
        try:
            body = read_seal(self.root, done)
        except FileNotFoundError:
            return None
        files = {} if body is None else listed(body, self.root / done)
        file = array_file(files, name)
        return (f"{entry}/{file}", files[file]) if file else None


def settings(results: Results, fits: Callable[[Cell], bool]) -> tuple[list[tuple[str, Cell]], str]:
    """(title, cell) of each setting whose first good cell fits a figure, and a sentence on what is left out.

    A setting is a solver at its largest NFE with one value of each other axis; where those are too many for
    one figure, the solver that spends most stands for all.
    """
    if not {"sample_entry", "reference_entry"} <= set(results.combinations.columns):
        return [], ""
    nfe = results.over_seeds("nfe")["mean"]
    found: list[tuple[str, Cell]] = []
    for keys in (results.settings, results.other_axes):
        groups = results.at_largest_nfe(keys)
        cells = [cell for combo in groups if (cell := _drawable(results, combo, fits))]
        found = [(_panel_title(cell, keys, nfe[cell["combo"]]), cell) for cell in cells]
        if len(found) <= MOST_PANELS:
            only = " Of the solvers the one with the most NFE is shown." if keys != results.settings else ""
            return found, only
    return spread(found, MOST_PANELS), f" {MOST_PANELS} of {len(found)} settings are shown, evenly spread."


def _drawable(results: Results, combo: Hashable, fits: Callable[[Cell], bool]) -> Cell | None:
    """The first seed's cell of a combination that is ok and fits."""
    for row in results.cells[results.cells["combo"] == combo].to_dict("records"):
        cell = {str(key): value for key, value in row.items()}
        if cell["status"] == "ok" and fits(cell):
            return cell
    return None


def _named(axis: str, label: str) -> str:
    """A label, with the parameter that it is a value of where the axis is one of those."""
    parameter = axis.partition(".")[2]
    return f"{parameter} {label}" if parameter not in ("", "name") else label


def _panel_title(cell: Cell, keys: Sequence[str], nfe: float) -> str:
    spent = f"NFE {nfe:.0f}" if nfe >= 0 else ""
    words = _wrapped(" · ".join(_named(key, shown(cell[key], 2 * LINE - 4)) for key in keys))
    return "\n".join(part for part in (words, spent) if part)


def nearest(times: Floats, wanted: Sequence[float]) -> list[int]:
    """Places of the times nearest to each wanted one."""
    return [int(np.abs(times - when).argmin()) for when in wanted]


def spread(items: list[T], most: int) -> list[T]:
    """At most so many items, evenly spread, the first and the last among them."""
    if len(items) <= most:
        return items
    return [items[round(place)] for place in np.linspace(0, len(items) - 1, most)]


def _wrapped(words: str) -> str:
    """A title in lines of readable length, broken between its parts, and a long part after a bracket or a comma."""
    lines = [""]
    for part in words.split(" · "):
        joined = f"{lines[-1]} · {part}" if lines[-1] else part
        lines = [*lines, *_halves(part)] if lines[-1] and len(joined) > LINE else [*lines[:-1], *_halves(joined)]
    return "\n".join(lines)


def _halves(part: str) -> list[str]:
    """A part in two lines where it is too long for one and can be broken."""
    places = [place + 1 for place, letter in enumerate(part) if letter in "(," and place < LINE]
    return [part] if len(part) <= LINE or not places else [part[: places[-1]], part[places[-1] :]]
