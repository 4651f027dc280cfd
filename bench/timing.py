"""Wall-clock of sampling, measured when nothing else of ours runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

ROUNDS = 5
"""Rounds in which all candidates are timed in turn, so that a slow spell falls on all of them."""

ENOUGH_SECONDS = 0.3
"""A candidate timed three times and for this long sits out the later rounds."""

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


class Call(NamedTuple):
    """Wall-clock seconds of one call, and the share of them that this process had a processor."""

    seconds: float
    share: float


def clock(call: Callable[[], object], device: torch.device) -> Call:
    """Time one call by itself, synchronised. Raises what the call raises."""
    _synchronise(device)
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    _synchronise(device)
    seconds = max(time.perf_counter() - wall, 1e-9)
    return Call(seconds, (time.process_time() - cpu) / seconds)


def measure(calls: Sequence[Callable[[], object]], firsts: Sequence[Call], device: torch.device) -> list[Timed]:
    """Time each call warm, synchronised, in interleaved rounds; `firsts` are their first calls, timed already."""
    alone = [device.type == "cpu" and cold.seconds >= LONG_SECONDS for cold in firsts]
    taken = [[cold] if only else [] for cold, only in zip(firsts, alone, strict=True)]
    for number in range(ROUNDS):
        for call, mine in zip(calls, taken, strict=True):
            spent = sum(one.seconds for one in mine)
            if spent < LONG_SECONDS and (number < 3 or spent < ENOUGH_SECONDS):
                mine.append(clock(call, device))
    rows = []
    for cold, mine, only in zip(firsts, taken, alone, strict=True):
        q25, median, q75 = (float(q) for q in np.quantile([one.seconds for one in mine], [0.25, 0.5, 0.75]))
        busy = device.type == "cpu" and float(np.median([one.share for one in mine])) < BUSY
        every = mine if only else [cold, *mine]
        spent = sum(one.seconds for one in every)
        rows.append(Timed(median, q25, q75, cold.seconds, spent, len(every), len(mine), busy))
    return rows


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
