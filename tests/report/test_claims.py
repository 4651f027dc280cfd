"""Claims of a run as tables and sentences, against numbers put in by hand."""

import numpy as np
import pandas as pd
import pytest

from bench import verdicts
from bench.report import tables
from bench.report.claims import claims_text
from bench.report.results import load_results
from bench.stats import mean_interval

AXES = {"dataset": ["checkerboard", "moons"], "path": ["straight", "noisy"]}
SEEDS = range(8)
PAIRS = [[16 * d + s, 16 * d + 8 + s] for d in (0, 1) for s in SEEDS]
"""Cells are laid out data set, path, seed."""


def stated(claim="c", **changes):
    given = {"claim": claim, "metric": "wasserstein", "better": "path: straight", "than": "path: noisy"}
    return {**given, "by": None, "margin": None, "at": None, "pairs": PAIRS, **changes}


def swapped(claim, **changes):
    return stated(claim, better="path: noisy", than="path: straight", pairs=[[b, a] for a, b in PAIRS], **changes)


def measured(gain):
    """Scores of 1 on the straight path; on the noisy one more by gain(data set, seed)."""

    def measure(cell):
        more = gain(cell["dataset"], cell["seed"]) if cell["path"] == "noisy" else 0.0
        return {"wasserstein": 1.0 + more, "wasserstein_floor": 0.5, "nfe": 10.0}

    return measure


def run(make_run, gain, claims, seeds=SEEDS, **about):
    return load_results(make_run(AXES, seeds, measure=measured(gain), claims=claims, **about))


def wobble(seed):
    return 0.01 * np.sin(5 * seed)


def test_each_verdict_has_its_row_and_its_sentence(make_run):
    claims = [
        stated("straight is better", source="arXiv:1", because="b", topic="paths"),
        swapped("noisy is better"),
        swapped("they are equal to within .5", margin=0.5),
        stated("within .2, or not", margin=0.2),
        stated("nothing", pairs=[]),
    ]
    results = run(make_run, lambda _, s: 0.2 + wobble(s), claims)
    table = verdicts.claims_table(results)
    assert tuple(table.columns) == verdicts.COLUMNS
    assert table["verdict"].tolist() == ["supported", "refuted", "equivalent", "undecided", "no data"]
    inside = mean_interval([0.2 + wobble(s) for s in SEEDS])
    assert table.loc[0, ["effect", "low", "high", "n", "of", "pairs"]].tolist() == pytest.approx([*inside[:3], 8, 8, 2])
    assert table.loc[1, "effect"] == pytest.approx(-inside.mean)
    assert table["p"].tolist()[:3] == [2 / 2**8, 2 / 2**8, 1 / 2**8]
    assert table["p_holm"].tolist()[0] == pytest.approx(5 * 2 / 2**8)
    assert table.loc[0, ["source", "because", "topic"]].tolist() == ["arXiv:1", "b", "paths"]
    answers = table["answer"].tolist()
    assert answers[0].startswith(
        "Supported: the W2 (root) of (path: straight) is lower than that of (path: noisy) by 0.198 ± 0.006"
    )
    assert answers[1].startswith("Refuted: the W2 (root) of (path: noisy) is higher than")
    assert "which is within the margin of ±0.5 data units (8 seeds, p = " in answers[2]
    assert "against" not in answers[2]
    assert "neither within nor beyond the margin of ±0.2 data units for certain" in answers[3]
    assert answers[4] == "No data: no pair of cells to compare"
    whole = verdicts.answer(results)
    assert whole.startswith("Supported: “straight is better”. Refuted, the other side is ahead: “")
    assert "Equivalent, no difference beyond the margin: “they are equal to within .5”." in whole


def test_undecided_says_what_would_settle_it_and_what_is_excluded(make_run):
    results = run(make_run, lambda _, s: 0.1 + 0.3 * np.sin(2.0 * s), [stated()])
    row = verdicts.claims_table(results).iloc[0]
    assert row["verdict"] == "undecided"
    assert f"about {row['more_seeds']:.0f} more seeds would settle an effect of this size" in row["answer"]
    assert f"differences above {row['excludes']:.2g} data units are excluded" in row["answer"]
    same = run(make_run, lambda *_: 0.0, [stated()])
    assert "is the same as that of (path: noisy) in every seed" in verdicts.answer(same)
    assert "more seeds would not tell the two apart" in verdicts.answer(same)


