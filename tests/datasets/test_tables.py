"""What the package's own data sets have beyond their contract: windows that fit, spreads alike, bounds."""

import numpy as np
import pytest

from bench.components import Tables
from bench.contracts.drawn import required
from bench.datasets import DATASETS, SOURCES
from bench.seeds import stream, uniforms

POINTS = {name: cls for name, cls in SOURCES.items() if not cls.images and not required(cls)}

PLANE = {name: cls for name, cls in POINTS.items() if cls().shape == (2,)}

LAWS = [pytest.param(cls(), id=name) for name, cls in PLANE.items()]

VARIANTS = [
    *LAWS,
    pytest.param(DATASETS["two_moons"](noise=0.7, scale=1.0, shift=0.5), id="two_moons-wide"),
    pytest.param(DATASETS["pinwheel"](arms=3, radial=0.5, tangential=0.2, rate=0.6, scale=1.0), id="pinwheel-3"),
    pytest.param(DATASETS["rings"](rings=2, radius=1.0, noise=0.4), id="rings-merging"),
    pytest.param(DATASETS["spirals"](arms=5, turns=0.5, noise=0.0), id="spirals-5"),
    pytest.param(DATASETS["two_gaussians"](distance=1.0), id="two_gaussians-near"),
    pytest.param(DATASETS["sklearn_swiss_roll"](axes=2, scale=0.2, shift=1.0), id="sklearn_swiss_roll-plane"),
    pytest.param(DATASETS["random_mixture"](dimension=2), id="random_mixture-plane"),
]

WITHOUT_DENSITY = {"swiss_roll", "s_curve", "spirals", "sklearn_moons", "sklearn_s_curve", "sklearn_swiss_roll"}


@pytest.mark.parametrize("name", POINTS)
def test_density_is_known_for_all_but_the_smeared_curves(name):
    assert (SOURCES[name]().density(np.zeros((1, *SOURCES[name]().shape))) is None) == (name in WITHOUT_DENSITY)


@pytest.mark.parametrize("law", VARIANTS)
def test_the_window_for_figures_holds_the_law(law):
    x = law.from_uniform(uniforms(0, "window", 0, 2**14, law.coordinates, quasi=True))
    x_min, x_max, y_min, y_max = law.limits
    inside = (x[:, 0] >= x_min) & (x[:, 0] <= x_max) & (x[:, 1] >= y_min) & (x[:, 1] <= y_max)
    # Two normal axes cut at 3.5 standard deviations lose .00093 of the points.
    assert inside.mean() >= 0.9985
    # No window is mostly empty: the law takes up at least half of it either way.
    extent = np.ptp(x[inside], axis=0)
    assert (extent > [0.5 * (x_max - x_min), 0.5 * (y_max - y_min)]).all()


@pytest.mark.parametrize("law", VARIANTS)
def test_spread_is_of_order_one(law):
    spread = law.draw(4000, 0, stream(0, "data")).std(0)
    assert ((spread > 0.3) & (spread < 5)).all()


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("checkerboard", {"points": 0}),
        ("two_moons", {"noise": -0.1}),
        ("swiss_roll", {"noise": -0.1}),
        ("s_curve", {"noise": -0.1}),
        ("spirals", {"arms": 0}),
        ("pinwheel", {"tangential": 0}),
        ("rings", {"noise": 0}),
        ("eight_gaussians", {"variance": 0}),
        ("random_mixture", {"dimension": 0}),
    ],
)
def test_parameters_outside_their_bounds_are_refused(name, given):
    problems = Tables().resolve("dataset", name, given)
    assert isinstance(problems, list)
    assert problems[0].parameter == next(iter(given))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"weights": [1.0]}, "give their `means` as well"),
        ({"means": [[0, 1], [0]]}, "the mean of part 2 has 1 numbers, that of part 1 has 2"),
        ({"means": [[0, 1]], "weights": [1, 1]}, "1 means and 2 weights"),
        ({"means": [[0, 1]], "covariances": [[1, 2, 3]]}, "the covariance of part 1 is not a number, 2 numbers or"),
        ({"means": [[0, 1]], "covariances": [[[1, 2], [2]]]}, "the covariance of part 1 is not a number"),
        ({"means": [[0, 1]], "covariances": [[[1, 2], [2, 1]]]}, "not symmetric with positive eigenvalues"),
    ],
)
def test_what_is_no_mixture_is_refused_by_its_part(given, words):
    problems = Tables().resolve("dataset", "gaussian_mixture", given)
    assert isinstance(problems, list)
    assert words in problems[0].message
