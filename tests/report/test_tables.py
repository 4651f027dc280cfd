"""Tables against numbers worked out from the records, and text that shows labels as they are."""

import math

import numpy as np
import pandas as pd
import pytest

from bench.errors import StoreError
from bench.report import tables
from bench.report.results import load_results
from bench.stats import mean_interval

AXES = {"path": ["straight", "noisy"], "solver": ["euler", "heun"]}


def write_tables(results):
    for name, text in tables.table_files(results).items():
        (results.folder / name).write_text(text, newline="")


def read(folder, name):
    return pd.read_csv(folder / "tables" / f"{name}.csv", keep_default_na=False)


def fail(status, **where):
    def change(cell):
        if all(cell[key] == value for key, value in where.items()):
            cell.update(status=status, reason="it went wrong")

    return change


def test_headline_is_mean_and_interval_over_seeds_beside_floor_and_excess(make_run):
    folder = make_run(AXES)
    write_tables(load_results(folder))
    records = read(folder, "records")
    headline = read(folder, "headline")
    assert headline[["path", "solver"]].to_numpy().tolist() == [[p, s] for p in AXES["path"] for s in AXES["solver"]]
    row = headline.iloc[1]
    mine = records[(records["path"] == "straight") & (records["solver"] == "heun")]
    for metric in ("wasserstein", "wasserstein_floor", "wasserstein_excess", "mmd", "mmd_floor", "nfe"):
        values = pd.to_numeric(mine.loc[mine["metric"] == metric, "value"])
        wanted = mean_interval(values**2 if metric.endswith("_excess") else values)
        if metric.endswith("_excess"):
            wanted = wanted._replace(mean=wanted.mean**0.5, low=wanted.low**0.5, high=wanted.high**0.5)
        found = [float(row[metric]), float(row[f"{metric}_low"]), float(row[f"{metric}_high"]), int(row[f"{metric}_n"])]
        assert found == pytest.approx([wanted.mean, wanted.low, wanted.high, wanted.n])
    assert (row["seeds_ok"], row["seeds_of"]) == (3, 3)
    assert "mmd_excess" not in headline


def test_an_excess_stands_as_the_root_of_its_mean_gap_with_both_ends(make_run):
    def measure(cell):
        over = [0.089, -0.057, 0.139][cell["seed"]]
        return {"wasserstein": 0.2, "wasserstein_floor": 0.1, "wasserstein_excess": over, "nfe": 10.0}

    results = load_results(make_run(AXES, measure=measure))
    assert tables.headline_text(results)["wasserstein excess"].tolist() == ["0.09 (-0.14 to 0.19)"] * 4


def test_a_diverged_cell_is_counted_and_not_averaged_away(make_run):
    folder = make_run(AXES, change=fail("diverged", path="noisy", solver="heun", seed=1))
    results = load_results(folder)
    write_tables(results)
    row = read(folder, "headline").iloc[3]
    assert (row["seeds_ok"], row["seeds_of"], row["wasserstein_n"]) == (2, 3, 2)
    text = tables.headline_text(results).iloc[3]
    assert text["wasserstein ↓"].endswith("(2/3)")
    assert text["seeds ok"] == "2/3"
    failures = read(folder, "failures")
    assert failures[["cell", "status", "what"]].to_numpy().tolist() == [[10, "diverged", "cell"]]


def test_a_combination_without_any_score_says_why(make_run):
    results = load_results(make_run(AXES, change=fail("timeout", path="noisy", solver="heun")))
    assert tables.headline_text(results)["wasserstein ↓"].iloc[3] == "timeout"


def test_sample_sizes_do_not_share_a_column(make_run):
    axes = {"path": ["straight", "noisy"], "sampling.n": ["256", "1024"]}
    results = load_results(make_run(axes))
    assert [score.key for score in results.scores[:2]] == ["wasserstein[n=256]", "wasserstein[n=1024]"]
    headline = tables.headline(results)
    assert headline["wasserstein[n=256]_n"].tolist() == [3, 0, 3, 0]
    assert headline["wasserstein_floor[n=1024]_n"].tolist() == [0, 3, 0, 3]
    assert "wasserstein" not in headline


