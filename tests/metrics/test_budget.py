"""The error budget, velocity error and log-likelihood against exact flows."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from bench import flow
from bench.batches import TrainJob, draw
from bench.couplings import Independent
from bench.datasets.mixtures import EightGaussians, Gaussian, GaussianMixture
from bench.errors import Undefined
from bench.interfaces import Given
from bench.metrics.budget import ErrorBudget
from bench.metrics.likelihood import LogLikelihood
from bench.metrics.velocity import VelocityError
from bench.metrics.wasserstein import squared_wasserstein
from bench.nets import MLP
from bench.nets.oracle import OracleField
from bench.paths import PATHS, Linear, NoisyBridge, NoisyConstant
from bench.reference import ReferenceJob, reference
from bench.settings import Training

PARTS = ("solver_error", "model_error", "target_error", "path_error")


def budget(inputs, **settings):
    return {name: values[0] for name, values in inputs.score(ErrorBudget(**settings)).items()}


def wobble(t, x):
    return 0.2 * torch.sin(2 * x.flip(-1) + 3 * t)


def test_a_finer_solver_lowers_the_solver_error_alone(cell):
    path = NoisyBridge(s=0.5)
    found = [
        budget(cell(GaussianMixture(), path, "displacement", ("euler", steps), wobble, n=64)) for steps in (40, 80, 160)
    ]
    for name in (*PARTS[1:], "excess_loss"):
        assert found[0][name] > (1e-7 if name == "path_error" else 1e-2)
        assert found[0][name] == found[1][name] == found[2][name]
    for coarse, fine in pairwise(found):
        assert coarse["solver_error"] / fine["solver_error"] > 1.9


@pytest.mark.parametrize("path", [Linear(), NoisyBridge(s=0.5), NoisyConstant(s=0.5)])
@pytest.mark.parametrize("target", ["exact", "displacement"])
def test_the_oracle_has_no_model_error_and_a_target_error_only_where_targets_differ(cell, path, target):
    found = budget(cell(GaussianMixture(), path, target, n=128))
    assert found["model_error"] == 0
    assert found["excess_loss"] == 0
    assert (found["target_error"] > 0.05) == (target == "displacement" and path.has_noise_velocity)
    assert found["target_error"] == 0 or path.has_noise_velocity


def test_paths_with_the_same_ends_have_the_same_flow_and_so_no_path_error(cell):
    for name in sorted({"noisy_bridge", "trigonometric", "noisy_smooth"} & set(PATHS)):
        found = budget(cell(GaussianMixture(), PATHS[name](), solver=("euler", 2), n=64), fine_steps=100)
        assert found["path_error"] < 1e-6, name


def test_noise_at_the_end_of_a_path_is_its_path_error_exactly(cell, unit):
    inputs = cell(unit, NoisyConstant(s=0.75))
    z = inputs.start[0] / 1.25
    found = budget(inputs)
    # N(0, I) + N(0, s^2 I) is reached by x = 1.25 z, the data by z.
    assert found["path_error"] == pytest.approx(0.25 * math.sqrt((z**2).sum(1).mean()), rel=1e-6)
    assert found["model_error"] == found["target_error"] == 0


def test_a_constant_velocity_error_moves_the_end_by_what_the_flow_makes_of_it(cell, unit, shift):
    error, length = shift
    inputs = cell(unit, error=error)
    found = budget(inputs)
    # On N(0, I) to N(0, I) a push at time s is stretched by 1 / sqrt(s^2 + (1 - s)^2); integrated: sqrt(2) asinh(1).
    assert found["model_error"] == pytest.approx(length * math.sqrt(2) * math.asinh(1), rel=1e-5)
    assert found["excess_loss"] == pytest.approx(length**2 / 2, rel=1e-9)
    for values in inputs.score(VelocityError()).values():
        assert values == pytest.approx([length], rel=1e-9)


@pytest.mark.parametrize("path", [Linear(), NoisyBridge(s=0.5)], ids=str)
def test_excess_loss_is_the_training_loss_less_the_least_that_is_possible(cell, path):
    law, training = GaussianMixture(), Training(steps=128, batch=512)
    job = TrainJob(law, Gaussian(), Independent(), path, "exact", "noise_at_0", MLP(), training, seed=0)
    inputs = cell(law, path, error=wobble, n=16)
    excess = []
    for x, t, u in zip(*(part.flatten(0, 1).double().split(512) for part in draw(job, 0, 128).parts), strict=True):
        # As a training step has it, the mean over points and coordinates; less that of the exact mean.
        best = OracleField(law.mixture(), path)(x, t)
        net = best + wobble(t[:, None], x)
        excess.append(float((net - u).square().mean() - (best - u).square().mean()))
    error = np.std(excess, ddof=1) / math.sqrt(len(excess))
    found = budget(inputs)["excess_loss"]
    assert error < 0.1 * found
    assert np.mean(excess) == pytest.approx(found, abs=4 * error)


def test_velocity_error_is_told_apart_by_time(cell, unit, shift):
    error, length = shift
    measured = cell(unit, error=lambda t, x: t * error(t, x)).score(VelocityError())
    for name, expected in (("t10", 0.1), ("t50", 0.5), ("t90", 0.9)):
        assert measured[f"velocity_error_{name}"] == pytest.approx([expected * length], rel=1e-9)
    assert measured["velocity_error"] == pytest.approx([length / math.sqrt(3)], rel=1e-3)


@pytest.mark.parametrize("path", [NoisyBridge(s=1.0), NoisyConstant(s=0.3), Linear()])
def test_the_parts_bound_the_distance_from_a_perfect_sampler(cell, path):
    inputs = cell(GaussianMixture(), path, "displacement", ("euler", 5), wobble, n=200)
    parts = budget(inputs)
    z = torch.from_numpy(inputs.start[0] / inputs.start_scale)
    perfect = flow.integrate(inputs.oracle.linear, z, 40).numpy()
    distance = math.sqrt(squared_wasserstein(inputs.samples[0], perfect))
    assert 0.3 < distance <= sum(parts[name] for name in PARTS)


def test_fine_flows_are_finer_than_what_they_measure(cell):
    inputs = cell(GaussianMixture(), NoisyBridge(s=0.5), n=128)
    z = torch.from_numpy(inputs.start[0])
    finest = flow.integrate(inputs.oracle.velocity, z, 200)
    apart = (flow.integrate(inputs.oracle.velocity, z, ErrorBudget().fine_steps) - finest).norm(dim=1)
    assert float(apart.max()) < 1e-3


@pytest.mark.parametrize(("path", "blur"), [(Linear(), 0.0), (NoisyBridge(s=0.5), 0.0), (NoisyConstant(s=0.5), 0.5)])
def test_log_likelihood_of_the_exact_flow_is_the_log_density_of_its_end_law(cell, path, blur):
    law = GaussianMixture()
    inputs = cell(law, path)
    metric = LogLikelihood(points=64)
    x = metric.chosen(inputs.reference[0])
    assert x.shape == (64, 2)
    weights, means, covariances = law.law
    covariances = covariances + blur**2 * np.eye(2)
    d = x[:, None] - means
    exponents = -0.5 * np.einsum("nki,kij,nkj->nk", d, np.linalg.inv(covariances), d)
    known = np.log((weights * np.exp(exponents) / (2 * math.pi * np.sqrt(np.linalg.det(covariances)))).sum(1))
    given = Given(field=inputs.field, start_scale=inputs.start_scale, integrate=flow.integrate)
    assert metric.log_density(given, torch.from_numpy(x)).numpy() == pytest.approx(known, abs=2e-3)
    assert inputs.score(metric)["log_likelihood"] == pytest.approx([known.mean()], abs=1e-4)


@pytest.mark.parametrize("n", [1024, 2048, 8192])
@pytest.mark.parametrize("law", [GaussianMixture(), EightGaussians()], ids=str)
def test_the_points_of_the_log_likelihood_stand_for_the_whole_reference(law, n):
    """Means of log p and of both coordinates, within 4 standard errors of a simple random sample."""
    metric = LogLikelihood()
    for repeat, whole in enumerate(reference(ReferenceJob(law, n, 3, "scramble", seed=0)).reference):
        taken = metric.chosen(whole, repeat)
        assert len(np.unique(taken, axis=0)) == len(taken) == 512
        all_of, some = (np.column_stack([np.log(law.density(x)), x]) for x in (whole, taken))
        error = all_of.std(axis=0, ddof=1) * math.sqrt((1 - 512 / n) / 512)
        assert (np.abs(some.mean(axis=0) - all_of.mean(axis=0)) < 4 * error).all(), (n, repeat)
    few = whole[:100]
    np.testing.assert_array_equal(np.sort(metric.chosen(few), axis=0), np.sort(few, axis=0))


def test_log_likelihood_in_more_dimensions_uses_probes_that_average_to_the_trace():
    generator = np.random.default_rng(0)
    x = torch.from_numpy(generator.normal(size=(5, 1, 2, 2)))
    rates = torch.tensor([0.5, -0.2, 0.1, 0.3], dtype=torch.float64)
    turn = torch.from_numpy(generator.normal(size=(4, 4)))

    def given(matrix):
        return Given(
            field=lambda t, y: (y.flatten(1) @ matrix.T).view_as(y), start_scale=1.5, integrate=flow.integrate, seed=3
        )

    def known(matrix):
        x0 = x.flatten(1) @ torch.linalg.matrix_exp(-matrix).T / 1.5
        return -0.5 * (x0**2).sum(1) - 2 * math.log(2 * math.pi) - 4 * math.log(1.5) - matrix.trace()

    diagonal = torch.diag(rates)  # e^T D e is the trace for every vector of signs
    assert LogLikelihood(steps=10, probes=1).log_density(given(diagonal), x) == pytest.approx(known(diagonal), abs=1e-6)
    full = diagonal + 0.1 * turn
    few, many = (
        LogLikelihood(steps=10, probes=probes).log_density(given(full), x) - known(full) for probes in (1, 200)
    )
    assert float(many.abs().max()) < 0.1 < float(few.abs().max())


def test_what_a_cell_does_not_admit_is_said(cell):
    inputs = replace(cell(GaussianMixture(), n=16), start_scale=None)
    with pytest.raises(Undefined, match="normal source"):
        inputs.score(ErrorBudget())
    with pytest.raises(Undefined, match="not normal"):
        inputs.score(LogLikelihood())
