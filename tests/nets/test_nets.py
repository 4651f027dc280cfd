"""Nets have the published parameter counts and shapes; the oracle is the conditional mean of the velocity."""

import numpy as np
import pytest
import torch

from bench.datasets import DATASETS
from bench.interfaces import Mixture
from bench.nets import MLP, ResidualMLP, oracle
from bench.nets.oracle import Oracle, OracleField, PointsField
from bench.paths import Linear, NoisyBridge, NoisyConstant, NoisySmooth, Trigonometric, VariancePreserving
from bench.solvers.fixed import RK4


def count(net):
    return sum(p.numel() for p in net.build((2,)).parameters())


def test_parameter_counts_are_the_published_ones():
    checkerboard = MLP(512, 5, "relu", "sinusoidal", 512, 10_000.0, "add")
    assert count(checkerboard) == 1_578_498
    assert count(ResidualMLP()) == 396_034
    assert count(MLP(128, 3)) == 3 * 128 + 128 + 2 * (128 * 128 + 128) + 128 * 2 + 2


@pytest.mark.parametrize("time", ["raw", "sinusoidal", "fourier"])
@pytest.mark.parametrize("join", ["concat", "add"])
def test_every_form_maps_points_and_times_to_velocities(time, join):
    net = MLP(16, 2, time=time, time_features=8, join=join).build((2,))
    x, tau = torch.randn(5, 2), torch.rand(5)
    out = net(x, tau)
    assert out.shape == (5, 2)
    assert not torch.allclose(out, net(x, 1 - tau))


def test_sinusoidal_features_are_those_of_the_formula():
    embed = MLP(16, 2, time="sinusoidal", time_features=512, time_scale=10_000.0).build((2,)).time
    k = torch.arange(256)
    angle = 10_000 * 0.3 * torch.exp(-k * torch.log(torch.tensor(10_000.0)) / 255)
    torch.testing.assert_close(embed(torch.tensor([0.3]))[0], torch.cat([angle.sin(), angle.cos()]), rtol=0, atol=2e-3)


PATHS = [
    Linear(),
    Linear(sigma_min=0.2),
    Trigonometric(),
    VariancePreserving(),
    NoisyConstant(s=0.5),
    NoisyBridge(s=0.5),
    NoisySmooth(s=0.5),
]


def pairs(path, n, seed=0, law=DATASETS["gaussian_mixture"]()):  # noqa: B008
    """(t, x_t, u_t, d_t) of the three-Gaussian mixture (or another law) under a path, float64."""
    generator = torch.Generator().manual_seed(seed)
    x1 = law.draw(n, 0, generator).double()
    x0, xi = (torch.randn(n, 2, generator=generator, dtype=torch.float64) for _ in range(2))
    t = path.margin + (1 - 2 * path.margin) * torch.rand(n, generator=generator, dtype=torch.float64)
    return t, path.position(t, x0, x1, xi), path.velocity(t, x0, x1, xi), path.displacement(t, x0, x1)


def hotelling(residual):
    """p-value of the hypothesis that the rows of residual (n, k) have mean 0."""
    from scipy.stats import chi2

    n, k = residual.shape
    mean = residual.mean(0)
    covariance = (residual - mean).T @ (residual - mean) / (n - 1)
    return float(chi2.sf(float(n * mean @ torch.linalg.solve(covariance, mean)), k))


def residuals(path, target, of, law=DATASETS["gaussian_mixture"](), sign=1):  # noqa: B008
    """(u - v(x_t, t)) times 8 random Fourier features of x_t times {1, 1 - 2t}: (n, 32)."""
    t, x_t, u_t, d_t = pairs(path, 2**17, law=law)
    v = sign * Oracle().field(law, path, of, "velocity", seed=0)(x_t, t)
    generator = torch.Generator().manual_seed(1)
    w = torch.randn(2, 8, generator=generator, dtype=torch.float64)
    phase = 2 * torch.pi * torch.rand(8, generator=generator, dtype=torch.float64)
    features = torch.cos(x_t @ w + phase)
    features = torch.cat([features, features * (1 - 2 * t)[:, None]], dim=1)
    gap = (u_t if target == "exact" else d_t) - v
    return (gap[:, :, None] * features[:, None, :]).flatten(1)


