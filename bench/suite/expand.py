"""Dimensions, included cells and seeds expanded into the columns of `Cells`.

A factor is resolved once for each combination of the points that touch it; the cells themselves are index
columns, never objects.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.components import CHOICES, FACTORS, Config
from bench.suite.axes import Dimension
from bench.suite.faults import Faults, Place
from bench.suite.model import Cells, text_of
from bench.suite.reader import Node, as_list, as_mapping
from bench.suite.values import Key, Value, Values, label_of, merged, read_key, resolved
from bench.words import quoted, shown, unknown

CELLS_MAX = 1_000_000
"""Most cells of a suite: so many are planned in some twenty seconds, within 4 GiB."""

AXES_MAX = 32
"""Most dimensions of a product, as NumPy has them."""

Ints = NDArray[np.int32]


@dataclass(frozen=True)
class Included:
    """A cell of its own: values laid on the base, and labels where it gives them."""

    place: Place
    values: tuple[Value, ...]
    labels: Mapping[str, str]

    def layers(self, factor: str) -> list[Value]:
        """Its values of one factor."""
        return [value for value in self.values if value.factor == factor]


def read_included(node: Node | None, axes: Sequence[str], values: Values) -> list[Included]:
    """The entries of `include`."""
    faults = values.faults
    cells = []
    for item in as_list(node, faults, "cells, each a mapping of factor: value", least=0) if node else []:
        found: list[Value] = []
        for text, entry in as_mapping(item, faults, "factor: value").items():
            if text == "label":
                continue
            key = read_key(text, entry.key, faults)
            value = key and values.read(key, entry.key, entry.node)
            found += [value] if value else []
        cells.append(Included(item.place, tuple(found), _labels(item.get("label"), axes, faults)))
    return cells


def _labels(node: Node | None, axes: Sequence[str], faults: Faults) -> dict[str, str]:
    labels = {}
    for axis, entry in as_mapping(node, faults, "axis: text").items() if node else []:
        value = entry.node.value
        if axis not in axes:
            faults.add(entry.key, unknown("axis", axis, axes))
        elif not isinstance(value, str) or not value.strip() or not value.isprintable():
            faults.add(entry.node.place, f"a label is printable text, got {shown(entry.node.plain)}")
        else:
            labels[axis] = value
    return labels


class _Distinct:
    """Configurations in order of appearance, each once."""

    def __init__(self) -> None:
        self.configs: list[Config] = []
        self._position: dict[tuple[str | None, str], int] = {}

    def add(self, config: Config) -> int:
        """Place of a configuration, which equal ones share."""
        position = self._position.setdefault((config.name, config.plain), len(self.configs))
        if position == len(self.configs):
            self.configs.append(config)
        return position


class Expansion:
    """One suite's rows (cells without seeds) as columns, and then its cells."""

    def __init__(self, base: Mapping[str, Value], dimensions: Sequence[Dimension], values: Values) -> None:
        self.base = base
        self.dimensions = dimensions
        self.values = values
        self.faults = values.faults
        self.axes = tuple(axis for dimension in dimensions for axis in dimension.axes)
        self.configs = {factor: _Distinct() for factor in FACTORS}

    def cells(self, included: Sequence[Included], seeds: Sequence[int], root: Place) -> Cells | None:
        """All cells, before anything is excluded; None (and a fault) where they cannot be told apart."""
        shape = [len(dimension) for dimension in self.dimensions]
        count = (math.prod(shape) + len(included)) * len(seeds)
        place = self.dimensions[0].place if self.dimensions else root
        if count > CELLS_MAX:
            self.faults.add(place, f"{count:,} cells (seeds included); a suite has at most {CELLS_MAX:,}")
            return None
        if len(shape) > AXES_MAX:
            self.faults.add(place, f"{len(shape)} axes; a suite has at most {AXES_MAX}")
            return None
        points = np.unravel_index(np.arange(math.prod(shape)), shape) if shape else ()
        self._say_unused(included)
        index = {factor: self._index(factor, points, shape) for factor in FACTORS}
        names, codes = self._labels(points)
        if included:
            self._append(included, index, names, codes)
        places = [place] * math.prod(shape) + [cell.place for cell in included]
        keep = self._told_apart(index, names, codes, places)
        if keep is None:
            return None
        rows = np.repeat(np.flatnonzero(keep), len(seeds))
        labels = {a: pd.Categorical.from_codes(codes[a][rows], pd.Index(names[a], dtype=object)) for a in self.axes}
        return Cells(
            configs={factor: tuple(held.configs) for factor, held in self.configs.items()},
            index={factor: column[rows] for factor, column in index.items()},
            labels=pd.DataFrame(labels, index=range(len(rows))),
            seed=np.tile(np.asarray(seeds, dtype=np.int64), int(keep.sum())),
        )

    def _index(self, factor: str, points: Sequence[NDArray[np.intp]], shape: Sequence[int]) -> Ints:
        """Column of one factor over the product: resolved per combination of the points that touch it."""
        touching = self._touching(factor)
        lookup = [self.configs[factor].add(self.values.resolve(layers)) for layers in self._layers(factor)]
        table = np.asarray(lookup, dtype=np.int32)
        if not touching:
            return np.repeat(table, math.prod(shape))
        flat = np.ravel_multi_index([points[i] for i in touching], [shape[i] for i in touching])
        return table[flat]

    def _touching(self, factor: str) -> list[int]:
        """Dimensions that vary a factor."""
        return [i for i, dimension in enumerate(self.dimensions) if factor in dimension.factors]

    def _layers(self, factor: str) -> Iterator[list[Value]]:
        """What lies over one another in each combination of the points that touch a factor, in their order."""
        for changes in itertools.product(*(self.dimensions[i].changes for i in self._touching(factor))):
            yield [self.base[factor], *(value for laid in changes for value in laid if value.factor == factor)]

    def _say_unused(self, included: Sequence[Included]) -> None:
        """Fault parameters that a dotted key decides in every cell: labels would claim what is nowhere so.

        The base's are exempt: they say what holds where nothing varies.
        """
        for factor in FACTORS:
            lone = [[self.base[factor], *cell.layers(factor)] for cell in included]
            written: dict[Place, str] = {}
            used: set[Place] = set()
            for _, *layers in (held := [*self._layers(factor), *lone]):
                written |= {entry.key: name for value in layers for name, entry in value.parameters.items()}
            for layers in held:
                used |= {entry.key for entry in merged(layers).parameters.values()}
            for place, name in written.items():
                if place not in used:
                    self.faults.add(
                        place,
                        f"`{factor}.{name}` is given by a key of its own, so that this has no effect; take it out",
                    )

    def _labels(self, points: Sequence[NDArray[np.intp]]) -> tuple[dict[str, list[str]], dict[str, Ints]]:
        """Distinct labels of each axis in order, and each row's code."""
        names: dict[str, list[str]] = {}
        codes: dict[str, Ints] = {}
        for dimension, column in zip(self.dimensions, points, strict=True):
            for axis, labels in zip(dimension.axes, zip(*dimension.labels, strict=True), strict=True):
                names[axis] = list(dict.fromkeys(labels))
                position = {label: i for i, label in enumerate(names[axis])}
                codes[axis] = np.asarray([position[label] for label in labels], dtype=np.int32)[column]
        return names, codes

    def _append(
        self,
        included: Sequence[Included],
        index: dict[str, Ints],
        names: dict[str, list[str]],
        codes: dict[str, Ints],
    ) -> None:
        """Add the included cells' rows to the columns."""
        known = {axis: self._signatures(dimension, axis, index, names, codes) for dimension, axis in self._each_axis()}
        added: dict[str, list[int]] = {factor: [] for factor in FACTORS}
        coded: dict[str, list[int]] = {axis: [] for axis in self.axes}
        for cell in included:
            configs = {}
            for factor in FACTORS:
                configs[factor] = self.values.resolve([self.base[factor], *cell.layers(factor)])
                added[factor].append(self.configs[factor].add(configs[factor]))
            for dimension, axis in self._each_axis():
                label = cell.labels.get(axis) or known[axis].get(self._signature(dimension, axis, configs))
                label = label or self._own_label(dimension, axis, cell, configs)
                if label not in names[axis]:
                    names[axis].append(label)
                coded[axis].append(names[axis].index(label))
        for factor, rows in added.items():
            index[factor] = np.concatenate([index[factor], np.asarray(rows, dtype=np.int32)])
        for axis, rows in coded.items():
            codes[axis] = np.concatenate([codes[axis], np.asarray(rows, dtype=np.int32)])

    def _each_axis(self) -> list[tuple[Dimension, str]]:
        return [(dimension, axis) for dimension in self.dimensions for axis in dimension.axes]

    def _signatures(
        self,
        dimension: Dimension,
        axis: str,
        index: Mapping[str, Ints],
        names: Mapping[str, list[str]],
        codes: Mapping[str, Ints],
    ) -> dict[Any, str]:
        """What an included cell must equal to bear a label of this axis."""
        factors = sorted(_touched(dimension, axis))
        frame = pd.DataFrame({"": codes[axis], **{factor: index[factor] for factor in factors}}).drop_duplicates()
        found: dict[Any, str] = {}
        for code, *positions in frame.itertuples(index=False):
            configs = {f: self.configs[f].configs[i] for f, i in zip(factors, positions, strict=True)}
            found.setdefault(self._signature(dimension, axis, configs), names[axis][code])
        return found

    def _signature(self, dimension: Dimension, axis: str, configs: Mapping[str, Config]) -> Any:
        """A configuration as one axis sees it: without what another axis says of the same factor."""
        key = _key_of(dimension, axis)
        if key is None:
            return tuple(configs[factor].plain for factor in sorted(dimension.factors))
        values = configs[key.factor].values
        if key.parameter is not None:
            return text_of(values[key.parameter]) if key.parameter in values else None
        elsewhere = self._elsewhere(key.factor, values.get("name"))
        return tuple((name, text_of(value)) for name, value in sorted(values.items()) if name not in elsewhere)

    def _elsewhere(self, factor: str, name: object) -> set[str | None]:
        """Parameters of a component that dotted axes decide, with those that follow from them."""
        elsewhere = {key.parameter for dimension in self.dimensions for key in dimension.keys if key.factor == factor}
        for twins in getattr(self.values.tables.rooms.get(factor, {}).get(str(name)), "twins", ()):
            elsewhere |= set(twins) if elsewhere & set(twins) else set()
        return elsewhere

    def _own_label(self, dimension: Dimension, axis: str, cell: Included, configs: Mapping[str, Config]) -> str:
        """A label for what no point of the axis equals."""
        key = _key_of(dimension, axis)
        if key is None:
            given = [value for value in cell.values if value.factor in dimension.factors]
            return ", ".join(label_of(value, self.base[value.factor]) for value in given) or "base"
        if key.parameter is not None:
            return text_of(configs[key.factor].values.get(key.parameter))
        whole = merged([self.base[key.factor], *cell.layers(key.factor)])
        elsewhere = self._elsewhere(key.factor, whole.name)
        own = {name: entry for name, entry in whole.parameters.items() if name not in elsewhere}
        return label_of(replace(whole, given=own), self.base[key.factor])

    def _told_apart(
        self,
        index: Mapping[str, Ints],
        names: Mapping[str, list[str]],
        codes: Mapping[str, Ints],
        places: Sequence[Place],
    ) -> NDArray[np.bool_] | None:
        """Rows to keep: equal ones merge; None (and a fault) where equal labels mean different things."""
        labels = {f"label {axis}": column for axis, column in codes.items()}
        frame = pd.DataFrame({"": np.zeros(len(places), dtype=np.int32), **labels, **index})
        keep = ~frame.duplicated().to_numpy()
        alike = ["", *labels]
        if not all(resolved(config) for held in self.configs.values() for config in held.configs):
            return keep
        clashes = np.flatnonzero(keep & frame.duplicated(alike).to_numpy())
        if not len(clashes):
            return keep
        second = int(clashes[0])
        same = (frame[alike] == frame[alike].iloc[second]).all(axis=1).to_numpy()
        first = int(np.flatnonzero(same)[0])
        said = ", ".join(f"{axis}={names[axis][codes[axis][second]]}" for axis in self.axes)
        more = f" (and {len(clashes) - 1} more such)" if len(clashes) > 1 else ""
        remedy = "give one a label of its own (`label: {axis: text}` under include, or a mapping of label: value)"
        self.faults.add(
            places[second],
            f"two different cells {f'are called {quoted(said)}' if said else 'have no axis to tell them apart'}: "
            f"{self._difference(index, first, second)}{more}; {remedy if said else 'vary this in `grid`'}",
        )
        return None

    def _difference(self, index: Mapping[str, Ints], first: int, second: int) -> str:
        """What two rows differ in: `solver.steps is 10 and 20`."""
        parts = []
        for factor in FACTORS:
            a, b = (self.configs[factor].configs[index[factor][row]].values for row in (first, second))
            for name in sorted({*a, *b}, key=lambda name: (name != "name", name)):
                if a.get(name) != b.get(name):
                    dotted = factor if factor in CHOICES else f"{factor}.{name}"
                    parts.append(f"{dotted} is {text_of(a.get(name))} and {text_of(b.get(name))}")
        return ", ".join(parts[:4])


def _key_of(dimension: Dimension, axis: str) -> Key | None:
    """What one axis varies; None for the ablation, which varies several factors."""
    return next((key for key in dimension.keys if str(key) == axis), None)


def _touched(dimension: Dimension, axis: str) -> frozenset[str]:
    """Factors that one axis speaks of: its own, or for the ablation all."""
    key = _key_of(dimension, axis)
    return dimension.factors if key is None else frozenset({key.factor})
