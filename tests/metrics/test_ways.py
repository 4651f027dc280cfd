"""Straightness and path energy against ways whose energy is known."""

import math

import numpy as np
import pytest

from bench.errors import Undefined
from bench.interfaces import Given
from bench.metrics.ways import NormalisedPathEnergy, PathEnergy, Straightness

UNEVEN = np.array([0.0, 0.1, 0.5, 0.75, 1.0])


def way(positions, times):
    return Given(trajectory=positions, times=times)


def test_a_straight_way_has_straightness_0_and_the_energy_of_its_displacement():
    generator = np.random.default_rng(0)
    x0, x1 = generator.normal(size=(2, 50, 2))
    given = way(np.stack([(1 - t) * x0 + t * x1 for t in UNEVEN]), UNEVEN)
    assert Straightness().measure(given)["straightness"] == pytest.approx(0, abs=1e-12)
    energy = PathEnergy().measure(given)["path_energy"]
    assert energy == pytest.approx(((x1 - x0) ** 2).sum(1).mean())


def test_half_a_circle_costs_its_chords():
    times = np.linspace(0, 1, 41)
    arc = np.stack([np.cos(math.pi * times), np.sin(math.pi * times)], axis=1)[:, None]
    energy = (80 * math.sin(math.pi / 80)) ** 2  # pi^2 in the limit of many frames
    assert PathEnergy().measure(way(arc, times))["path_energy"] == pytest.approx(energy)
    assert Straightness().measure(way(arc, times))["straightness"] == pytest.approx(energy - 4)


def test_a_pause_on_a_straight_way_counts_against_it():
    times = np.array([0.0, 0.5, 1.0])
    late = np.array([[[0.0, 0.0]], [[0.0, 0.0]], [[1.0, 0.0]]])
    assert Straightness().measure(way(late, times))["straightness"] == pytest.approx(1.0)


def test_normalised_energy_is_0_for_optimal_transport_and_1_for_twice_its_energy():
    generator = np.random.default_rng(0)
    x, m = generator.normal(size=(300, 2)), np.array([5.0, 0.0])
    ends = {"start": x, "reference": x + m, "floor": x + m + 0.05}
    straight = np.stack([x + t * m for t in UNEVEN])
    given = Given(trajectory=straight, times=UNEVEN, **ends)
    assert NormalisedPathEnergy().measure(given)["normalised_path_energy"] == pytest.approx(0, abs=1e-9)
    times = np.array([0.0, 0.5, 1.0])
    detour = np.stack([x, x + m / 2 + [0.0, 2.5], x + m])
    given = Given(trajectory=detour, times=times, **ends)
    assert NormalisedPathEnergy().measure(given)["normalised_path_energy"] == pytest.approx(1.0)


def test_normalised_energy_is_refused_where_start_and_data_are_as_close_as_two_draws():
    generator = np.random.default_rng(0)
    start, reference, floor = generator.normal(size=(3, 200, 2))
    given = Given(
        trajectory=np.stack([start, floor]), times=np.array([0.0, 1.0]), start=start, reference=reference, floor=floor
    )
    with pytest.raises(Undefined, match="less than 10 times its floor"):
        NormalisedPathEnergy().measure(given)
