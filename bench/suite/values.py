"""Values of factors: read from the file, laid over one another, and resolved by the components' tables."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bench.components import CHOICES, FACTORS, ROOMS, SETTINGS, Config, Problem, Tables, choice, parameters
from bench.datafiles import parameters_of
from bench.suite.faults import Faults, Place
from bench.suite.model import text_of
from bench.suite.reader import Entry, Node
from bench.words import hint, quoted, shown, unknown

PARAMETER = re.compile(r"[A-Za-z_]\w*")
"""What a parameter may be called."""


@dataclass(frozen=True)
class Value:
    """What a suite gives one factor: a component's name, a choice's word, parameters.

    With a name or a word it replaces what it is laid over; without, its parameters are added. `dotted`
    values (`solver.steps`) are laid over whole ones.
    """

    factor: str
    place: Place
    name: str | None = None
    word: str | int | None = None
    given: Mapping[str, Entry] | None = None
    dotted: bool = False

    @property
    def parameters(self) -> Mapping[str, Entry]:
        """Parameters and where they stand."""
        return self.given or {}

    @property
    def replaces(self) -> bool:
        """Whether it replaces the whole factor."""
        return self.name is not None or self.word is not None


class Key(NamedTuple):
    """What a value is given to: a factor, or one parameter of it (`solver.steps`)."""

    factor: str
    parameter: str | None

    def __str__(self) -> str:
        return self.factor if self.parameter is None else f"{self.factor}.{self.parameter}"


def read_key(text: str, place: Place, faults: Faults) -> Key | None:
    """A factor's name or a dotted parameter; None (and a fault) where it is neither."""
    factor, dot, parameter = text.partition(".")
    if factor not in FACTORS:
        faults.add(place, unknown("factor", factor, FACTORS))
        return None
    if not dot:
        return Key(factor, None)
    if factor in CHOICES:
        faults.add(place, f"{factor} has no parameters; write `{factor}: ...`")
    elif parameter == "name":
        faults.add(place, f"a component is varied as a whole; write `{factor}: ...`")
    elif not PARAMETER.fullmatch(parameter):
        faults.add(place, f"{quoted(parameter)} is no parameter's name; write `{factor}.name_of_parameter`")
    else:
        return Key(factor, parameter)
    return None


