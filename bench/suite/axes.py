"""Axes: `grid`, `zip` and `ablate` read into dimensions, whose product is the cells.

    grid:                                 every combination; a list, or a mapping of label: value
      path: {straight: linear, noisy: {name: noisy_bridge, s: 0.5}}
      solver.steps: [10, 20]              a parameter; laid over whole factors
    zip:                                  in step: first with first, second with second (or a list of such)
      dataset: [two_moons, checkerboard]
      training.steps: [2000, 4000]
    ablate:                               one axis, called `ablation`
      baseline: {path: linear}            laid over the base in all of its points (may be left out)
      factors: {path: vp, net: {wide: {width: 512}, deep: {depth: 6}}}
      mode: one_at_a_time                 or leave_one_out

`one_at_a_time` gives `baseline` and then the baseline with each change alone, called by its factor or its
label. `leave_one_out` gives `all` (the baseline with all changes) and then all but one, called
`without <factor>`; each factor then has one value. Under `factors`, a mapping without `name` whose entries
are all mappings is label: value (for a choice or a parameter, any mapping is).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.components import CHOICES, ROOMS
from bench.suite.faults import Faults, Place
from bench.suite.reader import Entry, Node, as_mapping
from bench.suite.values import Key, Value, Values, label_of, read_key
from bench.words import quoted, shown, unknown

ABLATION = "ablation"
ABLATE = ("factors", "baseline", "mode")
"""Keys of an ablation; the first is needed."""

MODES = ("one_at_a_time", "leave_one_out")


@dataclass(frozen=True)
class Dimension:
    """One factor of the product: for each point a label per axis, and the values that it lays on the base."""

    axes: tuple[str, ...]
    labels: tuple[tuple[str, ...], ...]
    changes: tuple[tuple[Value, ...], ...]
    keys: tuple[Key, ...]
    place: Place

    @property
    def factors(self) -> frozenset[str]:
        """Factors that this dimension touches."""
        return frozenset(key.factor for key in self.keys)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class _Axis:
    key: Key
    place: Place
    labels: tuple[str, ...]
    values: tuple[Value, ...]
    plain: tuple[object, ...]


def read_dimensions(root: Node, base: Mapping[str, Value], values: Values) -> list[Dimension] | None:
    """The file's dimensions in order: grid, zip, ablation; None (and faults) where their form is wrong."""
    reader = _Reader(base, values, values.faults)
    dimensions = [*reader.grid(root.get("grid")), *reader.zips(root.get("zip")), *reader.ablate(root.get("ablate"))]
    apart = _apart(dimensions, reader.blocks, values.faults)
    return dimensions if apart and not reader.broken else None


def _apart(dimensions: Sequence[Dimension], blocks: Sequence[str], faults: Faults) -> bool:
    """Whether each factor is varied in one block only."""
    apart = True
    first: dict[str, str] = {}
    seen: set[str] = set()
    for dimension, block in zip(dimensions, blocks, strict=True):
        for factor in sorted(dimension.factors):
            if first.setdefault(factor, block) != block:
                apart = False
                faults.add(dimension.place, f"{factor} is varied in {first[factor]} too; vary a factor in one place")
        for axis in dimension.axes:
            if axis in seen:
                apart = False
                faults.add(dimension.place, f"{axis} is an axis already; vary a factor in one place")
            seen.add(axis)
    return apart


