"""Draw samples from a velocity field: integrate from the noise end to the data end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from bench.ahead import foreseen
from bench.diffusion import brownian, process_of
from bench.errors import BadNet, Diverged
from bench.interfaces import Dataset, Field, Path, ProcessSolver, Solution, Solver, in_data_units
from bench.netcheck import initialised
from bench.precision import autocast
from bench.predictions import asked_time, velocity_of
from bench.reference import start_noise
from bench.seeds import global_stream, salted, uniforms
from bench.settings import Sampling
from bench.task import Made, Task

if TYPE_CHECKING:
    from bench.interfaces import Floats

FRAMES = 51
"""Times at which the way from noise to data is kept, evenly spaced over [0, 1] with both ends."""

FRAME_POINTS = 512
"""Points of the first repeat whose way is kept, if they are points of the plane."""

FRAME_VALUES = 1 << 15
"""Numbers of one such time at most, where a metric asks for ways: of 28 x 28 images 41 are kept."""

SHOWN = "shown"
"""What a plan says of ways that no metric asks for."""

SHOWN_VALUES = 1 << 10
"""The same where none does, for the figure of one of them: 512 points of the plane, one image of 28 x 28."""

SHOWN_FRAMES = (0, 5, 10, 20, 30, 40, 49, 50)
"""And of its times those that figures show."""

NOISE_THREADS = max(1, min(4, (os.cpu_count() or 1) // 2))
"""Threads that draw a stochastic sampler's noise beside a device, which needs less time for a step than one of them for
its numbers (33 ms for 1000 images of 28 x 28, beside 8 ms on an H100). On a CPU each worker has its one core."""

Predictor = Callable[[Tensor, Tensor], Tensor]
"""What a net predicts at x: (B, *S), tau: (B,) in its own clock."""


@dataclass(frozen=True)
class SampleJob:
    """Everything that samples depend on beside the field."""

    shape: tuple[int, ...]
    source: Dataset
    path: Path
    clock: str
    direction: str
    solver: Solver
    sampling: Sampling
    seed: int
    replica: int = 0
    target: str = "exact"
    prediction: str = "velocity"


class Sampled(NamedTuple):
    """samples: (R, n, *S); frames: (F, m, *S) at times (F,); nfe and rejected steps per repeat; seconds."""

    samples: Floats
    frames: Floats
    times: Floats
    nfe: float
    rejected: float
    seconds: float


class CountCalls:
    """A field that counts how often it is asked: NFE is counted at the network call, never trusted."""

    def __init__(self, field: Field) -> None:
        self.field, self.calls = field, 0

    def __call__(self, t: Tensor, x: Tensor) -> Tensor:
        """Ask the field at scalar time t."""
        self.calls += 1
        return self.field(t, x)


class Conditional:
    """The field of a conditional net: v(x) + w (v(x | class) - v(x)), point i of a job being of class i mod K.

    Ho and Salimans 2022, arXiv:2207.12598, for velocities (Zheng et al. 2023, arXiv:2311.13443). Asked as a plain
    field it takes its points for the first of the job.
    """

    def __init__(
        self, module: Callable[..., Tensor], classes: int, guidance: float | None, made: Callable[[Predictor], Field]
    ) -> None:
        self.module, self.classes, self.made = module, classes, made
        self.weight = 1.0 if guidance is None else guidance

    @property
    def evaluations(self) -> int:
        """Evaluations of the net for one of the field."""
        return 1 if self.weight in (0.0, 1.0) else 2

    def at(self, first: int) -> Field:
        """The field for points first, first + 1, ... of the job."""

        def predict(x: Tensor, tau: Tensor) -> Tensor:
            """What the net says, with guidance: x (B, *S), tau (B,) to (B, *S)."""
            null = torch.full((len(x),), self.classes, device=x.device)
            labels = (first + torch.arange(len(x), device=x.device)) % self.classes
            if self.evaluations == 1:
                out: Tensor = self.module(x, tau, labels if self.weight else null)
                return out
            both = self.module(torch.cat([x, x]), torch.cat([tau, tau]), torch.cat([labels, null]))
            told, untold = both.chunk(2)
            return torch.lerp(untold, told, self.weight)

        return self.made(predict)

    def __call__(self, t: Tensor, x: Tensor) -> Tensor:
        """Ask the field at scalar time t for the first points of the job."""
        return self.at(0)(t, x)


def velocity(
    net: Predictor,
    clock: str,
    direction: str = "forward",
    path: Path | None = None,
    prediction: str = "velocity",
) -> Field:
    """The field dx/dt in internal time t (0 noise, 1 data) out of a net that sees its clock's tau.

    noise_at_0: v(x, t). data_at_0: -v(x, 1 - t). reversed_field asks at 1 - t where t is due: what comes of
    integrating -v while time also runs backwards. A noise or data prediction has no sign of time, and becomes
    the velocity by the coefficients of `path`.
    """
    if prediction != "velocity" and path is None:
        raise ValueError(f"prediction {prediction} becomes a velocity by its path, and none is given")

    def field(t: Tensor, x: Tensor) -> Tensor:
        """dx/dt at scalar t, x: (B, *S)."""
        asked = 1 - t if direction == "reversed_field" else t
        if path is not None:
            asked = asked_time(path, prediction, asked)
        tau = asked if clock == "noise_at_0" else 1 - asked
        out = net(x, tau.to(x.dtype).expand(len(x)))
        if out.shape != x.shape:  # it would broadcast
            raise BadNet(f"asked at points {tuple(x.shape)} the net answers {tuple(out.shape)}")
        if path is not None and prediction != "velocity":
            return velocity_of(path, prediction, asked, x, out)
        return out if clock == "noise_at_0" else -out

    return field


def with_clock(net: Predictor, clock: str, prediction: str = "velocity") -> Predictor:
    """A prediction in internal time seen through a clock: what a perfect net of that clock would return."""
    if clock == "noise_at_0":
        return net
    if prediction == "velocity":
        return lambda x, tau: -net(x, 1 - tau)
    return lambda x, tau: net(x, 1 - tau)


def start(job: SampleJob, repeat: int) -> Floats:
    """The path's own start law at t = 0 by the sampling protocol, (n, *S) float64."""
    n, d = job.sampling.n, prod(job.shape)
    quasi = job.sampling.start == "quasi"
    if job.source.standard_normal:
        z = start_noise(job.seed, repeat, n, d, quasi=quasi, replica=job.replica)
        return job.path.start_scale * z.reshape(n, *job.shape)
    from scipy.special import ndtri

    k = job.source.coordinates
    u = uniforms(job.seed, "start", repeat, n, k + d, quasi=quasi, replica=job.replica)
    at_0 = torch.zeros(1, dtype=torch.float64)
    x0 = job.source.from_uniform(u[:, :k])
    noise: Floats = ndtri(u[:, k:]).reshape(n, *job.shape)
    return float(job.path.sigma(at_0)) * x0 + float(job.path.gamma(at_0)) * noise


