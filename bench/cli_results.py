"""What commands that do work share at its end: where its results go, what is written and said, and the exit status."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from bench.console import FAILED, INTERRUPTED, OK, err, out
from bench.errors import Corrupt, UsageError

if TYPE_CHECKING:
    from bench.execute import Results
    from bench.store import Store
    from bench.suite import Suite


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


def publish(folder: Path, store: Store, cells: Any, table: Any, about: dict[str, Any]) -> None:
    """Write the tables, and the report only where something in them is new."""
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
    out.print(headline_text(folder, out.width if out.is_terminal else 160))
    out.print(f"{verdicts.answer(load_results(folder))}\n")
    out.print(f"report: {folder / 'report.md'} and report.html")


def say_lost(table: Any, cells: Any) -> None:
    """Scores that no cell has, though cells are well: asked of data that they do not fit, or without their weights."""
    well = table[table["cell"].isin(cells.loc[cells["status"] == "ok", "cell"]) & (table["status"] == "skipped")]
    lost = well[~well["metric"].isin(table.loc[table["value"].notna(), "metric"])]
    for reason, names in lost[lost["reason"] != ""].groupby("reason")["metric"]:
        err.print(f"{', '.join(dict.fromkeys(names))}: no value in any cell: {reason}")


def verdict(done: Results, cells: Any, table: Any) -> int:
    """Exit status, and in words what went wrong: cells without samples, and values that good cells lack."""
    counts = cells["status"].value_counts()
    bad = {status: int(n) for status, n in counts.items() if status not in {"ok", "skipped"}}
    if skipped := int(counts.get("skipped", 0)):
        reasons = sorted(set(cells.loc[cells["status"] == "skipped", "reason"]))
        out.print(f"{skipped} cell{'' if skipped == 1 else 's'} skipped: " + "; ".join(reasons))
    if done.error:
        err.print("the run ended early; what was finished is stored, and the same command goes on from there")
        return FAILED
    if done.interrupted:
        return INTERRUPTED
    if bad:
        text = ", ".join(f"{n} {status}" for status, n in bad.items())
        err.print(f"{text} of {len(cells)} cells; the report says why")
    well = table["cell"].isin(cells.loc[cells["status"] == "ok", "cell"])
    lost = table[well & ~table["status"].isin(["ok", "skipped"])]
    for metric, rows in lost.groupby("metric", sort=False):
        told = "; ".join(dict.fromkeys(rows["reason"]))
        err.print(f"{metric}: no value in {len(rows)} of {len(cells)} cells: {told}")
    return FAILED if bad or len(lost) else OK


def command() -> str:
    """What was typed, so that it can be typed again."""
    return shlex.join(["bench", *sys.argv[1:]])


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM ends a run as Ctrl-C does: what is finished stays, nothing is left running."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        """What Ctrl-C raises."""
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
