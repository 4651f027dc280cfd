"""Score one cell by one metric, repeat by repeat."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.errors import Diverged
from bench.interfaces import Dataset, Exact, Field, Given, Integrate, Metric

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.interfaces import Floats

REPEATED = ("samples", "start", "reference", "floor")
"""Inputs that come once a repeat; of a trajectory there is only the first repeat's."""


@dataclass(frozen=True)
class Inputs:
    """What a cell has to offer to metrics, as in `Given` but with all repeats.

    samples, start, reference, floor: (R, n, *S). trajectory: frames (F, m, *S) and their times (F,).
    """

    samples: Floats | None = None
    start: Floats | None = None
    reference: Floats | None = None
    floor: Floats | None = None
    trajectory: tuple[Floats, Floats] | None = None
    start_scale: float | None = None
    law: Dataset | None = None
    training: Floats | None = None
    field: Field | None = None
    oracle: Exact | None = None
    integrate: Integrate | None = None
    prepared: NDArray[np.generic] | None = None
    seed: int = 0


def score(metric: Metric, inputs: Inputs) -> dict[str, list[float]]:
    """Each of the metric's values, one number a repeat.

    The metric sees exactly the inputs that it declares. Raises Diverged where a value is not finite, and
    Undefined where the metric has no value for such a cell.
    """
    values: dict[str, list[float]] = {name: [] for name in metric.values}
    repeats = _repeats(metric, inputs)
    for repeat in range(repeats):
        measured: Mapping[str, float] = metric.measure(_given(metric, inputs, repeat))
        for name in metric.values:
            value = float(measured[name])
            if not math.isfinite(value):
                raise Diverged(f"{name} is {value} on repeat {repeat + 1} of {repeats}")
            values[name].append(value)
    return values


def _repeats(metric: Metric, inputs: Inputs) -> int:
    if "trajectory" in metric.inputs:
        return 1
    arrays = [getattr(inputs, name) for name in REPEATED if name in metric.inputs]
    return min((len(array) for array in arrays if array is not None), default=1)


def _given(metric: Metric, inputs: Inputs, repeat: int) -> Given:
    declared = set(metric.inputs)
    arrays = {name: getattr(inputs, name)[repeat] for name in REPEATED if name in declared}
    whole: dict[str, Any] = {
        name: getattr(inputs, name) for name in ("law", "training", "field", "oracle") if name in declared
    }
    if "trajectory" in declared and inputs.trajectory is not None:
        whole["trajectory"], whole["times"] = inputs.trajectory
    if declared & {"start", "field"}:
        whole["start_scale"] = inputs.start_scale
    if declared & {"field", "oracle"}:
        whole["integrate"] = inputs.integrate
    return Given(**arrays, **whole, prepared=inputs.prepared, seed=inputs.seed, repeat=repeat)
