"""Each law against its formula, its relatives and the packages that it is taken from."""

import numpy as np
import pytest
import torch
from scipy import stats

from bench.datasets import DATASETS
from bench.seeds import stream, uniforms


def points_of(law, n, seed=0):
    return law.draw(n, seed, stream(seed, "data")).double().numpy()


def quasi_points(law, n):
    return law.from_uniform(uniforms(0, "law", 0, n, law.coordinates, quasi=True))


MIXTURES = [
    *(
        pytest.param(DATASETS[name](), id=name)
        for name in ("gaussian_mixture", "two_gaussians", "eight_gaussians", "torchdyn_gaussians")
    ),
    pytest.param(DATASETS["random_mixture"](dimension=5, parts=3, separation=1.0), id="random_mixture-5"),
    pytest.param(
        DATASETS["gaussian_mixture"](
            means=((0.0, 1.0, 2.0), (3.0, 0.0, -1.0)),
            weights=(1.0, 3.0),
            covariances=(0.2, ((1.0, 0.5, 0.0), (0.5, 2.0, 0.0), (0.0, 0.0, 3.0))),
        ),
        id="gaussian_mixture-3",
    ),
    pytest.param(DATASETS["gaussian_mixture"](means=((-1.0,), (2.0,))), id="gaussian_mixture-1"),
]


@pytest.mark.parametrize("law", MIXTURES)
def test_mixtures_have_the_mean_and_covariance_of_their_law(law):
    weights, means, covariances = law.mixture()
    mean = weights @ means
    off = means - mean
    covariance = np.einsum("k,kij->ij", weights, covariances) + np.einsum("k,ki,kj->ij", weights, off, off)
    x = quasi_points(law, 2**14)
    np.testing.assert_allclose(x.mean(0), mean, atol=0.01)
    np.testing.assert_allclose(np.cov(x.T), covariance, atol=0.05)


@pytest.mark.parametrize("law", MIXTURES)
def test_mixtures_have_the_density_that_scipy_gives_them(law):
    x = points_of(law, 50)
    due = sum(w * stats.multivariate_normal(m, c).pdf(x) for w, m, c in zip(*law.mixture(), strict=True))
    np.testing.assert_allclose(law.density(x), due, rtol=1e-9)


@pytest.mark.parametrize("law", MIXTURES)
def test_each_component_of_a_mixture_is_the_gaussian_that_it_says(law):
    for k, (mean, covariance) in enumerate(zip(*law.mixture()[1:], strict=True)):
        u = uniforms(k, "component", 0, 2**13, len(mean), quasi=True)
        whitened = np.linalg.solve(np.linalg.cholesky(covariance), (law.place(np.full(len(u), k), u) - mean).T)
        np.testing.assert_allclose(whitened.mean(1), 0, atol=0.01)
        np.testing.assert_allclose(np.atleast_2d(np.cov(whitened)), np.eye(len(mean)), atol=0.02)


def test_the_covariances_of_a_mixture_of_ones_own_may_be_given_in_three_ways():
    def of(covariance):
        return DATASETS["gaussian_mixture"](means=((0.0, 1.0),), covariances=(covariance,)).mixture().covariances[0]

    np.testing.assert_array_equal(of(2.0), 2 * np.eye(2))
    np.testing.assert_array_equal(of((2.0, 3.0)), np.diag([2, 3]))
    np.testing.assert_array_equal(of(((2.0, 1.0), (1.0, 3.0))), [[2, 1], [1, 3]])


