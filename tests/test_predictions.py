"""Noise and data predictions say the same as the velocity: conditionally, in the mean, in samples, in training."""

import pytest
import torch
from scipy.stats import chi2

from bench import batches, predictions, sample
from bench.couplings import Independent
from bench.datasets import DATASETS, SOURCES
from bench.nets import MLP
from bench.nets.oracle import Oracle
from bench.paths import Linear, NoisyBridge, NoisyConstant, NoisySmooth, Trigonometric, VariancePreserving
from bench.settings import Sampling, Training
from bench.solvers.fixed import RK4, Euler, Heun

CPU = torch.device("cpu")
LAW = DATASETS["gaussian_mixture"]()
PATHS = [
    Linear(),
    Linear(sigma_min=0.1),
    Trigonometric(),
    VariancePreserving(),
    NoisyConstant(s=0.5),
    NoisyBridge(s=0.5),
    NoisySmooth(s=0.5),
]
EVERY = pytest.mark.parametrize("path", PATHS, ids=str)
KINDS = pytest.mark.parametrize("prediction", ["noise", "data"])


def points(n=500, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    x1 = LAW.draw(n, 0, generator).to(dtype)
    x0, xi = (torch.randn(n, 2, generator=generator, dtype=torch.float64).to(dtype) for _ in range(2))
    return torch.linspace(0.05, 0.95, n, dtype=torch.float64).to(dtype), x0, x1, xi


@EVERY
def test_the_noise_is_what_is_left_beside_the_data_and_has_unit_scale(path):
    t, x0, x1, xi = points()
    s = (path.sigma(t) ** 2 + path.gamma(t) ** 2).sqrt()[:, None]
    e = predictions.noise_of(path, t, x0, xi)
    torch.testing.assert_close(path.alpha(t)[:, None] * x1 + s * e, path.position(t, x0, x1, xi))
    assert float(e.square().mean()) == pytest.approx(1, abs=0.1)
    ends = torch.tensor([0.0, 1.0])
    assert predictions.noise_of(path, ends, x0[:2].float(), xi[:2].float()).isfinite().all()


@pytest.mark.parametrize("path", [path for path in PATHS if not path.noisy], ids=str)
def test_without_own_noise_the_conversion_is_the_conditional_velocity_itself(path):
    t, x0, x1, xi = points()
    x_t, u_t = path.position(t, x0, x1, xi), path.velocity(t, x0, x1, xi)
    for prediction, output in (("noise", x0), ("data", x1)):
        torch.testing.assert_close(predictions.velocity_of(path, prediction, t, x_t, output), u_t)


@EVERY
@KINDS
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 2e-4)])
def test_the_oracles_predictions_become_the_oracles_velocity(path, prediction, dtype, tolerance):
    t, x0, x1, xi = points(dtype=dtype)
    x = path.position(t, x0, x1, xi)
    exact, told = (Oracle().field(LAW, path, "exact", kind, 0)(x, t) for kind in ("velocity", prediction))
    there = predictions.velocity_of(path, prediction, t, x, told)
    assert there.dtype == dtype
    torch.testing.assert_close(there, exact, rtol=tolerance, atol=tolerance * float(exact.abs().max()))
    back = predictions.prediction_of(path, prediction, t, x, exact)
    torch.testing.assert_close(back, told, rtol=tolerance, atol=tolerance * float(told.abs().max()))


NEARLY = [Linear(sigma_min=1e-5), Linear(sigma_min=1e-3), NoisyConstant(s=1e-3)]
"""Paths whose noise all but vanishes at t = 1."""


@pytest.mark.parametrize("path", [*PATHS, *NEARLY], ids=str)
def test_time_stands_still_only_next_to_an_end_that_is_0_by_0_or_nearly(path):
    t = torch.tensor([0.0, 0.01, 0.5, 0.99, 1.0], dtype=torch.float64)
    assert torch.equal(predictions.asked_time(path, "velocity", t), t)
    low = path.margin if isinstance(path, VariancePreserving) else 0.05
    high = 1 - path.margin if path in (Linear(sigma_min=0.1), NoisyConstant(s=0.5)) else 0.95
    noise = t.clamp(low, 1 - path.margin)
    data = t.clamp(path.margin, high)
    torch.testing.assert_close(predictions.asked_time(path, "noise", t), noise, rtol=0, atol=0)
    torch.testing.assert_close(predictions.asked_time(path, "data", t), data, rtol=0, atol=0)


@KINDS
@pytest.mark.parametrize(
    "path", [*PATHS, *NEARLY, Linear(sigma_min=0.05), VariancePreserving(beta_min=1.0, beta_max=40.0)], ids=str
)
def test_no_error_of_a_net_is_multiplied_by_more_than_the_clamp_allows(path, prediction):
    asked = predictions.asked_time(path, prediction, torch.linspace(0, 1, 2001, dtype=torch.float64))
    from_x, from_output = predictions.coefficients(path, prediction, asked)
    assert from_x.isfinite().all()
    assert float(from_output.abs().max()) < 24


