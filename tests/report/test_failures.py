"""Every value that is missing says why, once."""

import pandas as pd

from bench.api import Run
from bench.report import tables, write_report
from bench.report.failures import failure_groups, failures
from bench.report.results import load_results

AXES = {"path": ["straight", "noisy"]}
"""Cells 0 to 2 are straight, 3 to 5 noisy."""


def lose(folder, *rows, **columns):
    """Records without the values of (cells, names, status, reason)."""
    file = folder / "tables" / "records.csv"
    records = pd.read_csv(file, dtype=str, keep_default_na=False).assign(**columns)
    for cells, names, status, reason, *log in rows:
        own = records["cell"].astype(int).isin(cells) & records["metric"].isin(names)
        assert own.sum() == len(cells) * len(names)
        records.loc[own, ["value", "status", "reason"]] = "", status, reason
        if log:
            records.loc[own, "log"] = log[0]
    records.to_csv(file, index=False)
    return load_results(folder)


def test_each_missing_value_of_a_good_cell_has_its_own_reason_and_those_alike_share_a_row(make_run):
    results = lose(
        make_run(AXES),
        ([3, 4, 5], ["mmd", "mmd_floor"], "failed", "no kernel"),
        ([4], ["wasserstein", "wasserstein_excess"], "skipped", "no weights"),
        ([4], ["sample_seconds"], "timeout", "took too long"),
    )
    found = failures(results)
    assert len(found) == 3 * 2 + 2 + 1
    assert set(found["status"]) == {"failed", "skipped", "timeout"}
    assert failure_groups(results).to_numpy().tolist() == [
        ["failed", "mmd, mmd_floor", "3", "path=noisy", "no kernel"],
        ["skipped", "wasserstein, wasserstein_excess", "1", "path=noisy", "no weights"],
        ["timeout", "sample_seconds", "1", "path=noisy", "took too long"],
    ]
    text = tables.headline_text(results).iloc[1]
    assert text["mmd ↓"] == "failed", "the value's own status, though every cell is ok"
    assert text["wasserstein ↓"].endswith("(2/3)")
    assert text["seeds ok"] == "0/3", "no cell has all its scores"


def test_cells_that_lost_scores_are_not_called_ok_and_what_does_not_apply_or_is_a_time_costs_none(make_run):
    results = lose(
        make_run(AXES),
        ([0], ["mmd"], "cancelled", "interrupted"),
        ([1], ["mmd_floor"], "failed", "no kernel"),
        ([3], ["mmd"], "skipped", "not on the plane"),
        ([0, 1, 2, 3, 4, 5], ["sample_seconds"], "cancelled", "interrupted"),
    )
    assert tables.headline_text(results)["seeds ok"].tolist() == ["1/3", "3/3"]
    table, note = tables.compact(results, tables.headline_text(results))
    assert table["seeds ok"].tolist() == ["1/3", "3/3"]
    assert "seeds ok" not in note
    page = write_report(results.folder).page.read_text()
    assert "6 cells on mixture, profile `quick`: 4 ok, 1 cancelled, 1 failed. [Results missing]" in page
    assert "(#failures-and-skips): 7 cancelled, 1 failed, 1 skipped." in page
    assert not Run(results.folder).ok


def test_a_cell_that_went_wrong_is_one_row_and_only_other_reasons_add_to_it(make_run):
    def broke(cell):
        if cell["cell"] == 5:
            cell.update(status="diverged", reason="loss is nan")

    scores = ["wasserstein", "wasserstein_floor", "wasserstein_excess", "mmd", "nfe"]
    results = lose(
        make_run(AXES, change=broke),
        ([5], scores, "diverged", "training: loss is nan"),
        ([5], ["mmd_floor"], "failed", "no kernel"),
        ([5], ["train_seconds"], "cancelled", "stopped at the first failure"),
    )
    assert failures(results)[["what", "status", "reason"]].to_numpy().tolist() == [
        ["cell", "diverged", "loss is nan"],
        ["mmd_floor", "failed", "no kernel"],
        ["train_seconds", "cancelled", "stopped at the first failure"],
    ]


def test_values_that_ended_differently_in_different_seeds_say_each_end(make_run):
    results = lose(make_run(AXES), ([0, 1], ["mmd"], "failed", "no kernel"), ([2], ["mmd"], "cancelled", "stopped"))
    assert tables.headline_text(results)["mmd ↓"].iloc[0] == "failed, cancelled"


def test_the_table_says_where_a_failed_job_left_its_words_if_it_did(make_run):
    place = "store/failed/score-ab12.log"
    results = lose(make_run(AXES), ([0], ["mmd"], "failed", "ValueError: no kernel", place), log="")
    assert failures(results)["log"].tolist() == [place]
    assert failure_groups(results)["log"].tolist() == [place]
    assert "log" not in failure_groups(lose(make_run(AXES, name="none"), ([0], ["mmd"], "failed", "no kernel")))


def test_a_cells_row_bears_the_log_of_what_its_values_say_of_it(make_run):
    def broke(cell):
        if cell["cell"] == 0:
            cell.update(status="failed", reason="ValueError: no")

    results = lose(
        make_run(AXES, change=broke), ([0], ["mmd"], "failed", "training: ValueError: no", "store/a.log"), log=""
    )
    assert failures(results)[["what", "log"]].to_numpy().tolist() == [["cell", "store/a.log"]]


def test_a_value_that_is_infinite_is_missing_and_says_so(make_run):
    results = load_results(make_run(AXES, measure=lambda cell: {"mmd": float("inf") if cell["cell"] else 1.0}))
    assert set(failures(results)["reason"]) == {"the value is infinite"}
    assert len(failures(results)) == 5
