"""Laws of the statistics, against scipy, against brute force and against contrasts worked out by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from bench import stats
from bench.contrasts import claim_difference

numbers = st.floats(-1e3, 1e3, allow_nan=False)


def table(rows, axes=("path", "solver"), **columns):
    """Tidy records of one score and the NFE: rows are (seed, *labels, value, nfe), cells in their order."""
    records = []
    for cell, (seed, *labels, value, nfe) in enumerate(rows):
        at = dict(zip(axes, labels, strict=True))
        common = {"cell": cell, "seed": seed, **at, "n": 1024, "device": "cpu", **columns}
        records += [
            {**common, "metric": "score", "value": value, "unit": "data units", "better": "lower"},
            {**common, "metric": "nfe", "value": nfe, "unit": "", "better": "lower"},
        ]
    return pd.DataFrame(records)


def claim(pairs, **changes):
    return {"metric": "score", "pairs": pairs, "by": None, "margin": None, "at": None, **changes}


@given(st.lists(numbers, min_size=2, max_size=12))
def test_interval_is_the_one_of_the_t_test(values):
    interval = stats.mean_interval(values)
    if np.ptp(values) > 1e-6:
        wanted = scipy_stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
        assert (interval.low, interval.high) == pytest.approx((wanted.low, wanted.high), rel=1e-9, abs=1e-9)
    assert interval.mean == pytest.approx(np.mean(values), abs=1e-9)
    assert interval.n == len(values)


def test_interval_covers_the_truth_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(3.0, 2.0, size=(4000, 5))
    held = [(i := stats.mean_interval(row)).low <= 3.0 <= i.high for row in draws]
    assert 0.94 < np.mean(held) < 0.96


def test_one_seed_has_a_mean_and_no_interval():
    one, none = stats.mean_interval([0.5]), stats.mean_interval([])
    assert (one.mean, one.n) == (0.5, 1)
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    assert none.n == 0
    assert math.isnan(none.mean)


@pytest.mark.parametrize("lost", [math.nan, math.inf])
def test_a_lost_seed_is_never_averaged_away(lost):
    with pytest.raises(ValueError, match="not finite"):
        stats.mean_interval([0.1, lost])


@given(st.floats(0.01, 10), st.floats(0.0, 10), st.integers(1, 5))
def test_excess_recovers_what_was_added_in_quadrature(floor, added, repeats):
    floors = np.full(repeats, floor)
    assert stats.excess(np.hypot(floors, added), floors) == pytest.approx(added, abs=1e-6)
    assert stats.excess(floors, np.hypot(floors, added)) == pytest.approx(-added, abs=1e-6)


def small_suites(shift, suites=4000, seeds=6, repeats=2, n=32):
    """(suites, seeds) excesses of records: W2 on the line of n draws of N(shift, 1), and of a perfect sampler's own
    n draws, against the same reference. A shift adds its square to W2's square on average, exactly.
    """
    rng = np.random.default_rng(1)
    made, perfect, reference = np.sort(rng.standard_normal((3, suites, seeds, repeats, n)), axis=-1)
    score, floor = (np.sqrt(((x - reference) ** 2).mean(axis=-1)) for x in (made + shift, perfect))
    return np.array(
        [[stats.excess(*cell) for cell in zip(*suite, strict=True)] for suite in zip(score, floor, strict=True)]
    )


@pytest.mark.parametrize("shift", [0.0, 0.1])
def test_the_excess_over_seeds_is_unbiased_and_its_interval_covers(shift):
    excesses = small_suites(shift)
    suites, seeds = excesses.shape
    found = stats.over_seeds(pd.Series(excesses.ravel()), pd.Series(np.repeat(np.arange(suites), seeds)), excess=True)

    def bias(excess):  # in standard errors over suites; only the gap can be unbiased, a root never is
        gaps = stats.signed_square(excess)
        return (gaps.mean() - shift**2) / (gaps.std(ddof=1) / np.sqrt(suites))

    assert abs(bias(found["mean"])) < 4
    held = (found["low"] <= shift) & (shift <= found["high"])
    assert 0.93 < held.mean() < 0.97
    if shift:
        assert bias(excesses.mean(axis=1)) < -10, "the mean of seeds' roots is pulled to 0"


def test_the_root_comes_after_the_mean_over_seeds_and_keeps_the_sign_of_each_end():
    seeds = pd.Series([0.089, -0.057, 0.139, 0.2, math.nan, math.nan])
    found = stats.over_seeds(seeds, pd.Series([0, 0, 0, 1, 1, 2]), excess=True)
    assert found["mean"].tolist()[:2] == pytest.approx([0.08943, 0.2], abs=1e-5)
    gaps = stats.mean_interval([0.089**2, -(0.057**2), 0.139**2])
    ends = [-((-gaps.low) ** 0.5), gaps.high**0.5]
    assert found.loc[0, ["low", "high"]].tolist() == pytest.approx(ends)
    assert found[["n", "of"]].to_numpy().tolist() == [[3, 3], [1, 2], [0, 1]]
    assert found.loc[1:, ["low", "high", "half"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("n", "runs", "half"),
    [
        (2, 2, 12.706204736),  # t_1 sqrt(1/2 + 1/2)
        (5, 20, 2.776445105 / 2),  # t_4 sqrt(1/5 + 1/20)
        (9, 3, 2.306004135 * 2 / 3),  # t_8 sqrt(1/9 + 1/3)
    ],
)
def test_prediction_interval_by_the_table_of_t(n, runs, half):
    assert stats.prediction_interval(3.0, 0.1, n, runs) == pytest.approx((3 - 0.1 * half, 3 + 0.1 * half), rel=1e-9)


@pytest.mark.parametrize(("n", "runs"), [(3, 2), (10, 3)])
def test_a_replication_of_the_same_law_falls_inside_as_often_as_it_says(n, runs):
    draws = np.random.default_rng(0).normal(3.0, 2.0, size=(4000, n + runs))
    held = []
    for theirs, ours in zip(draws[:, :n], draws[:, n:], strict=True):
        low, high = stats.prediction_interval(theirs.mean(), theirs.std(ddof=1), n, runs)
        held.append(low <= ours.mean() <= high)
    assert 0.94 < np.mean(held) < 0.96


def test_seeds_needed_is_the_least_number_that_a_sign_flip_test_can_settle():
    for claims in range(1, 60):
        least = next(n for n in range(1, 40) if 2 / 2**n <= 0.05 / claims)
        assert stats.seeds_needed(claims) == least
    with pytest.raises(ValueError, match="at least 1"):
        stats.seeds_needed(0)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12))
def test_front_is_what_no_point_beats(points):
    x, y = (np.array([point[i] for point in points], dtype=float) for i in (0, 1))
    front = stats.pareto_front(x, y)
    for i, (a, b) in enumerate(points):
        beaten = any(c <= a and d <= b and (c, d) != (a, b) for c, d in points)
        assert front[i] == (not beaten)


def test_a_point_without_a_number_is_not_on_the_front():
    assert stats.pareto_front([math.nan, 1.0, 2.0], [0.0, math.nan, 5.0]).tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("mean", "half", "text"),
    [
        (0.5312, 0.0413, "0.53 ± 0.04"),
        (0.5312, 0.0213, "0.531 ± 0.021"),
        (12345.0, 678.0, "12300 ± 700"),
        (1.234e-7, 0.4e-7, "(1.2 ± 0.4)e-7"),
        (-0.0001, 0.4, "0.0 ± 0.4"),
        (20.0, 0.0, "20"),
        (0.5312, math.nan, "0.53"),
        (1578498.0, math.nan, "1578498"),
        (math.nan, math.nan, "–"),
        (0.0, 0.0, "0"),
    ],
)
def test_digits_stop_where_the_interval_does(mean, half, text):
    assert stats.round_to_interval(mean, half) == text


@given(st.floats(-1e3, 1e3), st.floats(1e-4, 300))
def test_rounding_loses_less_than_the_interval_is_wide(mean, half):
    text = stats.round_to_interval(mean, half)
    shown_mean, shown_half = (float(part) for part in text.split(" ± "))
    assert abs(shown_mean - mean) <= 0.51 * half
    assert shown_half == pytest.approx(half, rel=0.2)


@pytest.mark.parametrize(
    ("ends", "text"),
    [
        ((0.0896, -0.05, 0.15), "0.09 (-0.05 to 0.15)"),
        ((0.5312, 0.49, 0.5726), "0.53 (0.49 to 0.57)"),
        ((-0.0001, -0.3, 0.5), "0.0 (-0.3 to 0.5)"),
        ((-0.001, -0.04, -0.0001), "-0.001 (-0.040 to 0.000)"),
        ((1.234e-7, -0.2e-7, 1.8e-7), "1.2e-7 (-0.2e-7 to 1.8e-7)"),
        ((0.5312, math.nan, math.nan), "0.53"),
        ((0.0, 0.0, 0.0), "0"),
        ((math.nan, math.nan, math.nan), "–"),
    ],
)
def test_an_uneven_interval_shows_its_ends_as_far_as_its_length_allows(ends, text):
    assert stats.round_with_ends(*ends) == text


@given(st.floats(-1e3, 1e3), st.floats(0, 300), st.floats(1e-3, 300))
def test_ends_are_rounded_by_less_than_the_interval_is_wide_and_never_to_minus_0(mean, below, above):
    text = stats.round_with_ends(mean, mean - below, mean + above)
    shown = [float(part) for part in text.replace(")", "").replace("(", "to ").split(" to ")]
    assert shown == pytest.approx([mean, mean - below, mean + above], abs=0.51 * (below + above) / 2)
    assert not [number for number in shown if number == 0 and math.copysign(1, number) < 0]


def test_a_claim_is_the_paired_interval_of_its_seeds():
    a, b = np.array([0.30, 0.34, 0.29]), np.array([0.50, 0.51, 0.52])
    records = table([(s, "p", "e", a[s], 5) for s in range(3)] + [(s, "q", "e", b[s], 5) for s in range(3)])
    found = claim_difference(records, claim([[s, 3 + s] for s in range(3)]), ["path", "solver"])
    assert found.interval == pytest.approx(stats.mean_interval(b - a))
    assert (found.interval.n, found.of, found.unit, found.direction) == (3, 3, "data units", "lower")


def test_pairs_are_averaged_within_a_seed_and_are_no_seeds():
    rows = [(0, "p", "e", 1.0, 5), (0, "p", "h", 2.0, 5), (0, "q", "e", 4.0, 5), (0, "q", "h", 9.0, 5)]
    rows += [(1, "p", "e", 1.0, 5), (1, "p", "h", 1.0, 5), (1, "q", "e", 2.0, 5), (1, "q", "h", 2.0, 5)]
    found = claim_difference(table(rows), claim([[0, 2], [1, 3], [4, 6], [5, 7]]), ["path", "solver"])
    assert found.interval.n == 2
    assert found.pairs == 2
    assert found.interval.mean == pytest.approx(np.mean([(3 + 7) / 2, 1]))


def test_by_asks_for_a_share_and_higher_turns_the_sign():
    records = table([(0, "p", "e", 8.0, 5), (0, "q", "e", 10.0, 5)])
    lower = claim_difference(records, claim([[0, 1]], by=0.1), ["path", "solver"])
    assert lower.interval.mean == pytest.approx(0.9 * 10 - 8)
    higher = claim_difference(records.assign(better="higher"), claim([[1, 0]], by=0.1), ["path", "solver"])
    assert higher.interval.mean == pytest.approx(10 - 1.1 * 8)


@pytest.mark.parametrize("better", ["lower", "higher"])
@given(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=6), st.floats(0.01, 0.9))
def test_better_by_a_share_is_never_less_than_better(better, values, share):
    """Also where the other side's number is below 0, of which a share is the easier aim."""
    rows = [
        (seed, side, "euler", value, 10)
        for seed, pair in enumerate(values)
        for side, value in zip("ab", pair, strict=True)
    ]
    records, pairs = table(rows).assign(better=better), [[2 * s, 2 * s + 1] for s in range(len(values))]
    plain, by = (
        claim_difference(records, claim(pairs, by=asked), ["path", "solver"]).interval.mean for asked in (None, share)
    )
    assert by <= plain + 1e-9


