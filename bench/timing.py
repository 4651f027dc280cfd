"""Seconds of sampling and of training, by the stopwatch, when nothing else of ours runs.

What is timed is what the job's row declares: where weights, seed and time convention do not change the work, the plan
sets them to their defaults, so that one measurement serves all cells that it speaks of.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bench.sample import Conditional, advance, field_of, sample_job, start
from bench.task import Task
from bench.train import rehearsal, train_job

ROUNDS = 5
"""Rounds in which all candidates are timed in turn, so that a slow spell falls on all of them."""

LEAST_ROUNDS, ALIKE_ROUNDS = 3, 2
"""Rounds of each candidate at least, and of each of three or more that differ in their seed alone: together more."""

ENOUGH_SECONDS = 0.2
"""A candidate timed so often, and for this long, sits out the later rounds."""

LONG_SECONDS = 5.0
"""A candidate timed for this long sits out the later rounds, however few it had. Where already the first call takes
this long on a CPU, what it pays for by being first is lost in it, and it is the only one; on a GPU it may have
started libraries.
"""

BUSY = 0.9
"""Share of processor time in wall-clock time under which the machine is said to have been busy."""


class Timed(NamedTuple):
    """Seconds of one call: median, quartiles, the first by itself, all; how many calls; was the machine busy."""

    median: float
    q25: float
    q75: float
    first: float
    spent: float
    calls: int
    rounds: int
    busy: bool


class Lap(NamedTuple):
    """Wall-clock seconds of one call, and the share of them that this process had a processor."""

    seconds: float
    share: float


class Candidate(NamedTuple):
    """A call without arguments to be timed, and what its seconds say: numbers for the record."""

    call: Callable[[], object]
    says: Callable[[Timed], dict[str, Any]]


def sampling(task: Task) -> Candidate:
    """The stage of sampling's seconds: one batch is timed, and a repeat is as many as it has."""
    field, dtype = field_of(task)
    job = sample_job(task)
    x = torch.from_numpy(start(job, 0)).to(task.device, dtype)
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    piece = x[: job.sampling.batch or len(x)]
    batches = len(x) / len(piece)
    # Classes cost the same whichever they are, so any piece may be taken for the first one.
    asked = field.at(0) if isinstance(field, Conditional) else field

    def call() -> Tensor:
        """Integrate the first batch of the first repeat."""
        return advance(job, asked, piece, ends).states

    def says(row: Timed) -> dict[str, Any]:
        """Seconds of all batches of a repeat; the first call's are those of the one batch."""
        seconds = {"sample_seconds": row.median, "sample_seconds_q25": row.q25, "sample_seconds_q75": row.q75}
        return {name: value * batches for name, value in seconds.items()} | {"first_call_seconds": row.first}

    return Candidate(call, says)


def training(task: Task) -> Candidate:
    """The stage of training's seconds: some steps of a training by itself, which say how long all would take."""
    job = train_job(task)
    call, length, spent = rehearsal([job], task.device)

    def says(row: Timed) -> dict[str, Any]:
        """Seconds of all steps, and of their pairing."""
        part = job.training.steps / length
        pairing = spent.coupling / row.calls  # the first call pairs like the others
        return {"train_seconds": row.median * part, "coupling_seconds": pairing * part}

    return Candidate(call, says)


def lap(call: Callable[[], object], device: torch.device) -> Lap:
    """Time one call by itself, synchronised. Raises what the call raises."""
    _synchronise(device)
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    _synchronise(device)
    seconds = max(time.perf_counter() - wall, 1e-9)
    return Lap(seconds, (time.process_time() - cpu) / seconds)


def measure(
    calls: Sequence[Callable[[], object]],
    firsts: Sequence[Lap],
    device: torch.device,
    turn: Callable[[int], None] = lambda place: None,
    alike: Sequence[object] = (),
) -> list[Timed | Exception]:
    """Time each call warm, synchronised, in interleaved rounds; `firsts` are their first calls, timed already.

    alike: of each call, what is equal for those that differ in their seed alone; by default all differ.

    A call that raises sits out the rest, and its error stands in its place. `turn` hears before each lap whose it is.
    """
    many = Counter(alike or range(len(calls)))
    least = [ALIKE_ROUNDS if many[of] >= LEAST_ROUNDS else LEAST_ROUNDS for of in alike or range(len(calls))]
    failed: dict[int, Exception] = {}
    alone = [device.type == "cpu" and cold.seconds >= LONG_SECONDS for cold in firsts]
    taken = [[cold] if only else [] for cold, only in zip(firsts, alone, strict=True)]
    for number in range(ROUNDS):
        for place, (call, mine) in enumerate(zip(calls, taken, strict=True)):
            spent = sum(one.seconds for one in mine)
            if place not in failed and spent < LONG_SECONDS and (number < least[place] or spent < ENOUGH_SECONDS):
                turn(place)
                try:
                    mine.append(lap(call, device))
                except Exception as error:
                    failed[place] = error
    rows: list[Timed | Exception] = []
    for place, (cold, mine, only) in enumerate(zip(firsts, taken, alone, strict=True)):
        if place in failed:
            rows.append(failed[place])
            continue
        q25, median, q75 = (float(q) for q in np.quantile([one.seconds for one in mine], [0.25, 0.5, 0.75]))
        busy = device.type == "cpu" and float(np.median([one.share for one in mine])) < BUSY
        every = mine if only else [cold, *mine]
        spent = sum(one.seconds for one in every)
        rows.append(Timed(median, q25, q75, cold.seconds, spent, len(every), len(mine), busy))
    return rows


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
