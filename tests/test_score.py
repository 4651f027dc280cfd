"""Scoring: what a metric sees, which jobs it shares, and what becomes of a value that a cell does not admit."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from textwrap import dedent
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch

from bench.datasets.mixtures import GaussianMixture
from bench.errors import WrongAnswer
from bench.exact import law_of
from bench.inputs import INPUTS
from bench.interfaces import Given, Measured, Metric
from bench.planner import plan
from bench.score import Fetched, score
from bench.suite import load_suite

SEEN: list[Given] = []


@dataclass(frozen=True)
class Witness(Metric):
    """Notes what it is given and returns the repeat's first sample."""

    values: ClassVar[Mapping[str, Measured]] = {"witness": Measured("1", "lower")}

    def measure(self, given):
        SEEN.append(given)
        return {"witness": float("nan" if given.samples is None else given.samples.flat[0])}


def test_a_metric_is_asked_once_a_repeat_and_of_the_first_alone_where_there_is_no_more():
    points, once = np.arange(12.0).reshape(3, 2, 2), {"law": GaussianMixture()}
    SEEN.clear()
    assert score(Witness(), Fetched(each={"samples": points}, once=once))[0]["witness"] == [0.0, 4.0, 8.0]
    assert [one.repeat for one in SEEN] == [0, 1, 2]
    given = {field.name for field in fields(Given) if getattr(SEEN[0], field.name) is not None}
    assert given == {"samples", "law", "seed", "repeat"}
    first = {"trajectory": points, "times": np.array([0.0, 0.5, 1.0])}
    assert score(Witness(), Fetched({"samples": points}, first, once))[0]["witness"] == [0.0]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"witness": math.nan}, "witness is nan; Witness should raise Undefined"),
        ({"other": 1.0}, "Witness answers other and declares witness; return one number for each of these"),
        ({"witness": 1.0, "more": 2.0}, "Witness answers more, witness and declares witness"),
        ({}, "Witness answers nothing and declares witness"),
        (None, "Witness answers a NoneType; return a mapping of witness"),
        ({"witness": "3.5"}, "witness of Witness is '3.5', a str; return a float"),
        ({"witness": None}, "witness of Witness is 'None', a NoneType"),
        ({"witness": True}, "a bool; return a float"),
        ({"witness": np.complex128(1 + 2j)}, "a complex128; return a float"),
        ({"witness": np.array([1.0])}, "a ndarray; return a float"),
    ],
)
def test_an_answer_that_is_not_what_was_declared_is_an_error_in_words(monkeypatch, answer, words):
    monkeypatch.setattr(Witness, "measure", lambda self, given: answer)
    with pytest.raises(WrongAnswer, match=words):
        score(Witness(), Fetched(each={"reference": np.zeros((1, 2, 2))}))


def test_numbers_of_any_library_are_numbers(monkeypatch):
    for number in (np.float32(0.5), np.array(0.5), torch.tensor(0.5), 0.5):
        monkeypatch.setattr(Witness, "measure", lambda self, given, number=number: {"witness": number})
        assert score(Witness(), Fetched(each={"reference": np.zeros((1, 2, 2))})) == ({"witness": [0.5]}, {})


def test_a_value_that_is_not_finite_costs_itself_alone(monkeypatch):
    both = {"witness": Measured("1", "lower"), "other": Measured("1", "lower")}
    monkeypatch.setattr(Witness, "values", both)
    monkeypatch.setattr(Witness, "measure", lambda self, given: {"witness": 1.0, "other": math.inf})
    values, refused = score(Witness(), Fetched(each={"reference": np.zeros((2, 2, 2))}))
    assert values == {"witness": [1.0, 1.0], "other": []}
    assert "other is inf" in refused["other"]


def test_every_input_is_a_field_of_what_a_metric_is_given():
    assert INPUTS.keys() <= {field.name for field in fields(Given)}
    assert all(row.name == name for name, row in INPUTS.items())


def test_the_law_of_a_data_set_forgets_its_training_points():
    assert law_of(GaussianMixture(points=7)) == GaussianMixture()
    assert law_of(GaussianMixture()) == GaussianMixture()


SUITE = """
    suite: small
    question: Which?
    seeds: 2
    base:
      dataset: two_gaussians
      path: {name: noisy_bridge}
      net: {name: mlp, width: 8, depth: 1}
      training: {steps: 20, batch: 16}
      sampling: {n: 32, repeats: 2}
    grid:
      solver:
        - {name: euler, steps: 4}
        - {name: rk4, steps: 2}
    metrics: [wasserstein, METRIC]
"""


