"""One run of a suite: the machine and the device, the store, the work, the report, and how it ended.

What is said goes to two consoles, `out` and `err`, which may be quiet.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from bench.console import FAILED, INTERRUPTED, OK
from bench.errors import Corrupt, StoreError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from bench.execute import Engine, Results
    from bench.limits import Limits
    from bench.planner import Plan
    from bench.report.results import Results as Read
    from bench.store import Store
    from bench.suite import Suite


@dataclass(frozen=True)
class Worked:
    """What became of a run: where its report is, what was done, and the exit status that tells it."""

    folder: Path
    done: Results
    status: int


def work(
    suite: Suite,
    engine: Engine,
    device: str,
    results: Path,
    out: Console,
    err: Console,
    *,
    command: str,
    keep_stale: bool = False,
    fail_fast: bool = False,
    partial: bool = False,
    limits: Limits | None = None,
) -> Worked:
    """Do what is missing of a suite and write its report. command: what the report says to run again; partial: whether
    the suite was left with some of its cells.
    """
    from bench import records
    from bench.execute import Estimator, execute
    from bench.progress import watcher

    began = time.monotonic()
    place = device_named(device, engine.has_gpu)
    folder = folder_of(results, suite, "only" if partial else None)
    store, provenance = store_of(results), provenance_here()
    if gpu := gpu_name(place):
        provenance["gpu"] = gpu
    store.sweep()
    laid = lay_out(suite, provenance, place, engine.machine)
    out.print(f"{suite.name}: {len(suite.cells)} cells on {place}")
    with watcher(out, laid, Estimator(store, place), engine.slots) as watching, terminated_as_interrupted():
        done = execute(
            laid, store, engine, watching, device=place, plugins=suite.tables.loaded, provenance=provenance,
            keep_stale=keep_stale, fail_fast=fail_fast, limits={**suite.limits, **(limits or {})},
        )  # fmt: skip
    if done.error:
        err.print(done.error)
    if done.shared:
        out.print(f"{done.shared} jobs were done meanwhile by other processes on this store")
    cells = records.cells_table(suite, laid, done)
    table = records.records_table(suite, laid, done, cells)
    about = records.page(suite, done, provenance, command, time.monotonic() - began)
    try:
        read = publish_report(folder, store, cells, table, about, out, err)
    except StoreError as error:
        if not done.error:
            raise
        err.print(f"no report was written either: {error}")
        return Worked(folder, done, FAILED)
    say_lost(table, cells, err)
    return Worked(folder, done, verdict_of(done, read, out, err))


def folder_of(results: Path, suite: Suite, ending: str | None) -> Path:
    """Where a run's report goes; `ending`: what tells a special run from a plain one. Raises UsageError where the
    report of another suite or profile stands.
    """
    from bench.report import seal
    from bench.store import disk

    folder = results / "-".join(filter(None, (suite.name, suite.profile, ending)))
    with disk(folder, "read what stands there"):
        seal.check_places(folder)
        try:
            there = seal.read_suite(folder.absolute())
        except (FileNotFoundError, Corrupt):
            return folder  # it is written anew
    if (there.get("suite"), there.get("profile")) != (suite.name, suite.profile):
        other = f"suite {there.get('suite')}" + (f", profile {there['profile']}" if there.get("profile") else "")
        raise UsageError(f"{folder}: holds the report of {other}; rename this suite or give --results another folder")
    return folder


def publish_report(
    folder: Path, store: Store, cells: Any, table: Any, about: dict[str, Any], out: Console, err: Console
) -> Read:
    """Write the tables, and the report only where something in them is new; what it shows."""
    from bench import records, verdicts
    from bench.report import headline_text, write_report
    from bench.report.results import load_results
    from bench.store import disk

    if records.is_current(folder, cells, table, about):
        out.print("nothing new; the report stands as it is")
    else:
        with disk(folder, "write the report"):
            records.write(folder, cells, table, about)
            written = write_report(folder, store.root)
        for text in written.warnings:
            err.print(f"warning: {text}")
    results = load_results(folder)
    out.print(headline_text(results, out.width if out.is_terminal else 160))
    out.print(f"{verdicts.answer(results)}\n")
    out.print(f"report: {folder / 'report.md'} and report.html")
    return results


def verdict_of(done: Results, read: Read, out: Console, err: Console) -> int:
    """Exit status, and in words what went wrong: cells without samples, and values that good cells lack."""
    cells = read.cells
    counts = cells["status"].value_counts()
    bad = {status: int(n) for status, n in counts.items() if status not in {"ok", "skipped"}}
    if skipped := int(counts.get("skipped", 0)):
        reasons = sorted(set(cells.loc[cells["status"] == "skipped", "reason"]))
        out.print(f"{skipped} cell{'' if skipped == 1 else 's'} skipped: " + "; ".join(reasons))
    if done.error or done.interrupted:
        whole, rest = int(read.ends.eq("ok").sum()), read.ends[read.ends != "ok"].value_counts()
        told = "; ".join(
            [f"{whole} of {len(cells)} cells have all their scores", *(f"{n} {s}" for s, n in rest.items())]
        )
        err.print(told)
    if done.error:
        err.print("the run ended early; what was finished is stored, and the same command goes on from there")
        return FAILED
    if done.interrupted:
        return INTERRUPTED
    if bad:
        text = ", ".join(f"{n} {status}" for status, n in bad.items())
        err.print(f"{text} of {len(cells)} cells; the report says why")
    lost = read.lost_values[read.lost_values["cell"].isin(cells.loc[cells["status"] == "ok", "cell"])]
    for metric, rows in lost.groupby("base", sort=False):
        told = "; ".join(dict.fromkeys(rows["reason"]))
        err.print(f"{metric}: no value in {len(rows)} of {len(cells)} cells: {told}")
    return FAILED if bad or len(lost) else OK


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM ends a run as Ctrl-C does: what is finished stays, nothing is left running.

    Outside the main thread, where Python lets nobody ask for signals, it does what it did.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        """What Ctrl-C raises."""
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def say_lost(table: Any, cells: Any, err: Console) -> None:
    """Scores that no cell has, though cells are well: asked of data that they do not fit, or without their weights."""
    well = table[table["cell"].isin(cells.loc[cells["status"] == "ok", "cell"]) & (table["status"] == "skipped")]
    lost = well[~well["metric"].isin(table.loc[table["value"].notna(), "metric"])]
    for reason, names in lost[lost["reason"] != ""].groupby("reason")["metric"]:
        err.print(f"{', '.join(dict.fromkeys(names))}: no value in any cell: {reason}")


def lay_out(suite: Suite, provenance: dict[str, Any], device: str, machine: str = "") -> Plan:
    """The jobs of a suite; times are of the machine so named, by default this one, and the device."""
    from bench.planner import plan

    where = machine or f"{provenance['cpu']}/{provenance['cores']}"
    return plan(suite, f"{where}/{device}/{gpu_name(device)}")


def store_of(results: Path, reading: bool = False) -> Store:
    """The store in a results folder; UsageError where it is only to be read and is not there."""
    from bench.store import Store, fault

    if reading and not (results / "store").is_dir():
        raise UsageError(f"{results}: no store here; give --results the folder that holds one")
    return Store(results / "store", fault, reading)


def provenance_here() -> dict[str, Any]:
    """Commit, versions and machine."""
    from bench.store import provenance

    return provenance(Path(__file__).parent.parent)


def device_named(name: str, there: bool | None = None) -> str:
    """The device that jobs get; `there`: whether who does them has a GPU, by default this machine.

    Raises UsageError where it is not there.
    """
    import torch

    there = torch.cuda.is_available() if there is None else there
    if name == "auto":
        return "cuda" if there else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"--device: no device {name!r}; use auto, cpu, cuda or cuda:0") from error
    if device.type == "cuda" and not there:
        raise UsageError(f"--device {name}: torch sees no CUDA device here; use --device cpu")
    return name


def gpu_name(device: str) -> str:
    """The GPU's own name; empty for the CPU."""
    import torch

    return torch.cuda.get_device_name(device) if device.startswith("cuda") and torch.cuda.is_available() else ""
