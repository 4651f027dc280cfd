"""Metrics against exact answers: identities, symmetry, a known shift, purity."""

import math

import numpy as np
import ot
import pytest

from bench.interfaces import Given
from bench.metrics import METRICS
from bench.metrics.mmd import MMD
from bench.metrics.wasserstein import Wasserstein


@pytest.fixture
def clouds():
    generator = np.random.default_rng(0)
    return generator.normal(size=(200, 2)), generator.normal(loc=1.0, size=(200, 2))


def measured(metric, x, y):
    return metric.measure(Given(samples=x, reference=y))


@pytest.mark.parametrize("name", [n for n, m in METRICS.items() if m.inputs == ("samples", "reference")])
def test_zero_on_itself_symmetric_and_pure(name, clouds):
    metric, (x, y) = METRICS[name](), clouds
    before = x.copy(), y.copy()
    forward, backward, same = measured(metric, x, y), measured(metric, y, x), measured(metric, x, x)
    assert set(forward) == set(metric.values)
    for value in metric.values:
        assert same[value] == pytest.approx(0, abs=1e-7)
        assert forward[value] == pytest.approx(backward[value], rel=1e-9)
        assert forward[value] > 0.1
    assert (x == before[0]).all()
    assert (y == before[1]).all()


def test_wasserstein_of_a_shift_is_its_length_and_agrees_with_pot(clouds):
    x, y = clouds
    assert measured(Wasserstein(), x, x + np.array([3.0, 4.0]))["wasserstein"] == pytest.approx(5.0)
    direct = math.sqrt(ot.emd2(ot.unif(200), ot.unif(200), ot.dist(x, y)))
    assert measured(Wasserstein(), x, y)["wasserstein"] == pytest.approx(direct, rel=1e-9)


def test_mmd_is_the_v_statistic_written_out(clouds):
    x, y = clouds
    metric = MMD(largest=4.0, bandwidths=3)

    def kernel(a, b):
        squared = ((a[:, None] - b[None]) ** 2).sum(-1)
        return np.mean([np.exp(-squared / (2 * h**2)) for h in (4.0, 2.0, 1.0)], axis=0).mean()

    plain = math.sqrt(kernel(x, x) + kernel(y, y) - 2 * kernel(x, y))
    assert measured(metric, x, y)["mmd"] == pytest.approx(plain, rel=1e-9)