def test_a_random_mixture_is_fixed_by_its_number():
    one, same, other = (DATASETS["random_mixture"](number=number).mixture() for number in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not np.allclose(one.means, other.means)
    deviations = np.sqrt(np.linalg.eigvalsh(one.covariances))
    np.testing.assert_allclose(deviations[:, [0, -1]], np.tile([0.25, 1.0], (5, 1)))


@pytest.mark.parametrize(
    ("name", "generator", "given"),
    [
        ("sklearn_moons", "make_moons", {"noise": 0.2}),
        ("sklearn_s_curve", "make_s_curve", {"noise": 0.2}),
        ("sklearn_swiss_roll", "make_swiss_roll", {"noise": 0.5}),
    ],
)
def test_scikit_learns_laws_are_its_own_scaled_and_shifted(name, generator, given):
    import sklearn.datasets

    theirs = 0.3 * getattr(sklearn.datasets, generator)(4000, random_state=0, **given)[0] - 1
    law = DATASETS[name](**given, scale=0.3, shift=-1.0)
    ours = points_of(law, 4000)
    directions = np.random.default_rng(0).normal(size=(8, theirs.shape[1]))
    for axis in (*np.eye(theirs.shape[1]), *directions):
        assert stats.ks_2samp(ours @ axis, theirs @ axis).pvalue > 1e-4
    if theirs.shape[1] == 3:
        u = uniforms(0, "noise", 0, 4, 4, quasi=True)
        of_plane = DATASETS[name](noise=0.0, axes=2).from_uniform(u)
        full = DATASETS[name](noise=0.0).from_uniform(np.column_stack([u, u[:, 0]]))
        np.testing.assert_array_equal(of_plane, full[:, [0, 2]])


def test_checkerboard_fills_the_squares_where_row_plus_column_is_odd():
    x = points_of(DATASETS["checkerboard"](), 20_000)
    column, row = np.floor((x.T + 4) / 2).astype(int)
    assert ((row + column) % 2 == 1).all()
    counts = np.zeros((4, 4), dtype=int)
    np.add.at(counts, (row, column), 1)
    filled = counts[counts > 0]
    assert len(filled) == 8
    assert stats.chisquare(filled).pvalue > 1e-4


def test_two_moons_share_one_noise_between_the_axes():
    law = DATASETS["two_moons"]()
    u = np.random.default_rng(0).random((1000, 2))
    for mode, centre in enumerate([(0.0, 0.0), (1.0, 0.5)]):
        moon = (law.place(np.full(1000, mode), u) + 1) / 3
        on_arc = moon - 0.2 * u[:, 1:] - centre
        np.testing.assert_allclose(np.linalg.norm(on_arc, axis=1), 1, atol=1e-12)
        assert (on_arc[:, 1] * (1 - 2 * mode) > 0).all()


def test_two_moons_without_noise_have_no_density():
    assert DATASETS["two_moons"](noise=0.0).density(np.zeros((3, 2))) is None


@pytest.mark.parametrize(
    ("name", "generator"), [("two_moons", "sample_moons"), ("eight_gaussians", "sample_8gaussians")]
)
def test_defaults_agree_in_law_with_torchcfm(name, generator):
    theirs = getattr(pytest.importorskip("torchcfm.utils"), generator)
    n = 4000
    np.random.seed(0)  # torchdyn draws from the global generators
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        peer = theirs(n).double().numpy()
    ours = points_of(DATASETS[name](), n)
    for angle in np.arange(6) * np.pi / 6:
        axis = np.array([np.cos(angle), np.sin(angle)])
        assert stats.ks_2samp(ours @ axis, peer @ axis).pvalue > 1e-4


def test_swiss_roll_is_scikit_learns_scaled_to_radius_4():
    make = pytest.importorskip("sklearn.datasets").make_swiss_roll
    theirs = make(4000, random_state=0)[0][:, [0, 2]] * 4 / (4.5 * np.pi)
    ours = points_of(DATASETS["swiss_roll"](noise=0.0), 4000)
    for axis in ([1, 0], [0, 1], [0.6, 0.8]):
        assert stats.ks_2samp(ours @ axis, theirs @ axis).pvalue > 1e-4


def test_s_curve_is_scikit_learns_doubled():
    make = pytest.importorskip("sklearn.datasets").make_s_curve
    theirs = make(4000, random_state=0)[0][:, [0, 2]] * 2
    ours = points_of(DATASETS["s_curve"](noise=0.0), 4000)
    for axis in ([1, 0], [0, 1], [0.6, 0.8]):
        assert stats.ks_2samp(ours @ axis, theirs @ axis).pvalue > 1e-4


@pytest.mark.parametrize("name", ["swiss_roll", "s_curve", "spirals", "rings"])
def test_noise_around_a_curve_is_isotropic_with_the_given_deviation(name):
    law, bare = DATASETS[name](noise=0.3), DATASETS[name](noise=1e-9)
    u = uniforms(0, "noise", 0, 2**13, law.coordinates, quasi=True)
    noise = law.from_uniform(u) - bare.from_uniform(u)
    np.testing.assert_allclose(np.cov(noise.T), 0.09 * np.eye(2), atol=0.002)


@pytest.mark.parametrize(("name", "turn"), [("spirals", 1), ("pinwheel", -1)])
def test_arms_are_one_arm_turned(name, turn):
    arms = 5
    law = DATASETS[name](arms=arms, **({"noise": 0.0} if name == "spirals" else {}))
    u = uniforms(0, "arm", 0, 200, law.inner, quasi=True)
    first = law.place(np.zeros(200, dtype=np.int64), u)
    for k in range(1, arms):
        angle = turn * 2 * np.pi * k / arms
        rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        np.testing.assert_allclose(law.place(np.full(200, k), u), first @ rotation.T, atol=1e-12)


def test_spirals_spread_evenly_along_their_arms():
    law = DATASETS["spirals"](noise=0.0)
    u = np.column_stack([np.full(4001, 0.25), np.linspace(0.05, 0.95, 4001), np.full((4001, 2), 0.5)])
    steps = np.linalg.norm(np.diff(law.from_uniform(u), axis=0), axis=1)
    assert steps.max() / steps.min() < 1.15


def test_pinwheel_is_close_to_the_published_one():
    law = DATASETS["pinwheel"]()
    random = np.random.default_rng(0)
    f = np.array([1.0, 0.0]) + random.normal(size=(4000, 2)) * [0.3, 0.1]
    angle = random.integers(5, size=4000) * 2 * np.pi / 5 + 0.25 * np.exp(f[:, 0])
    cos, sin = np.cos(angle), np.sin(angle)
    theirs = 2 * np.stack([f[:, 0] * cos + f[:, 1] * sin, -f[:, 0] * sin + f[:, 1] * cos], axis=1)
    ours = points_of(law, 4000)
    for axis in ([1, 0], [0, 1], [0.6, 0.8]):
        assert stats.ks_2samp(ours @ axis, theirs @ axis).pvalue > 1e-4


def test_rings_have_their_radii():
    law = DATASETS["rings"](rings=3, radius=6.0, noise=1e-9)
    u = uniforms(0, "ring", 0, 100, law.inner, quasi=True)
    for k, radius in enumerate([2.0, 4.0, 6.0]):
        np.testing.assert_allclose(np.linalg.norm(law.place(np.full(100, k), u), axis=1), radius, atol=1e-7)
