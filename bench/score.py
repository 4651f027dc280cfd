"""Score samples: one metric on one set of samples, repeat by repeat."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bench.errors import Diverged
from bench.interfaces import Given, Metric

if TYPE_CHECKING:
    from bench.interfaces import Floats


def score(
    metric: Metric,
    samples: Floats,
    reference: Floats | None,
    trajectory: tuple[Floats, Floats] | None = None,
    seed: int = 0,
) -> dict[str, list[float]]:
    """Each of the metric's values, one number a repeat. samples, reference: (R, n, *S).

    The metric sees exactly the inputs that it declares. Raises Diverged where a value is not finite.
    """
    values: dict[str, list[float]] = {name: [] for name in metric.values}
    for repeat in range(len(samples)):
        given = Given(
            samples=samples[repeat] if "samples" in metric.inputs else None,
            reference=reference[repeat] if "reference" in metric.inputs and reference is not None else None,
            trajectory=trajectory[0] if "trajectory" in metric.inputs and trajectory else None,
            times=trajectory[1] if "trajectory" in metric.inputs and trajectory else None,
            seed=seed,
        )
        measured: Mapping[str, float] = metric.measure(given)
        for name in metric.values:
            value = float(measured[name])
            if not math.isfinite(value):
                raise Diverged(f"{name} is {value} on repeat {repeat + 1} of {len(samples)}")
            values[name].append(value)
    return values