@pytest.mark.parametrize(("unit", "shown"), [("1", ""), ("data units", "data units²"), ("√(data units)", "data units")])
def test_a_squared_unit_is_a_unit_or_nothing(unit, shown):
    rows = [(seed, side, "euler", 0.1 * seed, 10) for seed in range(2) for side in "ab"]
    records = table(rows).assign(unit=unit)
    records["metric"] = records["metric"].replace("score", "score_excess")
    stated = {**claim([[0, 1], [2, 3]]), "metric": "score_excess"}
    assert claim_difference(records, stated, ["path", "solver"]).unit == shown


def test_a_claim_on_an_excess_contrasts_gaps_in_squared_units():
    records = table([(s, p, "e", {"p": [-0.1, 0.3], "q": [0.2, 0.5]}[p][s], 5) for p in "pq" for s in (0, 1)])
    records["metric"] = records["metric"].replace("score", "score_excess")
    stated = claim([[0, 2], [1, 3]], metric="score_excess")
    found = claim_difference(records, stated, ["path", "solver"])
    assert found.interval == pytest.approx(stats.mean_interval([0.04 + 0.01, 0.25 - 0.09]))
    assert found.unit == "data units²"
    by = claim_difference(records, {**stated, "by": 0.1}, ["path", "solver"]).interval
    assert by.mean == pytest.approx(np.mean([0.81 * 0.04 + 0.01, 0.81 * 0.25 - 0.09]))


