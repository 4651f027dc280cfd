"""Flows that are taken for exact are exact, however far a law is from unit scale."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from bench import flow
from bench.datasets.mixtures import EightGaussians, GaussianMixture, TwoGaussians
from bench.errors import NotConverged, Undefined
from bench.flow import integrate
from bench.interfaces import Mixture
from bench.metrics.wasserstein import squared_wasserstein
from bench.nets.oracle import OracleField
from bench.paths import Linear
from bench.reference import ReferenceJob, reference, start_noise
from bench.solvers import Dopri8
from bench.solvers.fixed import RK4

SCALES = (1e-3, 1e-2, 1.0, 1e2, 1e3)
ORDINARY = {"three": GaussianMixture(), "eight": EightGaussians(), "two": TwoGaussians()}


def law_of(weights, means, covariances, scale=1.0):
    """A mixture of any dimension as a data set."""
    drawn = Mixture(np.array(weights, float), scale * np.array(means, float), scale**2 * np.array(covariances, float))

    @dataclass(frozen=True)
    class Law(GaussianMixture):
        shape = (drawn.means.shape[1],)
        inner = drawn.means.shape[1]
        law = drawn

    return Law()


def scaled(law, scale):
    return law_of(*law.law, scale)


UNIT = np.eye(2)
SINGLE = law_of([1], [[1, 2]], [[[1, 0.5], [0.5, 2]]])
HARD = {
    "far": law_of([0.5, 0.5], [[-100, 0], [100, 0]], [UNIT, UNIT]),
    "narrow": law_of([0.3, 0.3, 0.4], [[-1, 0], [1, 0], [0, 1]], [1e-6 * UNIT] * 3),
    "unequal": law_of([0.001, 0.999], [[-3, 0], [3, 0]], [UNIT, 1e-4 * UNIT]),
    "thin": law_of([0.5, 0.5], [[-2, 0], [2, 0]], [np.diag([1, 1e-6]), np.diag([1e-6, 1])]),
    "far and narrow": law_of([0.3, 0.7], [[-100, 0], [100, 50]], [1e-4 * UNIT, 1e-4 * UNIT]),
    **{f"times {scale:g}": scaled(GaussianMixture(), scale) for scale in SCALES if scale != 1},
    "five": law_of([1 / 30] * 30, 5 * np.sin(np.arange(150.0).reshape(30, 5) ** 2), [0.1 * np.eye(5)] * 30),
}  # fmt: skip


def noise(law, n, repeat=0):
    return torch.from_numpy(start_noise(0, repeat, n, law.shape[0], quasi=True))


def velocity(law):
    field = OracleField(law.mixture(), Linear())
    return lambda t, x: field(x, t.expand(len(x)))


def even(law, z, steps=flow.FLOW_STEPS):
    return RK4(steps).solve(velocity(law), z, torch.tensor([0.0, 1.0], dtype=torch.float64)).states[-1]


def floors(law, n, repeats=4):
    """Each repeat's floor, and its flow and reference."""
    made = reference(ReferenceJob(law, n, repeats, "flow", seed=0))
    pairs = zip(made.floor, made.reference, strict=True)
    return np.array([math.sqrt(squared_wasserstein(ends, points)) for ends, points in pairs]), made


@pytest.mark.parametrize("n", [64, 1024])
@pytest.mark.parametrize("name", ORDINARY)
def test_an_ordinary_law_keeps_its_even_steps_to_the_last_bit(name, n):
    z = noise(ORDINARY[name], n)
    assert torch.equal(flow.exact_ends(ORDINARY[name].mixture(), z), even(ORDINARY[name], z))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("covariance", [[[1, 0.5], [0.5, 2]], [[1, 0], [0, 1e-6]], [[1e-4, 0], [0, 1e-4]]], ids=str)
def test_the_floor_of_one_gaussian_is_that_of_its_closed_form(covariance, scale):
    """x = m + S^(1/2) z, since x_t = t m + C_t^(1/2) z solves the flow of one Gaussian."""
    law = law_of([1], [[30, 2]], [covariance], scale)
    found, made = floors(law, 64)
    values, axes = np.linalg.eigh(law.law.covariances[0])
    for repeat, ends in enumerate(made.floor):
        known = law.law.means[0] + noise(law, 64, repeat).numpy() @ (axes * np.sqrt(values)) @ axes.T
        exactly = math.sqrt(squared_wasserstein(known, made.reference[repeat]))
        assert abs(found[repeat] - exactly) < 1e-3 * found.std(ddof=1)
        assert math.sqrt(((ends - known) ** 2).sum(1).mean()) < 1e-2 * found.std(ddof=1)