def sample(
    job: SampleJob,
    field: Field,
    device: torch.device,
    dtype: torch.dtype,
    report: Callable[[int, int], None],
    values: int = FRAME_VALUES,
) -> Sampled:
    """Integrate every repeat's start to t = 1. Raises Diverged where a sample is not finite.

    `sampling.batch` points go together, at most a repeat: an adaptive solver controls its error over them, and
    larger pieces leave a processor's cache. `values`: numbers that are kept of the ways at one time.
    """
    starts = np.stack([start(job, repeat) for repeat in range(job.sampling.repeats)])
    x = torch.from_numpy(starts).to(device, dtype).flatten(0, 1)
    pieces = [piece for part in x.split(job.sampling.n) for piece in part.split(job.sampling.batch or len(part))]
    times = torch.linspace(0, 1, FRAMES, dtype=torch.float64)
    ends, frames, calls, rejected, first = [], None, 0, 0, 0
    began = time.perf_counter()
    for number, piece in enumerate(pieces):
        counted = CountCalls(field.at(first) if isinstance(field, Conditional) else field)
        with global_stream(job.seed, "net sampling", number, job.replica):  # a net may draw even in evaluation
            solution = advance(job, counted, piece, times, first)
        first += len(piece)
        calls, rejected = calls + counted.calls, rejected + solution.rejected
        ends.append(solution.states[-1])
        if frames is None:
            kept = min(FRAME_POINTS, max(1, values // prod(job.shape)), job.sampling.n)
            frames = solution.states[:, :kept].cpu().double().numpy()
        report(number + 1, len(pieces))
    end = torch.cat(ends).unflatten(0, (job.sampling.repeats, job.sampling.n)).cpu().double().numpy()
    seconds = time.perf_counter() - began
    bad = int((~np.isfinite(end)).reshape(end.shape[0] * end.shape[1], -1).any(axis=1).sum())
    if bad:
        raise Diverged(f"{bad} of {len(x)} samples are not finite")
    assert frames is not None
    calls *= field.evaluations if isinstance(field, Conditional) else 1
    return Sampled(end, frames, times.numpy(), calls / len(pieces), rejected / len(pieces), seconds)


def advance(job: SampleJob, field: Field, x: Tensor, times: Tensor, first: int = 0) -> Solution:
    """Integrate these points, of which the first is number `first` of the job, over the report times (F,)."""
    if not isinstance(job.solver, ProcessSolver):
        return job.solver.solve(field, x, times)
    noise, process = brownian(job.seed, first, x, job.replica), process_of(job.path, job.target, job.prediction)
    with foreseen(noise, NOISE_THREADS) if x.device.type != "cpu" else nullcontext(noise) as drawn:
        return job.solver.simulate(field, process, drawn, x, times)


def run(task: Task) -> Made:
    """The sampling stage: samples, the ways of the first of them, and what they cost.

    They are kept in the field's own precision, which holds them exactly, unless their units are changed afterwards.
    """
    field, dtype = field_of(task)
    job = sample_job(task)
    shown = task.options.get("ways") == SHOWN
    drawn = sample(job, field, task.device, dtype, task.report, SHOWN_VALUES if shown else FRAME_VALUES)
    numbers = {
        "nfe": drawn.nfe,
        "rejected_steps": drawn.rejected,
        "spent_seconds": drawn.seconds,
        "n": job.sampling.n,
        "repeats": job.sampling.repeats,
    }
    units = task.component("dataset").units
    kind = np.float64 if units or dtype == torch.float64 else np.float32
    kept = list(SHOWN_FRAMES) if shown else slice(None)
    samples, frames = (in_data_units(units, points).astype(kind) for points in (drawn.samples, drawn.frames[kept]))
    return Made(numbers, {"samples": samples, "frames": frames, "times": drawn.times[kept]})


def sample_job(task: Task) -> SampleJob:
    """What a task says of a sampling."""
    names = ("source", "path", "target", "prediction", "clock", "direction", "solver", "sampling")
    parts = {name: task.component(name) for name in names}
    return SampleJob(task.component("dataset").shape, **parts, seed=task.seed, replica=task.replica)


def field_of(task: Task) -> tuple[Field, torch.dtype]:
    """The velocity to integrate, and its precision: float64 for the oracle, float32 for nets."""
    clock, direction = task.component("clock"), task.component("direction")
    net, path, prediction = (task.component(factor) for factor in ("net", "path", "prediction"))
    if not net.trained:
        seed = salted(task.seed, task.replica)
        known = net.field(task.component("known"), path, task.component("target"), prediction, seed)
        seen = with_clock(known.to(task.device), clock, prediction)
        return velocity(seen, clock, direction, path, prediction), torch.float64
    settings = task.component("sampling")
    module = initialised(net, task.component("dataset").shape, task.seed, task.replica)
    weights = task.weights(settings.weights)
    predictor = load(module, module.state_dict() if weights is None else weights, task.device, settings.precision)

    def made(of: Predictor) -> Field:
        """The field of what a net predicts."""
        return velocity(of, clock, direction, path, prediction)

    if net.classes:
        return Conditional(predictor, net.classes, settings.guidance, made), torch.float32
    return made(predictor), torch.float32


def load(
    net: nn.Module, weights: dict[str, Tensor], device: torch.device, precision: str = "fp32"
) -> Callable[..., Tensor]:
    """The net with these weights, on the device, for evaluation; under autocast if bf16, answering in x's precision."""
    net.load_state_dict(weights)
    net.to(device).eval().requires_grad_(False)
    if precision == "fp32":
        return net

    def ask(x: Tensor, *condition: Tensor) -> Tensor:
        """What the net says at x: (B, *S), and whatever else it takes."""
        with autocast(device):
            answer: Tensor = net(x, *condition)
        return answer.to(x.dtype)

    return ask
