"""Score one cell by one metric, repeat by repeat."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.errors import Undefined, WrongAnswer
from bench.interfaces import Given, Metric
from bench.seeds import global_stream
from bench.task import Made, Task

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Fetched:
    """What a worker obtained for declared inputs: fields of `Given` by name.

    each: arrays (R, ...), one a repeat. first: of the first repeat alone. once: the same for all repeats.
    """

    each: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    first: Mapping[str, Any] = field(default_factory=dict)
    once: Mapping[str, Any] = field(default_factory=dict)

    @property
    def repeats(self) -> int:
        """How often the metric can be asked."""
        return 1 if self.first else min((len(array) for array in self.each.values()), default=1)

    def at(self, repeat: int) -> dict[str, Any]:
        """Fields of `Given` for one repeat."""
        return {**{name: array[repeat] for name, array in self.each.items()}, **self.first, **self.once}

    def __or__(self, other: Fetched) -> Fetched:
        """Both."""
        return Fetched({**self.each, **other.each}, {**self.first, **other.first}, {**self.once, **other.once})


def run(task: Task, fetched: Callable[[], Fetched]) -> Made:
    """The scoring stage. `fetched` gets what the metric declares, by the table of inputs.

    A metric without a value for such a cell is an answer, kept like any other: the same cell will never have it.
    """
    began, metric = time.perf_counter(), task.component("metric")
    return _made(began, lambda: score(metric, fetched(), _prepared(task), task.seed, task.replica))


def run_floor(task: Task, fetched: Callable[[], Fetched]) -> Made:
    """The stage of floors: the score of a perfect sampler, or what n points of the law score in several draws."""
    began, metric = time.perf_counter(), task.component("metric")
    if not metric.draws_floor:
        return run(task, fetched)
    law, n = task.component("law"), int(task.options["n"])
    return _made(began, lambda: _checked(metric, metric.floors(law, n, task.seed, _prepared(task))))


def _made(began: float, measured: Callable[[], Mapping[str, list[float]]]) -> Made:
    values: Mapping[str, list[float]] = {}
    undefined = ""
    try:
        values = measured()
    except Undefined as error:
        undefined = str(error)
    repeats = max((len(numbers) for numbers in values.values()), default=0)
    spent = time.perf_counter() - began
    return Made({"values": values, "undefined": undefined, "score_seconds": spent, "repeats": repeats})


def _prepared(task: Task) -> NDArray[np.generic] | None:
    """What a metric works out of its law once, where it does and has."""
    return task.find("prepared", "prepared")


def score(
    metric: Metric,
    fetched: Fetched,
    prepared: NDArray[np.generic] | None = None,
    seed: int = 0,
    replica: int = 0,
) -> dict[str, list[float]]:
    """Each of the metric's values, one number a repeat.

    The metric sees exactly what was fetched: the inputs that it declares. Raises WrongAnswer where a value is missing
    or not finite, and Undefined where the metric has no value for such a cell.
    """
    values: dict[str, list[float]] = {name: [] for name in metric.values}
    for repeat in range(fetched.repeats):
        given = Given(**fetched.at(repeat), prepared=prepared, seed=seed, repeat=repeat)
        with global_stream(seed, "scoring", repeat, replica):  # a net or a metric may draw though it should not
            measured = metric.measure(given)
        for name, (value,) in _checked(metric, {name: [value] for name, value in measured.items()}).items():
            values[name].append(value)
    return values


def _checked(metric: Metric, answer: Mapping[str, Any]) -> dict[str, list[float]]:
    """An answer, a list of numbers for each value, held against what the metric declares. Raises WrongAnswer."""
    name = type(metric).__name__
    missing = [value for value in metric.values if value not in answer]
    if missing:
        raise WrongAnswer(
            f"{name} answers {', '.join(sorted(answer)) or 'nothing'} and declares {', '.join(metric.values)}; return "
            f"a number for {', '.join(missing)}, or take it out of `values`"
        )
    found = {value: [float(number) for number in answer[value]] for value in metric.values}
    bad = [(value, number) for value, numbers in found.items() for number in numbers if not math.isfinite(number)]
    if bad:
        raise WrongAnswer(f"{bad[0][0]} is {bad[0][1]}; {name} should raise Undefined where there is no value")
    return found