def test_a_seed_without_all_its_scores_is_counted_and_left_out():
    rows = [(s, p, "e", 1.0 + s + (p == "q"), 5) for p in "pq" for s in range(3)]
    rows[4] = (1, "q", "e", math.nan, 5)
    found = claim_difference(table(rows), claim([[s, 3 + s] for s in range(3)]), ["path", "solver"])
    assert (found.interval.n, found.of) == (2, 3)
    assert "1 of 3 seeds" in found.note
    assert found.interval.mean == pytest.approx(1.0)


AT_AXES = ("solver", "solver.steps")


def every(better, than):
    """Pairs as a suite makes them: each cell of one side with each of the other."""
    return [[one, other] for one in better for other in than]


def at_rows(heun_20=0.2):
    """euler with 5, 10, 20 and heun with 5, 10, 20 steps; heun costs two evaluations a step."""
    euler = [(0, "euler", steps, score, steps) for steps, score in ((5, 0.9), (10, 0.1), (20, 0.4))]
    return [*euler, *((0, "heun", steps, score, 2 * steps) for steps, score in ((5, 0.8), (10, heun_20), (20, 0.01)))]


def test_at_takes_the_largest_cost_up_to_the_limit_never_the_best():
    pairs = every([3, 4, 5], [0, 1, 2])
    found = claim_difference(table(at_rows(), AT_AXES), claim(pairs, at="nfe <= 20"), AT_AXES)
    assert found.interval.mean == pytest.approx(0.4 - 0.2)
    assert found.pairs == 1


