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

LONG_SECONDS = 10.0
"""A candidate timed for this long sits out the later rounds, however few it had."""

BUSY = 0.9
"""Share of processor time in wall-clock time under which the machine is said to have been busy."""


class Timed(NamedTuple):
    """Seconds of one call: median, quartiles, the first call by itself; whether the machine was busy."""

    median: float
    q25: float
    q75: float
    first: float
    rounds: int
    busy: bool


def first(call: Callable[[], object], device: torch.device) -> float:
    """Seconds of the first call, which pays for what later ones find warm. Raises what the call raises."""
    return _clock(call, device)[0]


def measure(calls: Sequence[Callable[[], object]], firsts: Sequence[float], device: torch.device) -> list[Timed]:
    """Time each call warm, synchronised, in interleaved rounds; `firsts` are the seconds of the first calls."""
    walls: list[list[float]] = [[] for _ in calls]
    shares: list[list[float]] = [[] for _ in calls]
    for number in range(ROUNDS):
        for index, call in enumerate(calls):
            spent = sum(walls[index])
            if spent >= LONG_SECONDS or (number >= 3 and spent >= ENOUGH_SECONDS):
                continue
            wall, share = _clock(call, device)
            walls[index].append(wall)
            shares[index].append(share)
    rows = []
    for cold, taken, given in zip(firsts, walls, shares, strict=True):
        q25, median, q75 = (float(q) for q in np.quantile(taken, [0.25, 0.5, 0.75]))
        busy = device.type == "cpu" and float(np.median(given)) < BUSY
        rows.append(Timed(median, q25, q75, cold, len(taken), busy))
    return rows


def _clock(call: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Wall-clock seconds of one call, and the share of them that this process had a processor."""
    _synchronise(device)
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    _synchronise(device)
    seconds = max(time.perf_counter() - wall, 1e-9)
    return seconds, (time.process_time() - cpu) / seconds


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
