"""Commands about runs that other processes have under way."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli_suites import AllowOption, OnlyOption, ProfileOption, ResultsDir, Suites, load
from bench.console import FAILED, out
from bench.words import duration
from bench.work import device_named, lay_out, provenance_here, store_of

if TYPE_CHECKING:
    from bench.planner import Plan
    from bench.store import Store

app = typer.Typer()

STATES = ("all", "done", "running", "failed", "left")


@app.command()
def status(
    suites: Suites,
    profile: ProfileOption = None,
    only: OnlyOption = None,
    results: ResultsDir = Path("results"),
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object a suite")] = False,
    allow: AllowOption = None,
) -> None:
    """Tell from the store alone what of a suite is done, running, failed and left; times are those of this machine.

    Exit status 0 where all is done, else 1.
    """
    whole, provenance, device = True, provenance_here(), device_named("auto")
    for suite in [load(name, profile, only, allow) for name in suites]:
        found = _found(lay_out(suite, provenance, device), store_of(results, reading=True))
        if as_json:
            out.print(json.dumps({"suite": suite.name, "profile": suite.profile, **found}))
        else:
            _say(suite.name, found)
        whole &= all(counts["done"] == counts["all"] for counts in found["kinds"].values())
    if not whole:
        raise typer.Exit(FAILED)


def _found(laid: Plan, store: Store) -> dict[str, Any]:
    """Jobs by kind: all, done, running, failed, left; and of those that run and failed, which and why."""
    from bench.kinds import KINDS
    from bench.states import states

    kinds = {kind: dict.fromkeys(STATES, 0) for kind in KINDS if laid.count(kind)}
    running, failed = list[dict[str, Any]](), list[dict[str, Any]]()
    for (kind, key), state in states(laid, store).items():
        kinds[kind]["all"] += 1
        kinds[kind][state.status] += 1
        about = {"kind": kind, "key": key}
        if owner := state.owner:
            since, at = owner.jobs[f"{kind}/{key}/{laid.jobs[kind, key].code}"]
            running.append({**about, "host": owner.host, "pid": owner.pid, "since": since, "at": at})
        elif state.status == "failed":
            failed.append({**about, "status": state.ended, "reason": state.reason})
    return {"kinds": kinds, "running": running, "failed": failed}


def _say(name: str, found: dict[str, Any]) -> None:
    total = {key: sum(counts[key] for counts in found["kinds"].values()) for key in STATES}
    rest = ", ".join(f"{total[key]} {key}" for key in STATES[2:])
    out.print(f"{name}: {total['done']} of {total['all']} jobs done, {rest}")
    for kind, counts in found["kinds"].items():
        rest = ", ".join(f"{counts[key]} {key}" for key in STATES[2:] if counts[key])
        out.print(f"  {kind:<11} {counts['done']:>6} of {counts['all']} done{f', {rest}' if rest else ''}")
    for job in sorted(found["running"], key=lambda job: job["since"] or 0.0):
        age = f" for {duration(max(0.0, time.time() - job['since']))}" if job["since"] else ""
        at = f", at {job['at'][0]} of {job['at'][1]}" if job["at"] and job["at"][1] else ""
        out.print(f"  running: {job['kind']} {job['key'][:8]}{age} by process {job['pid']} on {job['host']}{at}")
    reasons: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for job in found["failed"]:
        reasons[job["status"], job["reason"]].append(f"{job['kind']} {job['key'][:8]}")
    for (status, reason), jobs in reasons.items():
        more = f" and {len(jobs) - 1} more" if len(jobs) > 1 else ""
        out.print(f"  {status}: {jobs[0]}{more}: {reason}")
