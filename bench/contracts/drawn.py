"""Parameters to try a component at: its defaults, the ends of their ranges, and others drawn from their annotations.

A formula may be right at the defaults only. What is drawn is the same each time, and respects what a suite could
say: bounds, choices, and the component's own refusals (ValueError), after which others are drawn.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
from pydantic import TypeAdapter

from bench.seeds import numpy_stream

ATTEMPTS = 60
"""Draws for one that the component takes."""

CHANGED = 0.7
"""How often a parameter is drawn rather than left as it is."""

WIDE = 100
"""A range so many times as wide as the value in it counts as open on that side."""

OF_THE_HARNESS = ("transport_batch",)
"""Parameters that the harness reads; the component itself does the same whatever they are."""

NOT_DRAWN: Any = object()


def made(cls: type, given: Mapping[str, Any]) -> Any:
    """The component at these parameters, as a suite would make it. Raises ValueError where it is refused."""
    return _adapter(cls).validate_json(json.dumps(dict(given)), strict=True)


@functools.cache
def _adapter(cls: type) -> TypeAdapter[Any]:
    return TypeAdapter(cls)


def required(cls: type) -> list[str]:
    """Names of the parameters that have no default."""
    missing = dataclasses.MISSING
    return [f.name for f in dataclasses.fields(cls) if f.init and f.default is missing and f.default_factory is missing]


def drawn(cls: type, given: Mapping[str, Any], count: int) -> Iterator[Any]:
    """Up to `count` components at drawn parameters, no two alike; none where nothing can be drawn."""
    random = numpy_stream(0, f"contract/parameters/{cls.__name__}")
    hints, around = typing.get_type_hints(cls, include_extras=True), _around(cls, given)
    found = [made(cls, given)]
    for _ in range(ATTEMPTS * count):
        if len(found) > count or not around:
            return
        values = dict(given)
        for name, value in around.items():
            another = _value(hints[name], value, random)
            if another is not NOT_DRAWN and random.random() < CHANGED:
                values[name] = another
        try:
            component = made(cls, values)
        except ValueError:
            continue
        if component not in found:
            found.append(component)
            yield component


def edges(cls: type, given: Mapping[str, Any], ends: bool) -> Iterator[Any]:
    """Components with one parameter changed: each other choice, and (`ends`) each end of a number's range.

    A number that is left out (none) is given; those that the component refuses are left out.
    """
    hints, found = typing.get_type_hints(cls, include_extras=True), [made(cls, given)]
    random = numpy_stream(0, f"contract/edges/{cls.__name__}")
    for name, value in _around(cls, given).items():
        others = [option for option in _options(hints[name]) if option != value]
        others += [_value(hints[name], value, random)] if value is None else []
        near = value if isinstance(value, int | float) else 0
        # A million steps are an end of a range as well, and would take as long.
        reached = [end for end in _ends(hints[name]) if ends and abs(end - near) <= WIDE * max(1, abs(near))]
        for other in others + reached:
            try:
                component = made(cls, {**given, name: other})
            except (ValueError, TypeError):  # TypeError: nothing that could be drawn
                continue
            if component not in found:
                found.append(component)
                yield component


def differences(component: Any, start: Any) -> str:
    """The parameters in which a component differs from another: `s = 0.73, steps = 7`."""
    names = [f.name for f in dataclasses.fields(component)]
    pairs = [(name, getattr(component, name)) for name in names if getattr(component, name) != getattr(start, name)]
    return ", ".join(f"{name} = {value}" for name, value in pairs)


def _around(cls: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """What can be changed and its value so far. What only concerns training leaves a law as it is."""
    fixed = {*getattr(cls, "training_only", ()), *OF_THE_HARNESS}
    return {f.name: given.get(f.name, f.default) for f in dataclasses.fields(cls) if f.init and f.name not in fixed}


def _value(hint: Any, around: Any, random: np.random.Generator) -> Any:
    """Another value of this type, NOT_DRAWN for texts and lists, which no annotation describes."""
    origin = typing.get_origin(hint)
    if origin is Literal:
        options = typing.get_args(hint)
        return options[int(random.integers(len(options)))]
    if origin in (typing.Union, types.UnionType):
        kinds = [option for option in typing.get_args(hint) if option is not type(None)]
        if len(kinds) < len(typing.get_args(hint)) and around is not None and random.random() < 1 - CHANGED:
            return None
        return _value(kinds[int(random.integers(len(kinds)))], around, random)
    if hint is type(None):
        return None
    if hint is bool:
        return bool(random.integers(2))
    kind, notes = _parts(hint)
    if kind not in (int, float):
        return NOT_DRAWN
    near = around if isinstance(around, int | float) and not isinstance(around, bool) else None
    number = _number(_low(kind, notes), _high(kind, notes), near, random)
    step = _note(notes, "multiple_of")
    if step is not None:
        number = step * math.ceil(number / step)
    return round(number) if kind is int else float(f"{number:.3g}")


def _options(hint: Any) -> list[Any]:
    """What a parameter may be, where that is one of a few."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [option for part in typing.get_args(hint) for option in _options(part)]
    if typing.get_origin(hint) is Literal:
        return list(typing.get_args(hint))
    if hint is bool:
        return [False, True]
    return [None] if hint is type(None) else []


def _number(low: float, high: float, near: float | None, random: np.random.Generator) -> float:
    """A number between low and high, within a factor of 2 of `near` where the range is open or wide."""
    size = max(1.0, abs(near or 0))
    if high - low <= WIDE * size:
        return low + (high - low) * float(random.uniform(0.02, 0.98))
    factor: float = 2.0 ** random.uniform(-1, 1)
    if low > -math.inf:
        reach = near - low if near is not None and near > low else 1.0
        return min(low + reach * factor, high)
    if high < math.inf:
        reach = high - near if near is not None and near < high else 1.0
        return high - reach * factor
    return (near or 0.0) + (abs(near or 0.0) or 1.0) * float(random.uniform(-0.5, 0.5))


def _ends(hint: Any) -> list[float]:
    """The ends of a number's range that belong to it; a whole number above 0 begins at 1."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [end for option in typing.get_args(hint) for end in _ends(option)]
    kind, notes = _parts(hint)
    if kind is int:
        return [int(end) for end in (_low(kind, notes), _high(kind, notes)) if math.isfinite(end)]
    ends = (_note(notes, "ge"), _note(notes, "le")) if kind is float else ()
    return [float(end) for end in ends if end is not None]


def _parts(hint: Any) -> tuple[Any, list[Any]]:
    """The type and the notes of an annotation; pydantic keeps bounds in a list of its own."""
    if typing.get_origin(hint) is not typing.Annotated:
        return hint, []
    kind, *notes = typing.get_args(hint)
    return kind, [inner for note in notes for inner in getattr(note, "metadata", [note])]


def _note(notes: list[Any], name: str) -> int | float | None:
    values: list[int | float] = [getattr(note, name) for note in notes if getattr(note, name, None) is not None]
    return values[0] if values else None


def _low(kind: type, notes: list[Any]) -> float:
    closed, beyond = _note(notes, "ge"), _note(notes, "gt")
    if closed is not None:
        return closed
    if beyond is None:
        return -math.inf
    return beyond + 1 if kind is int else beyond


def _high(kind: type, notes: list[Any]) -> float:
    closed, beyond = _note(notes, "le"), _note(notes, "lt")
    if closed is not None:
        return closed
    if beyond is None:
        return math.inf
    return beyond - 1 if kind is int else beyond