def test_too_few_seeds_have_an_interval_and_no_side(make_run):
    results = run(make_run, lambda _, s: 5.0 + wobble(s), [stated("a", pairs=[[0, 5], [1, 6], [2, 7]])], range(5))
    row = verdicts.claims_table(results).iloc[0]
    assert (row["verdict"], row["n"]) == ("too few seeds", 3)
    assert row[["p", "p_holm", "e", "more_seeds", "excludes"]].isna().all()
    assert row["answer"].startswith("Too few seeds: ")
    assert "3 seeds; one claim in a suite needs 6" in row["answer"]


@pytest.mark.parametrize(
    ("moons", "words"),
    [(-0.2, "the data sets disagree, ahead on checkerboard; behind on moons"),
     (0.0, "the data sets do not say the same, ahead on checkerboard; not told apart on moons"),
     (0.2, "by data set 0.198 ± 0.006 on checkerboard")],
)  # fmt: skip
def test_several_data_sets_are_shown_and_may_disagree(make_run, moons, words):
    results = run(
        make_run, lambda d, s: (0.2 if d == "checkerboard" else moons) + wobble(s + (d == "moons")), [stated()]
    )
    note = verdicts.claims_table(results).loc[0, "note"]
    assert words in note
    assert ("disagree" in note or "do not say" in note) is (moons != 0.2)
    seeds = verdicts.seeds_table(results)
    assert tuple(seeds.columns) == verdicts.SEED_COLUMNS
    assert seeds["dataset"].value_counts().to_dict() == {"": 8, "checkerboard": 8, "moons": 8}
    first = seeds[seeds["seed"] == 3].set_index("dataset")["difference"]
    assert first[""] == pytest.approx((first["checkerboard"] + first["moons"]) / 2)


@pytest.mark.parametrize(("path", "verdict"), [("straight", "undecided"), ("noisy", "supported")])
def test_a_side_that_fails_where_the_other_does_not_wins_nothing(make_run, path, verdict):
    """Nine seeds of which one diverged: eight say the same, and the ninth is why."""

    def change(cell):
        if (cell["path"], cell["seed"]) == (path, 8):
            cell.update(status="diverged", reason="the loss is infinite")

    pairs = [[18 * d + s, 18 * d + 9 + s] for d in (0, 1) for s in range(9)]
    about = {"measure": measured(lambda _, s: 0.2 + wobble(s)), "claims": [stated(pairs=pairs)], "change": change}
    row = verdicts.claims_table(load_results(make_run(AXES, range(9), **about))).iloc[0]
    assert (row["verdict"], row["n"], row["of"]) == (verdict, 8, 9)
    assert ("keep it from a verdict" in row["answer"]) is (verdict == "undecided")
    assert "no verdict rests on a side that fails" in row["note"]


def test_two_clusters_of_seeds_are_said_and_not_summed_up(make_run):
    results = run(make_run, lambda _, s: (0.1 if s % 2 else 0.8) + wobble(s), [stated()])
    row = verdicts.claims_table(results).iloc[0]
    assert "in two clusters, by 0.09" in row["answer"]
    assert "±" not in row["answer"]
    assert "±" not in claims_text(results).loc[0, "effect"]
    assert "two clusters" in row["note"]


def test_a_threshold_a_share_and_an_excess_are_worded(make_run):
    reaching = stated("r", reaches=1.5, than="1.5 × floor", pairs=[[s, s] for s in SEEDS])
    share = stated("s", metric="wasserstein_excess", by=0.1, at="nfe <= 20")
    results = run(make_run, lambda *_: 0.0, [reaching, share])
    first, second = verdicts.claims_table(results)["answer"]
    assert "the W2 (root) of (path: straight) is higher than 1.5 times its floor by 0.25 data units" in first
    assert first.startswith("Refuted")
    assert second.startswith("No data")
    found = verdicts.differences(results)[0]
    squared = verdicts.contrast_words(share, found)
    for words in (
        "squared wasserstein_excess (score² − floor², signed)",
        "0.81 times that of",
        "at the largest NFE ≤ 20",
    ):
        assert words in squared


