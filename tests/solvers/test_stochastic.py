"""The stochastic sampler: the score that a velocity implies, the law that it reaches, noise that stays put."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from bench import sample
from bench.datasets import DATASETS, SOURCES
from bench.diffusion import brownian, derivable, score_of
from bench.interfaces import Given
from bench.metrics.wasserstein import Wasserstein
from bench.nets.oracle import OracleField
from bench.paths import PATHS, Linear, NoisyBridge, NoisyConstant
from bench.plan import plan
from bench.reference import ReferenceJob, reference
from bench.settings import Sampling
from bench.solvers.fixed import Euler
from bench.solvers.stochastic import EulerMaruyama
from bench.suite import load_suite

CPU = torch.device("cpu")
LAW = DATASETS["gaussian_mixture"]()
SCHEDULES = ["linear", "constant", "sine"]


def spec(solver, path=Linear(), **sampling):  # noqa: B008
    settings = Sampling(**{"n": 512, "start": "independent", **sampling})
    return sample.SampleJob((2,), SOURCES["gaussian"](), path, "noise_at_0", "forward", solver, settings, seed=0)


def drawn(job):
    field = OracleField(LAW.mixture(), job.path, job.target)
    return sample.sample(job, sample.velocity(field, job.clock), CPU, torch.float64, lambda *_: None)


def w2(x, y):
    return Wasserstein().measure(Given(samples=x, reference=y))["wasserstein"]


@pytest.mark.parametrize("target", ["exact", "displacement"])
@pytest.mark.parametrize("name", sorted(PATHS))
def test_the_velocity_implies_the_exact_score(name, target):
    path = PATHS[name]()
    assert derivable(path, target)
    field, score = OracleField(LAW.mixture(), path, target), score_of(path, target)
    x = 3 * torch.randn(64, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for at in (0.0, 1e-6, 0.1, 0.37, 0.5, 0.9, 0.99):
        t = torch.tensor(at, dtype=torch.float64)
        implied = score(t, x, field(x, t.expand(64)))
        torch.testing.assert_close(implied, field.score(x, t.expand(64)), rtol=1e-9, atol=1e-9)


def test_noise_that_grows_against_the_data_implies_no_score():
    class Swelling(Linear):
        """sigma falls like exp(-3 t) but the data's weight falls faster, halfway."""

        def alpha(self, t):
            return t * (1.5 - t)

        def d_alpha(self, t):
            return 1.5 - 2 * t

        def sigma(self, t):
            return torch.exp(-t / 10)

        def d_sigma(self, t):
            return -torch.exp(-t / 10) / 10

    assert not derivable(Swelling())


@pytest.mark.slow
@pytest.mark.parametrize("path", [Linear(), NoisyBridge(0.5)], ids=["linear", "bridge"])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_its_samples_reach_the_law(schedule, path):
    """Against the spread of what independent draws of the law itself score; a wrong noise level is far outside."""
    made = reference(ReferenceJob(LAW, 512, 12, "independent", seed=0))
    perfect = np.array([w2(made.floor[r], made.reference[r]) for r in range(12)])

    def scores(solver):
        samples = drawn(spec(solver, path, repeats=4)).samples
        return np.array([w2(samples[r], made.reference[r]) for r in range(4)])

    right = scores(EulerMaruyama(200, schedule=schedule))
    spread = perfect.std(ddof=1) * math.sqrt(1 / 12 + 1 / 4)
    assert abs(right.mean() - perfect.mean()) < 3 * spread


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_its_moments_are_the_laws(schedule):
    """Mean and covariance of 8192 samples, within 4 standard errors and the bias of the step."""
    n, steps = 8192, 100
    x = drawn(spec(EulerMaruyama(steps, schedule=schedule), n=n, repeats=1)).samples[0]
    weights, means, covariances = LAW.mixture()
    mean = weights @ means
    covariance = np.einsum("k,kij->ij", weights, covariances + means[:, :, None] * means[:, None]) - np.outer(
        mean, mean
    )
    error = np.sqrt(np.diag(covariance) / n)
    assert np.abs(x.mean(0) - mean).max() < 4 * error.max() + 1 / steps
    assert np.abs(np.cov(x.T) - covariance).max() < 4 * np.sqrt(2 / n) * covariance.max() + 4 / steps