def test_at_does_not_fall_back_to_a_cheaper_cell_when_the_right_one_failed():
    rows = at_rows(heun_20=math.nan) + [(1, *row[1:]) for row in at_rows()]
    records = table(rows, AT_AXES)
    records.loc[(records["cell"] == 4), "value"] = math.nan  # the failed cell has no NFE either
    pairs = every([3, 4, 5], [0, 1, 2]) + every([9, 10, 11], [6, 7, 8])
    found = claim_difference(records, claim(pairs, at="nfe <= 20"), AT_AXES)
    assert (found.interval.n, found.of) == (1, 2)


def test_at_says_so_when_nothing_is_that_cheap_and_refuses_what_it_cannot_read():
    records = table(at_rows(), AT_AXES)
    assert "nfe <= 3" in claim_difference(records, claim([[3, 0]], at="nfe <= 3"), AT_AXES).note
    with pytest.raises(ValueError, match="nfe <= 20"):
        claim_difference(records, claim([[3, 0]], at="seconds < 2"), AT_AXES)


@pytest.mark.parametrize(("column", "unit", "word"), [("n", "data units", "sample sizes"), ("device", "s", "devices")])
def test_what_does_not_compare_is_not_compared(column, unit, word):
    records = table([(0, "p", "e", 1.0, 5), (0, "q", "e", 2.0, 5)]).assign(unit=unit)
    records.loc[records["cell"] == 1, column] = 256 if column == "n" else "gpu"
    found = claim_difference(records, claim([[0, 1]]), ["path", "solver"])
    assert found.interval.n == 0
    assert word in found.note


