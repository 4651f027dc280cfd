"""Factors that are settings rather than components: how to train and how to draw samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt


@dataclass(frozen=True)
class Training:
    """How a net is trained; everything here is part of the train key.

    `ema` is the decay of the running mean of the weights (none: only raw weights); `clip` bounds the global
    gradient norm; `schedule: cosine` lets the learning rate fall to 0 at the last step; `precision: bf16`
    is autocast with float32 weights.
    """

    steps: Annotated[int, Gt(0)] = 5000
    batch: Annotated[int, Gt(0)] = 256
    optimizer: Literal["adam", "adamw"] = "adam"
    learning_rate: Annotated[float, Gt(0)] = 1e-3
    weight_decay: Annotated[float, Ge(0)] = 0.0
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: Annotated[int, Ge(0)] = 0
    clip: Annotated[float, Gt(0)] | None = None
    ema: Annotated[float, Gt(0), Lt(1)] | None = None
    precision: Literal["fp32", "bf16"] = "fp32"
    time_sampling: Literal["uniform"] = "uniform"

    def __post_init__(self) -> None:
        """Refuse a warm-up that outlasts the training."""
        if self.warmup >= self.steps:
            raise ValueError(f"warmup ({self.warmup}) must be shorter than steps ({self.steps})")


@dataclass(frozen=True)
class Sampling:
    """How samples are drawn for scoring.

    `n` samples in each of `repeats` evaluations, averaged within a seed. `start: quasi` draws the noise from
    a scrambled Sobol sequence, `independent` from a random stream. `batch` is how many points are integrated
    together (none: all n of a repeat), over which an adaptive solver controls its error.
    """

    n: Annotated[int, Ge(2), Le(1_000_000)] = 1024
    repeats: Annotated[int, Gt(0)] = 2
    start: Literal["quasi", "independent"] = "quasi"
    batch: Annotated[int, Gt(0)] | None = None
    weights: Literal["raw", "ema"] = "raw"
