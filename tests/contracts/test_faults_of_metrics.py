"""Metrics that look at one side only, or the wrong way: each breaks the law named."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch

from bench.contracts.metrics import SIDES
from bench.interfaces import Measured, Metric


@dataclass(frozen=True)
class Alone(Metric):
    """Higher is better, and the reference is never looked at."""

    values: ClassVar[Mapping[str, Measured]] = {"alone": Measured("1", "higher")}

    def measure(self, given):
        return {"alone": -float(np.linalg.norm(given.samples.mean(0)))}


class AloneLow(Alone):
    """The same, lower."""

    values: ClassVar[Mapping[str, Measured]] = {"alone": Measured("1", "lower")}
    symmetric: ClassVar[bool] = False

    def measure(self, given):
        return {"alone": float(np.linalg.norm(given.samples.mean(0)))}


class ReferenceAlone(Alone):
    """The samples are never looked at."""

    def measure(self, given):
        return {"alone": -float(np.linalg.norm(given.reference.mean(0)))}


class OneWay(Alone):
    """A difference with its sign: better and better on one side."""

    def measure(self, given):
        return {"alone": float(given.reference.mean() - given.samples.mean())}


class Returns(Alone):
    """Near is worse, far is as good as right."""

    def measure(self, given):
        gap = np.linalg.norm(given.samples.mean(0) - given.reference.mean(0))
        return {"alone": -float(gap * np.exp(-(gap**2) / 8))}


class Rest(Alone):
    """A value of two that ignores the reference."""

    values: ClassVar[Mapping[str, Measured]] = {"alone": Measured("1", "higher"), "gap": Measured("1", "lower")}
    symmetric: ClassVar[bool] = False

    def measure(self, given):
        gap = float(np.linalg.norm(given.samples.mean(0) - given.reference.mean(0)))
        return {"alone": -float(np.linalg.norm(given.samples.mean(0))), "gap": gap}


@dataclass(frozen=True)
class WithSpread(Metric):
    """A distance and how far it scatters, which declares a side for both."""

    values: ClassVar = {"gap": Measured("1", "lower"), "gap_sd": Measured("1", "lower")}
    symmetric: ClassVar[bool] = False

    def measure(self, given):
        gaps = given.samples.mean(0) - given.reference.mean(0)
        return {"gap": float(np.linalg.norm(gaps)), "gap_sd": float(given.samples.std(0).mean())}


@dataclass(frozen=True)
class Spread(Metric):
    """How far samples lie apart, higher is better; right, since it declares samples alone."""

    values: ClassVar = {"spread": Measured("data units", "higher")}
    inputs: ClassVar = ("samples",)
    floored: ClassVar = False

    def measure(self, given):
        return {"spread": float(given.samples.std(0).mean())}


class Unused(Spread):
    """It declares a law that it has no use for."""

    inputs: ClassVar = ("samples", "law")


class Ungoverned(Spread):
    """It declares the field that it never asks."""

    inputs: ClassVar = ("samples", "field")


class Constant(Spread):
    """A number that nothing changes."""

    inputs: ClassVar = ("training",)

    def measure(self, given):
        return {"spread": float(given.training.size)}


@dataclass(frozen=True)
class Likelihood(Metric):
    """How near the field's flow brings the start to the reference, said to be better the farther."""

    values: ClassVar = {"gap": Measured("data units", "higher")}
    inputs: ClassVar = ("reference", "start", "field")
    floored: ClassVar = False

    def measure(self, given):
        end = given.integrate(given.field, torch.from_numpy(given.start), 10).numpy()
        return {"gap": float(np.linalg.norm(end.mean(0) - given.reference.mean(0)))}


@dataclass(frozen=True)
class Sound(Likelihood):
    """The same, the right way."""

    values: ClassVar = {"gap": Measured("data units", "lower")}


FAULTS = [
    (Alone, "gets_worse_with_distance", "where reference move by 1.5"),
    (Alone, "answers_to_every_input", "no value changes with reference"),
    (AloneLow, "gets_worse_with_distance", "the value follows from both samples and reference"),
    (ReferenceAlone, "gets_worse_with_distance", "where samples move by"),
    (ReferenceAlone, "answers_to_every_input", "no value changes with samples"),
    (OneWay, "gets_worse_with_distance", "where samples move by -1.5"),
    (Returns, "gets_worse_with_distance", "let what lies farther off score no better"),
    (Rest, "gets_worse_with_distance", "alone (higher is better)"),
    (WithSpread, "gets_worse_with_distance", f"declares for gap_sd ({SIDES})"),
    (WithSpread, "is_0_where_nothing_differs", "or give gap_sd its direction"),
    (Unused, "answers_to_every_input", "no value changes with law"),
    (Ungoverned, "answers_to_every_input", "no value changes with field"),
    (Constant, "answers_to_every_input", "no value changes with training"),
    (Likelihood, "worsens_where_its_points_are_moved", "gap gets better"),
]


@pytest.mark.parametrize(("cls", "law", "words"), FAULTS, ids=[f"{c[0].__name__}-{c[1]}" for c in FAULTS])
def test_a_fault_breaks_its_law(breaks, cls, law, words):
    breaks("metric", cls, law, words)


@pytest.mark.parametrize("cls", [Spread, Sound])
def test_a_right_metric_of_an_uncommon_kind_passes(keeps, cls):
    keeps("metric", cls)
