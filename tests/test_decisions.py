"""Verdicts hold: exact tests against brute force, and how often simulated suites are wrong, and right."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from bench import signflip
from bench.decisions import decide, judge, seeds_to_settle
from bench.stats import cluster_words, clusters, seeds_needed

numbers = st.floats(-1e3, 1e3, allow_nan=False)
few = st.lists(st.integers(-9, 9).map(float), min_size=1, max_size=9)


@given(few)
def test_the_sign_flip_p_counts_every_pattern_of_signs(values):
    """Whole numbers, so that ties are ties: brute force in exact arithmetic."""
    d = np.array(values)
    sums = [
        sum(s * x for s, x in zip(signs, values, strict=True)) for signs in itertools.product((1, -1), repeat=len(d))
    ]
    assert signflip.greater_p(d) == np.mean([total >= sum(values) for total in sums])
    assert signflip.beyond_p(d) == np.mean([abs(total) >= abs(sum(values)) for total in sums])


def test_it_is_scipys_permutation_test():
    d = np.random.default_rng(3).normal(0.4, 1.0, size=9)
    theirs = scipy_stats.permutation_test(
        (d,), np.sum, permutation_type="samples", alternative="greater", n_resamples=np.inf
    )
    assert signflip.greater_p(d) == pytest.approx(theirs.pvalue, abs=1e-12)


def test_meeting_in_the_middle_and_random_patterns_agree_with_listing_all(monkeypatch):
    rows = np.random.default_rng(4).normal(0.3, 1.0, size=(6, 16))
    met = signflip.greater_p(rows)
    monkeypatch.setattr(signflip, "ENUMERATED", 16)
    exact = signflip.greater_p(rows)
    assert met == pytest.approx(exact, abs=1e-15)
    monkeypatch.setattr(signflip, "ENUMERATED", 4)
    monkeypatch.setattr(signflip, "MET", 4)
    drawn = signflip.greater_p(rows)
    assert np.all(np.abs(drawn - exact) < 5 * np.sqrt(exact * (1 - exact) / signflip.DRAWS) + 2e-5)
    assert np.array_equal(drawn, signflip.greater_p(rows)), "the same from run to run"
    assert signflip.greater_p(np.ones(60)) == 1 / (signflip.DRAWS + 1), "never 0"


def test_rounding_makes_no_p_smaller():
    d = np.array([0.1, 0.2, 0.3, -0.3, 0.1 + 0.2])  # .3 and .1 + .2 differ in the last bit
    assert signflip.greater_p(d) == signflip.greater_p(np.array([1.0, 2.0, 3.0, -3.0, 3.0]))


@pytest.mark.parametrize(("values", "p"), [([], 1.0), ([0.0] * 8, 1.0), ([2.0], 1.0), ([0.0, 1.0, 1.0], 0.5)])
def test_what_has_no_sign_tells_nothing(values, p):
    assert signflip.beyond_p(np.array(values)) == p


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_lost_seed_is_refused(bad):
    with pytest.raises(ValueError, match="not finite"):
        signflip.greater_p(np.array([1.0, bad]))


@given(st.lists(numbers, min_size=6, max_size=10), st.sampled_from([0.05, 0.0125]))
def test_the_excluded_margin_is_the_smallest_that_the_test_excludes(values, level):
    d = np.array(values)
    found = signflip.excluded(d, level)
    if 0.5 ** len(d) > level:
        assert math.isnan(found)
    elif np.any(d):
        step = 3e-3 * np.abs(d).max()
        assert signflip.within_p(d, found) <= level
        assert found - step <= abs(d.mean()) or signflip.within_p(d, found - step) > level


def test_holm_by_hand_and_what_is_no_hypothesis_counts_for_nothing():
    assert signflip.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    found = signflip.holm([0.02, math.nan, 0.04])
    assert found[[0, 2]] == pytest.approx([0.04, 0.04])
    assert math.isnan(found[1])
    assert len(signflip.holm([])) == 0


def spread(n, mean=0.0, sd=1.0):
    """n differences of exactly this mean and spread, evenly placed."""
    x = np.linspace(-1, 1, n)
    return mean + sd * x / x.std(ddof=1)


@pytest.mark.parametrize(
    ("mean", "margin", "verdict"),
    [
        (3.0, None, "supported"),
        (-3.0, None, "refuted"),
        (0.2, None, "undecided"),
        (0.0, 2.0, "equivalent"),
        (-1.0, 3.0, "equivalent"),  # behind beyond doubt, and met within its margin
        (5.0, 1.0, "supported"),
        (-5.0, 1.0, "refuted"),
        (-2.0, 2.0, "undecided"),  # behind beyond doubt, at the margin: neither equal nor worse by more
        (2.0, 2.0, "undecided"),
    ],
)
def test_the_margin_is_answered_first(mean, margin, verdict):
    assert decide([spread(8, mean)], [margin])[0].verdict == verdict


@pytest.mark.parametrize("claims", [1, 2, 4, 7])
def test_too_few_seeds_never_have_a_side_and_enough_do(claims):
    need = seeds_needed(claims)
    others = [np.zeros(need)] * (claims - 1)
    short, full = (decide([np.ones(n), *others], [None] * claims)[0] for n in (need - 1, need))
    assert (short.verdict, full.verdict) == ("too few seeds", "supported")
    assert math.isnan(short.p)
    assert math.isnan(short.excludes)
    assert decide([np.ones(need - 1), *others], [2.0] * claims)[0].verdict == "too few seeds"
    assert decide([np.ones(1), *others], [None] * claims)[0].verdict == "too few seeds"
    assert decide([np.ones(0), *others], [None] * claims)[0].verdict == "no data"


def test_claims_without_data_still_count():
    strong = spread(6, 5.0)
    assert decide([strong], [None])[0].verdict == "supported"
    assert [one.verdict for one in decide([strong, np.ones(0)], [None, None])] == ["too few seeds", "no data"]
    assert decide([], []) == []


def test_equal_seeds_and_zeros_have_deliberate_verdicts():
    same, zero = np.full(8, 0.5), np.zeros(8)
    assert [d.verdict for d in decide([same, zero], [None, None])] == ["supported", "undecided"]
    assert [d.verdict for d in decide([same, zero], [1.0, 1.0])] == ["equivalent", "equivalent"]
    assert math.isnan(decide([zero], [None])[0].more_seeds)
    assert decide([zero], [None])[0].excludes == 0


def test_seeds_to_settle_are_what_a_simulation_needs_and_bounded():
    rng = np.random.default_rng(7)
    d = spread(8, 0.6)
    more = seeds_to_settle(d, None, 0.05, 6)
    p = signflip.beyond_p(rng.normal(0.6, 1.0, size=(400, 8 + int(more))))
    assert 0.7 < (p <= 0.05).mean() < 0.9
    assert math.isnan(seeds_to_settle(spread(8, 0.01), None, 0.05, 6))
    assert seeds_to_settle(spread(8, 3.0), None, 0.05, 6) == 1
    near, at = seeds_to_settle(spread(8, 0.2), 1.0, 0.05, 6), seeds_to_settle(spread(8, 1.0), 1.0, 0.05, 6)
    assert near < 20
    assert math.isnan(at)


SUITES, CLAIMS, SEEDS = 1000, 4, 8
MOST_WRONG = 67
"""Of 1000: 50 by design, and 2.5 standard deviations of a count with that mean."""


def suites(offset=0.0, draw="normal", correlated=0.0):
    """(suites, claims, seeds) differences, symmetric about the offset in standard deviations."""
    rng = np.random.default_rng(11)
    shape = (SUITES, CLAIMS, SEEDS)
    x = {"normal": rng.standard_normal, "heavy": lambda s: rng.standard_t(2, s)}[draw](shape)
    shared = rng.standard_normal((SUITES, 1, SEEDS))
    return offset + np.sqrt(1 - correlated) * x + np.sqrt(correlated) * shared


def verdicts(series, margin=None):
    return [[one.verdict for one in judge(list(suite), [margin] * CLAIMS)] for suite in series]


@pytest.mark.parametrize(("draw", "correlated"), [("normal", 0.0), ("heavy", 0.0), ("normal", 0.9)])
def test_of_1000_suites_of_equal_arms_at_most_67_have_a_side(draw, correlated):
    wrong = sum(bool({"supported", "refuted"} & set(suite)) for suite in verdicts(suites(0.0, draw, correlated)))
    assert 5 < wrong <= MOST_WRONG


@pytest.mark.parametrize("side", [1, -1])
def test_of_1000_suites_at_the_margin_at_most_67_are_called_equivalent(side):
    margin = 3.0
    found = verdicts(suites(side * margin), margin)
    assert 5 < sum("equivalent" in suite for suite in found) <= MOST_WRONG
    assert sum(bool({"supported", "refuted"} & set(suite)) for suite in found) <= MOST_WRONG
    inside = verdicts(suites(0.0), margin)
    assert np.mean([suite.count("equivalent") for suite in inside]) > 0.9 * CLAIMS, "and they can be called so"


FORWARD = [1.09091718, 0.359201756, 0.298899222, 0.893954039, 0.394928148, 0.937514266, 0.269526804]
"""Wasserstein-2 of two_gaussians, RK4, seven seeds: a net either balances the modes or does not."""


def test_two_clusters_are_found_and_said():
    assert cluster_words(FORWARD) == "0.27 to 0.395 (4 seeds) and 0.894 to 1.09 (3)"
    assert clusters([1.0, 1.0, 1.0, 2.0, 2.0, 2.0]) is not None
    assert clusters(FORWARD[:5]) is None, "five seeds are too few to tell"
    assert clusters([1.0] * 8) is None
    assert clusters([*np.linspace(0, 1, 7), 50.0]) is None, "one far seed is no cluster"


@pytest.mark.parametrize("n", [6, 7, 8, 12, 20, 40])
def test_one_law_has_seldom_two_clusters(n):
    rng = np.random.default_rng(13)
    normal = sum(clusters(row) is not None for row in rng.standard_normal((1000, n)))
    skewed = sum(clusters(row) is not None for row in rng.exponential(size=(1000, n)))
    assert normal <= 25
    assert skewed <= 75
