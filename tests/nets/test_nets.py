"""Nets have the published parameter counts and shapes; the oracle is the conditional mean of the velocity."""

import pytest
import torch

from bench.datasets import DATASETS
from bench.nets import MLP, ResidualMLP
from bench.nets.oracle import OracleField
from bench.paths import Linear, NoisyBridge, NoisyConstant


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


PATHS = [Linear(), Linear(sigma_min=0.2), NoisyConstant(s=0.5), NoisyBridge(s=0.5)]


def pairs(path, n, seed=0):
    """(t, x_t, u_t, d_t) of the three-Gaussian mixture under a path, float64."""
    generator = torch.Generator().manual_seed(seed)
    x1 = DATASETS["gaussian_mixture"]().draw(n, 0, generator).double()
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


def residuals(path, target, of):
    """(u - v(x_t, t)) times 8 random Fourier features of x_t times {1, 1 - 2t}: (n, 32)."""
    law = DATASETS["gaussian_mixture"]().mixture()
    t, x_t, u_t, d_t = pairs(path, 2**17)
    v = OracleField(law, path, of)(x_t, t)
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


def test_the_wrong_target_is_rejected_by_the_same_test():
    path = NoisyBridge(s=0.5)
    assert hotelling(residuals(path, "exact", "displacement")) < 1e-3
    assert hotelling(residuals(path, "displacement", "exact")) < 1e-3


def test_a_sign_error_is_rejected_by_the_same_test():
    law, path = DATASETS["gaussian_mixture"]().mixture(), Linear()
    t, x_t, u_t, _ = pairs(path, 2**17)
    assert hotelling(u_t + OracleField(law, path)(x_t, t)) < 1e-3


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
