"""A cell in which one input is another one, so that a metric shows whether it looks at it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from bench.couplings import Independent
from bench.datasets.checkerboard import Checkerboard
from bench.datasets.mixtures import EightGaussians, Gaussian, TwoGaussians
from bench.exact import exact
from bench.interfaces import Field, Given
from bench.paths import NoisyBridge

SHIFTS = (1.5, -1.5, 30.0)


def changes(given: Given, name: str) -> Iterator[Given]:
    """The same `Given` with its input `name` changed in several ways, everything else as it was."""
    for value in _others(name, getattr(given, name)):
        yield dataclasses.replace(given, **{name: value})


def _others(name: str, value: Any) -> Iterator[Any]:
    if isinstance(value, np.ndarray):
        yield from (value + shift for shift in SHIFTS)
        yield 2 * value
        # Of a trajectory, whose frames may matter by their differences alone.
        yield value * np.linspace(0.5, 1.5, len(value)).reshape(-1, *[1] * (value.ndim - 1))
    elif name == "law":
        yield from (TwoGaussians(), EightGaussians(), Checkerboard(), Gaussian())
    elif name == "field":
        yield from (_scaled(value, factor) for factor in (0.5, 1.5))
    elif name == "oracle":
        for law in (TwoGaussians(), EightGaussians()):
            yield exact(law, Gaussian(), Independent(), NoisyBridge(), "displacement")


def _scaled(field: Field, factor: float) -> Field:
    return lambda t, x: factor * field(t, x)