@pytest.fixture
def suite(tmp_path):
    def write(metric, *changes):
        text = SUITE.replace("METRIC", metric)
        for before, after in changes:
            assert before in text
            text = text.replace(before, after)
        file = tmp_path / "small.yaml"
        file.write_text(dedent(text))
        return file

    return write


def scores(file, metric):
    """Keys of a metric's score jobs, a cell each."""
    laid = plan(load_suite(file), "this machine")
    return [job[1] for job in laid.cells[f"score/{metric}"]]


@pytest.mark.parametrize(
    ("metric", "distinct"),
    [("velocity_error", 2), ("log_likelihood", 2), ("error_budget", 4), ("straightness", 4), ("mode_weight_tv", 4)],
)
def test_a_score_is_shared_by_cells_that_differ_in_nothing_that_it_declares(suite, metric, distinct):
    keys = scores(suite(metric), metric)
    assert len(keys) == 4
    assert len(set(keys)) == distinct


@pytest.mark.parametrize(
    ("metric", "change", "moves"),
    [
        ("velocity_error", ("n: 32", "n: 64"), False),
        ("velocity_error", ("grid:", "grid:\n      direction: [reversed_field]"), True),
        ("velocity_error", ("steps: 20", "steps: 21"), True),
        ("log_likelihood", ("n: 32", "n: 64"), True),
        ("straightness", ("name: rk4, steps: 2", "name: rk4, steps: 3"), True),
        ("error_budget", ("base:", "base:\n      target: displacement"), True),
        ("error_budget", ("seeds: 2", "seeds: 2 # more text"), False),
    ],
)
def test_a_key_moves_with_what_the_metric_declares_and_stays_otherwise(suite, metric, change, moves):
    before, after = scores(suite(metric), metric), scores(suite(metric, change), metric)
    assert (before != after) == moves


def test_an_oracle_is_scored_by_its_law_where_it_has_no_training(suite):
    oracle = ("net: {name: mlp, width: 8, depth: 1}", "net: oracle")
    before = scores(suite("velocity_error", oracle), "velocity_error")
    assert len(set(before)) == 2
    other = ("dataset: two_gaussians", "dataset: gaussian_mixture")
    assert not set(before) & set(scores(suite("velocity_error", oracle, other), "velocity_error"))


def scored(bench, file, results):
    done = bench("run", file, "--results", results)
    assert done.returncode == 0, done.stdout + done.stderr
    records = pd.read_csv(results / "small" / "tables" / "records.csv")
    cells = pd.read_csv(results / "small" / "tables" / "cells.csv")
    return done.stdout, records, cells


@pytest.mark.slow
def test_a_value_that_a_cell_does_not_admit_is_a_skipped_row_of_a_cell_that_is_well(bench, suite, tmp_path):
    results = tmp_path / "results"
    file = suite(
        "error_budget, nearest_training_point",
        ("seeds: 2", "seeds: 1"),
        ("dataset: two_gaussians", "clock: data_at_0"),
        ("{name: mlp, width: 8, depth: 1}", "oracle"),
        ("        - {name: rk4, steps: 2}\n", ""),
        (
            "solver:",
            "target: [exact, displacement]\n"
            "      dataset: {known: two_gaussians, finite: {name: rings, points: 9}}\n      solver:",
        ),
    )
    _, records, cells = scored(bench, file, results)
    assert set(cells["status"]) == {"ok"}
    for name, dataset, reason in (
        ("model_error", "finite", "Gaussian mixtures only"),
        ("nearest_training_ratio", "known", "fresh draw"),
    ):
        rows = records[records["metric"] == name].set_index("dataset")
        refused, others = rows.loc[dataset], rows.drop(dataset)
        assert set(refused["status"]) == {"skipped"}
        assert refused["value"].isna().all()
        assert refused["reason"].str.contains(reason).all()
        assert set(others["status"]) == {"ok"}
        assert others["value"].notna().all()
    assert set(records.loc[records["metric"] == "wasserstein", "status"]) == {"ok"}
    assert records.loc[records["metric"] == "score_seconds", "value"].notna().all()
    # The field that is judged is the one that was sampled, seen through its clock and of its own target.
    known = records[records["dataset"] == "known"].pivot_table(index="target", columns="metric", values="value")
    assert (known["model_error"] < 1e-9).all()
    assert (known["solver_error"] > 0.1).all()
    assert known.loc["exact", "target_error"] == 0
    assert known.loc["displacement", "target_error"] > 0.01
    again, *_ = scored(bench, file, results)
    assert "nothing new" in again
