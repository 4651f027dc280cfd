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

Values = tuple[dict[str, list[float]], dict[str, str]]
"""Numbers of each value, one a repeat or a draw, and for a value that has none the reason."""


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

    def drawn() -> Values:
        """The values of every draw, held against what the metric declares."""
        with global_stream(task.seed, "floor", replica=task.replica):
            return _checked(metric, metric.floors(law, n, task.seed, _prepared(task)))

    return _made(began, drawn)


def _made(began: float, measured: Callable[[], Values]) -> Made:
    values, refused, undefined = dict[str, list[float]](), dict[str, str](), ""
    try:
        values, refused = measured()
    except Undefined as error:
        undefined = str(error)
    repeats = max((len(numbers) for numbers in values.values()), default=0)
    spent = time.perf_counter() - began
    numbers = {"values": values, "refused": refused, "undefined": undefined, "score_seconds": spent, "repeats": repeats}
    return Made(numbers)


def _prepared(task: Task) -> NDArray[np.generic] | None:
    """What a metric works out of its law once, where it does and has."""
    return task.find("prepared", "prepared")


def score(
    metric: Metric,
    fetched: Fetched,
    prepared: NDArray[np.generic] | None = None,
    seed: int = 0,
    replica: int = 0,
) -> Values:
    """Each of the metric's values, one number a repeat.

    The metric sees exactly what was fetched: the inputs that it declares. Raises WrongAnswer where the answer is not
    what it declares, and Undefined where the metric has no value for such a cell.
    """
    answers: dict[str, list[Any]] = {name: [] for name in metric.values}
    for repeat in range(fetched.repeats):
        given = Given(**fetched.at(repeat), prepared=prepared, seed=seed, repeat=repeat)
        with global_stream(seed, "scoring", repeat, replica):  # a net or a metric may draw though it should not
            measured = metric.measure(given)
        for name, value in _named(metric, measured).items():
            answers[name].append(value)
    return _checked(metric, answers)


def _named(metric: Metric, answer: object) -> Mapping[str, Any]:
    """An answer with the very names that the metric declares. Raises WrongAnswer."""
    name = type(metric).__name__
    if not isinstance(answer, Mapping):
        raise WrongAnswer(f"{name} answers a {type(answer).__name__}; return a mapping of {', '.join(metric.values)}")
    if set(answer) != set(metric.values):
        raise WrongAnswer(
            f"{name} answers {', '.join(sorted(map(str, answer))) or 'nothing'} and declares "
            f"{', '.join(metric.values)}; return one number for each of these and no other"
        )
    return answer


def _checked(metric: Metric, answers: object) -> Values:
    """Lists of answers as numbers, and why a value has none: one that is not finite costs its own value alone.

    Raises WrongAnswer where there are none at all, or what is no number.
    """
    name, values, refused = type(metric).__name__, dict[str, list[float]](), dict[str, str]()
    for value, given in _named(metric, answers).items():
        found = [_number(f"{value} of {name}", number) for number in given]
        bad = [number for number in found if not math.isfinite(number)]
        if bad:
            refused[value] = f"{value} is {bad[0]}; {name} should raise Undefined where there is no value"
        elif not found:
            refused[value] = f"{name} gives no number for {value}; return one, or take it out of `values`"
        values[value] = [] if value in refused else found
    if len(refused) == len(values):
        raise WrongAnswer("; ".join(refused.values()))
    return values, refused


def _number(what: str, given: object) -> float:
    """A real number, Python's, NumPy's or torch's of no dimensions. Raises WrongAnswer for anything else."""
    plain = given.item() if hasattr(given, "item") and getattr(given, "ndim", 0) == 0 else given
    if isinstance(plain, bool) or not isinstance(plain, int | float):
        raise WrongAnswer(f"{what} is {str(given)[:60]!r}, a {type(given).__name__}; return a float")
    return float(plain)
