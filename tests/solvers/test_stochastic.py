"""Samplers of diffusion models: what a velocity implies, the laws that they reach, noise that stays put."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from bench import sample
from bench.datasets import DATASETS, SOURCES
from bench.diffusion import brownian, derivable, process_of
from bench.interfaces import Given, Mixture
from bench.metrics.wasserstein import Wasserstein
from bench.nets.oracle import Oracle, OracleField
from bench.paths import PATHS, Linear, NoisyBridge, NoisyConstant, VariancePreserving
from bench.planner import plan
from bench.predictions import asked_time
from bench.reference import ReferenceJob, reference
from bench.settings import Sampling
from bench.solvers.fixed import Euler
from bench.solvers.stochastic import DDIM, DDPM, EulerMaruyama, transition
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
    field, score = OracleField(LAW.mixture(), path, target), process_of(path, target).score
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
    noise, process = brownian(0, 0, x), process_of(Linear())
    right = honest.simulate(velocity, process, noise, x, ends).states[-1].numpy()
    wrong = honest.simulate(velocity, process, lambda step: 1.5 * noise(step), x, ends).states[-1].numpy()
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


@pytest.mark.parametrize("target", ["exact", "displacement"])
@pytest.mark.parametrize("name", sorted(PATHS))
def test_the_velocity_implies_both_ends(name, target):
    """alpha E[x1 | x] + s E[e | x] = x, and E[e | x] = -s score."""
    path = PATHS[name]()
    field, process = OracleField(LAW.mixture(), path, target), process_of(path, target)
    x = 3 * torch.randn(64, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for at in (0.0, 1e-6, 0.1, 0.5, 0.9, 0.99):
        t = torch.tensor(at, dtype=torch.float64)
        data, rest = process.ends(t, x, field(x, t.expand(64)))
        alpha, s = process.weights(at)
        torch.testing.assert_close(alpha * data + s * rest, x, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(rest, -s * field.score(x, t.expand(64)), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("path", [Linear(), VariancePreserving()], ids=["linear", "vp"])
@pytest.mark.parametrize("prediction", ["noise", "data"])
def test_a_prediction_of_an_end_is_that_end_wherever_the_velocity_is_clamped(prediction, path):
    exact, process = process_of(path), process_of(path, prediction=prediction)
    oracle = Oracle().field(LAW, path, "exact", prediction, 0)
    field = sample.velocity(oracle, "noise_at_0", path=path, prediction=prediction)
    x = 2 * torch.randn(64, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for at in (0.0, 0.02, 0.5, 0.98):
        t = torch.tensor(at, dtype=torch.float64)
        v, asked = field(t, x), asked_time(path, prediction, t)
        data, rest = process.ends(t, x, v)
        told = {"noise": rest, "data": data}[prediction]
        torch.testing.assert_close(told, oracle(x, asked.expand(64)), rtol=1e-7, atol=1e-7)
        straight = OracleField(LAW.mixture(), path)(x, asked.expand(64))
        for mine, due in zip((data, rest), exact.ends(asked, x, straight), strict=True):
            torch.testing.assert_close(mine, due, rtol=1e-7, atol=1e-7)
        torch.testing.assert_close(process.score(t, x, v), -rest / process.weights(float(asked))[1])


@pytest.mark.slow
@pytest.mark.parametrize("path", [Linear(), VariancePreserving()], ids=["linear", "vp"])
@pytest.mark.parametrize("prediction", ["velocity", "noise", "data"])
def test_noise_is_balanced_by_its_score_in_every_prediction(prediction, path):
    variance = float(np.trace(np.cov(LAW.draw(100_000, 0, torch.Generator()).double().numpy().T)))
    job = replace(spec(EulerMaruyama(100, schedule="constant"), path, n=4096, repeats=1), prediction=prediction)
    oracle = Oracle().field(LAW, path, "exact", prediction, 0)
    field = sample.velocity(oracle, "noise_at_0", path=path, prediction=prediction)
    samples = sample.sample(job, field, CPU, torch.float64, lambda *_: None).samples[0]
    assert np.trace(np.cov(samples.T)) == pytest.approx(variance, rel=0.05)


def test_a_step_of_ddpm_is_that_of_its_authors():
    """Equations 6 and 7 of arXiv:2006.11239 on the published schedule, in terms of x_t and the predicted data."""
    beta = np.linspace(1e-4, 0.02, 1000)
    bar = np.cumprod(1 - beta)
    for k in (1, 10, 500, 999):
        here, there = [(math.sqrt(bar[i]), math.sqrt(1 - bar[i])) for i in (k, k - 1)]
        to_data, to_rest, fresh = transition(here, there, 1.0)
        of_x = to_rest / here[1]  # the noise is (x_t - alpha_t x1) / s_t
        of_data = to_data - of_x * here[0]
        assert fresh**2 == pytest.approx((1 - bar[k - 1]) / (1 - bar[k]) * beta[k], rel=1e-9)
        assert of_data == pytest.approx(math.sqrt(bar[k - 1]) * beta[k] / (1 - bar[k]), rel=1e-9)
        assert of_x == pytest.approx(math.sqrt(1 - beta[k]) * (1 - bar[k - 1]) / (1 - bar[k]), rel=1e-9)


def test_the_path_vp_is_the_published_schedule_in_continuous_time():
    """log alpha^2 is the sum of log(1 - beta) but for its second order, and the rule by which a sum is an integral."""
    beta = np.linspace(1e-4, 0.02, 1000)
    process = process_of(VariancePreserving())
    for k in (1, 10, 100, 500, 900, 1000):
        published = np.log1p(-beta[:k]).sum() + (beta[:k] ** 2).sum() / 2
        assert 2 * math.log(process.weights(1 - k / 1000)[0]) == pytest.approx(published, abs=0.005)


@pytest.mark.parametrize("solver", [DDIM(7), DDPM(7), DDPM(7, spacing="cosine")], ids=str)
def test_a_single_data_point_is_followed_exactly_at_any_number_of_steps(solver):
    """There E[x1 | x] is the point itself, so the law at each knot is N(alpha y, s^2 I) and the end is y."""
    y, n, path = torch.tensor([2.0, -1.0], dtype=torch.float64), 100_000, VariancePreserving()
    process, knots = process_of(path), solver.knots()
    alpha, s = process.weights(0.0)
    x = alpha * y + s * torch.randn(n, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)

    def velocity(t, x):
        """The coefficients of v = alpha' y + (s s' / s^2) (x - alpha y)."""
        at = t.reshape(1)
        return path.d_alpha(at) * y + path.sigma_d_sigma(at) / path.sigma(at) ** 2 * (x - path.alpha(at) * y)

    states = solver.simulate(velocity, process, brownian(0, 0, x), x, knots).states
    for t, state in zip(knots.tolist(), states, strict=True):
        alpha, s = process.weights(t)
        error = 5 * s / math.sqrt(n) + 1e-9
        assert (state.mean(0) - alpha * y).abs().max() < error
        assert (state.std(0) - s).abs().max() < error
    torch.testing.assert_close(states[-1], y.expand(n, 2), rtol=0, atol=1e-9)


def test_ddim_is_euler_on_the_straight_line_and_converges_elsewhere():
    line, euler = drawn(spec(DDIM(20))), drawn(spec(Euler(20)))
    np.testing.assert_allclose(line.samples, euler.samples, rtol=0, atol=1e-9)
    assert line.nfe == 20
    fine = drawn(spec(Euler(4000), VariancePreserving())).samples
    errors = [np.abs(drawn(spec(DDIM(steps), VariancePreserving())).samples - fine).mean() for steps in (50, 100, 200)]
    assert errors[0] > 1.7 * errors[1] > 1.7**2 * errors[2]


@pytest.mark.slow
def test_ancestral_samples_reach_the_law_of_the_data():
    made = reference(ReferenceJob(LAW, 512, 12, "independent", seed=0))
    perfect = np.array([w2(made.floor[r], made.reference[r]) for r in range(12)])
    samples = drawn(spec(DDPM(1000), VariancePreserving(), repeats=4)).samples
    scores = np.array([w2(samples[r], made.reference[r]) for r in range(4)])
    assert abs(scores.mean() - perfect.mean()) < 3 * perfect.std(ddof=1) * math.sqrt(1 / 12 + 1 / 4)
    coarse = drawn(spec(DDPM(10), VariancePreserving(), repeats=4)).samples
    assert np.mean([w2(coarse[r], made.reference[r]) for r in range(4)]) > perfect.max()


@pytest.mark.parametrize("kind", [DDIM, DDPM])
def test_a_bound_on_the_data_gives_the_published_step_and_keeps_samples_inside(kind):
    path, steps = VariancePreserving(), 4
    process, x = process_of(path), torch.linspace(-3, 3, 12, dtype=torch.float64).reshape(6, 2)
    noise = brownian(0, 0, x)

    def wild(t, x):
        """A net that is far off."""
        return 50 * torch.sin(7 * x) - x

    solver, times = kind(steps, clip=0.8), torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    states = solver.simulate(wild, process, noise, x, times).states
    (alpha_t, s_t), (alpha_s, s_s) = process.weights(0.0), process.weights(1 / steps)
    data = process.ends(times[0], x, wild(times[0], x))[0]
    assert (data.abs() > 0.8).any()
    data = data.clamp(-0.8, 0.8)
    kept = (alpha_t / alpha_s) ** 2 * s_s**2 / s_t**2  # of q(x_s | x_t, x1), variance and mean written out
    spread = math.sqrt(s_s**2 * (1 - kept)) if kind is DDPM else 0.0
    towards = math.sqrt(s_s**2 - spread**2) / s_t
    due = alpha_s * data + towards * (x - alpha_t * data) + spread * noise(0)
    torch.testing.assert_close(states[1], due, rtol=1e-9, atol=1e-9)
    assert states[-1].abs().max() <= 0.8
    assert kind(steps).simulate(wild, process, noise, x, times).states[-1].abs().max() > 0.8


def test_a_bound_that_the_data_keep_changes_nothing():
    mixture = Mixture(np.array([0.5, 0.5]), np.array([[0.5, 0.2], [-0.3, 0.1]]), np.full((2, 2, 2), 0.0))
    path, x = VariancePreserving(), torch.randn(50, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    oracle, times = OracleField(mixture, path), torch.tensor([0.0, 1.0], dtype=torch.float64)

    def velocity(t, x):
        """The exact one, whose E[x1 | x] lies between the two points."""
        return oracle(x, t.expand(len(x)))

    free, bound = (DDIM(20, clip=c).simulate(velocity, process_of(path), None, x, times).states for c in (None, 1.0))
    torch.testing.assert_close(free, bound, rtol=0, atol=1e-6)
