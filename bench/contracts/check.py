"""Run contracts: every law of a component's room, each with its outcome in words."""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.components import ROOMS, Tables
from bench.contracts import couplings, datasets, every, metrics, nets, paths, solvers
from bench.contracts.require import Law
from bench.errors import ContractBroken, Unavailable
from bench.plugins import load_plugin

CONTRACTS: dict[str, tuple[Law, ...]] = {
    "dataset": (*every.LAWS, *datasets.LAWS),
    "source": (*every.LAWS, *datasets.LAWS),
    "coupling": (*every.LAWS, *couplings.LAWS),
    "path": (*every.LAWS, *paths.LAWS),
    "net": (*every.LAWS, *nets.LAWS),
    "solver": (*every.LAWS, *solvers.LAWS),
    "metric": (*every.LAWS, *metrics.LAWS),
}
"""The laws of each room, in the order in which they are tried."""


@dataclass(frozen=True)
class Subject:
    """A component to be held to its contract, at the defaults of its parameters."""

    room: str
    name: str
    cls: type


@dataclass(frozen=True)
class Outcome:
    """What came of one law: "ok", or "FAILED" or "skipped" with the reason."""

    subject: Subject
    law: str
    status: Literal["ok", "FAILED", "skipped"]
    words: str = ""


def subjects(tables: Tables) -> list[Subject]:
    """What the tables' plugin files add, or, where there are none, all that the tables name.

    A data set is a source too, and is listed once, as a data set.
    """
    modules = [load_plugin(file) for file in tables.plugins]
    found = []
    for kind, room in ROOMS.items():
        listed = tables.rooms[kind]
        if modules:
            listed = {name: cls for module in modules for name, cls in getattr(module, room.table_name, {}).items()}
        found += [Subject(kind, name, cls) for name, cls in listed.items()]
    laws = {subject.cls for subject in found if subject.room == "dataset"}
    return [subject for subject in found if subject.room != "source" or subject.cls not in laws]


def check(found: list[Subject]) -> Iterator[Outcome]:
    """Every law of every subject, one outcome each."""
    for subject in found:
        for law in CONTRACTS[subject.room]:
            yield outcome(subject, law)


def outcome(subject: Subject, law: Law) -> Outcome:
    """Try one law on one component. What the component raises is an outcome, with its place."""
    name = law.__name__
    required = [
        field.name
        for field in dataclasses.fields(subject.cls)
        if field.init and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    if required:
        return Outcome(subject, name, "skipped", f"{', '.join(required)} has no default to try it with")
    try:
        reason = law(subject.cls())
    except ContractBroken as error:
        return Outcome(subject, name, "FAILED", str(error))
    except Unavailable as error:
        return Outcome(subject, name, "skipped", str(error))
    except Exception as error:
        return Outcome(subject, name, "FAILED", f"raises {type(error).__name__}: {error} ({_place(error)})")
    return Outcome(subject, name, "skipped", reason) if reason else Outcome(subject, name, "ok")


def _place(error: Exception) -> str:
    """File and line of the innermost frame that is neither a law's nor a library's, where there is one."""
    frames = traceback.extract_tb(error.__traceback__)
    contracts = Path(__file__).parent
    theirs = [f for f in frames if Path(f.filename).parent != contracts and "site-packages" not in f.filename]
    frame = (theirs or frames)[-1]
    return f"{frame.filename}:{frame.lineno}"
