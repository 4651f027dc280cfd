"""Train one network: the job behind every cell that shares data, path, clock, net, training and seed."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

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

    coupling_seconds is the part of seconds that went into pairing.
    """

    weights: dict[str, dict[str, Tensor]]
    losses: NDArray[np.float32]
    seconds: float
    parameters: int
    coupling_seconds: float = 0.0


@dataclass
class Spent:
    """Seconds of a training that are recorded apart, summed up as it goes."""

    coupling: float = 0.0


class Batch(NamedTuple):
    """Inputs and regression target of one step: x_t (B, *S), tau (B,), target (B, *S)."""

    x_t: Tensor
    tau: Tensor
    target: Tensor


def train(job: TrainJob, device: torch.device, progress: Progress) -> Trained:
    """Minimise E w(t) |net(x_t, tau) - target|^2. Raises Diverged at the first block with a loss not finite."""
    net = build(job).to(device)
    settings, steps = job.training, job.training.steps
    optimizer = _optimizer(net, settings)
    average = _copy(net) if settings.ema is not None else None
    low_precision = settings.precision == "bf16"
    losses = torch.zeros(steps, device=device)
    parameters = list(net.parameters())
    began, step, spent = time.perf_counter(), 0, Spent()
    for block in blocks(job, spent):
        first = step
        for batch in block:
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * rate(settings, step)
            x_t, tau, target = (part.to(device, non_blocking=True) for part in batch)
            with torch.autocast(device.type, torch.bfloat16) if low_precision else nullcontext():
                output = net(x_t, tau)
            loss = _loss(job, output.float(), target, tau)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if settings.clip is not None:
                nn.utils.clip_grad_norm_(parameters, settings.clip)
            optimizer.step()
            losses[step] = loss.detach()
            if average is not None and settings.ema is not None:
                _follow(average, net, settings.ema)
            step += 1
        recent = float(losses[first:step].mean())
        if not math.isfinite(recent):
            bad = first + int((~losses[first:step].isfinite()).int().argmax())
            raise Diverged(f"the loss is {float(losses[bad])} at step {bad + 1} of {steps}; lower the learning rate")
        progress(step, steps, recent)
    seconds = time.perf_counter() - began
    weights = {"raw": _state(net)}
    if average is not None:
        weights["ema"] = _state(average)
    return Trained(weights, losses.cpu().numpy(), seconds, sum(p.numel() for p in parameters), spent.coupling)


def build(job: TrainJob) -> nn.Module:
    """The net, initialised from the stream (seed, "init"); torch's global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream(job.seed, "init", replica=job.replica).initial_seed())
        return job.net.build(job.dataset.shape)


def _loss(job: TrainJob, output: Tensor, target: Tensor, tau: Tensor) -> Tensor:
    """Mean of w(t) (output - target)^2 over batch and coordinates."""
    weighting = job.training.weighting
    if weighting == "none":
        return nn.functional.mse_loss(output, target)
    t = tau if job.clock == "noise_at_0" else 1 - tau
    w = weight(weighting, job.path, job.prediction, t)
    return (w * (output - target).square().flatten(1).mean(dim=1)).mean()


def block_length(job: TrainJob) -> int:
    """Steps whose random numbers are drawn together; a function of batch, transport batch and shape alone."""
    length = max(1, min(256, 2**18 // (job.training.batch * math.prod(job.dataset.shape))))
    whole = transport_batch(job) // job.training.batch
    return math.ceil(length / whole) * whole


def transport_batch(job: TrainJob) -> int:
    """Points that are paired together: the coupling's `transport_batch`, else the training batch."""
    return job.coupling.transport_batch or job.training.batch


def blocks(job: TrainJob, spent: Spent | None = None) -> Iterator[Iterator[Batch]]:
    """All batches of a training, in blocks. Block b depends on (seed, replica, b) alone."""
    length, steps = block_length(job), job.training.steps
    for number in range(math.ceil(steps / length)):
        used = min(length, steps - number * length)
        inputs = draw(job, number, length, spent, used)
        yield (Batch(*(part[i] for part in inputs)) for i in range(used))


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


def _optimizer(net: nn.Module, settings: Training) -> torch.optim.Optimizer:
    kind = torch.optim.Adam if settings.optimizer == "adam" else torch.optim.AdamW
    return kind(net.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)


def _copy(net: nn.Module) -> nn.Module:
    return copy.deepcopy(net).requires_grad_(False)


def _follow(average: nn.Module, net: nn.Module, decay: float) -> None:
    with torch.no_grad():
        torch._foreach_lerp_(list(average.parameters()), list(net.parameters()), 1 - decay)


def _state(net: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
