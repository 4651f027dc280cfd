"""Run contracts: every law of a component's room, each with its outcome in words."""

from __future__ import annotations

import atexit
import functools
import json
import tempfile
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bench.components import ROOMS, Tables
from bench.contracts import couplings, datasets, every, flows, metrics, nets, paths, solvers
from bench.contracts.drawn import differences, drawn, edges, made, required
from bench.contracts.require import Law
from bench.datafiles import parameters_of
from bench.errors import ContractBroken, JobError, Unavailable
from bench.interfaces import Dataset, Net
from bench.plugins import load_plugin

CONTRACTS: dict[str, tuple[Law, ...]] = {
    "dataset": (*every.LAWS, *datasets.LAWS),
    "source": (*every.LAWS, *datasets.LAWS),
    "coupling": (*every.LAWS, *couplings.LAWS),
    "path": (*every.LAWS, *paths.LAWS, *flows.LAWS),
    "net": (*every.LAWS, *nets.LAWS),
    "solver": (*every.LAWS, *solvers.LAWS),
    "metric": (*every.LAWS, *metrics.LAWS),
}
"""The laws of each room, in the order in which they are tried."""

DRAWN: dict[str, int] = {"dataset": 2, "source": 2, "coupling": 1, "path": 3, "net": 2, "solver": 2, "metric": 1}
"""How many drawn parameters each room's components are tried at, beside the defaults."""

EDGES = frozenset({"dataset", "source", "coupling", "path", "solver"})
"""Rooms whose components keep their laws at the very ends of their parameters' ranges."""

AT_DEFAULTS: frozenset[Law] = frozenset(
    {
        couplings.leaves_no_point_out_of_large_batches,
        datasets.window_is_no_wider_than_the_law,
        flows.exact_flow_ends_in_its_own_law,
        solvers.simulation_keeps_a_standing_law,
    }
)
"""Laws that are slow, or that some parameters change on purpose."""


@dataclass(frozen=True)
class Subject:
    """A component to be held to its contract: at `given`, the rest at its defaults, and around them."""

    room: str
    name: str
    cls: type
    given: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Outcome:
    """What came of one law: "ok", or "FAILED" or "skipped" with the reason."""

    subject: Subject
    law: str
    status: Literal["ok", "FAILED", "skipped"]
    words: str = ""


def subjects(tables: Tables, given: Mapping[str, Mapping[str, Any]] | None = None) -> list[Subject]:
    """What the tables' plugin files add, or, where there are none, all that the tables name.

    A data set is a source too, and is listed once, as a data set. `given`: parameters, by a component's name.
    """
    modules = [load_plugin(file) for file in tables.plugins]
    found = []
    for kind, room in ROOMS.items():
        listed = tables.rooms[kind]
        if modules:
            listed = {name: cls for module in modules for name, cls in getattr(module, room.table_name, {}).items()}
        found += [Subject(kind, name, cls, (given or {}).get(name, _example(cls))) for name, cls in listed.items()]
    laws = {subject.cls for subject in found if subject.room == "dataset"}
    return [subject for subject in found if subject.room != "source" or subject.cls not in laws]


@functools.cache
def _example(cls: type) -> Mapping[str, Any]:
    """Parameters of a component that needs a file of data, at one that it writes by itself; else none."""
    if not parameters_of(cls) or not hasattr(cls, "example"):
        return {}
    folder = tempfile.TemporaryDirectory(prefix="bench-example-")
    atexit.register(folder.cleanup)
    example: Mapping[str, Any] = cls.example(Path(folder.name))
    return example


def check(found: Sequence[Subject]) -> Iterator[Outcome]:
    """Every law of every subject, one outcome each, and a failure more where no law could be tried."""
    for subject in found:
        if missing := _missing(subject):
            yield Outcome(subject, "can_be_tried", "FAILED", f"no law could be tried: {missing}")
            continue
        told = []
        for law in CONTRACTS[subject.room]:
            told.append(outcome(subject, law))
            yield told[-1]
        if all(each.status == "skipped" for each in told):
            yield Outcome(subject, "can_be_tried", "FAILED", f"no law could be tried: {told[0].words}")


def outcome(subject: Subject, law: Law) -> Outcome:
    """Try one law on one component, at all the parameters that it is tried at; the first fault is told.

    What the component raises is an outcome, with its place.
    """
    name = law.__name__
    if missing := _missing(subject):
        return Outcome(subject, name, "skipped", missing)
    at = start = None
    try:
        at = start = made(subject.cls, subject.given)
        reasons = [law(start)]
        for at in others(subject, start, law):
            # At parameters of our own choice a component may say that it cannot.
            with suppress(JobError):
                reasons.append(law(at))
    except ContractBroken as error:
        return Outcome(subject, name, "FAILED", f"{_where(at, start)}{error}")
    except Unavailable as error:
        return Outcome(subject, name, "skipped", str(error))
    except Exception as error:
        words = f"{_where(at, start)}raises {type(error).__name__}: {error} ({_place(error)})"
        return Outcome(subject, name, "FAILED", words)
    if None in reasons:
        return Outcome(subject, name, "ok")
    return Outcome(subject, name, "skipped", reasons[0] or "")


def others(subject: Subject, start: Any, law: Law) -> tuple[Any, ...]:
    """The component at the other parameters at which it is held to a law; large ones at their own alone."""
    images = isinstance(start, Dataset) and start.images
    if law in AT_DEFAULTS or images or (isinstance(start, Net) and not nets.is_small(start)):
        return ()
    return _others(subject.room, subject.cls, json.dumps(dict(subject.given), sort_keys=True))


@functools.lru_cache(maxsize=8)
def _others(room: str, cls: type, text: str) -> tuple[Any, ...]:
    given = json.loads(text)
    return (*edges(cls, given, ends=room in EDGES), *drawn(cls, given, DRAWN[room]))


def _missing(subject: Subject) -> str:
    """What must be said before the component can be made, or nothing."""
    missing = [each for each in required(subject.cls) if each not in subject.given]
    if not missing:
        return ""
    have = "has no default" if len(missing) == 1 else "have no defaults"
    example = ", ".join(f"{each}: ..." for each in missing)
    return f"{', '.join(missing)} {have}; give a value by --with '{subject.name}: {{{example}}}'"


def _where(at: Any, start: Any) -> str:
    """`with s = 0.73: ` for a fault at other parameters than the first ones."""
    return "" if at is None or at == start else f"with {differences(at, start)}: "


def _place(error: Exception) -> str:
    """File and line of the innermost frame that is neither a law's nor a library's, where there is one."""
    frames = traceback.extract_tb(error.__traceback__)
    contracts = Path(__file__).parent
    theirs = [f for f in frames if Path(f.filename).parent != contracts and "site-packages" not in f.filename]
    frame = (theirs or frames)[-1]
    return f"{frame.filename}:{frame.lineno}"
