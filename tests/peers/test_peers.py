"""At the same inputs the harness gives the numbers that others' libraries give: paths, targets, samples, scores."""

import math

import numpy as np
import pytest
import torch

from bench.couplings import COUPLINGS
from bench.interfaces import Given
from bench.metrics import METRICS
from bench.nets import NETS
from bench.paths import PATHS
from bench.predictions import velocity_of
from bench.sample import velocity
from bench.seeds import stream
from bench.solvers import SOLVERS

N = 256
ENDS = torch.tensor([0.0, 1.0], dtype=torch.float64)


@pytest.fixture(scope="module")
def torchcfm():
    return pytest.importorskip("torchcfm")


@pytest.fixture(scope="module")
def affine():
    """flow_matching's affine paths and their schedulers."""
    pytest.importorskip("flow_matching")
    from flow_matching.path import affine, scheduler

    return affine, scheduler


def points(shape=(2,), dtype=torch.float64, low=0.02, high=0.98):
    """(t, x0, x1, xi): times at random in [low, high], points standard normal."""
    generator = stream(0, "peers")
    x0, x1, xi = (torch.randn(N, *shape, generator=generator, dtype=torch.float64).to(dtype) for _ in range(3))
    t = low + (high - low) * torch.rand(N, generator=generator, dtype=torch.float64)
    return t.to(dtype), x0, x1, xi


def agree(path, t, x0, x1, xi, x_t, u_t, within):
    torch.testing.assert_close(path.position(t, x0, x1, xi), x_t, rtol=within, atol=within)
    torch.testing.assert_close(path.velocity(t, x0, x1, xi), u_t, rtol=within, atol=within)


SHAPES = pytest.mark.parametrize("shape", [(2,), (1, 8, 8)], ids=["plane", "image"])


@SHAPES
@pytest.mark.parametrize("s", [0.1, 0.5])
def test_noisy_constant_is_torchcfms_independent_matcher(torchcfm, shape, s):
    t, x0, x1, _ = points(shape)
    _, x_t, u_t, xi = torchcfm.ConditionalFlowMatcher(sigma=s).sample_location_and_conditional_flow(
        x0, x1, t, return_noise=True
    )
    agree(PATHS["noisy_constant"](s=s), t, x0, x1, xi, x_t, u_t, 1e-14)


def test_linear_is_torchcfms_independent_matcher_without_noise(torchcfm):
    t, x0, x1, xi = points(low=0, high=1)
    _, x_t, u_t = torchcfm.ConditionalFlowMatcher(sigma=0.0).sample_location_and_conditional_flow(x0, x1, t)
    agree(PATHS["linear"](), t, x0, x1, xi, x_t, u_t, 1e-14)


@SHAPES
@pytest.mark.parametrize("sigma_min", [1e-4, 0.1])
def test_linear_with_sigma_min_is_torchcfms_target_matcher(torchcfm, shape, sigma_min):
    t, x0, x1, xi = points(shape)
    theirs = torchcfm.TargetConditionalFlowMatcher(sigma=sigma_min)
    x_t = theirs.sample_xt(x0, x1, t, x0)  # their noise is our source
    agree(
        PATHS["linear"](sigma_min=sigma_min),
        t,
        x0,
        x1,
        xi,
        x_t,
        theirs.compute_conditional_flow(None, x1, t, x_t),
        1e-12,
    )


@SHAPES
@pytest.mark.parametrize("s", [0.5, 1.0])
def test_noisy_bridge_is_torchcfms_schroedinger_bridge_matcher_inside(torchcfm, shape, s):
    t, x0, x1, xi = points(shape)
    theirs = torchcfm.SchrodingerBridgeConditionalFlowMatcher(sigma=s)
    x_t = theirs.sample_xt(x0, x1, t, xi)
    # They divide by 2 t (1 - t) + 1e-8, which is 2.6e-7 off at t = .02.
    agree(PATHS["noisy_bridge"](s=s), t, x0, x1, xi, x_t, theirs.compute_conditional_flow(x0, x1, t, x_t), 3e-6)


