"""How many nets had best train at once: measured, since it hangs on the processor's caches as much as on the nets."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import torch

from bench.batches import TrainJob
from bench.netcheck import examine
from bench.timing import lap
from bench.train import rehearsal, rehearsed

USUAL, GPU_USUAL = 4, 64
"""Nets that train together where measuring would not pay: on a CPU, and on a GPU, whose time goes into launches."""

STEPS, LAPS = 2, 6
"""Steps of a lap and laps of each size; the first of them warms up, and the fastest of the others counts."""

GAIN = 0.05
"""Share of a member's step that a larger size must save to be taken: it keeps its members longer."""

SHARE = 0.03
"""Of the time that the trainings will take, what measuring may take."""

MOST_SECONDS = 10.0
"""No size is tried that would end after these: nets whose steps are so long gain nothing by company."""

GPU_FREE = 0.8
"""Of what is free on a GPU, the share that a cohort may take."""


def best_size(
    jobs: Sequence[TrainJob], device: torch.device, room: float = math.inf, used: Callable[[], float] = lambda: 0.0
) -> int:
    """How many of these jobs, which may all train as one, do so with the least time of a member's step.

    Sizes are doubled up to all of them, as long as the next one needs no more memory than there is: `room` on a CPU, of
    which `used` tells the most that this process has ever had (MiB). Where measuring would take more than its share of
    the time it is `USUAL`, or the best of what was seen by then.
    """
    usual = min(len(jobs), GPU_USUAL if device.type == "cuda" else USUAL)
    steps = jobs[0].training.steps
    if len(jobs) == 1 or SHARE * steps < 2 * LAPS * rehearsed(jobs[0], STEPS):
        return usual
    if examine(jobs[0]):  # it draws, and trains by itself
        return 1
    held, begun, least, best, tried = _memory(device, used), time.perf_counter(), math.inf, 1, 1
    while True:
        began = time.perf_counter()
        try:
            call, length, _ = rehearsal(jobs[:tried], device, STEPS, anew=False)
            _, *laps = [lap(call, device).seconds for _ in range(LAPS)]
        except torch.OutOfMemoryError:
            return best
        if (step := min(laps) / (length * tried)) < (1 - GAIN) * least:
            least, best = step, tried
        taken, now = _memory(device, used) - held, time.perf_counter()
        following = min(2 * tried, len(jobs))
        fits = taken * following / tried <= min(room, _free(device))
        ends = now - begun + (now - began) * following / tried
        if following == tried or not fits:
            return best
        if ends > min(MOST_SECONDS, SHARE * steps * len(jobs) * least):
            return best if tried >= usual or taken * usual / tried > room else usual
        tried = following


def _memory(device: torch.device, used: Callable[[], float]) -> float:
    """The most that was ever taken, MiB."""
    return torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else used()


def _free(device: torch.device) -> float:
    """What a cohort may take of a GPU, MiB."""
    return GPU_FREE * torch.cuda.mem_get_info(device)[0] / 2**20 if device.type == "cuda" else math.inf