@pytest.mark.parametrize("sigma_min", [0.0, 1e-5, 1e-3])
@pytest.mark.parametrize("solver", [Heun(20), RK4(20)], ids=["heun", "rk4"])
def test_solvers_that_ask_at_the_end_bear_a_nets_error_as_those_that_do_not(solver, sigma_min):
    """A data prediction that is off by .05 at every time, by Euler's method (left grid) and by others."""
    path, off = Linear(sigma_min), torch.tensor([0.03, -0.04], dtype=torch.float64)
    oracle = Oracle().field(LAW, path, "exact", "data", 0)
    field = sample.velocity(lambda x, tau: oracle(x, tau) + off, "noise_at_0", "forward", path, "data")
    velocity = drawn(path, "velocity", "noise_at_0")

    def error(solver):
        job = sample.SampleJob(
            (2,), SOURCES["gaussian"](), path, "noise_at_0", "forward", solver, Sampling(n=32, repeats=1), seed=0
        )
        return rmse(
            torch.from_numpy(sample.sample(job, field, CPU, torch.float64, lambda *_: None).samples[0]), velocity
        )

    assert error(solver) < 2 * error(Euler(20))


def drawn(path, prediction, clock, dtype=torch.float64):
    job = sample.SampleJob(
        (2,), SOURCES["gaussian"](), path, clock, "forward", RK4(40), Sampling(n=32, repeats=1), seed=0
    )
    net = sample.with_clock(Oracle().field(LAW, path, "exact", prediction, 0), clock, prediction)
    field = sample.velocity(net, clock, "forward", path, prediction)
    return torch.from_numpy(sample.sample(job, field, CPU, dtype, lambda *_: None).samples[0])


def rmse(x, y):
    return float((x - y).square().sum(1).mean().sqrt())


@pytest.mark.parametrize(
    ("path", "noise", "data"),
    [
        (Linear(), 0.08, 0.01),
        (Linear(sigma_min=0.1), 0.08, 0.002),
        (VariancePreserving(), 0.002, 0.06),
    ],
    ids=str,
)
def test_samples_of_the_oracle_are_the_same_but_for_the_clamped_ends(path, noise, data):
    velocity = drawn(path, "velocity", "noise_at_0")
    for prediction, bound in (("noise", noise), ("data", data)):
        told = drawn(path, prediction, "noise_at_0")
        assert rmse(told, velocity) < bound
        torch.testing.assert_close(drawn(path, prediction, "data_at_0"), told, rtol=0, atol=1e-9)
        assert rmse(drawn(path, prediction, "noise_at_0", torch.float32), told) < 1e-3


def test_without_the_clamp_the_end_is_lost(monkeypatch):
    t, x = torch.zeros(1, dtype=torch.float64), torch.ones(1, 2, dtype=torch.float64)
    assert not predictions.velocity_of(Linear(), "noise", t, x, x).isfinite().all()
    assert not predictions.velocity_of(Linear(), "data", 1 - t, x, 2 * x).isfinite().all()
    with pytest.raises(ValueError, match="becomes a velocity by its path"):
        sample.velocity(lambda x, tau: x, "noise_at_0", prediction="noise")


def job(**changes):
    given = {
        "dataset": LAW, "source": SOURCES["gaussian"](), "coupling": Independent(), "path": NoisyBridge(s=0.5),
        "target": "exact", "clock": "noise_at_0", "net": MLP(64, 2), "training": Training(steps=60, batch=64),
        "seed": 0,
    }  # fmt: skip
    return batches.TrainJob(**{**given, **changes})


@KINDS
def test_training_draws_what_the_net_is_to_predict_whatever_the_clock(prediction):
    velocity, told = batches.draw(job(), 0, 4), batches.draw(job(prediction=prediction), 0, 4)
    back = batches.draw(job(prediction=prediction, clock="data_at_0"), 0, 4)
    assert torch.equal(velocity.x_t, told.x_t)
    assert torch.equal(told.target, back.target)
    assert torch.equal(back.tau, 1 - told.tau)
    assert not torch.allclose(velocity.target, told.target)


@pytest.mark.parametrize("path", [Linear(), VariancePreserving(), NoisyBridge(s=0.5)], ids=str)
@pytest.mark.parametrize("prediction", ["velocity", "noise", "data"])
def test_what_training_draws_has_the_oracles_prediction_as_its_mean(path, prediction):
    drawn = batches.draw(job(path=path, prediction=prediction), 0, 2**9)
    x, t, target = (part.flatten(0, 1).double() for part in drawn.parts)
    features = torch.stack([torch.ones_like(t), t, x[:, 0].sin(), x[:, 1].cos()], dim=1)

    def p_value(of):
        gap = target - Oracle().field(LAW, path, "exact", of, 0)(x, t)
        residual = (gap[:, :, None] * features[:, None, :]).flatten(1)
        mean = residual.mean(0)
        squared = float(len(t) * mean @ torch.linalg.solve(torch.cov(residual.T), mean))
        return chi2.sf(squared, residual.shape[1])

    assert p_value(prediction) > 1e-3
    for other in {"velocity", "noise", "data"} - {prediction}:
        assert p_value(other) < 1e-3
