"""`bench settle`: seeds are added until a suite's claims are decided."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from bench.cli_suites import (
    AllowOption,
    DeviceOption,
    ProfileOption,
    ResultsDir,
    WorkersOption,
    command_line,
    load,
)
from bench.console import FAILED, INTERRUPTED, err, out
from bench.errors import UsageError
from bench.words import duration, unknown
from bench.work import (
    device_named,
    folder_of,
    gpu_name,
    lay_out,
    provenance_here,
    publish_report,
    store_of,
    terminated_as_interrupted,
    verdict_of,
)

if TYPE_CHECKING:
    import pandas as pd

    from bench.contrasts import Difference
    from bench.decisions import Decision
    from bench.execute import Engine
    from bench.execute import Results as Done
    from bench.store import Store
    from bench.suite import Suite

app = typer.Typer()

ENDING = "settled"
"""Of the folder's name: what was looked at after every seed never stands where fixed numbers of seeds do."""


@app.command()
def settle(
    suite: Annotated[str, typer.Argument(metavar="SUITE", help="a suite file, or a name (bench ls suites)")],
    claim: Annotated[
        list[str] | None, typer.Option("--claim", metavar="TEXT", help="settle this claim only; may be repeated")
    ] = None,
    most: Annotated[int, typer.Option("--max-seeds", min=1, help="seeds that a claim may take")] = 40,
    minutes: Annotated[
        float | None, typer.Option("--max-minutes", metavar="M", min=0, help="begin no round after so many minutes")
    ] = None,
    profile: ProfileOption = None,
    device: DeviceOption = "auto",
    results: ResultsDir = Path("results"),
    workers: WorkersOption = None,
    allow: AllowOption = None,
) -> None:
    """Add seeds to the cells of a suite's claims until each is decided, or the budget is spent.

    The verdicts are by e-values, which allow for a look after every seed; the report says so and goes to a folder of
    its own, results/SUITE-settled/. All claims of the suite count, asked for or not.
    """
    from bench.execute import LocalEngine
    from bench.suite import load_suite

    began = time.monotonic()
    engine = LocalEngine(workers)
    engine.warm_up()
    plain = load(suite, profile, None, allow)
    if not plain.claims:
        raise UsageError(f"{suite}: no claims to settle; write `claims: ...`, or run it with: bench run {suite}")
    asked = _asked(plain, claim)
    order = list(dict.fromkeys((*plain.seeds, *range(most + len(plain.seeds)))))[:most]
    full = load_suite(plain.file, profile, allow=tuple(allow or ()), seeds=order)
    run = _Run(full, engine, device_named(device), results, order)
    status = run.rounds(asked, math.inf if minutes is None else began + 60 * minutes)
    raise typer.Exit(status)


def _asked(suite: Suite, texts: Sequence[str] | None) -> list[int]:
    """Which claims are to be settled: all, or those whose words hold one of the texts. Raises UsageError for none."""
    names = [claim.claim for claim in suite.claims]
    found = set[int]()
    for text in texts or [""]:
        fits = [i for i, name in enumerate(names) if text.casefold() in name.casefold()]
        if not fits:
            raise UsageError(f"--claim: {unknown('claim', text, names)}")
        found.update(fits)
    return sorted(found)


