"""YAML 1.2 with the place of every key and value.

ruamel.yaml parses the file into events; the tree is built from them here, so that what a suite has no use
for (anchors, aliases, tags, directives, dates, keys that are not text, repeated keys) is refused where it
stands, and plain scalars follow the core schema of YAML 1.2.2, section 10.3.2, to the letter: `1e-3` is a
number, `no` is text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from ruamel.yaml.reader import ReaderError

from bench.errors import Fault, SuiteError
from bench.suite.faults import Faults, Place
from bench.words import quoted, shown, unknown

Scalar = str | int | float | bool | None
DEPTH = 16
"""Deepest nesting; the grammar needs far less, and the walk stays clear of Python's recursion limit."""

EVENTS_MAX = 30_000
"""Most keys, values and brackets of a file, which take two or three seconds to read."""


class Entry(NamedTuple):
    """A key's place and its value."""

    key: Place
    node: Node


@dataclass(frozen=True)
class Node:
    """A value of the file and where it stands: a scalar, a list of nodes or a mapping to entries."""

    place: Place
    value: Scalar | list[Node] | dict[str, Entry]

    @property
    def plain(self) -> Any:
        """The value without its places."""
        if isinstance(self.value, dict):
            return {key: entry.node.plain for key, entry in self.value.items()}
        if isinstance(self.value, list):
            return [item.plain for item in self.value]
        return self.value

    def get(self, key: str) -> Node | None:
        """The value under a key of a mapping, None where there is none."""
        entry = self.value.get(key) if isinstance(self.value, dict) else None
        return entry and entry.node

    def replaced(self, key: str, entry: Entry) -> Node:
        """The same mapping with one entry set."""
        held = self.value if isinstance(self.value, dict) else {}
        return Node(self.place, {**held, key: entry})


def read_yaml(text: str, faults: Faults) -> Node | None:
    """The document's root, None where it is empty. Raises SuiteError where the text is not YAML."""
    try:
        return _Builder(text, faults).document()
    except SuiteError:
        raise
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        said = " ".join(part for part in (error.context, error.problem) if part)
        raise _syntax(faults, line, column, said) from error
    except ReaderError as error:
        before = text[: error.position].split("\n")
        raise _syntax(faults, len(before), len(before[-1]) + 1, str(error).splitlines()[0]) from error
    except Exception as error:
        # ruamel.yaml lets some malformed escapes and directives through to Python's own errors.
        raise _syntax(faults, 1, 1, f"{type(error).__name__}: {error}") from error


