"""A comparison finds what moved and not what noise does."""

from functools import partial

import numpy as np
import pytest

from bench.errors import UsageError
from bench.report.compare import ALONE, LEVEL, compare, p_moved, text
from bench.report.results import load_results
from bench.signflip import holm

AXES = {"path": ["straight", "noisy"], "solver": ["euler", "heun", "rk4"]}
CLAIM = {
    "claim": "Noise does harm", "metric": "wasserstein", "better": "path: straight", "than": "path: noisy",
    "by": None, "margin": None, "at": None, "pairs": [[i, i + 21] for i in range(21)],
}  # fmt: skip
SEEDS = range(7)


def shifted(cell, numbers, where, share):
    """The numbers of a cell, its score changed by a share where it is one of those meant."""
    found = dict(numbers(cell))
    if where(cell):
        found["wasserstein"] *= 1 + share
    return found


@pytest.fixture
def pair(make_run):
    """Runs alike but for scores, changed by a share in the cells of one path and solver."""
    from tests.report.conftest import numbers

    def make(share, where=lambda cell: (cell["path"], cell["solver"]) == ("noisy", "rk4"), **about):
        measure = partial(shifted, numbers=numbers, where=where, share=share)
        now = make_run(AXES, SEEDS, measure=measure, name="now", **about)
        return [load_results(folder) for folder in (now, make_run(AXES, SEEDS, name="before", **about))]

    return make


def test_a_run_agrees_with_itself_in_every_combination(pair):
    found = compare(*pair(0.0, claims=[CLAIM]))
    assert (found.both, found.alike, len(found.moved), found.regressed) == (6, 6, 0, False)
    assert text(found, "the published results") == "demo agrees with the published results in all 6 combinations.\n"


def test_a_broken_solver_is_found_where_it_is_and_nowhere_else(pair):
    found = compare(*pair(0.5))
    assert found.moved[["path", "solver", "value", "which"]].to_numpy().tolist() == [
        ["noisy", "rk4", "wasserstein", "worse"]
    ]
    assert found.regressed
    assert found.alike == 5
    assert found.moved["change"].tolist() == [pytest.approx(0.5, abs=1e-6)]
    assert "1 values worse" in found.summary
    assert "| noisy" in text(found, "the other run")


@pytest.mark.parametrize(("share", "moved"), [(3e-7, set()), (2e-3, {"worse"})])
def test_a_value_that_all_seeds_share_moves_by_a_change_and_not_by_anothers_processors_rounding(make_run, share, moved):
    """It has no noise of its own, and the least difference would be certain: the floor of FID of MNIST."""
    from tests.report.conftest import numbers

    def floored(cell, by=1.0):
        return {**numbers(cell), "wasserstein_floor": 0.249398073 * by}

    before = load_results(make_run(AXES, SEEDS, measure=floored, name="before"))
    now = load_results(make_run(AXES, SEEDS, measure=partial(floored, by=1 + share), name="now"))
    found = compare(now, before)
    assert set(found.moved["which"]) == moved
    assert found.regressed == bool(moved)


def test_what_got_better_is_said_and_is_no_regression(pair):
    found = compare(*pair(-0.3))
    assert found.moved["which"].tolist() == ["better"]
    assert not found.regressed


def test_a_verdict_that_changed_is_a_regression(pair):
    found = compare(*pair(-0.9, lambda cell: cell["path"] == "noisy", claims=[CLAIM]))
    assert found.verdicts.to_numpy().tolist() == [["Noise does harm", "supported", "refuted"]]
    assert found.regressed


def test_a_value_that_is_gone_is_said_and_times_are_compared_on_equal_machines_alone(make_run):
    def lost(cell):
        if cell["cell"] < 7:
            cell["status"], cell["reason"] = "failed", "no reason"

    slow = {"provenance": {"cpu": "Another", "commit": "1", "dirty": False}}
    now = load_results(make_run(AXES, SEEDS, change=lost, name="now", **slow))
    before = load_results(make_run(AXES, SEEDS, name="before"))
    found = compare(now, before)
    assert set(found.lost["value"]) == {"wasserstein", "wasserstein_floor", "mmd", "mmd_floor", "nfe"}
    assert found.regressed
    assert "different machines" in found.timed


@pytest.mark.parametrize(("factor", "which"), [(1.1, []), (2.0, ["slower"]), (0.4, ["faster"])])
def test_times_are_told_and_never_decide(make_run, factor, which):
    from tests.report.conftest import numbers

    def timed(cell):
        found = dict(numbers(cell))
        return {**found, "sample_seconds": found["sample_seconds"] * factor}

    now = load_results(make_run(AXES, SEEDS, measure=timed, name="now"))
    found = compare(now, load_results(make_run(AXES, SEEDS, name="before")))
    assert sorted(set(found.moved["which"])) == which
    assert not found.regressed


def test_other_axes_and_other_combinations_are_said(make_run):
    less = load_results(make_run({**AXES, "path": ["straight", "bent"]}, SEEDS, name="less"))
    whole = load_results(make_run(AXES, SEEDS, name="whole"))
    found = compare(less, whole)
    assert (found.both, found.only_before, found.only_now) == (3, 3, 3)
    with pytest.raises(UsageError, match="same axes"):
        compare(whole, load_results(make_run({"path": ["straight"]}, SEEDS, name="other")))


@pytest.mark.parametrize("seeds", [3, 7])
def test_noise_alone_moves_anything_in_one_of_twenty_comparisons_at_most(seeds):
    rng = np.random.default_rng(seeds)
    runs, values = 1000, 40
    own = rng.normal(size=(runs, values, seeds))
    rounding = rng.standard_t(3, size=own.shape) * rng.choice([1e-3, 0.3], size=(runs, values, 1))
    found = 0
    for run, other in zip(own, own + rounding, strict=True):
        sides = [[dict(enumerate(value)) for value in side] for side in (run, other)]
        found += bool((holm(np.array([p_moved(*two)[0] for two in zip(*sides, strict=True)])) <= LEVEL).any())
    assert found <= 67, "more than 5 % by more than chance (99 % of binomial counts)"


def test_a_single_seed_moves_by_more_than_a_tenth_alone():
    assert p_moved({0: 1 + 0.9 * ALONE}, {0: 1.0}) == (1.0, 1)
    assert p_moved({0: 1 + 1.1 * ALONE}, {0: 1.0}) == (0.0, 1)
    assert p_moved({0: 200.0, 1: 200.0}, {0: 100.0, 1: 100.0}) == (0.0, 2), "what has no spread moved for certain"
