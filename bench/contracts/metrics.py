"""What a metric promises: the values that it declares, purely computed, 0 where nothing differs."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from bench.contracts.changes import changes
from bench.contracts.require import Law, close, holds, significant, unchanged
from bench.contracts.specimen import specimen
from bench.errors import Unavailable, Undefined
from bench.inputs import INPUTS
from bench.interfaces import Given, Measured, Metric
from bench.seeds import numpy_stream

if TYPE_CHECKING:
    from bench.interfaces import Floats

N = 200
SHIFT = 1.5
FAR = 30.0
"""Data units that samples or reference are moved by: far out of any law here."""

DIRECTIONS = ("lower", "higher", "none")

SIDES = (
    '"lower" for a distance, "higher" for a likelihood, "none" for a spread or a count, of which neither way is better'
)
"""Which direction a value has."""


def declares_its_values(metric: Metric) -> str | None:
    """`values` names at least one value, each with a unit and a direction; `inputs` names what there is."""
    holds(bool(metric.values), "values is empty", 'write values = {"name": Measured("data units", "lower")}')
    for name, measured in metric.values.items():
        holds(
            bool(measured.unit) and measured.direction in DIRECTIONS,
            f"{name} has the unit {measured.unit!r} and the direction {measured.direction!r}",
            f'name a unit ("1" where there is none) and one of {", ".join(DIRECTIONS)}',
        )
    unknown = [name for name in metric.inputs if name not in INPUTS]
    holds(not unknown, f"inputs names {', '.join(unknown)}", f"choose among {', '.join(INPUTS)}")
    holds(metric.version >= 1, f"version is {metric.version}", "count versions from 1")
    holds(
        not metric.floored or "samples" in metric.inputs,
        "floored is True, yet samples are not among its inputs",
        "set floored = False: only a score of samples has a floor",
    )
    return None


def returns_what_it_declares(metric: Metric) -> str | None:
    """`measure` returns one finite number for each name in `values`, and nothing else."""
    try:
        got = metric.measure(specimen(metric.inputs))
    except (Undefined, Unavailable) as error:
        holds(not metric.always, f"it has no value on the plane: {error}", "set always = False, so that plans try it")
        return f"has no value on the plane: {error}"
    holds(
        set(got) == set(metric.values),
        f"measure returns {sorted(got)}, values names {sorted(metric.values)}",
        "return exactly the declared names",
    )
    for name, value in got.items():
        holds(
            isinstance(value, float | int) and math.isfinite(value),
            f"{name} is {value!r}",
            "return a finite float; raise Undefined where there is no value for such samples",
        )
    return None


def leaves_its_inputs_alone(metric: Metric) -> str | None:
    """Every array that it is given stays as it was, bit for bit."""
    given, untouched = specimen(metric.inputs), specimen(metric.inputs)
    try:
        metric.measure(given)
    except (Undefined, Unavailable) as error:
        return f"has no value on the plane: {error}"
    for field in dataclasses.fields(given):
        before, after = getattr(untouched, field.name), getattr(given, field.name)
        if isinstance(before, np.ndarray):
            unchanged(before, after, field.name)
    return None


def gives_the_same_again(metric: Metric) -> str | None:
    """Equal inputs and seed give the very same numbers."""
    try:
        first, again = (metric.measure(specimen(metric.inputs)) for _ in range(2))
    except (Undefined, Unavailable) as error:
        return f"has no value on the plane: {error}"
    holds(
        dict(first) == dict(again),
        f"the same inputs give {first}, then {again}",
        "take random directions or subsets from numpy_stream(given.seed, ...) and keep no state",
    )
    return None


def does_not_see_the_order_of_points(metric: Metric) -> str | None:
    """Samples and reference are sets: shuffling either changes nothing but rounding."""
    if reason := _out_of_reach(metric):
        return reason
    x, y = _clouds()
    order = numpy_stream(0, "contract/order").permutation(N)
    first = _measured(metric, x, y)
    for name, value in _measured(metric, x[order], y[order[::-1]]).items():
        close(value, first[name], 1e-6, f"{name} of shuffled points", "let no result depend on the order of points")
    return None


def is_0_where_nothing_differs(metric: Metric) -> str | None:
    """A value for which lower is better is 0 when the samples are the reference, and never below."""
    if reason := _out_of_reach(metric):
        return reason
    names = _distances(metric)
    if not names:
        return "has no value for which lower is better"
    x, y = _clouds()
    same, apart = _measured(metric, x, x.copy()), _measured(metric, x, y)
    for name in names:
        mend = f"subtract what a perfect score leaves, or give {name} its direction: {SIDES}"
        close(same[name], 0.0, 1e-6, f"{name} of samples against themselves", mend)
        holds(apart[name] >= 0, f"{name} is {significant(apart[name])}", "a distance is never negative")
    return None


def is_symmetric(metric: Metric) -> str | None:
    """A distance is the same both ways; a metric that is not one says `symmetric = False`."""
    if reason := _out_of_reach(metric):
        return reason
    if not metric.symmetric:
        return "is said not to be symmetric"
    x, y = _clouds()
    forward, backward = _measured(metric, x, y), _measured(metric, y, x)
    for name in _distances(metric):
        mend = "treat both inputs alike, or set symmetric = False if it is a divergence"
        close(backward[name], forward[name], 1e-6, f"{name} with samples and reference exchanged", mend)
    return None if _distances(metric) else "has no value for which lower is better"


def gets_worse_with_distance(metric: Metric) -> str | None:
    """Samples that are moved away from the reference score worse, whichever way, and so do they if the reference moves.

    Two shifts, of 1.5 and 3 standard deviations, to either side: the nearer one scores worse than an independent draw
    of the reference's law, and the farther one no better than the nearer.
    """
    if reason := _out_of_reach(metric):
        return reason
    judged = {name: measured for name, measured in metric.values.items() if measured.direction != "none"}
    if not judged:
        return "has no value with a direction"
    if not {"samples", "reference"} <= set(metric.inputs):
        return "does not compare samples with a reference"
    reference, shifted = _clouds()
    samples = shifted - SHIFT
    near = _measured(metric, samples, reference)
    for moved, sign in itertools.product(("samples", "reference"), (1, -1)):
        scores = []
        for size in (SHIFT, 2 * SHIFT):
            x, y = (samples + sign * size, reference) if moved == "samples" else (samples, reference + sign * size)
            scores.append(_measured(metric, x, y))
        for name, measured in judged.items():
            place = f"{name} ({measured.direction} is better) is {significant(near[name])} for the right law and "
            first, second = (score[name] for score in scores)
            holds(
                _worse(measured, first, near[name]),
                f"{place}{significant(first)} where {moved} move by {sign * SHIFT:g}",
                f"check the direction that values declares for {name} ({SIDES}), and that the value follows from both "
                "samples and reference",
            )
            holds(
                not _worse(measured, first, second),
                f"{place}{significant(first)}, then {significant(second)} where {moved} move by "
                f"{sign * SHIFT:g}, then {sign * 2 * SHIFT:g}",
                f"let what lies farther off score no better, or give {name} its direction: {SIDES}",
            )
    return None


def answers_to_every_input(metric: Metric) -> str | None:
    """Whatever `inputs` declares matters: where it alone becomes another one, some value changes."""
    try:
        first = dict(metric.measure(specimen(metric.inputs)))
    except (Undefined, Unavailable) as error:
        return f"has no value on the plane: {error}"
    for name in metric.inputs:
        changed = False
        for given in changes(specimen(metric.inputs), name):
            try:
                changed = changed or dict(metric.measure(given)) != first
            except (Undefined, Unavailable):  # it looked
                changed = True
        # A score that does not see the reference is no comparison, whatever its direction says.
        holds(changed, f"no value changes with {name}", f"use {name}, or drop it from inputs: scores are keyed by them")
    return None


def worsens_where_its_points_are_moved(metric: Metric) -> str | None:
    """With other inputs beside, too, some value is worse where samples or reference are far off, and none better."""
    judged = {name: measured for name, measured in metric.values.items() if measured.direction != "none"}
    points = [name for name in metric.inputs if name in {"samples", "reference"}]
    if not judged or not points or not set(metric.inputs) - {"samples", "reference"}:
        return "has no value with a direction that depends on points and more than points"
    try:
        near = metric.measure(specimen(metric.inputs))
    except (Undefined, Unavailable) as error:
        return f"has no value on the plane: {error}"
    for name, shift in itertools.product(points, (FAR, -FAR)):
        given = specimen(metric.inputs)
        try:
            far = metric.measure(dataclasses.replace(given, **{name: getattr(given, name) + shift}))
        except (Undefined, Unavailable):
            continue
        better = [value for value, measured in judged.items() if _worse(measured, near[value], far[value])]
        worse = [value for value, measured in judged.items() if _worse(measured, far[value], near[value])]
        told = f"where {name} are {shift:g} off, "
        mend = f"check the direction that values declares: {SIDES}"
        holds(not better, f"{told}{', '.join(better)} gets better", mend)
        holds(bool(worse) or (name == "reference" and "samples" in points), f"{told}no value gets worse", mend)
    return None


LAWS: tuple[Law, ...] = (
    declares_its_values,
    returns_what_it_declares,
    leaves_its_inputs_alone,
    gives_the_same_again,
    does_not_see_the_order_of_points,
    is_0_where_nothing_differs,
    is_symmetric,
    gets_worse_with_distance,
    answers_to_every_input,
    worsens_where_its_points_are_moved,
)


def _out_of_reach(metric: Metric) -> str | None:
    """Why clouds on the plane are not what this metric looks at, or None."""
    others = [name for name in metric.inputs if name not in {"samples", "reference"}]
    if others:
        return f"looks at {', '.join(others)} too, so it is no comparison of two sets of points"
    try:
        _measured(metric, *_clouds())
    except (Undefined, Unavailable) as error:
        return f"has no value on the plane: {error}"
    return None


def _clouds() -> tuple[Floats, Floats]:
    """N points of N(0, I) on the plane, and N of the same law shifted along both axes."""
    generator = numpy_stream(0, "contract/metric")
    return generator.normal(size=(N, 2)), generator.normal(size=(N, 2)) + SHIFT


def _measured(metric: Metric, samples: Floats, reference: Floats) -> Mapping[str, float]:
    """The metric's values; it gets copies, so that one that writes into them breaks no other law."""
    return metric.measure(
        Given(
            samples=samples.copy() if "samples" in metric.inputs else None,
            reference=reference.copy() if "reference" in metric.inputs else None,
        )
    )


def _worse(measured: Measured, one: float, other: float) -> bool:
    """Whether one score is worse than another in the direction of its value, by more than rounding."""
    slack = 1e-9 * (abs(one) + abs(other))
    return one > other + slack if measured.direction == "lower" else one < other - slack


def _distances(metric: Metric) -> list[str]:
    both = {"samples", "reference"} <= set(metric.inputs)
    return [name for name, measured in metric.values.items() if both and measured.direction == "lower"]
