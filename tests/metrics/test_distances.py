"""Distances between samples against closed forms."""

import math

import numpy as np
import pytest
from scipy.special import hyp1f1

from bench.datasets.checkerboard import Checkerboard
from bench.datasets.mixtures import GaussianMixture, TwoGaussians
from bench.datasets.moons import TwoMoons
from bench.errors import Undefined
from bench.interfaces import Given
from bench.metrics.energy import EnergyDistance
from bench.metrics.memory import NearestTrainingPoint
from bench.metrics.modes import ModeWeightTV
from bench.metrics.wasserstein import SlicedWasserstein, Wasserstein
from bench.reference import start_noise


def normal(n, purpose):
    return start_noise(purpose, 0, n, 2, quasi=True)


def mean_length(distance):
    """E|N(m, 2 I)| on the plane for |m| = distance: sqrt(pi) 1F1(-1/2; 1; -distance^2 / 4)."""
    return math.sqrt(math.pi) * hyp1f1(-0.5, 1, -(distance**2) / 4)


@pytest.mark.parametrize("distance", [0.5, 2.0])
def test_energy_distance_of_shifted_normals_is_the_closed_form(distance):
    x, y = normal(4096, 1), normal(4096, 2) + np.array([distance, 0.0])
    exact = math.sqrt(2 * mean_length(distance) - 2 * mean_length(0))
    measured = EnergyDistance().measure(Given(samples=x, reference=y))["energy_distance"]
    assert measured == pytest.approx(exact, rel=5e-3)


def test_energy_distance_is_the_v_statistic_written_out():
    x, y = normal(64, 1), 2 * normal(32, 2)

    def mean(a, b):
        return np.linalg.norm(a[:, None] - b[None], axis=-1).mean()

    plain = math.sqrt(2 * mean(x, y) - mean(x, x) - mean(y, y))
    assert EnergyDistance().measure(Given(samples=x, reference=y))["energy_distance"] == pytest.approx(plain)


def test_wasserstein_of_points_far_from_0_keeps_its_digits():
    x, y = np.random.default_rng(0).normal(size=(2, 50, 2)) * [1, 1e-3]
    near, far = (Wasserstein().measure(Given(samples=x + m, reference=y + m))["wasserstein"] for m in (0, 1e9))
    assert far == pytest.approx(near, rel=1e-4)


def test_sliced_wasserstein_of_a_shift_is_the_root_mean_square_of_its_projections():
    metric, m = SlicedWasserstein(projections=50), np.array([3.0, 4.0])
    x = normal(200, 1)
    theta = metric.directions(2)
    assert np.linalg.norm(theta, axis=1) == pytest.approx(1)
    measured = metric.measure(Given(samples=x[::-1], reference=x + m))["sliced_wasserstein"]
    assert measured == pytest.approx(math.sqrt(((theta @ m) ** 2).mean()), rel=1e-9)
    many = SlicedWasserstein(projections=20_000).directions(2)
    assert math.sqrt(((many @ m) ** 2).mean()) == pytest.approx(5 / math.sqrt(2), rel=0.01)


def test_mode_weights_of_a_mixture_are_compared_with_its_own():
    law = GaussianMixture()
    x = np.repeat(law.law.means, [30, 50, 20], axis=0)
    assert tv(x, law) == pytest.approx(0)
    x = np.repeat(law.law.means, [0, 80, 20], axis=0)
    assert tv(x, law) == pytest.approx(0.3)
    # Where components overlap the larger responsibility decides, not the nearer mean.
    near = TwoGaussians(distance=1.0)
    assert tv(np.array([[-0.01, 50.0], [0.01, -50.0]]), near) == pytest.approx(0)


def test_mode_weights_have_a_floor_and_no_excess_since_an_l1_distance_does_not_subtract_in_squares():
    """Weights off by .1 and by a further .02 score .12, not sqrt(.1^2 + .02^2)."""
    law = GaussianMixture()
    small, large, both = (
        tv(np.repeat(law.law.means, counts, axis=0), law) for counts in ([32, 48, 20], [40, 40, 20], [42, 38, 20])
    )
    assert (small, large, both) == pytest.approx((0.02, 0.1, 0.12))
    assert ModeWeightTV.floored
    assert not ModeWeightTV.excess


def test_mode_weights_of_other_laws_go_by_the_nearest_labelled_draw():
    law = Checkerboard()
    u = np.random.default_rng(0).random((64, 2))
    assert tv(law.place(np.repeat(np.arange(8), 8), u), law) == pytest.approx(0, abs=1 / 32)
    assert tv(law.place(np.zeros(64, dtype=np.int64), 0.2 + 0.6 * u), law) == pytest.approx(7 / 8)
    moons = TwoMoons()
    one = moons.place(np.ones(64, dtype=np.int64), np.random.default_rng(0).random((64, moons.inner)))
    assert tv(one, moons) == pytest.approx(0.5, abs=0.05)


def test_a_law_of_one_part_has_no_mode_weights(unit):
    from bench.datasets.curves import SwissRoll

    with pytest.raises(Undefined, match="one part"):
        tv(normal(8, 1), SwissRoll())


def tv(x, law):
    return ModeWeightTV().measure(Given(samples=x, law=law))["mode_weight_tv"]


def test_copies_of_training_points_are_told_from_fresh_draws():
    training = np.array([[0.0, 0.0], [10.0, 0.0]])
    fresh = np.array([[3.0, 4.0], [10.0, 1.0]])
    copies = training[[1, 0, 0]]
    metric = NearestTrainingPoint()
    measured = metric.measure(Given(samples=copies, reference=fresh, training=training))
    assert measured == {"nearest_training_point": 0.0, "nearest_training_ratio": 0.0}
    further = fresh + np.array([[0.0, 0.0], [0.0, 1.0]])
    measured = metric.measure(Given(samples=further, reference=fresh, training=training))
    assert measured["nearest_training_point"] == pytest.approx((5 + 2) / 2)
    assert measured["nearest_training_ratio"] == pytest.approx(7 / 6)
