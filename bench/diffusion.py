"""What a sampler may need beside the velocity: the score and the ends that the velocity implies, and noise.

For a Gaussian source and independent pairs, x_t = alpha x1 + s e with s^2 = sigma^2 + gamma^2 and e ~ N(0, I)
independent of x1, so that score = -E[e | x] / s, and the exact velocity is

    v = (alpha' / alpha) x - (s s' - (alpha' / alpha) s^2) score,    s s' = sigma sigma' + gamma gamma'

Solved for the score, and multiplied by alpha, which vanishes at t = 0:

    score = (alpha' x - alpha v) / (alpha s s' - alpha' s^2)

At t = 0 with alpha = 0 that is -x / s^2, whatever v. The denominator is alpha s^2 d/dt log(s / alpha): below 0
wherever the signal-to-noise ratio grows, and 0 at t = 1 where s = 0, at which no score follows from v and the
left-grid sampler never asks. Likewise the ends, since v = alpha' E[x1 | x] + (s s' / s) E[e | x]:

    E[e | x] = -s score,    E[x1 | x] = (s s' x - s^2 v) / (alpha s s' - alpha' s^2)

The displacement target lacks the noise's velocity, so there s s' is sigma sigma'.
Albergo et al. 2023, arXiv:2303.08797; Ma et al. 2024, arXiv:2401.08740, section 2.5.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.interfaces import Noise, Path, Process
from bench.predictions import asked_time
from bench.seeds import stream

ROWS, VALUES = 1024, 1 << 15
"""Points whose noise is drawn together, or as many of them as make so many numbers: of images few, so that a batch
draws little that it has no use for. They follow from a point's shape alone, and no result from how samples are batched.
"""


def process_of(path: Path, target: str = "exact", prediction: str = "velocity") -> Process:
    """Score and ends of a path's process out of a field that was made of a prediction.

    Where such a field stands still in time, so do they: velocity and score belong to one law there, and the
    ends are what the net was asked for.
    """

    def score(t: Tensor, x: Tensor, v: Tensor) -> Tensor:
        """As `Process.score`: (B, *S)."""
        at = asked_time(path, prediction, t.double().reshape(1))
        below = _denominator(path, target, at)
        return (path.d_alpha(at) / below).to(x) * x - (path.alpha(at) / below).to(x) * v

    def ends(t: Tensor, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """As `Process.ends`: two of (B, *S)."""
        at = asked_time(path, prediction, t.double().reshape(1))
        below, square = _denominator(path, target, at), path.noise_variance(at)
        data = (path.s_d_s(at, target) / below).to(x) * x - (square / below).to(x) * v
        return data, -square.sqrt().to(x) * score(t, x, v)

    def weights(t: float) -> tuple[float, float]:
        """As `Process.weights`."""
        at = torch.tensor([t], dtype=torch.float64)
        return float(path.alpha(at)), float(path.noise_variance(at).sqrt())

    return Process(score, ends, weights)


def derivable(path: Path, target: str = "exact") -> bool:
    """Whether the velocity of this path determines the score everywhere in [0, 1)."""
    t = torch.linspace(0, 1, 1001, dtype=torch.float64)[:-1]
    return bool((_denominator(path, target, t) < 0).all())


def brownian(seed: int, first: int, x: Tensor, replica: int = 0) -> Noise:
    """noise(step): standard normals for points first, first + 1, ... of a job, shaped like x: (B, *S).

    Addressed by seed, step and point, and drawn in float64: cells of one seed share them, whatever their batches.
    """
    rows = max(1, min(ROWS, VALUES // math.prod(x.shape[1:])))
    last = first + len(x)
    chunks = range(first // rows, (last - 1) // rows + 1)

    def noise(step: int) -> Tensor:
        """As `Noise`: (B, *S)."""
        drawn = [
            torch.randn(rows, *x.shape[1:], dtype=torch.float64, generator=stream(seed, f"sde/{chunk}", step, replica))
            for chunk in chunks
        ]
        skipped = first - chunks[0] * rows
        return torch.cat(drawn)[skipped : skipped + len(x)].to(x.dtype).to(x.device)  # half of it travels

    return noise


def _denominator(path: Path, target: str, t: Tensor) -> Tensor:
    """Return alpha s s' - alpha' s^2 at t: (B,)."""
    return path.alpha(t) * path.s_d_s(t, target) - path.d_alpha(t) * path.noise_variance(t)
