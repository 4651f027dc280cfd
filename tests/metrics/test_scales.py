"""What a metric takes for exact is so for laws of any scale."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist

from bench.couplings import Independent
from bench.datasets.mixtures import Gaussian, GaussianMixture, RandomMixture
from bench.errors import Undefined
from bench.exact import exact
from bench.flow import integrate
from bench.interfaces import Given, Mixture
from bench.metrics.budget import ErrorBudget
from bench.metrics.likelihood import LogLikelihood
from bench.metrics.mmd import MMD
from bench.metrics.velocity import VelocityError, squared_errors
from bench.metrics.wasserstein import squared_wasserstein
from bench.paths import Linear, VariancePreserving
from bench.reference import ReferenceJob, reference, start_noise
from bench.solvers.fixed import RK4

SCALES = (1e-3, 1e-2, 1.0, 1e2, 1e3)


def scaled(scale):
    """The three-Gaussian mixture in other units."""
    weights, means, covariances = GaussianMixture().law
    drawn = Mixture(weights, scale * means, scale**2 * covariances)

    @dataclasses.dataclass(frozen=True)
    class Scaled(GaussianMixture):
        law = drawn

    return Scaled()


def cell(scale, path, wrong=1.0):
    """A cell whose field is the exact one of a law that is `wrong` times as wide."""
    law = scaled(scale)
    known = exact(law, Gaussian(), Independent(), path, "exact")
    field = exact(scaled(scale * wrong), Gaussian(), Independent(), path, "exact").velocity
    return Given(
        field=field, oracle=known, law=law, integrate=integrate, start=start_noise(0, 0, 128, 2, quasi=True),
        start_scale=1.0, samples=law.from_uniform(np.full((128, 3), 0.5)),
    )  # fmt: skip


@pytest.mark.parametrize("scale", SCALES)
def test_the_model_error_of_a_field_that_is_wrong_in_scale_is_in_proportion(scale):
    """Flows to laws 5 % apart in scale end about 5 % of the law's size apart, whatever its unit."""
    given = cell(scale, Linear(), 1.05)
    weights, means, covariances = given.law.law
    size = math.sqrt(weights @ ((means**2).sum(1) + np.trace(covariances, axis1=1, axis2=2)))
    assert 0.04 < ErrorBudget().measure(given)["model_error"] / size < 0.12


@pytest.mark.parametrize(
    "scale", [pytest.param(each, marks=pytest.mark.long) if each not in (1e-3, 1) else each for each in SCALES]
)
def test_the_log_likelihood_of_the_exact_flow_is_the_log_density(scale):
    given = cell(scale, Linear())
    x = reference(ReferenceJob(given.law, 128, 1, "scramble", seed=0)).reference[0]
    found = LogLikelihood().log_density(given, torch.from_numpy(x)).numpy()
    assert found == pytest.approx(np.log(given.law.density(x)), abs=5e-3)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("path", [Linear(), VariancePreserving()], ids=str)
def test_the_velocity_error_sees_the_ends_of_time(scale, path):
    given, parts = cell(scale, path, 1.05), 2048
    even = [path.margin + (1 - 2 * path.margin) * (k + 0.5) / parts for k in range(parts)]
    fine = math.sqrt(squared_errors(given, even, [64] * parts).mean())
    assert VelocityError().measure(given)["velocity_error"] == pytest.approx(fine, rel=0.04)


@pytest.mark.parametrize("d", [2, 10, 50])
def test_the_oracles_excess_is_none_within_its_floors_spread_in_any_dimension(d):
    law, floors, excesses = RandomMixture(dimension=d), [], []
    velocity = exact(law, Gaussian(), Independent(), Linear(), "exact").velocity
    for seed in range(3):
        found = reference(ReferenceJob(law, 256, 1, "flow", seed))
        start = torch.from_numpy(start_noise(seed, 0, 256, d, quasi=True))
        ends = RK4(30).solve(velocity, start, torch.tensor([0.0, 1.0], dtype=torch.float64)).states[-1].numpy()
        floors.append(math.sqrt(squared_wasserstein(found.floor[0], found.reference[0])))
        excesses.append(math.sqrt(squared_wasserstein(ends, found.reference[0])) - floors[-1])
    assert np.abs(excesses).max() < np.std(floors, ddof=1)
    assert np.mean(floors) > 0.1


def test_mmd_by_the_references_own_distances_is_the_same_at_any_scale():
    x, y = np.random.default_rng(0).normal(size=(2, 200, 5))
    y += 0.3
    of = [MMD(largest="reference").measure(Given(samples=c * x, reference=c * y))["mmd"] for c in SCALES]
    np.testing.assert_allclose(of, of[0], rtol=1e-9)
    largest = 2 * np.median(pdist(y))
    assert of[2] == pytest.approx(MMD(largest=largest).measure(Given(samples=x, reference=y))["mmd"], rel=1e-12)
    with pytest.raises(Undefined, match="give `largest`"):
        MMD(largest="reference").measure(Given(samples=x, reference=np.zeros((200, 5))))