def test_too_much_noise_for_its_score_is_noticed():
    """The same test of moments fails where the noise is not the score's: it has power."""
    honest = EulerMaruyama(100, schedule="constant")
    velocity = sample.velocity(OracleField(LAW.mixture(), Linear()), "noise_at_0")
    x = torch.randn(4000, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    noise, score = brownian(0, 0, x), score_of(Linear())
    right = honest.simulate(velocity, score, noise, x, ends).states[-1].numpy()
    wrong = honest.simulate(velocity, score, lambda step: 1.5 * noise(step), x, ends).states[-1].numpy()
    variance = float(LAW.draw(200_000, 0, torch.Generator()).var(0).sum())
    assert np.var(right, axis=0).sum() == pytest.approx(variance, rel=0.03)
    assert np.var(wrong, axis=0).sum() > 1.05 * variance


@pytest.mark.parametrize("path", [Linear(), NoisyConstant(0.5)], ids=["linear", "constant"])
def test_without_noise_it_is_euler(path):
    still, euler = drawn(spec(EulerMaruyama(20, epsilon=0.0), path)), drawn(spec(Euler(20), path))
    np.testing.assert_array_equal(still.samples, euler.samples)
    assert still.nfe == euler.nfe == 20
    assert not np.allclose(drawn(spec(EulerMaruyama(20), path)).samples, euler.samples, atol=0.1)


def test_batches_of_any_size_give_the_same_samples():
    solver = EulerMaruyama(5, spacing="cosine")
    whole = drawn(spec(solver, n=1100))
    for batch in (300, 1024, 1100):
        pieces = drawn(spec(solver, n=1100, batch=batch))
        np.testing.assert_allclose(pieces.samples, whole.samples, rtol=0, atol=1e-12)
        assert pieces.nfe == whole.nfe == 5


def test_noise_is_addressed_by_seed_replica_step_and_point():
    x = torch.zeros(3000, 2, dtype=torch.float64)
    noise = brownian(0, 0, x)
    torch.testing.assert_close(noise(3), noise(3), rtol=0, atol=0)
    torch.testing.assert_close(brownian(0, 1000, x[:500])(3), noise(3)[1000:1500], rtol=0, atol=0)
    torch.testing.assert_close(brownian(0, 0, x.float())(3), noise(3).float(), rtol=0, atol=0)
    for other in (noise(4), brownian(1, 0, x)(3), brownian(0, 0, x, replica=1)(3), noise(3).roll(1024, 0)):
        assert abs(float(torch.corrcoef(torch.stack([other[:, 0], noise(3)[:, 0]]))[0, 1])) < 0.1
    assert float(noise(3).std()) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"source": "two_gaussians"}, "the source gaussian, not two_gaussians"),
        ({"coupling": "ot"}, "independent pairs, not the coupling ot"),
        ({"direction": "reversed_field"}, "direction: forward, not reversed_field"),
        ({"path": "{name: noisy_smooth, s: 3.0}"}, "unlike that of this path noisy_smooth"),
    ],
    ids=str,
)
def test_cells_whose_velocity_implies_no_score_are_refused_and_nothing_is_trained_for_them(change, words, tmp_path):
    base = {"solver": "euler_maruyama", **change}
    file = tmp_path / "noise.yaml"
    file.write_text("suite: noise\nquestion: Which?\nbase:\n" + "".join(f"  {k}: {v}\n" for k, v in base.items()))
    laid = plan(load_suite(file), "this machine")
    assert words in laid.refused[0]
    assert not laid.jobs
    file.write_text(file.read_text().replace("euler_maruyama", "euler"))
    assert plan(load_suite(file), "this machine").count("sample") == 1


def test_another_seed_gives_other_ways_from_the_same_start():
    job = spec(EulerMaruyama(10), n=64)
    one, two = drawn(job), drawn(replace(job, seed=1))
    assert not np.allclose(one.samples, two.samples, atol=1e-3)
