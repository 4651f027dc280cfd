"""Sampling and its floor: the oracle reaches the law, clocks agree, the slip is a slip, n and batches do not matter."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bench import reference, sample
from bench.datasets import DATASETS, SOURCES
from bench.errors import Diverged
from bench.interfaces import Given
from bench.metrics.wasserstein import Wasserstein
from bench.nets.oracle import OracleField
from bench.paths import Linear, NoisyBridge, NoisyConstant, NoisySmooth, Trigonometric, VariancePreserving
from bench.settings import Sampling
from bench.solvers.adaptive import Dopri5
from bench.solvers.fixed import RK4, Euler

CPU = torch.device("cpu")
LAW = DATASETS["gaussian_mixture"]()
PATHS = [Linear(), Trigonometric(), VariancePreserving(), NoisyConstant(0.5), NoisyBridge(0.5), NoisySmooth(0.5)]


def spec(path=Linear(), clock="noise_at_0", direction="forward", solver=RK4(30), source="gaussian", **sampling):  # noqa: B008
    return sample.SampleJob((2,), SOURCES[source](), path, clock, direction, solver, Sampling(**sampling), seed=0)


def drawn(job, target="exact"):
    field = sample.with_clock(OracleField(LAW.mixture(), job.path, target), job.clock)
    return sample.sample(job, sample.velocity(field, job.clock, job.direction), CPU, torch.float64, lambda *_: None)


def w2(x, y):
    return Wasserstein().measure(Given(samples=x, reference=y))["wasserstein"]


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_both_clocks_give_the_same_samples(path):
    ahead, back = (drawn(spec(path, clock, n=64)).samples for clock in ("noise_at_0", "data_at_0"))
    np.testing.assert_allclose(ahead, back, rtol=0, atol=1e-10)


@pytest.mark.parametrize("path", [NoisyBridge(0.5), NoisySmooth(0.5), Trigonometric()], ids=str)
def test_the_exact_flow_does_not_depend_on_noise_that_vanishes_at_the_ends(path):
    straight, other = (drawn(spec(p, n=64, repeats=1, solver=RK4(200))).samples for p in (Linear(), path))
    np.testing.assert_allclose(straight, other, rtol=0, atol=1e-4)


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_the_oracle_takes_a_paths_start_law_to_its_own_end_law(path):
    """W2 between flow and end law lies among those of fresh draws of the end law against the same reference."""
    n, generator = 400, torch.Generator().manual_seed(0)

    def ends(t):
        x1 = LAW.draw(n, 0, generator).double()
        x0, xi = (torch.randn(n, 2, generator=generator, dtype=torch.float64) for _ in range(2))
        return path.position(torch.full((n,), t, dtype=torch.float64), x0, x1, xi)

    field = sample.velocity(OracleField(LAW.mixture(), path), "noise_at_0")
    last = RK4(40).solve(field, ends(0.0), torch.tensor([0.0, 1.0], dtype=torch.float64)).states[-1].numpy()
    known = ends(1.0).numpy()
    floor = [w2(ends(1.0).numpy(), known) for _ in range(8)]
    assert w2(last, known) < np.mean(floor) + 4 * np.std(floor, ddof=1)
    assert w2(last + 0.5, known) > np.mean(floor) + np.std(floor, ddof=1)


def test_the_oracle_scores_what_the_floor_says():
    made = reference.reference(reference.ReferenceJob(LAW, 512, 2, "flow", seed=0))
    samples = drawn(spec(n=512, solver=RK4(60))).samples
    np.testing.assert_allclose(samples, made.floor, rtol=0, atol=1e-9)
    floor = [w2(made.floor[r], made.reference[r]) for r in range(2)]
    assert max(floor) < 0.25
    assert w2(drawn(spec(n=512, direction="reversed_field")).samples[0], made.reference[0]) > 3 * floor[0]


@pytest.mark.parametrize(
    ("path", "miss"), [(NoisyBridge(0.5), 0.125), (NoisySmooth(0.5), 0.32), (NoisyBridge(1.0), 0.39)], ids=str
)
def test_the_displacement_target_misses_the_law(path, miss):
    made = reference.reference(reference.ReferenceJob(LAW, 1024, 1, "flow", seed=0))
    floor = w2(made.floor[0], made.reference[0])
    wrong = w2(drawn(spec(path, n=1024, repeats=1, solver=RK4(60)), "displacement").samples[0], made.reference[0])
    assert (wrong**2 - floor**2) ** 0.5 == pytest.approx(miss, abs=0.03)


def test_constant_noise_starts_and_ends_wider_by_its_own_law():
    job = spec(NoisyConstant(s=0.5), n=4096, repeats=1)
    assert sample.start(job, 0).std(axis=0) == pytest.approx(np.sqrt(1.25), rel=0.02)
    assert np.cov(drawn(job).samples[0].T) == pytest.approx(
        np.cov(LAW.draw(200_000, 0, torch.Generator()).numpy().T) + 0.25 * np.eye(2), rel=0.05, abs=0.05
    )


def test_evaluations_are_counted_at_the_field_and_batches_change_nothing_for_fixed_steps():
    whole, pieces = drawn(spec(n=64, solver=Euler(20))), drawn(spec(n=64, solver=Euler(20), batch=10))
    assert whole.nfe == pieces.nfe == 20
    np.testing.assert_allclose(whole.samples, pieces.samples, rtol=0, atol=1e-12)
    assert whole.samples.shape == (2, 64, 2)
    np.testing.assert_allclose(whole.frames[0], sample.start(spec(n=64), 0), rtol=0, atol=0)
    np.testing.assert_allclose(whole.frames[-1], whole.samples[0], rtol=0, atol=0)


def test_an_adaptive_solver_takes_each_repeat_by_itself():
    both, one = drawn(spec(n=64, solver=Dopri5())), drawn(spec(n=64, repeats=1, solver=Dopri5()))
    np.testing.assert_array_equal(both.samples[0], one.samples[0])


def test_start_noise_is_shared_by_cells_and_differs_by_repeat():
    assert np.array_equal(sample.start(spec(n=32), 0), sample.start(spec(NoisyBridge(0.5), n=32), 0))
    assert not np.array_equal(sample.start(spec(n=32), 0), sample.start(spec(n=32), 1))
    assert not np.array_equal(sample.start(spec(n=32), 0), sample.start(replace(spec(n=32), seed=1), 0))
    assert not np.array_equal(sample.start(spec(n=32), 0), sample.start(replace(spec(n=32), replica=1), 0))


def test_another_source_starts_from_its_own_law():
    start = sample.start(spec(source="eight_gaussians", n=2048), 0)
    assert np.linalg.norm(start, axis=1).mean() == pytest.approx(5.0, abs=0.1)


def test_samples_that_are_not_finite_are_counted_not_scored():
    with pytest.raises(Diverged, match="of 32 samples are not finite"):
        sample.sample(spec(n=16), lambda t, x: x * float("inf"), CPU, torch.float32, lambda *_: None)


def test_reference_holds_the_modes_in_proportion():
    made = reference.reference(reference.ReferenceJob(LAW, 1000, 1, "flow", seed=0))
    nearest = np.linalg.norm(made.reference[0][:, None] - LAW.mixture().means, axis=2).argmin(1)
    assert np.bincount(nearest) == pytest.approx([300, 500, 200], abs=8)
    assert reference.proportions((0.3, 0.5, 0.2), 1024) == [307, 512, 205]


@pytest.mark.parametrize(
    ("dataset", "start", "kind"),
    [
        ("gaussian_mixture", "quasi", "flow"),
        ("checkerboard", "quasi", "scramble"),
        ("checkerboard", "independent", "independent"),
    ],
)
def test_the_floor_is_the_best_that_the_law_admits(dataset, start, kind):
    law = DATASETS[dataset]()
    assert reference.floor_kind(law, SOURCES["gaussian"](), start) == kind
    made = reference.reference(reference.ReferenceJob(law, 256, 2, kind, seed=0))
    assert made.floor.shape == made.reference.shape == (2, 256, 2)
    assert not np.array_equal(made.floor[0], made.floor[1])
