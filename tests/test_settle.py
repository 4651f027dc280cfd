"""`bench settle` on real trainings: a true claim, a false one and an empty one; and copies of one cell, which have no
side.
"""

import json
from textwrap import dedent

import pandas as pd
import pytest

from bench.decisions import judge

TINY = """\
base:
  dataset: gaussian_mixture
  net: {width: 8, depth: 1}
  sampling: {n: 64, repeats: 1}
  solver: {name: euler, steps: 5}
"""
SUITE = f"""\
question: Does training help, and does it matter which copy is trained?
seeds: 2
{TINY}\
grid:
  training: {{long: {{steps: 200, batch: 64, learning_rate: 1e-2}}, short: {{steps: 1, batch: 64}}}}
  replica: [0, 1]
metrics: [wasserstein]
claims:
  - {{claim: training helps, metric: wasserstein, better: {{training: long}}, than: {{training: short}}}}
  - {{claim: training harms, metric: wasserstein, better: {{training: short}}, than: {{training: long}}}}
  - claim: the first copy is better
    metric: wasserstein
    better: {{training: long, replica: 0}}
    than: {{training: long, replica: 1}}
"""


@pytest.mark.slow
def test_settle_ends_as_it_should_and_again_from_the_store(bench, tmp_path):
    (tmp_path / "tiny.yaml").write_text(dedent(SUITE))
    command = ("settle", tmp_path / "tiny.yaml", "--max-seeds", 10, "--results", tmp_path / "r")
    first = bench(*map(str, command))
    assert first.returncode == 0, first.stderr
    folder = tmp_path / "r" / "tiny-settled"
    table = pd.read_csv(folder / "tables" / "claims.csv")
    assert table["verdict"].tolist() == ["supported", "refuted", "undecided"]
    assert table["looks"].tolist()[2] == 10
    assert (table["looks"][:2] < 10).all()
    assert (table["e"][:2] >= 20).all()
    assert table[["p", "p_holm"]].isna().all(axis=None), "never mixed with fixed numbers of seeds"
    assert json.loads((folder / "suite.json").read_text())["settled"] == {"max_seeds": 10}
    cells = pd.read_csv(folder / "tables" / "cells.csv")
    seeds = cells.groupby(["training", "replica"])["seed"].nunique()
    assert seeds["long"].tolist() == [10, 10]
    assert (seeds["short"] == table["looks"][0]).all(), "seeds were added to the open claim alone"
    page = (folder / "report.md").read_text()
    assert "e (looks)" in page
    assert "The e-values allow for every look" in page

    before = {file.name: file.read_bytes() for file in (folder / "tables").iterdir()}
    again = bench(*map(str, command))
    assert again.returncode == 0, again.stderr
    assert "to do" not in again.stdout + again.stderr
    assert "nothing new; the report stands as it is" in again.stdout
    assert "Supported: “training helps”." in again.stdout
    assert before == {file.name: file.read_bytes() for file in (folder / "tables").iterdir()}

    one = bench(*map(str, command), "--claim", "harms", "--max-seeds", "1")
    assert one.returncode == 0, one.stderr
    assert "1 seeds: 0 of 1 claims decided" in one.stdout
    short = bench(*map(str, command), "--max-minutes", "0")
    assert short.stdout.count("claims decided") == 1, "no further round is begun"
    none = bench(*map(str, command), "--claim", "halms")
    assert (none.returncode, "training harms" in none.stderr) == (2, True)


def test_a_suite_without_claims_has_nothing_to_settle(bench, tmp_path):
    (tmp_path / "none.yaml").write_text(f"question: what?\n{TINY}")
    done = bench("settle", str(tmp_path / "none.yaml"), "--results", str(tmp_path / "r"))
    assert done.returncode == 2
    assert "no claims to settle" in done.stderr


COPIES, SEEDS, TRIALS = 60, 7, 3
"""Replicas of a run, three to a suite of two claims, which need seven seeds; runs, each of 20 suites."""


@pytest.mark.long
def test_of_60_suites_of_copies_at_most_7_have_a_side(bench, tmp_path):
    """One cell again and again under other salts of its random streams, each claimed to be better than the next."""
    claims = "".join(
        f"  - {{claim: copy {copy}, metric: wasserstein, better: {{replica: {copy}}}, than: {{replica: {copy + 1}}}}}\n"
        for copy in range(COPIES)
        if copy % 3 < 2
    )
    sides = 0
    for trial in range(TRIALS):
        seeds = [SEEDS * trial + seed for seed in range(SEEDS)]
        file, results = tmp_path / f"copies{trial}.yaml", tmp_path / f"r{trial}"
        file.write_text(
            f"question: what?\nseeds: {seeds}\n{TINY.replace('gaussian_mixture', 'two_moons')}"
            f"  training: {{steps: 50, batch: 64}}\ngrid: {{replica: {list(range(COPIES))}}}\n"
            f"metrics: [wasserstein]\nclaims:\n{claims}"
        )
        done = bench("run", str(file), "--results", str(results))
        assert done.returncode == 0, done.stderr
        table = pd.read_csv(results / file.stem / "tables" / "claim_seeds.csv")
        series = [part["difference"].to_numpy() for _, part in table.groupby("claim", sort=False)]
        assert all(len(d) == SEEDS and d.std() > 0 for d in series)
        for i in range(0, len(series), 2):
            sides += any(one.verdict in {"supported", "refuted"} for one in judge(series[i : i + 2], [None] * 2))
    assert TRIALS * len(series) // 2 == 60
    assert sides <= 7