def test_times_of_two_devices_do_not_share_a_column(make_run):
    def place(cell):
        cell["device"] = "gpu" if cell["path"] == "noisy" else "cpu"

    results = load_results(make_run(AXES, change=place))
    assert results.times("sample_seconds") == {"cpu": "sample_seconds[cpu]", "gpu": "sample_seconds[gpu]"}
    text = tables.headline_text(results)
    assert text["sampling [s] gpu"].tolist()[:2] == ["–", "–"]
    assert "–" not in text["sampling [s] gpu"].tolist()[2:]


def test_pivot_holds_each_combination_once(make_run):
    results = load_results(make_run({**AXES, "dataset": ["moons", "rings"]}))
    numbers, text = tables.pivot(results, results.scores[0])
    assert list(numbers.columns) == ["path", "dataset", "solver=euler", "solver=heun"]
    means = results.over_seeds("wasserstein")["mean"].to_numpy()
    assert sorted(numbers[["solver=euler", "solver=heun"]].to_numpy().ravel()) == pytest.approx(sorted(means))
    assert text.shape == numbers.shape


def test_labels_are_shown_and_never_interpreted(make_run):
    labels = ["none", "nan", "007", "a|b", "<b>*x*", "NA", "$y$"]
    folder = make_run({"path": labels})
    results = load_results(folder)
    write_tables(results)
    assert results.labels("path") == labels
    assert read(folder, "headline")["path"].astype(str).tolist() == labels
    lines = (folder / "tables" / "headline.md").read_text().splitlines()[2:]
    assert [line.split(" ")[1] for line in lines] == [
        "none", "nan", "007", "a\\|b", "&lt;b>\\*x\\*", "NA", "\\$y\\$",
    ]  # fmt: skip


def test_a_long_headline_shows_where_each_solver_breaks(make_run):
    axes = {"path": ["straight", "noisy"], "solver": ["euler", "heun"], "solver.steps": [str(2**k) for k in range(11)]}
    results = load_results(make_run(axes, seeds=(0,)))
    table, note = tables.compact(results, tables.headline_text(results))
    assert table["solver.steps"].tolist() == ["128", "16", "128", "16"]
    assert note.startswith(
        "4 of 44 combinations: each solver at the fewest evaluations (NFE) whose W2 (root) is within 10"
    )
    score = results.over_seeds("wasserstein")["mean"]
    for combo, steps in zip(table.index, (7, 4, 7, 4), strict=True):
        last = combo - steps + 10
        assert score[combo] <= 1.1 * score[last] < score[combo - 1]


def test_a_headline_has_ten_columns_and_the_first_score_is_among_them(make_run):
    axes = {f"training.{name}": ["1", "2"] for name in "abcdefg"}
    results = load_results(make_run(axes, seeds=(0,)))
    table, note = tables.compact(results, tables.headline_text(results))
    assert list(table)[5:8] == ["other factors", "W2 (root) ↓", "W2 (root) floor"]
    assert len(table.columns) == 10
    assert table["other factors"].iloc[1] == "training.f=1, training.g=2"
    assert "The same in all rows: NFE 10, seeds ok 1/1." in note
    assert "Left out, for 10 columns at most: MMD (biased, root) floor" in note


def test_the_first_score_that_has_a_floor_shows_it_and_scores_without_one_say_why(make_run):
    def measure(cell):
        return {"ratio": 4.9, "wasserstein": 0.2, "wasserstein_floor": 0.1, "wasserstein_excess": 0.17, "own": 1.0}

    values = {"ratio": {"unit": "1", "direction": "none"}, "wasserstein": {"direction": "lower"}, "own": {}}
    results = load_results(make_run(AXES, measure=measure, values=values))
    table, note = tables.compact(results, tables.headline_text(results))
    assert {"W2 (root) floor", "W2 (root) excess"} <= set(table)
    assert note.endswith(
        "Without floor and excess: ratio (neither way is better); own (no perfect sampler's is worked out)."
    )