class Values:
    """Reads and resolves values; each distinct configuration is validated once."""

    def __init__(self, tables: Tables, faults: Faults, sure: bool = True) -> None:
        self.tables = tables
        self.faults = faults
        self.sure = sure
        """False where a plugin failed, so that an unknown name may be its and is not reported."""
        self._made: dict[tuple[str, str | None, str], Config] = {}

    def read(self, key: Key, at: Place, node: Node) -> Value | None:
        """A value for a factor or a parameter; None (and a fault) where it has the wrong form."""
        if key.parameter is not None:
            return Value(key.factor, at, given={key.parameter: Entry(at, node)}, dotted=True)
        if key.factor in CHOICES:
            return self._word(key.factor, node)
        if key.factor in SETTINGS:
            if isinstance(node.value, dict):
                return Value(key.factor, node.place, given=node.value)
            example = parameters(SETTINGS[key.factor])[0]
            self.faults.add(
                node.place,
                f"must be parameters, such as {{{example.name}: {text_of(example.default)}}}, got {_got(node)}",
            )
            return None
        return self.component(key.factor, node)

    def component(self, kind: str, node: Node) -> Value | None:
        """A component: its name, or a mapping of name and parameters."""
        if isinstance(node.value, str):
            return self._named(kind, node, {})
        if not isinstance(node.value, dict):
            self.faults.add(
                node.place, f"must be a {kind}'s name or a mapping with `name` and parameters, got {_got(node)}"
            )
            return None
        given = {key: entry for key, entry in node.value.items() if key != "name"}
        name = node.get("name")
        if name is None:
            return Value(kind, node.place, given=given)
        return self._named(kind, name, given)

    def _named(self, kind: str, node: Node, given: Mapping[str, Entry]) -> Value | None:
        if not isinstance(node.value, str):
            self.faults.add(node.place, f"a {kind}'s name is text, got {_got(node)}")
            return None
        known = self.tables.names(kind)
        if node.value not in known and self.sure:
            self.faults.add(node.place, unknown(kind, node.value, known))
        return Value(kind, node.place, name=node.value, given=given)

    def _word(self, factor: str, node: Node) -> Value | None:
        allowed, value = CHOICES[factor].allowed, node.value
        if allowed and isinstance(value, str) and value in allowed:
            return Value(factor, node.place, word=value)
        if not allowed and isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return Value(factor, node.place, word=value)
        if not allowed:
            self.faults.add(node.place, f"must be a whole number from 0, got {_got(node)}")
        elif isinstance(value, str):
            self.faults.add(node.place, unknown(factor, value, allowed))
        else:
            self.faults.add(node.place, f"must be one of {', '.join(allowed)}, got {_got(node)}")
        return None

    def resolve(self, layers: Sequence[Value], partial: bool = False) -> Config:
        """The configuration of values laid over one another, the lowest first.

        After a fault the configuration is a stand-in (see `resolved`). With `partial` only what the file says
        is checked, not what it leaves open: something else will be laid over it.
        """
        top = merged(layers)
        if top.factor in CHOICES:
            return choice(top.factor, top.word) if top.word is not None else Config(top.factor, None, UNRESOLVED)
        name = top.name if top.factor not in SETTINGS else None
        if name is not None and name not in self.tables.rooms[top.factor]:
            return Config(top.factor, name, UNRESOLVED)
        plain = {key: entry.node.plain for key, entry in top.parameters.items()}
        cached = (top.factor, name, json.dumps(plain, sort_keys=True))
        if cached in self._made:
            return self._made[cached]
        try:
            result = self.tables.resolve(top.factor, name, plain)
        except Exception as error:
            # A component may check its parameters by code of its own, and that code may fail in any way.
            result = [Problem(None, f"{type(error).__name__}: {error}")]
        if isinstance(result, Config):
            self._made[cached] = result
            return result
        for problem in result:
            if not partial or problem.parameter in plain:
                self._report(top, problem)
        return Config(top.factor, name, UNRESOLVED)

    def _report(self, value: Value, problem: Problem) -> None:
        """Say a problem where its parameter stands, and what would be allowed."""
        title = value.factor if value.name is None else f"{value.factor} {quoted(value.name)}"
        room = None if value.factor in SETTINGS else value.name
        kinds = {row.name: row.kind for row in parameters(self.tables.cls(value.factor, room))}
        parameter = problem.parameter
        if parameter is None:
            self.faults.add(value.place, problem.message)
        elif parameter not in value.parameters:
            kind = kinds.get(parameter, "")
            self.faults.add(value.place, f"{title} needs {quoted(parameter)} ({kind or problem.message})")
        elif parameter not in kinds:
            known = unknown("parameter", parameter, kinds).removeprefix("no ")
            self.faults.add(value.parameters[parameter].key, f"{title} has no {known}")
        else:
            node, kind = value.parameters[parameter].node, kinds[parameter]
            text = f"must be {kind}, got {_got(node)}"
            if not problem.message.lower().startswith("input should"):
                of_data = parameter in parameters_of(self.tables.cls(value.factor, room))
                text = problem.message if of_data else f"{problem.message}; it is {kind}"
            elif isinstance(node.value, str) and " | " in kind and "Did you" in hint(node.value, kind.split(" | ")):
                text += f". {hint(node.value, kind.split(' | ')).split('Known:')[0].strip()}"
            self.faults.add(node.place, text)


UNRESOLVED = "{}"


def resolved(config: Config) -> bool:
    """False for the stand-in of a value that was faulty, of which nothing more is known."""
    return config.plain != UNRESOLVED


def merged(layers: Iterable[Value]) -> Value:
    """Values laid over one another: whole ones first, then dotted ones, each in order."""
    first, *rest = sorted(layers, key=lambda value: value.dotted)
    for value in rest:
        if value.replaces:
            first = value
        else:
            both = {**first.parameters, **value.parameters}
            first = Value(first.factor, value.place, first.name, first.word, both)
    return first


def default_value(factor: str, place: Place) -> Value:
    """What a factor is where the file says nothing."""
    if factor in CHOICES:
        return Value(factor, place, word=CHOICES[factor].default)
    return Value(factor, place, name=ROOMS[factor].default if factor in ROOMS else None)


def label_of(value: Value, base: Value) -> str:
    """A value's own label: `euler(steps=10)`, `steps=200`, `exact`, or a parameter's value alone."""
    if value.word is not None:
        return text_of(value.word)
    texts = {key: text_of(entry.node.plain) for key, entry in value.parameters.items()}
    if value.dotted:
        return next(iter(texts.values()))
    given = ",".join(f"{key}={text}" for key, text in texts.items())
    if value.factor in SETTINGS:
        return given or "default"
    name = value.name or base.name or ""
    return f"{name}({given})" if given else name


def _got(node: Node) -> str:
    return shown(node.plain)
