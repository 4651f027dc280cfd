"""The one table of stages: what each kind of job depends on, and the function that does it.

`bench.kinds` says how jobs of a kind are handled, and this what they compute. The hash of a job's code begins at the
stage's function; what a job may read is what its row declares.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bench import reference, sample, score, timing, train
from bench.inputs import FLOOR_INPUTS, INPUTS, SAMPLES, Input, Needs
from bench.kinds import KINDS

NOTHING = Needs()
TRAINING = ("dataset", "source", "coupling", "path", "target", "prediction", "clock", "net", "training")


@dataclass(frozen=True)
class Stage:
    """What a kind of job needs, and what does it: a function of a task, or of several where they go as one.

    inputs: what its metric may declare, by name, where it has one. code: further functions that decide its numbers and
    that `run` does not reach.
    """

    run: Callable[..., Any]
    needs: Needs = NOTHING
    code: tuple[Callable[..., Any], ...] = ()
    inputs: Mapping[str, Input] = field(default_factory=dict)


STAGES: dict[str, Stage] = {
    "train": Stage(train.run_together, Needs(TRAINING)),
    "reference": Stage(reference.run, Needs(("law",), ("sampling.n", "sampling.repeats", "sampling.reference"))),
    "prepared": Stage(reference.prepare, Needs(("law",))),
    "sample": Stage(sample.run, SAMPLES),
    "floor": Stage(score.run_floor, inputs=FLOOR_INPUTS),
    "score": Stage(score.run, inputs=INPUTS),
    "train_time": Stage(timing.training, Needs(TRAINING), (timing.measure,)),
    "sample_time": Stage(timing.sampling, SAMPLES, (timing.measure,)),
}
"""By kind. Scores and floors need what their metric declares besides, and `prepared` where it prepares something."""

LAW = Needs(("law",), upstream=("prepared",))
"""What a floor needs that the metric draws by itself."""

assert STAGES.keys() == KINDS.keys()