def test_terminal_table_fits_and_names_what_it_leaves_out(make_run):
    results = load_results(make_run(AXES))
    table = tables.headline_text(results)
    text = tables.plain_table(table, 70)
    body, _, left_out = text.partition("(no room for: ")
    assert max(len(line) for line in body.splitlines()) <= 70
    assert "sampling [s]" in left_out
    assert "wasserstein ↓" in body
    assert "no room" not in tables.plain_table(table, 400)


def test_a_published_number_is_graded_by_what_it_predicts_and_only_where_no_seed_is_missing(make_run):
    def measure(cell):
        return {"wasserstein": [0.1, 0.2, 0.3][cell["seed"]], "nfe": 10.0}

    def change(cell):
        fail("diverged", path="noisy", solver="euler", seed=2)(cell)
        fail("timeout", path="noisy", solver="heun")(cell)

    def stated(mean, cells, metric="wasserstein"):
        return {"where": "w", "metric": metric, "source": "s", "mean": mean, "sd": 0.06, "n": 9, "cells": cells}

    # Half-width t_8 0.06 sqrt(1/9 + 1/3) = 0.09224: .11 predicts 3 runs with a mean of .2, and .1 does not.
    whole, partly, none = [0, 1, 2], [6, 7, 8], [9, 10, 11]
    numbers = [stated(0.11, whole), stated(0.1, whole), stated(0.11, partly), stated(0.11, none)]
    folder = make_run(AXES, change=change, measure=measure, published=[*numbers, stated(0.11, whole, "mmd")])
    results = load_results(folder)
    table = tables.published(results)
    assert table["grade"].tolist() == ["inside", "outside", "incomplete", "no result", "no result"]
    assert table[["n", "of"]].to_numpy().tolist() == [[3, 3], [3, 3], [2, 3], [0, 3], [0, 3]]
    assert table["mean"].tolist()[:3] == pytest.approx([0.2, 0.2, 0.15])
    assert table["sd"].tolist()[:3] == pytest.approx([0.1, 0.1, 0.05 * 2**0.5])
    assert table[["low", "high"]].to_numpy()[:2].ravel() == pytest.approx(
        [0.01775983, 0.20224017, 0.00775983, 0.19224017], abs=1e-8
    )
    assert table.loc[2:, ["low", "high"]].isna().all(axis=None)
    write_tables(results)
    assert read(folder, "published")["grade"].tolist() == table["grade"].tolist()
    shown = tables.published_text(results)
    assert shown["here mean ± sd (n)"].tolist() == ["0.2 ± 0.1 (3)"] * 2 + ["0.15 ± 0.071 (2 of 3)", "–", "–"]
    assert shown["expected here"].tolist() == ["0.0178 to 0.202", "0.00776 to 0.192", "–", "–", "–"]


def test_numbers_that_are_not_finite_count_as_missing(make_run):
    def measure(cell):
        return {"wasserstein": math.inf if cell["seed"] == 0 else 0.5, "nfe": 10.0}

    results = load_results(make_run(AXES, measure=measure))
    assert results.over_seeds("wasserstein")["n"].tolist() == [2] * 4
    assert np.isfinite(results.over_seeds("wasserstein")["mean"]).all()


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(StoreError, match="run the suite first"):
        load_results(tmp_path)


def test_seeds_in_two_clusters_have_no_mean_in_the_headline(make_run):
    def measure(cell):
        far = cell["path"] == "noisy" and cell["seed"] % 2
        return {"wasserstein": 1.0 + 0.01 * cell["seed"] + far, "wasserstein_floor": 0.5, "nfe": 10.0}

    results = load_results(make_run({"path": ["straight", "noisy"]}, range(7), measure=measure))
    straight, noisy = tables.headline_text(results)["wasserstein ↓"]
    assert "±" in straight
    assert noisy == "1 to 1.06 (4 seeds) and 2.01 to 2.05 (3)"
    assert tables.headline(results)["wasserstein"].tolist() == pytest.approx([1.03, 1.03 + 3 / 7]), (
        "numbers stay numbers"
    )
