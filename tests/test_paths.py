"""Every path obeys its own law: the velocity is the time derivative, the ends are where they are said to be."""

import math

import pytest
import torch

from bench.paths import PATHS, Linear, NoisyBridge, NoisyConstant

VARIANTS = [Linear(), Linear(sigma_min=0.1), NoisyConstant(s=0.3), NoisyBridge(s=0.5), NoisyBridge(s=1.0)]


def points(n=64, d=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(n, d, generator=generator, dtype=torch.float64) for _ in range(3))


def test_every_path_in_the_table_is_tried():
    assert {type(path) for path in VARIANTS} >= set(PATHS.values())


@pytest.mark.parametrize("path", VARIANTS, ids=str)
def test_velocity_is_the_time_derivative_of_position(path):
    x0, x1, xi = points()
    t = torch.linspace(0.02, 0.98, 64, dtype=torch.float64)
    _, derivative = torch.autograd.functional.jvp(lambda t: path.position(t, x0, x1, xi), t, torch.ones_like(t))
    torch.testing.assert_close(path.velocity(t, x0, x1, xi), derivative, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("path", VARIANTS, ids=str)
def test_displacement_is_the_velocity_without_the_noise(path):
    x0, x1, xi = points()
    t = torch.linspace(0.02, 0.98, 64, dtype=torch.float64)
    torch.testing.assert_close(path.displacement(t, x0, x1), path.velocity(t, x0, x1, torch.zeros_like(xi)))
    differs = not torch.allclose(path.displacement(t, x0, x1), path.velocity(t, x0, x1, xi))
    assert differs == path.has_noise_velocity


@pytest.mark.parametrize("path", VARIANTS, ids=str)
def test_products_equal_the_factors_inside_and_are_finite_at_the_ends(path):
    t = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    torch.testing.assert_close(path.gamma_d_gamma(t), path.gamma(t) * path.d_gamma(t))
    torch.testing.assert_close(path.sigma_d_sigma(t), path.sigma(t) * path.d_sigma(t))
    ends = torch.tensor([0.0, 1.0], dtype=torch.float32)
    assert path.gamma_d_gamma(ends).isfinite().all()
    assert path.sigma_d_sigma(ends).isfinite().all()


@pytest.mark.parametrize(
    ("path", "at_0", "at_1"),
    [
        (Linear(), (0, 1, 0), (1, 0, 0)),
        (Linear(sigma_min=0.1), (0, 1, 0), (1, 0.1, 0)),
        (NoisyConstant(s=0.3), (0, 1, 0.3), (1, 0, 0.3)),
        (NoisyBridge(s=0.5), (0, 1, 0), (1, 0, 0)),
    ],
    ids=str,
)
def test_ends_are_those_of_the_published_table(path, at_0, at_1):
    for end, expected in ((0.0, at_0), (1.0, at_1)):
        t = torch.tensor([end], dtype=torch.float32)
        got = [float(c) for c in (path.alpha(t), path.sigma(t), path.gamma(t))]
        assert got == pytest.approx(expected, abs=1e-7)
    assert path.start_scale == pytest.approx(math.sqrt(sum(v**2 for v in at_0)))


def test_training_times_of_the_bridge_keep_its_target_finite():
    path = NoisyBridge(s=0.5)
    x0, x1, xi = (x.float() for x in points())
    t = torch.tensor([path.margin, 1 - path.margin]).repeat_interleave(32)
    assert path.velocity(t, x0, x1, xi).isfinite().all()
    assert not path.velocity(torch.zeros(64), x0, x1, xi).isfinite().all()