def test_the_files_hold_what_the_tables_do(make_run):
    results = run(make_run, lambda _, s: 0.2 + wobble(s), [stated(), stated("d", margin=0.5)])
    files = tables.table_files(results)
    for name, text in files.items():
        (results.folder / name).write_text(text, newline="")
    read = pd.read_csv(results.folder / "tables" / "claims.csv")
    assert tuple(read.columns) == verdicts.COLUMNS
    assert read["verdict"].tolist() == ["supported", "equivalent"]
    assert len(pd.read_csv(results.folder / "tables" / "claim_seeds.csv")) == 2 * 3 * 8
    assert "| supported  | W2 better by 0.198 ± 0.006 data units (1.000 against 1.198)" in files["tables/claims.md"]


def test_a_suite_without_claims_has_a_first_look_for_its_answer(make_run):
    def gain(dataset, seed):
        return 0.2 + wobble(seed) + (0.1 if dataset == "moons" else 0)

    results = run(make_run, gain, [])
    assert verdicts.answer(results) == (
        "Nothing is claimed here. A first look: of the variance of wasserstein between cells, path accounts for 96 % "
        "and dataset with path for 4 %; of path, straight is best on average."
    )
    table, left_out = verdicts.effects_table(results)
    assert tuple(table.columns) == ("metric", "factor", "other", "level", "effect", "low", "high", "share")
    straight = table[(table["factor"] == "path") & (table["other"] == "") & (table["level"] == "straight")]
    assert straight["effect"].item() == pytest.approx(
        -np.mean([gain(d, s) for d in AXES["dataset"] for s in SEEDS]) / 2
    )
    assert left_out == {"wasserstein": ""}
    files = tables.table_files(results)
    assert "tables/effects.csv" in files
    assert "tables/claim_seeds.csv" not in files
    same = run(make_run, lambda *_: 0.0, [])
    assert verdicts.answer(same).endswith("nothing that varies accounts for the variance of wasserstein.")


def test_one_combination_has_nothing_to_look_at(make_run):
    results = load_results(make_run({"path": ["straight"]}, SEEDS))
    assert verdicts.answer(results) == "Nothing is claimed here, and no grid is complete enough for a first look."


def test_fronts_stand_in_a_file(make_run):
    results = load_results(make_run({"path": ["straight", "noisy"], "solver.steps": ["5", "10", "20"]}, SEEDS))
    found = verdicts.fronts_table(results)
    assert found["metric"].unique().tolist() == ["wasserstein", "mmd"]
    by_path = found[found["metric"] == "wasserstein"].set_index("path")["hypervolume"]
    assert by_path["straight"] > by_path["noisy"]
    assert "tables/fronts.csv" in tables.table_files(results)


def test_an_effect_says_in_words_which_side_does_better_and_what_both_sides_are(make_run):
    claims = [stated("straight is better"), swapped("noisy is better"), stated("nothing", pairs=[])]
    results = run(make_run, lambda _, s: 0.2 + wobble(s), claims)
    assert claims_text(results)["effect"].tolist() == [
        "W2 better by 0.198 ± 0.006 data units (1.000 against 1.198)",
        "W2 worse by 0.198 ± 0.006 data units (1.198 against 1.000)",
        "–",
    ]


def test_an_answer_on_many_claims_names_two_of_a_verdict_and_counts_the_rest(make_run):
    claims = [*(stated(f"better {k}") for k in range(4)), swapped("worse"), swapped("within", margin=0.1)]
    results = run(make_run, lambda _, s: 0.2 + wobble(s), claims)
    assert verdicts.answer(results) == (
        "Supported: “better 0”, “better 1” and 2 more. Refuted, the other side is ahead: “worse”. "
        "Refuted, a difference beyond the margin: “within”."
    )
