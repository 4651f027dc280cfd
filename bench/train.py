"""Train one network: the job behind every cell that shares data, path, clock, net, training and seed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, nullcontext
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from bench.ahead import made_ahead
from bench.batches import Batch, Spent, TrainJob, block_length, draw, due, own, transport_batch
from bench.checkpoint import Checkpoint, Kept
from bench.cohort import members
from bench.descent import Descent, RunningMean
from bench.errors import Diverged
from bench.netcheck import NET_STREAM, examine, initialised
from bench.precision import autocast
from bench.seeds import global_stream
from bench.settings import Training
from bench.task import Made, Task
from bench.times import weight

if TYPE_CHECKING:
    from numpy.typing import NDArray

Progress = Callable[[int, int, float], None]
"""Called with (steps done, steps in all, recent mean loss)."""

LOOK_SECONDS = 0.2
"""How often a GPU is asked for its losses, for which it and this process wait for one another."""

REHEARSED = 32
"""Steps, at most about, by which a training alone is timed."""

FINAL_SHARE = 10
"""The train_loss of the records is the mean over the last tenth of the steps."""


class Trained(NamedTuple):
    """Outcome of a training: weights by name ("raw", "ema" if asked), losses (steps,), seconds.

    seconds is an equal share of what its cohort took; what a training takes by itself is timed apart.
    """

    weights: dict[str, dict[str, Tensor]]
    losses: NDArray[np.float32]
    seconds: float
    parameters: int


def run_together(
    tasks: Sequence[Task],
    progress: Callable[[int, int, int, float], None],
    checkpoint: Kept | None = None,
    spare: int = 0,
) -> list[Made | Exception]:
    """The training stage, for one task or a cohort; what became of each. An error that names no member is raised."""
    jobs = [train_job(task) for task in tasks]
    outcomes = train_together(jobs, tasks[0].device, progress, checkpoint, spare)
    return [
        outcome if isinstance(outcome, Exception) else _made(job, outcome, len(jobs))
        for job, outcome in zip(jobs, outcomes, strict=True)
    ]


def train_job(task: Task) -> TrainJob:
    """What a task says of a training."""
    names = ("dataset", "source", "coupling", "path", "target", "prediction", "clock", "net", "training")
    return TrainJob(**{name: task.component(name) for name in names}, seed=task.seed, replica=task.replica)


def _made(job: TrainJob, trained: Trained, company: int) -> Made:
    """For the record: what the training cost and came to. epochs: passes over a finite training set, on average."""
    tail, points = trained.losses[-max(1, len(trained.losses) // FINAL_SHARE) :], job.dataset.points
    numbers = {
        "train_loss": float(tail.mean(dtype=np.float64)),
        "parameters": trained.parameters,
        "epochs": job.training.steps * job.training.batch / points if points else None,
        "spent_seconds": trained.seconds,
        "cohort": company,
    }
    return Made(numbers, {"losses": trained.losses}, trained.weights)


def train(job: TrainJob, device: torch.device, progress: Progress) -> Trained:
    """Minimise E w(t) |net(x_t, tau) - target|^2. Raises Diverged at the first block with a loss not finite."""
    (outcome,) = train_together([job], device, lambda _, *news: progress(*news))
    if isinstance(outcome, Diverged):
        raise outcome
    return outcome


def train_together(
    jobs: Sequence[TrainJob],
    device: torch.device,
    progress: Callable[[int, int, int, float], None],
    checkpoint: Kept | None = None,
    spare: int = 0,
) -> list[Trained | Diverged]:
    """Train a cohort: jobs of one net and one Training, more than one only where the net is stackable.

    Each has its own random streams and outcome; on the CPU an outcome's bits do not depend on the company.
    progress is called with (job's place, steps done, steps in all, recent mean loss). checkpoint: a place from which
    a training goes on that was killed, for the same jobs alone. spare: cores beside the one at work; they draw and pair
    ahead where that is worth a thread, and change no bit. A net that draws random numbers of its own trains by
    itself, whatever its class says of stacking: in company its draws would be shared out among all.
    """
    draws = examine(jobs[0])
    if draws and len(jobs) > 1:
        alone = [(lambda _, *news, place=place: progress(place, *news)) for place in range(len(jobs))]
        return [train_together([job], device, told, spare=spare)[0] for job, told in zip(jobs, alone, strict=True)]
    cohort, steps = _Cohort(jobs, device), jobs[0].training.steps
    losses = torch.zeros(steps, len(jobs), device=device)
    diverged: dict[int, Diverged] = {}
    kept = Checkpoint(checkpoint, cohort.modules, cohort.descent.optimizer) if checkpoint else None
    step, before = kept.load(losses) if kept else (0, 0.0)
    began = looked = time.perf_counter() - before
    seen = step
    with closing(_drawn(jobs, device, step, spare)) as flow:
        for drawn in zip(*[flow] * len(jobs), strict=True):
            first, step = step, step + len(drawn[0].tau)
            with global_stream(jobs[0].seed, NET_STREAM, first // block_length(jobs[0]), jobs[0].replica):
                cohort.advance(drawn, first, losses[first:step])
            if device.type != "cpu" and step < steps and time.perf_counter() - looked < LOOK_SECONDS:
                continue
            looked = time.perf_counter()
            for place, column in enumerate(losses[seen:step].cpu().unbind(1)):
                recent = float(column.mean())
                if not math.isfinite(recent) and place not in diverged:
                    diverged[place] = _diverged(column, seen, steps)
                if place not in diverged:
                    progress(place, step, steps, recent)
            seen = step
            if len(diverged) == len(jobs):
                break
            if kept and not diverged:
                kept.save(step, time.perf_counter() - began, losses)
    seconds = (time.perf_counter() - began) / len(jobs)
    return [
        diverged.get(place)
        or Trained(cohort.weights(place), losses[:, place].cpu().numpy(), seconds, cohort.parameters)
        for place in range(len(jobs))
    ]


def _drawn(jobs: Sequence[TrainJob], device: torch.device, done: int, spare: int) -> Generator[Batch]:
    """Block by block, what each job in turn is to be shown.

    Beside a GPU threads draw ahead whatever it is. On a CPU it is spare cores that pair; draws without pairing are a
    thirtieth of a small net's step, and are done where they are needed.
    """
    calls = (call for block in zip(*(due(job, done) for job in jobs), strict=True) for call in block)
    on_gpu, pairs = device.type == "cuda", not all(job.coupling.independent for job in jobs)
    if on_gpu:
        calls = (partial(_pinned, call) for call in calls)
    # One helper in place of the step, which waits for them, or for its GPU.
    threads = spare + 1 if on_gpu or (pairs and spare) else 0
    return made_ahead(calls, threads if all(map(own, jobs)) else 0, len(jobs) + threads)


def _pinned(call: Callable[[], Batch]) -> Batch:
    return call().pinned()


def _diverged(losses: Tensor, first: int, steps: int) -> Diverged:
    bad = int((~losses.isfinite()).int().argmax())
    return Diverged(f"the loss is {float(losses[bad])} at step {first + bad + 1} of {steps}; lower the learning rate")


class _Cohort:
    """Nets that train as one, with their optimizer and the running means of their weights."""

    def __init__(self, jobs: Sequence[TrainJob], device: torch.device) -> None:
        self.jobs, self.settings, self.device = jobs, jobs[0].training, device
        built = [initialised(job.net, job.dataset.shape, job.seed, job.replica) for job in jobs]
        self.parameters = sum(p.numel() for p in built[0].parameters())
        self.nets = members(built, stackable=jobs[0].net.stackable).to(device)
        self.average = None if self.settings.ema is None else RunningMean(self.nets, self.settings.ema)
        self.descent = Descent([*self.nets.parameters()], self.settings)

    @property
    def modules(self) -> dict[str, nn.Module]:
        """Nets and running means by name."""
        return {"nets": self.nets} if self.average is None else {"nets": self.nets, "average": self.average.nets}

    def advance(self, blocks: Sequence[Batch], first: int, losses: Tensor) -> None:
        """Take the steps of a block of each member, the first of them number `first`; losses (L, K) are filled."""
        together = [
            torch.stack([part.to(self.device, non_blocking=True) for part in each], dim=1)
            for each in zip(*(b.parts for b in blocks), strict=True)
        ]
        for number, parts in enumerate(zip(*together, strict=True)):
            losses[number] = self._step(
                Batch(*parts), self.settings.learning_rate * rate(self.settings, first + number)
            )
            if self.average is not None:
                self.average.follow()

    def _step(self, batch: Batch, learning_rate: float) -> Tensor:
        """One step on x_t (K, B, *S), tau (K, B), ... of all members; returns the losses (K,)."""
        x_t, tau, target, labels = batch
        low_precision = self.settings.precision == "bf16"
        with autocast(self.device) if low_precision else nullcontext():
            output = self.nets(x_t, tau) if labels is None else self.nets(x_t, tau, labels)
        losses, slope = self._loss(output.detach().float() - target, tau)
        self.descent.forget()
        output.backward(slope.to(output.dtype))
        if self.settings.clip is not None:
            self.nets.clip(self.settings.clip)
        self.descent.step(learning_rate)
        return losses

    def _loss(self, error: Tensor, tau: Tensor) -> tuple[Tensor, Tensor]:
        """Weighted mean squares (K,) of the errors (K, B, *S), and the derivative of their sum by the errors.

        By hand, since a tape over these few operations costs more than they do.
        """
        squares, share = error.square().flatten(2), error.new_ones(()) / error.shape[1]
        means = squares.mean(dim=2)
        if self.settings.weighting != "none":
            weights = torch.stack([_weight(job, at) for job, at in zip(self.jobs, tau, strict=True)])
            means, share = weights * means, weights.mul(share).view(*weights.shape, *[1] * (error.dim() - 2))
        return means.mean(dim=1), error * (2 * (share / squares.shape[2]))

    def weights(self, member: int) -> dict[str, dict[str, Tensor]]:
        """By name: raw, and ema where it was asked for."""
        found = {"raw": self.nets.state(member)}
        if self.average is not None:
            found["ema"] = self.average.nets.state(member)
        return found


def rehearsed(job: TrainJob, steps: int) -> int:
    """About so many steps of a training: what its coupling pairs at once is drawn whole."""
    whole = transport_batch(job) // job.training.batch
    return min(block_length(job), math.ceil(steps / whole) * whole)


def rehearsal(
    jobs: Sequence[TrainJob], device: torch.device, steps: int = REHEARSED, *, anew: bool = True
) -> tuple[Callable[[], object], int, Spent]:
    """A call that does about so many steps of these trainings as one, how many, and what its calls spend on pairing.

    anew: whether each call draws its batches; else they are drawn once, beforehand.
    """
    examine(jobs[0])
    cohort, spent, length = _Cohort(jobs, device), Spent(), rehearsed(jobs[0], steps)
    losses = torch.zeros(length, len(jobs), device=device)
    held = [] if anew else [draw(job, 0, length, spent) for job in jobs]

    def call() -> None:
        """One block of steps."""
        with global_stream(jobs[0].seed, NET_STREAM, replica=jobs[0].replica):
            cohort.advance(held or [draw(job, 0, length, spent) for job in jobs], 0, losses)

    return call, length, spent


def _weight(job: TrainJob, tau: Tensor) -> Tensor:
    """w(t) of a batch's times as the job's clock shows them, (B,)."""
    t = tau if job.clock == "noise_at_0" else 1 - tau
    return weight(job.training.weighting, job.path, job.prediction, t, job.target)


def rate(settings: Training, step: int) -> float:
    """Factor on the learning rate at a step counted from 0: linear warm-up, then the schedule."""
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    if settings.schedule == "constant":
        return 1.0
    done = (step - settings.warmup) / (settings.steps - settings.warmup)
    return 0.5 * (1 + math.cos(math.pi * done))