class _Reader:
    def __init__(self, base: Mapping[str, Value], values: Values, faults: Faults) -> None:
        self.base = base
        self.values = values
        self.faults = faults
        self.blocks: list[str] = []
        self.broken = False
        """True once an axis could not be read, so that its labels are not known."""

    def grid(self, node: Node | None) -> list[Dimension]:
        """One dimension per entry."""
        if node is None:
            return []
        found = [self._axis(key, entry.key, entry.node) for key, entry in self._entries(node, "factors and values")]
        axes = [axis for axis in found if axis]
        for axis in axes:
            self._labels_differ(axis)
        self.blocks += ["grid"] * len(axes)
        return [
            Dimension((str(a.key),), tuple((t,) for t in a.labels), tuple((v,) for v in a.values), (a.key,), a.place)
            for a in axes
        ]

    def zips(self, node: Node | None) -> list[Dimension]:
        """One dimension per mapping of axes that run in step."""
        if node is None:
            return []
        blocks = node.value if isinstance(node.value, list) and node.value else [node]
        found = [self._zip(block) for block in blocks]
        self.blocks += ["zip"] * sum(dimension is not None for dimension in found)
        return [dimension for dimension in found if dimension]

    def _zip(self, node: Node) -> Dimension | None:
        entries = self._entries(node, "factors and values")
        read = [self._axis(key, entry.key, entry.node) for key, entry in entries]
        axes = [axis for axis in read if axis]
        if not axes or len(axes) < len(read):
            return None
        for axis in axes[1:]:
            if len(axis.values) != len(axes[0].values):
                self._fail(
                    axis.place,
                    f"axes in step are equally long, but {axes[0].key} has {len(axes[0].values)} and {axis.key} has "
                    f"{len(axis.values)}",
                )
                return None
        for axis in axes:
            self._labels_tell_apart(axis)
        labels = tuple(zip(*(axis.labels for axis in axes), strict=True))
        changes = tuple(zip(*(axis.values for axis in axes), strict=True))
        keys = tuple(axis.key for axis in axes)
        return Dimension(tuple(map(str, keys)), labels, changes, keys, node.place)

    def ablate(self, node: Node | None) -> list[Dimension]:
        """The single dimension `ablation`."""
        if node is None:
            return []
        held = dict(self._entries(node, "`factors`, `baseline` and `mode`"))
        for key, entry in held.items():
            if key not in ABLATE:
                self._fail(entry.key, unknown("key of an ablation", key, ABLATE))
        if "factors" not in held:
            if held:
                self._fail(node.place, "needs `factors`: a mapping of what is changed")
            return []
        baseline = self._assignments(held["baseline"].node) if "baseline" in held else []
        changes = self._changes(held["factors"].node)
        mode = held["mode"].node.plain if "mode" in held else MODES[0]
        if mode not in MODES:
            text = unknown("mode", mode, MODES) if isinstance(mode, str) else f"must be one of {', '.join(MODES)}"
            self._fail(held["mode"].node.place, text)
        points = self._points(changes, mode == "leave_one_out")
        seen: set[str] = set()
        for label, _ in points:
            if label in seen:
                self._fail(node.place, f"two points of the ablation are called {quoted(label)}; label them apart")
            seen.add(label)
        if not changes or self.broken:
            return []
        self.blocks.append("ablate")
        keys = tuple(dict.fromkeys([*(key for key, _ in baseline), *(key for key, _, _ in changes)]))
        start = tuple(value for _, value in baseline)
        laid = tuple((*start, *over) for _, over in points)
        return [Dimension((ABLATION,), tuple((label,) for label, _ in points), laid, keys, node.place)]

    def _points(
        self, changes: Sequence[tuple[Key, str, Value]], leave_one_out: bool
    ) -> list[tuple[str, tuple[Value, ...]]]:
        if not leave_one_out:
            return [("baseline", ()), *((label, (value,)) for _, label, value in changes)]
        keys = [key for key, _, _ in changes]
        for key, _, value in changes:
            if keys.count(key) > 1:
                self._fail(value.place, f"leave_one_out takes one value per factor, {key} has {keys.count(key)}")
        every = tuple(value for _, _, value in changes)
        return [
            ("all", every),
            *((f"without {label}", every[:i] + every[i + 1 :]) for i, (_, label, _) in enumerate(changes)),
        ]

    def _assignments(self, node: Node) -> list[tuple[Key, Value]]:
        """A mapping of one value per factor."""
        pairs = []
        for text, entry in self._entries(node, "factors, one value each"):
            key = read_key(text, entry.key, self.faults)
            value = key and self.values.read(key, entry.key, entry.node)
            self.broken |= value is None
            if key and value:
                pairs.append((key, value))
        return pairs

    def _changes(self, node: Node) -> list[tuple[Key, str, Value]]:
        """What an ablation changes: factor, label, value."""
        changes = []
        for text, entry in self._entries(node, "factors and what each is changed to"):
            key = read_key(text, entry.key, self.faults)
            self.broken |= key is None
            if key is None:
                continue
            several = labelled(key, entry.node)
            options = entry.node.value.items() if several and isinstance(entry.node.value, dict) else [(text, entry)]
            for label, option in options:
                value = self.values.read(key, entry.key if not several else option.key, option.node)
                self.broken |= value is None
                if value:
                    changes.append((key, self._label(label, option.key), value))
        return changes

    def _axis(self, text: str, place: Place, node: Node) -> _Axis | None:
        """The labels and values of one axis."""
        key = read_key(text, place, self.faults)
        self.broken |= key is None
        if key is None:
            return None
        if node.get("name") and key.parameter is None and key.factor in ROOMS:
            remedy = f"for one value write [{{name: {_inside(node)}, ...}}]"
            self._fail(node.place, f"a mapping is label: value here; {remedy}")
            return None
        items: list[tuple[str | None, Place, Node]]
        if isinstance(node.value, dict) and node.value:
            items = [(label, entry.key, entry.node) for label, entry in node.value.items()]
        elif isinstance(node.value, list) and node.value:
            items = [(None, place, item) for item in node.value]
        else:
            self._fail(node.place, f"must be a list of values or a mapping of label: value, got {shown(node.plain)}")
            return None
        labels, values = [], []
        for label, at, item in items:
            value = self.values.read(key, at, item)
            if value is None:
                # The others are still worth checking; a stand-in keeps the label that the file gives.
                value = Value(key.factor, item.place)
                self.broken |= label is None
            labels.append(
                self._label(label if label is not None else label_of(value, self.base[key.factor]), item.place)
            )
            values.append(value)
        return _Axis(key, place, tuple(labels), tuple(values), tuple(item.plain for _, _, item in items))

    def _label(self, label: str, place: Place) -> str:
        if not label.strip() or not label.isprintable():
            self._fail(place, f"a label is printable text, not {shown(label)}; write a mapping of label: value")
        return label

    def _labels_differ(self, axis: _Axis) -> None:
        for i, label in enumerate(axis.labels):
            if label in axis.labels[:i]:
                self._fail(
                    axis.values[i].place if not axis.key.parameter else axis.place,
                    f"two values are called {quoted(label)}; drop one or write a mapping of label: value",
                )

    def _labels_tell_apart(self, axis: _Axis) -> None:
        held: dict[str, object] = {}
        for label, plain in zip(axis.labels, axis.plain, strict=True):
            if held.setdefault(label, plain) != plain:
                self._fail(axis.place, f"two different values are called {quoted(label)}; write label: value")

    def _entries(self, node: Node, of: str) -> list[tuple[str, Entry]]:
        entries = list(as_mapping(node, self.faults, of).items())
        self.broken |= not entries
        return entries

    def _fail(self, place: Place, message: str) -> None:
        self.broken = True
        self.faults.add(place, message)


def _inside(node: Node) -> str:
    name = node.get("name")
    return shown(name.plain).strip('"') if name else "..."


def labelled(key: Key, node: Node) -> bool:
    """Whether a value under ablate's `factors` is a mapping of label: value."""
    if not isinstance(node.value, dict) or not node.value:
        return False
    if key.parameter is not None or key.factor in CHOICES:
        return True
    return "name" not in node.value and all(isinstance(entry.node.value, dict) for entry in node.value.values())
