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

    `time_sampling`, its `time_` parameters and `weighting` are defined in `bench.times`. `order: by_class` sorts the
    data points of each transport batch by class before they are paired and cut into training batches, as
    generators do that return one class after the other; source points stay as drawn, so independent pairs
    stay independent, but a batch no longer looks like the law. `label_dropout` is how often a conditional net is not
    told the class, so that it learns the flow of all classes too.
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
    time_sampling: Literal["uniform", "stratified", "logit_normal", "beta"] = "uniform"
    time_location: float = 0.0
    time_scale: Annotated[float, Gt(0)] = 1.0
    time_a: Annotated[float, Gt(0)] = 1.0
    time_b: Annotated[float, Gt(0)] = 1.0
    weighting: Literal["none", "inverse_variance", "min_snr"] = "none"
    order: Literal["shuffled", "by_class"] = "shuffled"
    label_dropout: Annotated[float, Ge(0), Lt(1)] = 0.1

    def __post_init__(self) -> None:
        """Refuse a warm-up that outlasts the training, and time parameters that would have no effect."""
        if self.warmup >= self.steps:
            raise ValueError(f"warmup ({self.warmup}) must be shorter than steps ({self.steps})")
        if self.time_sampling != "logit_normal" and (self.time_location, self.time_scale) != (0, 1):
            raise ValueError("time_location and time_scale belong to time_sampling: logit_normal")
        if self.time_sampling != "beta" and (self.time_a, self.time_b) != (1, 1):
            raise ValueError("time_a and time_b belong to time_sampling: beta")


@dataclass(frozen=True)
class Sampling:
    """How samples are drawn for scoring.

    `n` samples in each of `repeats` evaluations, averaged within a seed. `start: quasi` draws the noise from
    a scrambled Sobol sequence, `independent` from a random stream. `batch` is how many points are integrated
    together (none: all n of a repeat), over which an adaptive solver controls its error. `reference:
    proportional` scores against modes in proportion with quasi-random points inside each, `independent` against
    a random draw, as most papers do; it adds the draw's own noise to every score. `guidance: w` takes the field
    v(x) + w (v(x | class) - v(x)) of a conditional net, point i being of class i modulo the number of classes; none is
    the conditional field itself (w = 1), which costs one evaluation of the net where others cost two. `precision: bf16`
    asks the net under autocast, with float32 weights and states; tolerances below 1e-3 then ask for more than it says.
    """

    n: Annotated[int, Ge(2), Le(1_000_000)] = 1024
    repeats: Annotated[int, Gt(0)] = 2
    start: Literal["quasi", "independent"] = "quasi"
    batch: Annotated[int, Gt(0)] | None = None
    weights: Literal["raw", "ema"] = "raw"
    reference: Literal["proportional", "independent"] = "proportional"
    guidance: Annotated[float, Ge(0)] | None = None
    precision: Literal["fp32", "bf16"] = "fp32"