class _Run:
    """The rounds of one suite, whose cells hold every seed that may be taken."""

    def __init__(self, full: Suite, engine: Engine, device: str, results: Path, order: Sequence[int]) -> None:
        self.full, self.engine, self.device, self.results, self.order = full, engine, device, results, order
        self.store: Store = store_of(results)
        self.provenance = provenance_here()
        if gpu := gpu_name(device):
            self.provenance["gpu"] = gpu
        self.store.sweep()
        self.folder = folder_of(results, full, ENDING)
        place = {seed: i for i, seed in enumerate(order)}
        self.position = np.asarray([place[int(seed)] for seed in full.cells.seed])
        self.seconds = 0.0

    def rounds(self, asked: Sequence[int], deadline: float) -> int:
        """Do rounds until all is decided or the budget is spent, then write the report; the exit status."""
        from bench.sequential import least_seeds

        most, taken = len(self.order), np.zeros(len(self.full.claims), dtype=int)
        taken[asked] = min(most, least_seeds(len(self.full.claims)))
        while True:
            began = time.monotonic()
            done, cells, table, about = self.do(taken)
            if done.error or done.interrupted:
                if done.error:
                    err.print(done.error)
                return FAILED if done.error else INTERRUPTED
            found, decisions = self.decide(about, cells, table)
            still = [i for i in asked if decisions[i].verdict == "undecided" or decisions[i].looks == 0]
            out.print(f"{int(taken.max())} seeds: {len(asked) - len(still)} of {len(asked)} claims decided")
            growing = [i for i in still if taken[i] < most]
            if not growing or time.monotonic() + (time.monotonic() - began) / 2 > deadline:
                break
            taken[growing] = np.minimum(most, taken[growing] + max(self.more(growing), int(taken.max()) // 8))
        self.say(about, found, decisions)
        taken = self.looked(found, decisions, taken)
        done, cells, table, about = self.do(taken)
        read = publish_report(self.folder, self.store, cells, table, about, out, err)
        return verdict_of(done, read, out, err)

    def do(self, taken: np.ndarray[Any, Any]) -> tuple[Done, pd.DataFrame, pd.DataFrame, dict[str, Any]]:
        """Do what is missing of the claims' cells with so many seeds each, and what records say of it."""
        from bench import records
        from bench.execute import Estimator, execute
        from bench.progress import watcher
        from bench.suite.load import kept

        began = time.monotonic()
        keep = np.zeros(len(self.full.cells), dtype=bool)
        for claim, seeds in zip(self.full.claims, taken, strict=True):
            pairs = np.asarray(claim.pairs, dtype=int).reshape(-1, 2)
            keep[pairs[self.position[pairs[:, 0]] < seeds]] = True
        suite = kept(self.full, keep)
        laid = lay_out(suite, self.provenance, self.device)
        with (
            watcher(out, laid, Estimator(self.store, self.device), self.engine.slots) as watching,
            terminated_as_interrupted(),
        ):
            done = execute(
                laid, self.store, self.engine, watching, device=self.device, plugins=suite.tables.loaded,
                provenance=self.provenance, limits=suite.limits,
            )  # fmt: skip
        cells = records.cells_table(suite, laid, done)
        table = records.records_table(suite, laid, done, cells)
        self.seconds += time.monotonic() - began
        about = records.page(suite, done, self.provenance, command_line(), self.seconds)
        return done, cells, table, {**about, "settled": {"max_seeds": len(self.order)}}

    def decide(
        self, about: dict[str, Any], cells: pd.DataFrame, table: pd.DataFrame
    ) -> tuple[list[Difference], list[Decision]]:
        """The claims' differences and decisions, read as the report will read them.

        Of a claim whose verdict will be withheld, for a side that fails at times, more seeds would change nothing.
        """
        from bench import records, verdicts
        from bench.report.results import read_back

        read = read_back(self.folder, *records.as_written(cells, table, about))
        found = verdicts.differences(read)
        return found, verdicts.tested(read, found)

    def more(self, growing: Sequence[int]) -> int:
        """Seeds of the next round: as many as fill the machine, going by the trainings of one seed."""
        cells = {
            cell for i in growing for pair in self.full.claims[i].pairs for cell in pair if not self.position[pair[0]]
        }
        index = self.full.cells.index
        trained = {
            tuple(int(index[f][c]) for f in index if f not in ("solver", "sampling", "direction")) for c in cells
        }
        return max(1, math.ceil(self.engine.slots / max(1, len(trained))))

    def looked(
        self, found: Sequence[Difference], decisions: Sequence[Decision], taken: np.ndarray[Any, Any]
    ) -> np.ndarray[Any, Any]:
        """Of each claim the seeds up to the one that decided it: the same whatever the rounds were."""
        kept = taken.copy()
        for i, (each, decision) in enumerate(zip(found, decisions, strict=True)):
            if decision.looks and decision.verdict != "undecided":
                there = np.flatnonzero(np.isfinite(each.in_order(self.order)))
                kept[i] = int(there[decision.looks - 1]) + 1
        return kept

    def say(self, about: dict[str, Any], found: Sequence[Difference], decisions: Sequence[Decision]) -> None:
        """The verdicts, a sentence each."""
        from bench.verdicts import sentence, withheld

        for claim, each, one in zip(about["claims"], found, decisions, strict=True):
            decision = replace(one, verdict="undecided") if withheld(each, one) else one
            out.print(f"{claim['claim']}: {sentence(claim, each, decision, len(decisions))}")
        out.print(f"settled in {duration(self.seconds)}")
