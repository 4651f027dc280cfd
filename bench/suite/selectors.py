"""Selectors: which cells a mapping such as `{path: noisy, solver.steps: [10, 20]}` means.

A key is an axis (its values are labels; where no label fits, resolved values), a factor (a component's
name, a choice's word), a dotted parameter (`solver.steps`) or `seed`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.components import CHOICES, FACTORS, SETTINGS, Config
from bench.errors import UsageError
from bench.suite.faults import Faults, Place
from bench.suite.model import Cells, Selector, Value, text_of
from bench.suite.reader import Node, as_mapping, scalar
from bench.suite.values import resolved
from bench.words import hint, quoted, unknown

Mask = NDArray[np.bool_]


class NoMatch(Exception):
    """A key or a value that no cell has; `in_key` says which of the two."""

    def __init__(self, message: str, in_key: bool = False) -> None:
        super().__init__(message)
        self.in_key = in_key


class Term(NamedTuple):
    """One key of a selector as the file gives it: its place, and each value with its place."""

    key: str
    place: Place
    values: tuple[tuple[Place, Value], ...]


def read_selector(node: Node, faults: Faults) -> list[Term] | None:
    """A selector's terms; None (and faults) where its form is wrong."""
    terms = []
    whole = True
    for key, entry in as_mapping(node, faults, "axis, factor or parameter: value").items():
        items = entry.node.value if isinstance(entry.node.value, list) else [entry.node]
        values: list[tuple[Place, Value]] = []
        for item in items:
            if isinstance(item.value, list | dict):
                whole = False
                faults.add(item.place, "a selector's value is a text, a number, or a list of these")
            else:
                values.append((item.place, item.value))
        if not items:
            whole = False
            faults.add(entry.node.place, "an empty list selects nothing; name at least one value")
        terms.append(Term(key, entry.key, tuple(values)))
    return terms if terms and whole else None


def as_selector(terms: list[Term]) -> Selector:
    """Terms without their places."""
    return {term.key: tuple(value for _, value in term.values) for term in terms}


class Finder:
    """Finds cells by selectors."""

    def __init__(self, cells: Cells) -> None:
        self.cells = cells

    def find(self, terms: list[Term], faults: Faults) -> Mask | None:
        """Cells (C,) that fit every term; None (and faults) where a key or value fits no cell."""
        found = np.ones(len(self.cells), dtype=bool)
        whole = True
        for term in terms:
            fits = np.zeros(len(self.cells), dtype=bool)
            for place, value in term.values:
                try:
                    fits |= self.one(term.key, value)
                except NoMatch as error:
                    faults.add(term.place if error.in_key else place, str(error))
                    whole = False
            found &= fits
        return found if whole else None

    def one(self, key: str, value: Value) -> Mask:
        """Cells that fit one key and value. Raises NoMatch."""
        return self._one(key, text_of(value), lambda held: _same(value, held))

    def typed(self, key: str, text: str) -> Mask:
        """Cells that fit a key and a value typed on a command line, where numbers are text. Raises NoMatch."""
        number = scalar(text)
        return self._one(key, text, lambda held: held == text or _same(number, held) or text_of(held) == text)

    def _one(self, key: str, text: str, same: Callable[[Any], bool]) -> Mask:
        labels: list[str] = []
        if key in self.cells.labels:
            column = self.cells.labels[key].cat
            codes = column.codes.to_numpy()
            labels = [str(name) for name in column.categories]
            fits = codes == labels.index(text) if text in labels else np.zeros(len(codes), dtype=bool)
            if fits.any():
                return np.asarray(fits, dtype=bool)
        values, positions = self._resolved(key)
        hits = np.asarray([not known or same(value) for known, value in values], dtype=bool)
        mask = hits[positions] if len(hits) else np.zeros(len(self.cells), dtype=bool)
        if not mask.any():
            present = set(np.unique(positions).tolist()) if len(hits) else set()
            names = [text_of(value) for i, (_, value) in enumerate(values) if i in present and value is not None]
            raise NoMatch(f"no cell has {key} {quoted(text)}. {hint(text, labels or names)}")
        return np.asarray(mask, dtype=bool)

    def _resolved(self, key: str) -> tuple[list[tuple[bool, Any]], NDArray[Any]]:
        """Distinct resolved values of a key, each with whether it is known, and each cell's position."""
        cells = self.cells
        if key == "seed":
            seeds, positions = np.unique(cells.seed, return_inverse=True)
            return [(True, int(seed)) for seed in seeds], positions
        factor, dot, parameter = key.partition(".")
        if factor not in FACTORS:
            axes = [str(axis) for axis in cells.labels]
            raise NoMatch(unknown("axis or factor", key, [*axes, *FACTORS, "seed"]), in_key=True)
        configs = cells.configs[factor]
        if dot:
            known = {name for config in configs for name in config.values} if factor not in CHOICES else set()
            if parameter not in known and all(map(resolved, configs)):
                raise NoMatch(unknown(f"parameter of {factor}", parameter, sorted(known)), in_key=True)
            return [(resolved(config), config.values.get(parameter)) for config in configs], cells.index[factor]
        if factor in SETTINGS and key not in cells.labels:
            example = f"{factor}.{next(iter(configs[0].values), 'steps')}"
            raise NoMatch(f"{factor} has no name to match; name a parameter, such as {example}", in_key=True)
        return [(resolved(config) or config.name is not None, _head(config)) for config in configs], cells.index[factor]


def typed_terms(terms: Sequence[str], said: str = "--only ") -> list[tuple[str, str]]:
    """Key and values of terms as they are typed, `path=linear`. Raises UsageError, whose words begin with `said`."""
    found = []
    for term in terms:
        key, equals, values = term.partition("=")
        if not (key.strip() and equals and values.strip()):
            raise UsageError(f"{said}{term}: write key=value, such as path=linear")
        found.append((key.strip(), values))
    return found


def fitting(cells: Cells, terms: Sequence[str], said: str = "--only ") -> Mask:
    """Cells (C,) that fit every term as it is typed: `path=linear`, `solver.steps=10,20` (either).

    What is a label as a whole is that label, commas and all. Raises UsageError, whose words begin with `said`, for a
    term that fits none, and where no cell fits all.
    """
    finder = Finder(cells)
    keep = np.ones(len(cells), dtype=bool)
    for term, (key, values) in zip(terms, typed_terms(terms, said), strict=True):
        label = key in cells.labels and values in cells.labels[key].cat.categories
        fits = np.zeros(len(cells), dtype=bool)
        for value in [values] if label else split_values(values):
            try:
                fits |= finder.typed(key, value)
            except NoMatch as error:
                raise UsageError(f"{said}{term}: {error}") from error
        keep &= fits
    if not keep.any():
        raise UsageError(f"{said}{f' {said}'.join(terms)}: no cell fits all of these at once")
    return keep


def split_values(text: str) -> list[str]:
    """Values separated by commas, those inside brackets (`euler(steps=10,grid=left)`) left alone."""
    parts, depth = [""], 0
    for char in text:
        depth += (char in "([{") - (char in ")]}")
        if char == "," and depth <= 0:
            parts.append("")
        else:
            parts[-1] += char
    return [part.strip() for part in parts]


def _head(config: Config) -> Any:
    """A component's name or a choice's value."""
    return config.values.get("value") if config.factor in CHOICES else config.name


def _same(a: Any, b: Any) -> bool:
    """Equal, with numbers equal to numbers only: true is not 1."""
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)