def floored(rows, axes=("path", "solver")):
    """Records of a score with its floor beside it: rows are (seed, *labels, value, nfe, floor)."""
    records = table([row[:-1] for row in rows], axes)
    floors = records[records["metric"] == "score"].assign(metric="score_floor", value=[row[-1] for row in rows])
    return pd.concat([records, floors], ignore_index=True)


@pytest.mark.parametrize(("better", "gain"), [("lower", 1.5 * 0.2 - 0.25), ("higher", 0.25 - 1.5 * 0.2)])
def test_a_threshold_holds_each_score_against_its_own_floor(better, gain):
    rows = [(0, "p", "e", 0.25, 5, 0.2), (1, "p", "e", 0.5, 5, 0.4), (2, "p", "e", 0.3, 5, math.nan)]
    stated = claim([[0, 0], [1, 1], [2, 2]], reaches=1.5)
    found = claim_difference(floored(rows).assign(better=better), stated, ["path", "solver"])
    assert found.values == pytest.approx([gain, 2 * gain])
    assert (found.interval.n, found.of) == (2, 3)


def test_a_threshold_at_a_budget_takes_each_paths_largest_cost_and_its_own_floor():
    rows = [(0, "p", 5, 0.5, 5, 0.1), (0, "p", 10, 0.3, 10, 0.1), (0, "p", 50, 0.1, 50, 0.1), (0, "q", 5, 0.4, 5, 0.3)]
    axes = ("path", "solver.steps")
    stated = claim([*every([0, 1, 2], [0, 1, 2]), [3, 3]], reaches=2.0, at="nfe <= 20")
    found = claim_difference(floored(rows, axes), stated, axes)
    assert found.values == pytest.approx([np.mean([2 * 0.1 - 0.3, 2 * 0.3 - 0.4])])
    assert found.pairs == 2


def test_each_data_set_has_its_own_differences_and_sizes_only_have_to_agree_within_pairs():
    axes = ("dataset", "path")
    rows = [(s, d, p, 1.0 + s + 2 * (p == "q") * (d == "a"), 5) for s in (0, 1) for d in "ab" for p in "pq"]
    records = table(rows, axes)
    records["n"] = records["dataset"].map({"a": 64, "b": 128})
    pairs = [[4 * s + 2 * d, 4 * s + 2 * d + 1] for s in (0, 1) for d in (0, 1)]
    found = claim_difference(records, claim(pairs), axes)
    assert {label: series.tolist() for label, series in found.by_dataset.items()} == {"a": [2, 2], "b": [0, 0]}
    assert found.by_seed.tolist() == [1, 1]
    crossed = claim_difference(records.assign(n=64), claim([[0, 3], [4, 7]]), axes)
    assert crossed.by_dataset == {}


def test_seeds_that_share_one_timing_are_one_seed():
    rows = [(s, p, "e", {"p": 1.0, "q": 3.0}[p] + (s == 3), 5) for p in "pq" for s in range(4)]
    records = table(rows).assign(unit="s")
    records.loc[(records["cell"] == 7) & (records["metric"] == "score"), "value"] = 5.0  # timed by itself
    pairs = [[s, 4 + s] for s in range(4)]
    found = claim_difference(records, claim(pairs), ["path", "solver"])
    assert found.values.tolist() == [2.0, 3.0]
    assert "2 of 4 seeds share a timing" in found.note
    assert claim_difference(records.assign(unit="steps"), claim(pairs), ["path", "solver"]).interval.n == 4


def test_what_may_cluster_is_all_that_does():
    random = np.random.default_rng(0)
    for n in (5, 6, 7, 20):
        apart = 6.0 * (random.random((200, n)) > 0.5)
        rows = np.concatenate(
            [random.standard_normal((200, n)) + apart, np.ones((1, n)), random.integers(0, 3, (50, n))]
        )
        found = np.array([stats.clusters(row) is not None for row in rows])
        assert stats.may_cluster(rows)[found].all()
        assert stats.may_cluster(rows).mean() < 0.9
