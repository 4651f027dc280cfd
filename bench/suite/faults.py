"""Places in a suite file, and the mistakes found there, collected so that all are reported at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

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