def test_noisy_bridge_keeps_the_half_percent_that_torchcfm_loses_at_the_end(torchcfm):
    _, _, _, xi = points()
    t, nothing = torch.full((N,), 1e-6, dtype=torch.float64), torch.zeros_like(xi)
    theirs = torchcfm.SchrodingerBridgeConditionalFlowMatcher(sigma=1.0)
    biased = theirs.compute_conditional_flow(nothing, nothing, t, theirs.sample_xt(nothing, nothing, t, xi))
    ours = PATHS["noisy_bridge"](s=1.0).velocity(t, nothing, nothing, xi)
    expected = (1 - 2e-6) / (2 * math.sqrt(1e-6 * (1 - 1e-6)))
    torch.testing.assert_close(ours, expected * xi, rtol=1e-9, atol=0)
    torch.testing.assert_close(biased / ours, torch.full_like(ours, 1 / 1.005), rtol=1e-5, atol=0)


@SHAPES
def test_trigonometric_is_torchcfms_variance_preserving_matcher(torchcfm, shape):
    t, x0, x1, xi = points(shape, low=0, high=1)
    theirs = torchcfm.VariancePreservingConditionalFlowMatcher(sigma=0.0)
    _, x_t, u_t = theirs.sample_location_and_conditional_flow(x0, x1, t)
    agree(PATHS["trigonometric"](), t, x0, x1, xi, x_t, u_t, 1e-14)


@SHAPES
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    "path",
    [PATHS["linear"](), PATHS["linear"](sigma_min=0.0), PATHS["noisy_constant"](s=0.0)],
    ids=["linear", "sigma_min", "noisy_constant"],
)
def test_linear_without_noise_is_flow_matchings_cond_ot_to_the_bit(affine, shape, dtype, path):
    t, x0, x1, xi = points(shape, dtype, low=0, high=1)
    theirs = affine[0].CondOTProbPath().sample(x_0=x0, x_1=x1, t=t)
    assert torch.equal(path.position(t, x0, x1, xi), theirs.x_t)
    assert torch.equal(path.velocity(t, x0, x1, xi), theirs.dx_t)


@SHAPES
@pytest.mark.parametrize(
    ("name", "scheduler", "dtype", "within"),
    [
        ("trigonometric", "CosineScheduler", torch.float64, 1e-14),
        ("trigonometric", "CosineScheduler", torch.float32, 1e-6),
        ("vp", "VPScheduler", torch.float64, 1e-12),
    ],
)
def test_curved_paths_are_those_of_flow_matchings_schedulers(affine, shape, name, scheduler, dtype, within):
    t, x0, x1, xi = points(shape, dtype)
    theirs = affine[0].AffineProbPath(getattr(affine[1], scheduler)()).sample(x_0=x0, x_1=x1, t=t)
    agree(PATHS[name](), t, x0, x1, xi, theirs.x_t, theirs.dx_t, within)


def test_vp_begins_with_the_trace_of_data_that_its_schedule_has(affine):
    zero = torch.zeros(1, dtype=torch.float64)
    theirs = affine[1].VPScheduler()(zero)
    torch.testing.assert_close(PATHS["vp"]().alpha(zero), theirs.alpha_t, rtol=1e-12, atol=0)
    assert float(theirs.alpha_t) == pytest.approx(0.0066, abs=5e-5)


def test_linear_vp_scheduler_is_the_trigonometric_path_at_another_pace(affine):
    """alpha = t, sigma = sqrt(1 - t^2) at t is alpha = sin, sigma = cos at s with sin(pi s / 2) = t."""
    t, path = points()[0], PATHS["trigonometric"]()
    theirs = affine[1].LinearVPScheduler()(t)
    s = 2 / math.pi * t.asin()
    pace = 2 / (math.pi * (1 - t**2).sqrt())  # ds/dt
    pairs = [
        (path.alpha(s), theirs.alpha_t),
        (path.sigma(s), theirs.sigma_t),
        (path.d_alpha(s) * pace, theirs.d_alpha_t),
        (path.d_sigma(s) * pace, theirs.d_sigma_t),
    ]
    for ours, due in pairs:
        torch.testing.assert_close(ours, due, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "scheduler"), [("linear", "CondOTScheduler"), ("trigonometric", "CosineScheduler"), ("vp", "VPScheduler")]
)
@pytest.mark.parametrize(
    ("prediction", "conversion"), [("noise", "epsilon_to_velocity"), ("data", "target_to_velocity")]
)
def test_predictions_become_the_velocities_that_flow_matching_makes_of_them(
    affine, name, scheduler, prediction, conversion
):
    t, x, output, _ = points(low=0.1, high=0.9)
    theirs = affine[0].AffineProbPath(getattr(affine[1], scheduler)())
    due = getattr(theirs, conversion)(output, x, t[:, None])
    torch.testing.assert_close(velocity_of(PATHS[name](), prediction, t, x, output), due, rtol=1e-10, atol=1e-10)


