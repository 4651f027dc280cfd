"""Train one network: the job behind every cell that shares data, path, clock, net, training and seed."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from bench.cohort import members
from bench.errors import Diverged
from bench.interfaces import Coupling, Dataset, Net, Path
from bench.predictions import noise_of
from bench.seeds import salted, stream
from bench.settings import Training
from bench.times import training_times, weight

if TYPE_CHECKING:
    from numpy.typing import NDArray

Progress = Callable[[int, int, float], None]
"""Called with (steps done, steps in all, recent mean loss)."""


REHEARSED = 32
"""Steps, at most about, by which a training alone is timed."""


@dataclass(frozen=True)
class TrainJob:
    """Everything that a training depends on, resolved."""

    dataset: Dataset
    source: Dataset
    coupling: Coupling
    path: Path
    target: str
    clock: str
    net: Net
    training: Training
    seed: int
    replica: int = 0
    prediction: str = "velocity"


class Trained(NamedTuple):
    """Outcome of a training: weights by name ("raw", "ema" if asked), losses (steps,), seconds.

    seconds is an equal share of what its cohort took; what a training takes by itself is timed apart.
    """

    weights: dict[str, dict[str, Tensor]]
    losses: NDArray[np.float32]
    seconds: float
    parameters: int


@dataclass
class Spent:
    """Seconds of a training that are recorded apart, summed up as it goes."""

    coupling: float = 0.0


class Batch(NamedTuple):
    """Inputs and regression target of a step: x_t (..., B, *S), tau (..., B), target (..., B, *S)."""

    x_t: Tensor
    tau: Tensor
    target: Tensor


def train(job: TrainJob, device: torch.device, progress: Progress) -> Trained:
    """Minimise E w(t) |net(x_t, tau) - target|^2. Raises Diverged at the first block with a loss not finite."""
    (outcome,) = train_together([job], device, lambda _, *news: progress(*news))
    if isinstance(outcome, Diverged):
        raise outcome
    return outcome


def train_together(
    jobs: Sequence[TrainJob], device: torch.device, progress: Callable[[int, int, int, float], None]
) -> list[Trained | Diverged]:
    """Train a cohort: jobs of one net and one Training, more than one only where the net is stackable.

    Each has its own random streams and outcome; on the CPU an outcome's bits do not depend on the company.
    progress is called with (job's place, steps done, steps in all, recent mean loss).
    """
    cohort, steps = _Cohort(jobs, device), jobs[0].training.steps
    losses = torch.zeros(steps, len(jobs), device=device)
    diverged: dict[int, Diverged] = {}
    began, step = time.perf_counter(), 0
    for drawn in zip(*map(blocks, jobs), strict=True):
        first, step = step, step + len(drawn[0].tau)
        cohort.advance(drawn, first, losses[first:step])
        for place, column in enumerate(losses[first:step].cpu().unbind(1)):
            recent = float(column.mean())
            if not math.isfinite(recent) and place not in diverged:
                diverged[place] = _diverged(column, first, steps)
            if place not in diverged:
                progress(place, step, steps, recent)
        if len(diverged) == len(jobs):
            break
    seconds = (time.perf_counter() - began) / len(jobs)
    parameters = sum(p.numel() for p in build(jobs[0]).parameters())
    return [
        diverged.get(place) or Trained(cohort.weights(place), losses[:, place].cpu().numpy(), seconds, parameters)
        for place in range(len(jobs))
    ]


def _diverged(losses: Tensor, first: int, steps: int) -> Diverged:
    bad = int((~losses.isfinite()).int().argmax())
    return Diverged(f"the loss is {float(losses[bad])} at step {first + bad + 1} of {steps}; lower the learning rate")


class _Cohort:
    """Nets that train as one, with their optimizer and the running means of their weights."""

    def __init__(self, jobs: Sequence[TrainJob], device: torch.device) -> None:
        self.jobs, self.settings, self.device = jobs, jobs[0].training, device
        self.nets = members([build(job) for job in jobs], stackable=jobs[0].net.stackable).to(device)
        self.average = None if self.settings.ema is None else copy.deepcopy(self.nets).requires_grad_(False)
        kind = torch.optim.Adam if self.settings.optimizer == "adam" else torch.optim.AdamW
        self.optimizer = kind(
            self.nets.parameters(), lr=self.settings.learning_rate, weight_decay=self.settings.weight_decay, fused=True
        )

    def advance(self, blocks: Sequence[Batch], first: int, losses: Tensor) -> None:
        """Take the steps of a block of each member, the first of them number `first`; losses (L, K) are filled."""
        steps = zip(*(torch.stack(parts, dim=1).to(self.device) for parts in zip(*blocks, strict=True)), strict=True)
        for number, (x_t, tau, target) in enumerate(steps):
            for group in self.optimizer.param_groups:
                group["lr"] = self.settings.learning_rate * rate(self.settings, first + number)
            losses[number] = self._step(x_t, tau, target)
            if self.average is not None and self.settings.ema is not None:
                _follow(self.average, self.nets, self.settings.ema)

    def _step(self, x_t: Tensor, tau: Tensor, target: Tensor) -> Tensor:
        """One step on x_t (K, B, *S), tau (K, B), target (K, B, *S); returns the losses (K,)."""
        low_precision = self.settings.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16) if low_precision else nullcontext():
            output = self.nets(x_t, tau)
        error = (output.float() - target).square().flatten(2).mean(dim=2)
        if self.settings.weighting != "none":
            error = torch.stack([_weight(job, at) for job, at in zip(self.jobs, tau, strict=True)]) * error
        losses: Tensor = error.mean(dim=1)
        self.optimizer.zero_grad(set_to_none=True)
        losses.sum().backward()
        if self.settings.clip is not None:
            self.nets.clip(self.settings.clip)
        self.optimizer.step()
        return losses.detach()

    def weights(self, member: int) -> dict[str, dict[str, Tensor]]:
        """By name: raw, and ema where it was asked for."""
        found = {"raw": self.nets.state(member)}
        if self.average is not None:
            found["ema"] = self.average.state(member)
        return found


def rehearsal(job: TrainJob, device: torch.device) -> tuple[Callable[[], object], int, Spent]:
    """A call that does some steps of this training by itself, how many, and what its calls spend on pairing."""
    cohort, spent, whole = _Cohort([job], device), Spent(), transport_batch(job) // job.training.batch
    length = min(block_length(job), math.ceil(REHEARSED / whole) * whole)
    losses = torch.zeros(length, 1, device=device)

    def call() -> None:
        cohort.advance([draw(job, 0, length, spent)], 0, losses)

    return call, length, spent


def build(job: TrainJob) -> nn.Module:
    """The net, initialised from the stream (seed, "init"); torch's global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream(job.seed, "init", replica=job.replica).initial_seed())
        return job.net.build(job.dataset.shape)


def _weight(job: TrainJob, tau: Tensor) -> Tensor:
    """w(t) of a batch's times as the job's clock shows them, (B,)."""
    t = tau if job.clock == "noise_at_0" else 1 - tau
    return weight(job.training.weighting, job.path, job.prediction, t)


def block_length(job: TrainJob) -> int:
    """Steps whose random numbers are drawn together; a function of batch, transport batch and shape alone."""
    length = max(1, min(256, 2**18 // (job.training.batch * math.prod(job.dataset.shape))))
    whole = transport_batch(job) // job.training.batch
    return math.ceil(length / whole) * whole


def transport_batch(job: TrainJob) -> int:
    """Points that are paired together: the coupling's `transport_batch`, else the training batch."""
    return job.coupling.transport_batch or job.training.batch


def blocks(job: TrainJob) -> Iterator[Batch]:
    """All batches of a training, in blocks of (L, B, ...). Block b depends on (seed, replica, b) alone."""
    length, steps = block_length(job), job.training.steps
    for number in range(math.ceil(steps / length)):
        used = min(length, steps - number * length)
        yield draw(job, number, length, used=used)


def draw(job: TrainJob, number: int, length: int, spent: Spent | None = None, used: int | None = None) -> Batch:
    """Block `number`: x_t (L, B, *S), tau (L, B), target (L, B, *S), float32 on the CPU; its first `used` batches.

    The target is what the net predicts: the velocity of the job's target as its clock sees it, or the path's
    whole noise e or the data point, which have no sign of time.
    """
    batch = job.training.batch
    n = length * batch
    used = length if used is None else used
    x0, x1 = _pairs(job, number, n, used * batch, spent or Spent())
    xi = torch.zeros(())
    if job.path.noisy:
        xi = torch.randn(n, *job.dataset.shape, generator=stream(job.seed, "path noise", number, job.replica))
    t = training_times(job.training, job.path, length, stream(job.seed, "time", number, job.replica))
    x_t = job.path.position(t, x0, x1, xi)
    tau = t if job.clock == "noise_at_0" else 1 - t
    target = _target(job, t, x0, x1, xi)
    return Batch(*(part.unflatten(0, (length, batch))[:used] for part in (x_t, tau, target)))


def _pairs(job: TrainJob, number: int, n: int, used: int, spent: Spent) -> tuple[Tensor, Tensor]:
    """The n pairs (x0, x1) of a block, each (n, *S); what is not `used` need not be paired."""

    def random(purpose: str) -> torch.Generator:
        return stream(job.seed, purpose, number, job.replica)

    whole, labels = transport_batch(job), None
    if job.coupling.labelled or job.training.order == "by_class":
        x1, labels = job.dataset.draw_labelled(n, salted(job.seed, job.replica), random("data"))
    else:
        x1 = job.dataset.draw(n, salted(job.seed, job.replica), random("data"))
    if job.source.standard_normal:
        x0 = torch.randn(n, *job.dataset.shape, generator=random("source"))
    else:
        x0 = job.source.draw(n, salted(job.seed, job.replica), random("source"))
    if labels is not None and job.training.order == "by_class":
        order = torch.cat([part.argsort(stable=True) + k * whole for k, part in enumerate(labels.split(whole))])
        x1, labels = x1[order], labels[order]
    if job.coupling.independent:
        return x0, x1
    generator, began, pairs = random("coupling"), time.perf_counter(), []
    for first in range(0, used, whole):
        part = slice(first, first + whole)
        if job.coupling.labelled and labels is not None:
            pairs.append(job.coupling.pair_labelled(x0[part], x1[part], labels[part], generator))
        else:
            pairs.append(job.coupling.pair(x0[part], x1[part], generator))
    spent.coupling += time.perf_counter() - began
    done = len(pairs) * whole
    return torch.cat([*(a for a, _ in pairs), x0[done:]]), torch.cat([*(b for _, b in pairs), x1[done:]])


def _target(job: TrainJob, t: Tensor, x0: Tensor, x1: Tensor, xi: Tensor) -> Tensor:
    if job.prediction == "noise":
        return noise_of(job.path, t, x0, xi)
    if job.prediction == "data":
        return x1
    exact = job.target == "exact"
    velocity = job.path.velocity(t, x0, x1, xi) if exact else job.path.displacement(t, x0, x1)
    return velocity if job.clock == "noise_at_0" else -velocity


def rate(settings: Training, step: int) -> float:
    """Factor on the learning rate at a step counted from 0: linear warm-up, then the schedule."""
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    if settings.schedule == "constant":
        return 1.0
    done = (step - settings.warmup) / (settings.steps - settings.warmup)
    return 0.5 * (1 + math.cos(math.pi * done))


def _follow(average: nn.Module, nets: nn.Module, decay: float) -> None:
    with torch.no_grad():
        torch._foreach_lerp_(list(average.parameters()), list(nets.parameters()), 1 - decay)