@pytest.mark.parametrize("path", PATHS, ids=str)
@pytest.mark.parametrize("target", ["exact", "displacement"])
def test_oracle_is_the_conditional_mean_of_its_target(path, target):
    assert hotelling(residuals(path, target, target)) > 1e-3


@pytest.mark.parametrize("path", [path for path in PATHS if path.has_noise_velocity], ids=str)
def test_the_wrong_target_is_rejected_by_the_same_test(path):
    assert hotelling(residuals(path, "exact", "displacement")) < 1e-3
    assert hotelling(residuals(path, "displacement", "exact")) < 1e-3


@pytest.mark.parametrize("path", [path for path in PATHS if not path.has_noise_velocity], ids=str)
def test_a_sign_error_is_rejected_by_the_same_test(path):
    assert hotelling(residuals(path, "exact", "exact", sign=-1)) < 1e-3


FINITE = DATASETS["gaussian_mixture"](points=20)


@pytest.mark.parametrize("path", [Linear(), VariancePreserving(), NoisyBridge(s=0.5)], ids=str)
def test_oracle_of_a_training_set_is_the_conditional_mean_over_its_points(path):
    assert hotelling(residuals(path, "exact", "exact", FINITE)) > 1e-3
    assert hotelling(residuals(path, "displacement", "displacement", FINITE)) > 1e-3


@pytest.mark.parametrize("path", PATHS, ids=str)
@pytest.mark.parametrize("prediction", ["velocity", "noise", "data"])
def test_a_training_set_is_a_mixture_without_width(path, prediction):
    y = FINITE.training_set(0).double()
    law = Mixture(np.full(20, 1 / 20), y.numpy(), np.zeros((20, 2, 2)))
    x = 3 * torch.randn(200, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = torch.linspace(0, 0.98, 200, dtype=torch.float64)
    if path.margin:
        t = t.clamp_min(path.margin)
    one = PointsField(y, path, "displacement", prediction)(x, t)
    torch.testing.assert_close(one, OracleField(law, path, "displacement", prediction)(x, t), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_flow_of_a_training_set_ends_in_its_points_and_is_finite_at_the_end(path):
    y = FINITE.training_set(0).double()
    field = PointsField(y, path)
    z = path.start_scale * torch.randn(64, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    x = RK4(200).solve(lambda t, x: field(x, t.expand(len(x))), z, ends).states[-1]
    t = ends[1:]
    left = float((path.sigma(t) ** 2 + path.gamma(t) ** 2).sqrt())  # what the path itself leaves of noise
    assert torch.cdist(x, y).amin(1).mean() < 0.02 + 1.5 * left
    assert field(y.float(), torch.ones(20)).isfinite().all()


def test_chunks_of_training_points_change_nothing(monkeypatch):
    field = PointsField(FINITE.training_set(0), Linear())
    x, t = torch.randn(50, 2), torch.rand(50)
    whole = field(x, t)
    monkeypatch.setattr(oracle, "CELLS", 7 * 20)
    torch.testing.assert_close(field(x, t), whole)


def test_oracle_of_images_has_their_shape():
    field = PointsField(torch.rand(5, 1, 8, 8), Trigonometric(), "exact", "noise")
    assert field(torch.randn(3, 1, 8, 8), torch.rand(3)).shape == (3, 1, 8, 8)


def test_oracle_score_is_the_gradient_of_the_log_density():
    law = DATASETS["gaussian_mixture"]().mixture()
    path = NoisyConstant(s=0.5)
    x = torch.randn(20, 2, dtype=torch.float64, requires_grad=True)
    t = torch.full((20,), 0.6, dtype=torch.float64)
    weights, means, covariances = (torch.as_tensor(part) for part in law)
    spread = 0.36 * covariances + (0.16 + 0.25) * torch.eye(2, dtype=torch.float64)
    parts = torch.distributions.MultivariateNormal(0.6 * means, spread)
    log_p = (weights.log() + parts.log_prob(x[:, None])).logsumexp(1)
    (gradient,) = torch.autograd.grad(log_p.sum(), x)
    torch.testing.assert_close(OracleField(law, path).score(x.detach(), t), gradient)


def test_oracle_stays_finite_far_away_in_float32():
    law = DATASETS["two_gaussians"]().mixture()
    x = torch.tensor([[1e4, -1e4], [0.0, 0.0]])
    for path in PATHS:
        for end in (0.0, 1.0):
            assert OracleField(law, path)(x, torch.full((2,), end)).isfinite().all()