@pytest.mark.parametrize("name", HARD)
def test_a_perfect_sampler_of_a_hard_law_has_an_excess_of_0_within_the_floors_spread(name):
    """Against another method, whose steps follow an estimate of its error."""
    law = HARD[name]
    found, made = floors(law, 64, 3)
    perfect = Dopri8(rtol=1e-9, atol=1e-12 * float(np.abs(law.law.means).max()), max_steps=100_000)
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    samples = perfect.solve(velocity(law), noise(law, 64), ends).states[-1].numpy()
    score = math.sqrt(squared_wasserstein(samples, made.reference[0]))
    assert abs(score - found[0]) < 1e-2 * found.std(ddof=1)


@pytest.mark.parametrize("scale", [1e-3, pytest.param(1e3, marks=pytest.mark.long)])
def test_a_floor_scales_with_its_law(scale):
    """One Gaussian's exactly, a mixture's within its spread: its flow sends other noise to each part."""
    for law, near in ((SINGLE, 1e-3), (GaussianMixture(), 4)):
        unit, found = floors(law, 64)[0], floors(scaled(law, scale), 64)[0] / scale
        assert np.abs(found.mean() - unit.mean()) <= near * unit.std(ddof=1)


@pytest.mark.parametrize(
    "n",
    [
        128,
        pytest.param(512, marks=pytest.mark.long),
        pytest.param(2048, marks=pytest.mark.long),
    ],
)
@pytest.mark.parametrize("law", [SINGLE, TwoGaussians(), GaussianMixture(), HARD["five"], HARD["times 0.001"]], ids=str)
def test_what_a_flow_may_still_move_is_below_a_hundredth_of_its_floors_spread(law, n):
    found, made = floors(law, n, 6)
    allowed = flow.STILL * np.mean([flow._gap(torch.from_numpy(ends)) for ends in made.floor])
    assert allowed < found.std(ddof=1) / 100


def test_a_flow_that_does_not_stand_still_is_no_floor(monkeypatch):
    monkeypatch.setattr(flow, "DOUBLINGS", 1)
    with pytest.raises(NotConverged, match=r"still moves by .* from 160 to 320 steps; bring .* or use `sampling"):
        flow.exact_ends(HARD["far and narrow"].mixture(), noise(HARD["far"], 512))


@pytest.mark.parametrize("name", ORDINARY)
def test_a_fine_flow_keeps_its_steps_where_they_suffice(name):
    z = noise(ORDINARY[name], 64)
    assert torch.equal(integrate(velocity(ORDINARY[name]), z, 40), even(ORDINARY[name], z, 40))


@pytest.mark.parametrize("name", HARD)
def test_a_fine_flow_ends_where_the_exact_one_does(name):
    z = noise(HARD[name], 128)
    exactly = flow.exact_ends(HARD[name].mixture(), z)
    spread = flow.apart(exactly, exactly.mean(0))
    assert flow.apart(integrate(velocity(HARD[name]), z, 40), exactly) < 2e-4 * spread


def test_a_flow_that_never_settles_is_refused_and_one_that_bursts_comes_back(monkeypatch):
    z = noise(SINGLE, 16)
    monkeypatch.setattr(flow, "DOUBLINGS", 3)
    with pytest.raises(Undefined, match=r"does not settle: 320 steps end .* raise the metric's number of steps"):
        integrate(lambda t, x: (1e9 * x).sin(), z, 40)
    assert not integrate(lambda t, x: 1e3 * x**3, z, 40).isfinite().all()


def test_one_point_has_a_fine_flow_too():
    z = noise(SINGLE, 1)
    assert torch.equal(integrate(velocity(SINGLE), z, 40), even(SINGLE, z, 40))
    assert torch.equal(flow.exact_ends(SINGLE.mixture(), z), even(SINGLE, z))
