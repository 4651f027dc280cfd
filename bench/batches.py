"""What a training draws: batches of pairs, times and noise, and what the net must say of them.

Random numbers come in blocks of fixed length, so that batch k of a seed is the same whoever trains, however long,
and a training that goes on from a checkpoint needs no generator's state.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from bench.interfaces import Coupling, Dataset, Net, Path
from bench.predictions import noise_of
from bench.seeds import global_stream, salted, stream
from bench.settings import Training
from bench.times import training_times


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


@dataclass
class Spent:
    """Seconds of a training that are recorded apart, summed up as it goes."""

    coupling: float = 0.0


class Batch(NamedTuple):
    """Inputs and regression target of a step: x_t (..., B, *S), tau (..., B), target (..., B, *S).

    labels (..., B): the classes that a conditional net is told, with its null class where they are left out.
    """

    x_t: Tensor
    tau: Tensor
    target: Tensor
    labels: Tensor | None = None

    @property
    def parts(self) -> tuple[Tensor, ...]:
        """Those that there are."""
        return tuple(part for part in self if part is not None)

    def pinned(self) -> Batch:
        """The same in memory from which a GPU copies while others compute."""
        return Batch(*(part.pin_memory() for part in self.parts))


def block_length(job: TrainJob) -> int:
    """Steps whose random numbers are drawn together; a function of batch, transport batch and shape alone."""
    length = max(1, min(256, 2**18 // (job.training.batch * math.prod(job.dataset.shape))))
    whole = transport_batch(job) // job.training.batch
    return math.ceil(length / whole) * whole


def transport_batch(job: TrainJob) -> int:
    """Points that are paired together: the coupling's `transport_batch`, else the training batch."""
    return job.coupling.transport_batch or job.training.batch


def due(job: TrainJob, done: int = 0) -> Iterator[Callable[[], Batch]]:
    """The batches of a training after `done` whole blocks' steps, in blocks of (L, B, ...), each drawn when called.

    Block b depends on (seed, replica, b) alone.
    """
    length, steps = block_length(job), job.training.steps
    for number in range(done // length, math.ceil(steps / length)):
        yield partial(draw, job, number, length, used=min(length, steps - number * length))


def own(job: TrainJob) -> bool:
    """Whether all that draws is ours, which takes its random numbers from the generators that it is given alone."""
    return all(type(part).__module__.startswith("bench.") for part in (job.dataset, job.source, job.coupling, job.path))


def draw(job: TrainJob, number: int, length: int, spent: Spent | None = None, used: int | None = None) -> Batch:
    """Block `number`: x_t (L, B, *S), tau (L, B), target (L, B, *S), float32 on the CPU; its first `used` batches.

    The target is what the net predicts: the velocity of the job's target as its clock sees it, or the path's
    whole noise e or the data point, which have no sign of time.
    """
    batch = job.training.batch
    n = length * batch
    used = length if used is None else used
    # For one that draws though it is given a generator. Ours do not, and may be asked in several threads.
    with nullcontext() if own(job) else global_stream(job.seed, "draw", number, job.replica):
        x0, x1, labels = _pairs(job, number, n, used * batch, spent or Spent())
    xi = torch.zeros(())
    if job.path.noisy:
        xi = torch.randn(n, *job.dataset.shape, generator=stream(job.seed, "path noise", number, job.replica))
    t = training_times(job.training, job.path, length, stream(job.seed, "time", number, job.replica))
    x_t = job.path.position(t, x0, x1, xi)
    tau = t if job.clock == "noise_at_0" else 1 - t
    target = _target(job, t, x0, x1, xi)
    told = [] if labels is None or not job.net.classes else [_told(job, labels, number)]
    return Batch(*(part.unflatten(0, (length, batch))[:used] for part in (x_t, tau, target, *told)))


def _told(job: TrainJob, labels: Tensor, number: int) -> Tensor:
    """Labels as a net learns both flows from them: left out at random (Ho and Salimans 2022, arXiv:2207.12598)."""
    generator = stream(job.seed, "label dropout", number, job.replica)
    left_out = torch.rand(len(labels), generator=generator) < job.training.label_dropout
    return labels.masked_fill(left_out, job.net.classes)


def _pairs(job: TrainJob, number: int, n: int, used: int, spent: Spent) -> tuple[Tensor, Tensor, Tensor | None]:
    """The n pairs (x0, x1) of a block, each (n, *S); what is not `used` need not be paired.

    And the classes (n,) of x1, where somebody needs them; pairs that are drawn anew have none.
    """

    def random(purpose: str) -> torch.Generator:
        """The stream of this block for a purpose."""
        return stream(job.seed, purpose, number, job.replica)

    whole, labels = transport_batch(job), None
    if job.coupling.labelled or job.training.order == "by_class" or job.net.classes:
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
        return x0, x1, labels
    generator, began, pairs = random("coupling"), time.perf_counter(), []
    for first in range(0, used, whole):
        part = slice(first, first + whole)
        if job.coupling.labelled and labels is not None:
            pairs.append(job.coupling.pair_labelled(x0[part], x1[part], labels[part], generator))
        else:
            pairs.append(job.coupling.pair(x0[part], x1[part], generator))
    spent.coupling += time.perf_counter() - began
    done = len(pairs) * whole
    x0, x1 = torch.cat([*(a for a, _ in pairs), x0[done:]]), torch.cat([*(b for _, b in pairs), x1[done:]])
    return x0, x1, None


def _target(job: TrainJob, t: Tensor, x0: Tensor, x1: Tensor, xi: Tensor) -> Tensor:
    if job.prediction == "noise":
        return noise_of(job.path, t, x0, xi)
    if job.prediction == "data":
        return x1
    exact = job.target == "exact"
    velocity = job.path.velocity(t, x0, x1, xi) if exact else job.path.displacement(t, x0, x1)
    return velocity if job.clock == "noise_at_0" else -velocity