def scalar(text: str) -> Scalar:
    """A plain scalar by the core schema of YAML 1.2. Infinities and nan come back as they are."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _NOT_FINITE.fullmatch(text):
        return float(text.replace(".", ""))
    return text


_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9]{1,400}|0o[0-7]{1,400}|0x[0-9a-fA-F]{1,400}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_DATE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ].*)?")


def _syntax(faults: Faults, line: int, column: int, said: str) -> SuiteError:
    return SuiteError([Fault(faults.file, line, column, "", f"not valid YAML: {said}")])


class _Builder:
    """Builds the tree from ruamel's events, and notes what a suite may not contain."""

    def __init__(self, text: str, faults: Faults) -> None:
        self.faults = faults
        self.events: Iterator[Any] = self._bounded(iter(YAML(typ="safe", pure=True).parse(text)))

    def _bounded(self, events: Iterator[Any]) -> Iterator[Any]:
        """The file's events, as many as a suite may have. Raises SuiteError at the first beyond."""
        for count, event in enumerate(events):
            if count > EVENTS_MAX:
                what = f"more than {EVENTS_MAX:,} keys and values; a long list of seeds is written as their number"
                self.faults.add(_place(event, ""), what)
                raise self.faults.error()
            yield event

    def document(self) -> Node | None:
        """The one document's root."""
        next(self.events)  # the stream's start
        start = next(self.events)
        if isinstance(start, StreamEndEvent):
            return None
        self._directives(start)
        root = self._node(next(self.events), "", 0)
        next(self.events)  # the document's end
        for event in self.events:  # drained, so that a syntax fault further down is seen
            if isinstance(event, DocumentStartEvent):
                self.faults.add(_place(event, ""), "a second document; a suite file holds one, without `---`")
        return root

    def _directives(self, start: DocumentStartEvent) -> None:
        if start.version or start.tags:
            self.faults.add(Place(1, 1, ""), "YAML directives (%...) are not used in suites; remove them")

    def _node(self, event: Any, key: str, depth: int) -> Node:
        place = _place(event, key)
        if isinstance(event, AliasEvent):
            self.faults.add(place, "YAML aliases (*name) are not used in suites; write the value out")
            return Node(place, None)
        if event.anchor is not None:
            self.faults.add(place, f"YAML anchors (&{event.anchor}) are not used in suites; remove it")
        if getattr(event, "tag", None) is not None:
            self.faults.add(place, f"YAML tags ({event.tag}) are not used in suites; remove it")
        if isinstance(event, ScalarEvent):
            return Node(place, self._scalar(event, place))
        if depth >= DEPTH:
            self.faults.add(place, f"nested deeper than {DEPTH} levels")
            raise self.faults.error()  # what is nested a thousand times deeper would take minutes to pass over
        if isinstance(event, SequenceStartEvent):
            return Node(place, self._list(key, depth))
        return Node(place, self._mapping(key, depth))

    def _list(self, key: str, depth: int) -> list[Node]:
        items: list[Node] = []
        while not isinstance(event := next(self.events), SequenceEndEvent):
            items.append(self._node(event, f"{key}[{len(items)}]", depth + 1))
        return items

    def _mapping(self, key: str, depth: int) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        while not isinstance(event := next(self.events), MappingEndEvent):
            name = self._key(event, key, depth)
            at = _place(event, f"{key}.{name}" if key and name else name or key)
            node = self._node(next(self.events), at.key, depth + 1)
            if name is None:
                continue
            if name in entries:
                first = entries[name].key.line
                self.faults.add(at, f"a second {quoted(name)}; the first is in line {first}")
            else:
                entries[name] = Entry(at, node)
        return entries

    def _key(self, event: Any, key: str, depth: int) -> str | None:
        """A key's text, None (and a fault) where it is none."""
        node = self._node(event, key, depth + 1)
        if isinstance(node.value, str) and node.value.isprintable():
            return node.value
        number = isinstance(event, ScalarEvent) and node.value is not None and event.value.isprintable()
        remedy = f'; write "{event.value}" with its quotes' if number else ""
        self.faults.add(node.place, f"keys are printable text{remedy}")
        return None

    def _scalar(self, event: Any, place: Place) -> Scalar:
        text: str = event.value
        if any("\ud800" <= char <= "\udfff" for char in text):
            self.faults.add(place, "half a surrogate pair is not text")
            return None
        if not event.implicit[0]:
            return text
        if _DATE.fullmatch(text):
            self.faults.add(place, f'dates are not used in suites; write "{text}" in quotes if it is text')
            return text
        value = scalar(text)
        if isinstance(value, float) and not math.isfinite(value):
            self.faults.add(place, f"numbers are finite, got {shown(text)[1:-1]}")
            return None
        if isinstance(value, int) and abs(value) >= 2**63:
            self.faults.add(place, "whole numbers stay below 2^63")
            return None
        return value


def _place(event: Any, key: str) -> Place:
    return Place(event.start_mark.line + 1, event.start_mark.column + 1, key)


def as_text(node: Node, faults: Faults) -> str | None:
    """The node's text, on one line; None (and a fault) where it is none."""
    text = " ".join(node.value.split()) if isinstance(node.value, str) else ""
    if text and text.isprintable():
        return text
    faults.add(node.place, f"must be printable text, got {shown(node.plain)}")
    return None


def as_list(node: Node, faults: Faults, of: str, least: int = 1) -> list[Node]:
    """The node's items; none (and a fault) where it is no list or one of fewer than `least`."""
    if isinstance(node.value, list) and len(node.value) >= least:
        return node.value
    faults.add(node.place, f"must be a list of {of}, got {shown(node.plain)}")
    return []


def as_record(
    node: Node, faults: Faults, kind: str, required: Sequence[str], optional: Sequence[str] = ()
) -> Mapping[str, Entry]:
    """The entries of a claim, an exclusion, ...: with faults for keys that it has not and keys that it lacks."""
    *but_last, last = (f"`{key}`" for key in required)
    held = as_mapping(node, faults, f"{', '.join(but_last)} and {last}" if but_last else last)
    known = (*required, *optional)
    for key, entry in held.items():
        if key not in known:
            faults.add(entry.key, unknown(f"key of {'an' if kind[0] in 'aeiou' else 'a'} {kind}", key, known))
    missing = [f"`{key}`" for key in required if held and key not in held]
    if missing:
        faults.add(node.place, f"the {kind} lacks {' and '.join(missing)}")
    return held


def as_mapping(node: Node, faults: Faults, of: str) -> Mapping[str, Entry]:
    """The node's entries; empty (and a fault) where it is no mapping or an empty one."""
    if isinstance(node.value, dict) and node.value:
        return node.value
    faults.add(node.place, f"must be a mapping of {of}, got {shown(node.plain)}")
    return {}
