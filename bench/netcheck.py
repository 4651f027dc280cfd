"""What a net must be before it is trained: asked once as training will, so that nonsense is told and not trained."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from bench.batches import TrainJob
from bench.cohort import members
from bench.errors import BadNet
from bench.interfaces import Net
from bench.seeds import global_stream, stream

NET_STREAM = "net"
"""Purpose of the stream that the global generators follow in a block of steps: Dropout and the like."""

NEAR = 1e-4
"""How far, relative to 1 + |answer|, a net's answer in a cohort may be from its answer alone."""


def initialised(net: Net, shape: tuple[int, ...], seed: int, replica: int) -> nn.Module:
    """The net's module, initialised from the stream (seed, "init"); the global generators are left as they were."""
    with global_stream(seed, "init", replica=replica):
        return net.build(shape)


def examine(job: TrainJob) -> bool:
    """Ask a net once as training will, and tell whether it drew random numbers. Raises BadNet.

    A loss would broadcast an answer of another shape. What a net says of being stackable must be true: such a net takes
    any axes before the batch, and changes no buffer, or its number would depend on its company.
    """
    name = type(job.net).__name__
    module = initialised(job.net, job.dataset.shape, job.seed, job.replica)
    if any(isinstance(parameter, UninitializedParameter) for parameter in module.parameters()):
        raise BadNet(f"the net {name} has lazy layers, whose sizes come with the first call; give their sizes in build")
    # As many points as a point has no coordinates, so that the two are not mistaken for one another.
    few = min(3 if job.dataset.shape[0] == 2 else 2, job.training.batch)
    asked = _asked(job, few, "a")
    buffers = [buffer.clone() for buffer in module.buffers()]
    with global_stream(job.seed, NET_STREAM), torch.no_grad():
        before = _generators()
        answer = _answer(name, module, asked)
        drew = _generators() != before
    _shaped(name, answer, asked[0])
    if job.net.stackable:
        if not all(torch.equal(old, new) for old, new in zip(buffers, module.buffers(), strict=True)):
            raise BadNet(f"the net {name} changes its buffers in training, which cannot be stacked; drop `stackable`")
        if not drew:
            _stacks(job, name, few)
    return drew


def _asked(job: TrainJob, few: int, which: str) -> tuple[Tensor, ...]:
    """Points (few, *S), times (few,) and, for a conditional net, its null class (few,)."""
    generator = stream(job.seed, f"examine/{which}", replica=job.replica)
    x, tau = torch.randn(few, *job.dataset.shape, generator=generator), torch.rand(few, generator=generator)
    return (x, tau, torch.full((few,), job.net.classes)) if job.net.classes else (x, tau)


def _answer(name: str, module: nn.Module, asked: tuple[Tensor, ...]) -> object:
    try:
        return module(*asked)
    except Exception as error:
        shapes = ", ".join(str(tuple(part.shape)) for part in asked)
        raise BadNet(f"the net {name} fails when it is asked at {shapes}: {type(error).__name__}: {error}") from error


def _shaped(name: str, answer: object, x: Tensor) -> None:
    if not isinstance(answer, Tensor):
        raise BadNet(f"the net {name} answers a {type(answer).__name__}; return one tensor, shaped like x")
    if answer.shape != x.shape:
        raise BadNet(
            f"the net {name} answers {tuple(answer.shape)} to {len(x)} points of shape {tuple(x.shape[1:])}, where "
            f"{tuple(x.shape)} is due; let its last layer have as many outputs as a point has coordinates"
        )


def _stacks(job: TrainJob, name: str, few: int) -> None:
    """Two nets as one answer what each answers alone."""
    built = [initialised(job.net, job.dataset.shape, job.seed + place, job.replica) for place in range(2)]
    asked = [_asked(job, few, which) for which in "ab"]
    with global_stream(job.seed, NET_STREAM), torch.no_grad():
        alone = torch.stack([module(*one) for module, one in zip(built, asked, strict=True)])
        together: Any = _answer(name, members(built, stackable=True), tuple(map(torch.stack, zip(*asked, strict=True))))
    same = isinstance(together, Tensor) and together.shape == alone.shape
    if not same or not torch.allclose(together, alone, rtol=NEAR, atol=NEAR):
        raise BadNet(
            f"the net {name} answers otherwise in a cohort than alone; let forward take axes before the batch, x: "
            "(..., B, *S) and tau: (..., B), and mix no points, or drop `stackable`"
        )


def _generators() -> tuple[object, ...]:
    """State of the global generators: torch's on the CPU, NumPy's and Python's."""
    theirs = np.random.get_state(legacy=False)["state"]
    return torch.get_rng_state().numpy().tobytes(), theirs["key"].tobytes(), theirs["pos"], random.getstate()
