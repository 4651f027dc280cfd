"""Places in a suite file, and the mistakes found there, collected so that all are reported at once."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from bench.errors import Fault, SuiteError


class Place(NamedTuple):
    """Where something stands: line and column counted from 1, and its dotted key inside the file."""

    line: int
    column: int
    key: str


class Faults:
    """The mistakes of one file. One place keeps its first mistake: later ones would follow from it."""

    def __init__(self, file: str) -> None:
        self.file = file
        self._at: dict[Place, str] = {}
        self._where = ""

    @contextmanager
    def within(self, where: str) -> Iterator[None]:
        """Mistakes noted meanwhile begin with `where`: they show in a part of the file alone."""
        self._where = where
        yield
        self._where = ""

    def add(self, place: Place, message: str) -> None:
        """Note a mistake; `message` says what is wrong and what would be right."""
        where = "" if place.key.startswith("profiles.") else self._where
        self._at.setdefault(place, where + message)

    def __len__(self) -> int:
        return len(self._at)

    def error(self) -> SuiteError:
        """Every mistake noted so far as one error."""
        return SuiteError([Fault(self.file, *place, message) for place, message in self._at.items()])


def shown(value: Any) -> str:
    """A value as a message quotes it: JSON on one line, shortened past 60 characters."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def quoted(text: str) -> str:
    """A name as a message quotes it: 'huen', on one line and shortened past 60 characters."""
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


def hint(word: str, known: Iterable[str]) -> str:
    """`Did you mean 'heun'? Known: euler, heun.`: the nearest known name, if one is near, and the list."""
    names = list(dict.fromkeys(known))
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.55)
    question = f"Did you mean {quoted(near[0])}? " if near else ""
    more = f", ... ({len(names) - 40} more)" if len(names) > 40 else ""
    return f"{question}Known: {', '.join(names[:40]) or 'none'}{more}."


def unknown(title: str, word: str, known: Iterable[str]) -> str:
    """`no solver named 'huen'. Did you mean 'heun'? Known: dopri5, euler, heun.`."""
    return f"no {title} named {quoted(word)}. {hint(word, known)}"
