"""Effects of factors against grids put together by hand, against simulation, and fronts against areas counted out."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.effects import balanced, effects, fronts, hypervolume


def cells(value, seeds=4, drop=lambda row: False, **levels):
    """A row per cell of a product of factors, but for those that are dropped."""
    import itertools

    rows = []
    for labels in itertools.product(*levels.values()):
        for seed in range(seeds):
            at = dict(zip(levels, labels, strict=True))
            if not drop({**at, "seed": seed}):
                rows.append({**at, "seed": seed, "value": value(**at, seed=seed)})
    return pd.DataFrame(rows)


A, B = {"a0": -1.0, "a1": 1.0}, {"b0": -2.0, "b1": 0.0, "b2": 2.0}


def mixed(a, b, seed, together=0.5):
    """10 and the seed's own level, main effects, and an interaction that sums to 0 over either factor."""
    return 10 + seed + A[a] * (1 + 0.1 * (-1) ** seed) + B[b] + together * A[a] * {"b0": 1, "b1": -2, "b2": 1}[b]


def test_effects_are_the_ones_that_were_put_in():
    grid = balanced(cells(mixed, a=A, b=B), ["a", "b"])
    found = effects(grid).set_index(["factor", "other", "level"])
    for level, effect in A.items():
        assert found.loc[("a", "", level), "effect"] == pytest.approx(effect)
    for level, effect in B.items():
        assert found.loc[("b", "", level), ["effect", "low", "high"]].tolist() == pytest.approx([effect] * 3)
    assert found.loc[("a", "b", "a1 × b1"), "effect"] == pytest.approx(-1.0)
    sd = np.std([1.1, 0.9, 1.1, 0.9], ddof=1)
    half = found.loc[("a", "", "a1"), "high"] - 1.0
    assert half == pytest.approx(3.182446 * sd / 2, rel=1e-5), "t of 3 degrees of freedom, four seeds"
    shares = found["share"].groupby(level=["factor", "other"]).first()
    assert shares.sum() == pytest.approx(1.0, abs=0.01)
    assert shares[("b", "")] == pytest.approx((8 / 3) / (8 / 3 + 1.01 + 0.5), abs=1e-3)


def test_a_factor_that_does_nothing_has_no_share_on_average_and_its_interval_covers_0():
    rng = np.random.default_rng(3)
    shares, covered = [], []
    for _ in range(200):
        table = cells(lambda a, b, seed: B[b] + rng.standard_normal(), seeds=6, a=A, b=B)
        found = effects(balanced(table, ["a", "b"])).set_index(["factor", "other"])
        shares.append(found.loc[("a", ""), "share"].iloc[0])
        covered.append(found.loc[("a", ""), "low"].iloc[0] <= 0 <= found.loc[("a", ""), "high"].iloc[0])
    assert np.mean(shares) < 0.02
    assert np.median(shares) == 0
    assert 0.91 < np.mean(covered) < 0.99


def test_the_largest_complete_part_is_taken_and_what_is_left_out_is_said():
    """Straight paths have one target only; the oracle is there for one data set."""
    levels = {
        "data": ["mix", "moons"],
        "path": ["straight", "half", "one"],
        "target": ["exact", "off"],
        "net": ["mlp", "oracle"],
    }

    def drop(row):
        no_target = row["path"] == "straight" and row["target"] == "off"
        return no_target or (row["net"] == "oracle" and row["data"] == "moons")

    grid = balanced(cells(lambda **at: float(at["seed"]), drop=drop, **levels), list(levels))
    assert grid.factors == ("data", "path", "target")
    assert grid.levels[1] == ("half", "one")
    assert grid.left_out == "path straight; net oracle"
    assert np.isfinite(grid.values).all()


def test_lost_seeds_go_before_combinations_do_unless_too_few_are_left():
    lose = lambda *gone: lambda a, b, seed: math.nan if (b, seed) in gone else float(seed)  # noqa: E731
    grid = balanced(cells(lose(("b0", 1)), a=A, b=B), ["a", "b"])
    assert (len(grid.values), grid.levels[1], grid.left_out) == (3, ("b0", "b1", "b2"), "1 seed that lacks a value")
    grid = balanced(cells(lose(*(("b0", seed) for seed in (0, 1, 2))), a=A, b=B), ["a", "b"])
    assert (len(grid.values), grid.levels[1], grid.left_out) == (4, ("b1", "b2"), "b b0")


def test_factors_in_step_are_one_and_a_grid_of_one_cell_has_no_effects():
    table = cells(lambda a, seed: A[a], a=A).assign(twin=lambda t: t["a"] + "'")
    grid = balanced(table, ["a", "twin"])
    assert (grid.factors, grid.levels) == (("a + twin",), (("a0 + a0'", "a1 + a1'"),))
    assert balanced(cells(lambda a, seed: 1.0, a=["x"]), ["a"]) is None
    assert balanced(cells(lambda a, seed: math.nan, a=A), ["a"]) is None
    one = effects(balanced(cells(lambda a, seed: A[a], seeds=1, a=A), ["a"]))
    assert one["effect"].tolist() == [-1, 1]
    assert one[["low", "high"]].isna().all(axis=None)


def test_data_sets_are_blocks():
    scale = {"mix": 100.0, "moons": 0.0}
    table = cells(lambda data, a, seed: scale[data] + A[a] + 0.01 * seed, data=scale, a=A)
    found = effects(balanced(table, ["data", "a"]), block="data")
    assert set(found["factor"]) == {"a", "data"}
    assert found.loc[found["other"] == "", "factor"].unique().tolist() == ["a"]
    assert found.loc[found["factor"] == "a", "share"].iloc[0] == pytest.approx(1.0)


points = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=8)


@given(points)
def test_the_hypervolume_counts_unit_squares(them):
    x, y = (np.array([p[i] for p in them], dtype=float) for i in (0, 1))
    squares = sum(any(a <= i and b <= j for a, b in them) for i in range(6) for j in range(6))
    assert hypervolume(x, y, (6.0, 6.0)) == squares


def test_fronts_have_one_number_a_setting_with_an_interval_over_seeds():
    nfe = {"2": 2.0, "4": 4.0, "8": 8.0}
    level = {"good": 0.0, "bad": 1.0}
    table = cells(lambda path, steps, seed: level[path] + 1 / nfe[steps] + 0.01 * seed, path=level, steps=nfe)
    table["nfe"] = table["steps"].map(nfe)
    found = fronts(table, ["path"], None).set_index("path")
    assert found.loc["good", "hypervolume"] > found.loc["bad", "hypervolume"]
    assert (found["low"] < found["hypervolume"]).all()
    assert found["n"].tolist() == [4, 4]
    best = fronts(table.assign(value=-table["value"]), ["path"], None, higher=True).set_index("path")
    assert best["hypervolume"].tolist() == pytest.approx(found["hypervolume"].tolist())
    table.loc[(table["path"] == "bad") & (table["seed"] == 0), "value"] = math.nan
    assert fronts(table, ["path"], None).set_index("path").loc["bad", ["n", "of"]].tolist() == [3, 4]
    assert fronts(table[table["steps"] == "2"], ["path"], None).empty
