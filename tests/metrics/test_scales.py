"""What a metric takes for exact is so for laws of any scale."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from bench.couplings import Independent
from bench.datasets.mixtures import Gaussian, GaussianMixture
from bench.exact import exact
from bench.flow import integrate
from bench.interfaces import Given, Mixture
from bench.metrics.budget import ErrorBudget
from bench.metrics.likelihood import LogLikelihood
from bench.metrics.velocity import VelocityError, squared_errors
from bench.paths import Linear, VariancePreserving
from bench.reference import ReferenceJob, reference, start_noise

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


@pytest.mark.parametrize("scale", SCALES)
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
