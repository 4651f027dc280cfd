"""Training on a fixed number of points: which points, when they change, and what stays the same."""

import numpy as np
import pytest
import torch

from bench.datasets import DATASETS
from bench.datasets.finite import FinitePoints
from bench.seeds import stream, uniforms

EVERY = pytest.mark.parametrize("name", [name for name, cls in DATASETS.items() if issubclass(cls, FinitePoints)])


def distinct(x):
    return {tuple(row) for row in x.tolist()}


@EVERY
def test_training_draws_are_that_many_points_whatever_the_block(name):
    law = DATASETS[name](points=50)
    first, second = (law.draw(2000, 0, stream(0, "data", block)) for block in (0, 1))
    assert first.dtype == torch.float32
    assert len(distinct(first)) == 50
    assert distinct(first) == distinct(second)
    assert not torch.equal(first, second)


@EVERY
def test_the_points_depend_on_the_seed(name):
    law = DATASETS[name](points=50)
    one, other = (law.draw(2000, seed, stream(0, "data")) for seed in (0, 1))
    assert not distinct(one) & distinct(other)


@EVERY
def test_the_law_does_not_depend_on_points(name):
    law, finite = DATASETS[name](), DATASETS[name](points=3)
    assert "points" in law.training_only
    u = uniforms(0, "law", 0, 500, law.coordinates, quasi=True)
    np.testing.assert_array_equal(finite.from_uniform(u), law.from_uniform(u))
    assert (finite.modes, finite.limits) == (law.modes, law.limits)
    x = law.from_uniform(u)
    if law.density(x) is not None:
        np.testing.assert_array_equal(finite.density(x), law.density(x))


def test_points_are_used_equally_often():
    x = DATASETS["checkerboard"](points=10).draw(20_000, 0, stream(0, "data"))
    counts = torch.unique(x, dim=0, return_counts=True)[1]
    assert len(counts) == 10
    assert (counts - 2000).abs().max() < 6 * 2000**0.5


def test_a_large_point_set_follows_the_law():
    x = DATASETS["checkerboard"](points=1000).draw(5000, 0, stream(0, "data"))
    assert (DATASETS["checkerboard"]().density(x.double().numpy()) == 1 / 32).all()
