"""Every path obeys its own law: the velocity is the time derivative, the ends are where they are said to be."""

import math

import pytest
import torch

from bench.components import Tables
from bench.paths import (
    PATHS,
    Linear,
    NoisyBridge,
    NoisyConstant,
    NoisySmooth,
    Trigonometric,
    VariancePreserving,
)

VARIANTS = [
    Linear(),
    Linear(sigma_min=0.1),
    Linear(sigma_min=1e-5),
    Trigonometric(),
    VariancePreserving(),
    VariancePreserving(beta_min=1.0, beta_max=5.0),
    NoisyConstant(s=0.3),
    NoisyBridge(s=0.5),
    NoisyBridge(s=1.0),
    NoisySmooth(s=0.5),
]


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
        (NoisySmooth(s=0.5), (0, 1, 0), (1, 0, 0)),
        (Trigonometric(), (0, 1, 0), (1, 0, 0)),
        (VariancePreserving(), (math.exp(-5.025), math.sqrt(1 - math.exp(-10.05)), 0), (1, 0, 0)),
    ],
    ids=str,
)
def test_ends_are_those_of_the_published_table(path, at_0, at_1):
    for end, expected in ((0.0, at_0), (1.0, at_1)):
        t = torch.tensor([end], dtype=torch.float32)
        got = [float(c) for c in (path.alpha(t), path.sigma(t), path.gamma(t))]
        assert got == pytest.approx(expected, abs=1e-7)
    assert path.start_scale == pytest.approx(math.sqrt(sum(v**2 for v in at_0)))


@pytest.mark.parametrize("path", VARIANTS, ids=str)
def test_training_times_keep_the_target_finite_and_only_singular_paths_need_a_margin(path):
    x0, x1, xi = (x.float() for x in points())
    t = torch.tensor([path.margin, 1 - path.margin]).repeat_interleave(32)
    assert path.velocity(t, x0, x1, xi).isfinite().all()
    ends = torch.tensor([0.0, 1.0]).repeat_interleave(32)
    assert path.velocity(ends, x0, x1, xi).isfinite().all() == (path.margin == 0)


@pytest.mark.parametrize("path", VARIANTS, ids=str)
def test_float32_is_good_to_a_few_roundings_up_to_the_end(path):
    r = torch.tensor([2.0**-24, 1e-6, 1e-4, 1e-2, 0.3])
    t = 1 - r
    for name in ("alpha", "sigma", "gamma", "d_alpha", "d_sigma", "d_gamma", "sigma_d_sigma", "gamma_d_gamma"):
        rough, fine = getattr(path, name)(t).double(), getattr(path, name)(t.double())
        torch.testing.assert_close(rough, fine, rtol=1e-6, atol=1e-6 if "gamma" in name else 0, msg=name)
    assert (path.sigma(torch.ones(1)) >= 0).all()


@pytest.mark.parametrize("sigma_min", [1e-6, 1e-5, 1e-2, 0.5])
def test_a_small_sigma_min_is_what_is_left_at_the_end_in_float32_too(sigma_min):
    path, ends = Linear(sigma_min), torch.tensor([0.0, 1.0])
    assert path.sigma(ends).tolist() == pytest.approx([1, sigma_min], rel=1e-7)
    assert path.sigma_d_sigma(ends).tolist() == pytest.approx([sigma_min - 1, sigma_min * (sigma_min - 1)], rel=3e-7)


def test_sigma_of_vp_follows_its_series_at_the_end():
    path, r = VariancePreserving(), 1e-6
    t = torch.tensor([1 - r])
    exact = 1 - t.double()  # what float32 holds of r
    series = (0.1 * exact + 9.95 * exact**2).sqrt()
    assert float(path.sigma(t)) == pytest.approx(float(series), rel=1e-6)


def test_vp_keeps_the_variance_and_starts_from_a_unit_normal():
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    path = VariancePreserving()
    torch.testing.assert_close(path.alpha(t) ** 2 + path.sigma(t) ** 2, torch.ones_like(t))
    assert path.start_scale == pytest.approx(1)
    assert Tables().resolve("path", "vp", {"beta_min": 2.0, "beta_max": 1.0})[0].message.startswith("beta_max (1.0)")


@pytest.mark.parametrize("path", VARIANTS, ids=str)
def test_the_signal_grows_against_the_noise(path):
    t = torch.linspace(0, 1, 101, dtype=torch.float64)[1:]
    noise = (path.sigma(t) ** 2 + path.gamma(t) ** 2).sqrt()
    assert ((path.alpha(t) / noise).diff() > 0).all()
