"""E-values: what they are by hand, and how often suites that are looked at after every seed are wrong, and right."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import sequential
from bench.decisions import judge
from bench.sequential import evidence, log_wealth, settle, stop

# Half of the smallest number there is would be none: another unit must not lose what is scaled.
values = st.lists(st.floats(-1e3, 1e3, allow_nan=False, allow_subnormal=False), min_size=1, max_size=8)


@given(values)
def test_a_fair_game_keeps_its_wealth_whatever_the_magnitudes(d):
    """The mean of E over all patterns of signs is 1, exactly: that is what makes it an e-value."""
    patterns = np.array(list(itertools.product((1.0, -1.0), repeat=len(d)))) * np.array(d)
    e = np.exp(evidence(patterns).side)
    assert e.mean(axis=0) == pytest.approx(np.ones(len(d)), rel=1e-9)


@given(values, st.floats(0.1, 5))
def test_later_seeds_change_nothing_and_neither_do_unit_and_direction(d, unit):
    d = np.array(d)
    plus, minus = log_wealth(d)
    for n in range(1, len(d) + 1):
        assert log_wealth(d[:n])[0][-1] == plus[n - 1]
    turned = log_wealth(-d)
    assert np.allclose(turned, (minus, plus))
    assert np.allclose(log_wealth(unit * d), (plus, minus), atol=1e-6)


def test_the_first_steps_by_hand():
    plus, minus = log_wealth([2.0, 1.0])
    assert np.exp([plus[0], minus[0]]) == pytest.approx([1.8, 0.2])
    won = np.array([[1 + b, 1 - b] for b in sequential.BETS]).sum(axis=1)
    bet = (won * sequential.BETS).sum() / won.sum()
    psi = math.tanh(2 * 1.0 / 2.0)
    assert np.exp([plus[1], minus[1]]) == pytest.approx([1.8 * (1 + bet * psi), 0.2 * (1 - bet * psi)])


def series(mean, n, sd=1.0, seed=0):
    return mean + sd * np.random.default_rng(seed).standard_normal(n)


def test_claims_stop_when_they_are_decided_whatever_came_after():
    long = [series(3.0, 40, seed=1), series(-3.0, 40, seed=2), series(0.0, 40, seed=3), series(0.0, 40, 0.1, seed=4)]
    margins = [None, None, None, 1.0]
    found = settle(long, margins)
    assert [one.verdict for one in found] == ["supported", "refuted", "undecided", "equivalent"]
    assert found[2].looks == 40
    assert all(one.looks < 20 for i, one in enumerate(found) if i != 2)
    for i, one in enumerate(found):  # e-Holm's first step asks for 4 / level, its last for 1 / level
        assert i == 2 or one.e >= 20
    cut = [d[: one.looks] if one.verdict != "undecided" else d for d, one in zip(long, found, strict=True)]
    assert settle(cut, margins) == found, "seeds beyond a claim's decision are not looked at"
    for rounds in (12, 17, 30):
        early = settle([d[:rounds] for d in long], margins)
        assert [one for i, one in enumerate(early) if i != 2] == [one for i, one in enumerate(found) if i != 2]


def test_seeds_without_a_number_are_no_looks_and_no_data_is_said():
    d = series(3.0, 20, seed=5)
    holes = np.insert(d, [0, 3, 4], math.nan)
    assert settle([holes], [None])[0] == settle([d], [None])[0]
    assert [one.verdict for one in settle([np.full(5, math.nan), np.empty(0), d], [None, 1.0, None])] == [
        "no data", "no data", "supported",
    ]  # fmt: skip
    assert settle([np.zeros(30)], [None])[0].verdict == "undecided"
    assert settle([np.zeros(30)], [1.0])[0].verdict == "equivalent"
    assert settle([], []) == []


def test_what_is_excluded_is_a_margin_that_would_be_met():
    d = series(0.1, 30, seed=6)
    shut = settle([d], [None])[0].excludes
    assert 0.1 < shut < 2
    assert settle([d], [1.02 * shut])[0].verdict == "equivalent"
    assert math.isnan(settle([d[:3]], [None])[0].excludes)


SUITES, CLAIMS, SEEDS, MOST_WRONG = 1000, 4, 40, 67
"""Monitored to 40 seeds. Of 1000 at most 50 by design, and 2.5 standard deviations of a count with that mean."""


def suites(offset, margin=None, draw="normal", claims=CLAIMS):
    rng = np.random.default_rng(17)
    shape = (SUITES, claims, SEEDS)
    x = rng.standard_normal(shape) if draw == "normal" else rng.standard_t(2, shape)
    return [stop(sequential.Evidence(*parts)) for parts in zip(*evidence(offset + x, margin), strict=True)]


def share(found, *verdicts):
    """Of 1000 suites those with any claim so decided."""
    return sum(any(one.verdict in verdicts for one in suite) for suite in found)


@pytest.mark.parametrize("draw", ["normal", "heavy"])
def test_of_1000_monitored_suites_of_equal_arms_at_most_67_have_a_side(draw):
    assert 2 < share(suites(0.0, draw=draw), "supported", "refuted") <= MOST_WRONG


@pytest.mark.parametrize("side", [1, -1])
def test_of_1000_monitored_suites_at_the_margin_at_most_67_are_called_equivalent(side):
    found = suites(side * 2.0, 2.0)
    assert 2 < share(found, "equivalent") <= MOST_WRONG
    assert share(found, "supported", "refuted") <= MOST_WRONG


def power_row(effect, claims):
    """A row of the table in docs/statistics.md."""
    shape = (500, claims, 16)
    draws = effect + np.random.default_rng(19).standard_normal(shape)
    shares = []
    for seeds in (8, 12, 16):
        judged = [one.verdict for suite in draws[..., :seeds] for one in judge(list(suite), [None] * claims)]
        shares.append(f"{judged.count('supported') / len(judged):.2f}")
    looked = [one for suite in suites(effect, claims=claims) for one in suite]
    decided = [one.verdict != "undecided" for one in looked]
    half = np.median([one.step + 1 if done else math.inf for one, done in zip(looked, decided, strict=True)])
    by_half = "–" if math.isinf(half) else f"{half:.0f}"
    return f"| {effect:g} | {claims} | {' | '.join(shares)} | {by_half} | {np.mean(decided):.2f} |"


@pytest.mark.parametrize("effect", [0.5, 1.0, 2.0])
def test_power_is_what_the_documentation_says(effect):
    rows = (Path(__file__).parents[1] / "docs" / "statistics.md").read_text().splitlines()
    told = [row for row in rows if row.startswith(f"| {effect:g} |")]
    assert told == [power_row(effect, claims) for claims in (1, 4)]