def test_optimal_transport_pairs_as_torchcfms_exact_plan_does(torchcfm):
    from torchcfm.optimal_transport import OTPlanSampler

    _, x0, x1, _ = points()
    plan = torch.from_numpy(OTPlanSampler(method="exact").get_map(x0, x1 + 1))
    assert float(plan.max()) == pytest.approx(1 / N)  # the plan is an assignment
    source, data = COUPLINGS["ot"]().pair(x0, x1 + 1, stream(0, "pair"))
    partner = {tuple(a): tuple(b) for a, b in zip(source.tolist(), data.tolist(), strict=True)}
    due = {tuple(a): tuple(b) for a, b in zip(x0.tolist(), (x1 + 1)[plan.argmax(1)].tolist(), strict=True)}
    assert partner == due


def field(activation="relu", dtype=torch.float32):
    """A net's kind of field: MLP 2x32 with weights from a fixed seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = NETS["mlp"](width=32, depth=2, activation=activation).build((2,)).to(dtype)
    return velocity(net.eval().requires_grad_(False), "noise_at_0")


@pytest.mark.parametrize(("name", "method"), [("euler",) * 2, ("midpoint",) * 2, ("heun", "heun2"), ("rk4",) * 2])
def test_fixed_step_samples_are_torchdiffeqs(name, method):
    from torchdiffeq import odeint

    asked, x = field(), points(dtype=torch.float32)[1]
    ours = SOLVERS[name](steps=20).solve(asked, x, ENDS).states[-1]
    grid = torch.linspace(0, 1, 21, dtype=torch.float64)
    theirs = odeint(asked, x, ENDS, method=method, options={"grid_constructor": lambda *_: grid})[-1]
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert float((ours - x).norm(dim=1).mean()) > 0.01


@pytest.mark.parametrize("name", ["euler", "midpoint"])
def test_fixed_step_samples_are_those_of_flow_matchings_solver(affine, name):
    from flow_matching.solver import ODESolver

    asked, x = field(), points(dtype=torch.float32)[1]
    theirs = ODESolver(lambda x, t: asked(t, x)).sample(x_init=x, step_size=0.05, method=name)
    ours = SOLVERS[name](steps=20).solve(asked, x, ENDS).states[-1]
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_adaptive_samples_are_torchdiffeqs():
    """In float64 on a smooth field: torchdiffeq alone steps past t = 1, so the steps differ, but not the samples."""
    from torchdiffeq import odeint

    asked, x = field(activation="silu", dtype=torch.float64), points()[1]
    ours = SOLVERS["dopri5"](rtol=1e-9, atol=1e-9).solve(asked, x, ENDS).states[-1]
    theirs = odeint(asked, x, ENDS, method="dopri5", rtol=1e-9, atol=1e-9)[-1]
    torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-7)


def test_wasserstein_is_the_root_of_pots_emd2():
    import ot

    _, x, y, _ = (part.numpy() for part in points())
    y = y[:200] + np.array([2.0, 0.0])
    ours = METRICS["wasserstein"]().measure(Given(samples=x, reference=y))["wasserstein"]
    squared = ot.emd2(ot.unif(len(x)), ot.unif(len(y)), ot.dist(x, y, metric="sqeuclidean"), numItermax=1_000_000)
    assert ours == pytest.approx(math.sqrt(squared), rel=1e-9)
    assert ours > 1.5
