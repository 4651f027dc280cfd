"""Whole runs on images: real digits, real torch-fidelity, and data that are nowhere to be found."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import numpy as np
import pandas as pd
import pytest

import bench as harness
from bench.report.arrays import Arrays
from bench.store import Store

SUITE = """
    suite: drawn
    question: Are images scored, floored and shown?
    seeds: 2
    base:
      dataset: digits
      net: {name: unet, width: 8, classes: 10}
      training: {steps: 20, batch: 16}
      sampling: {n: 120, repeats: 1, batch: 60, start: independent}
    grid:
      solver:
        - {name: euler, steps: 2}
        - {name: ddim, steps: 2}
    metrics:
      - {name: fid, extractor: pixels}
      - {name: precision_recall, extractor: pixels}
    claims:
      - {claim: On the straight line these are the same, metric: fid, margin: 1,
         better: {solver: euler(steps=2)}, than: {solver: ddim(steps=2)}}
"""


@pytest.fixture(scope="module")
def ran(bench, tmp_path_factory):
    """Folder of a finished run."""
    folder = tmp_path_factory.mktemp("images")
    (folder / "drawn.yaml").write_text(dedent(SUITE))
    done = bench("run", folder / "drawn.yaml", "--results", folder / "results")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "results"


@pytest.fixture(scope="module")
def records(ran):
    return pd.read_csv(ran / "drawn" / "tables" / "records.csv")


def test_values_bear_their_extractor_wherever_they_are_named(ran, records):
    about = json.loads((ran / "drawn" / "suite.json").read_text())
    assert {"fid[pixels]", "precision[pixels]"} <= set(about["values"])
    assert about["claims"][0]["metric"] == "fid[pixels]"
    assert not records["metric"].isin(["fid", "precision"]).any()
    assert "the FID (squared, pixels) of (solver: euler" in (ran / "drawn" / "report.md").read_text()


def test_the_floor_is_ten_draws_with_their_spread_the_same_for_all_cells(records):
    for name in ("fid[pixels]_floor", "fid[pixels]_floor_sd", "recall[pixels]_floor"):
        values = records.loc[records["metric"] == name, "value"]
        assert len(values) == 4
        assert values.nunique() == 1
        assert values.iloc[0] > 0
    assert (records.loc[records["metric"] == "fid[pixels]_floor", "repeats"] == 10).all()


def test_features_of_real_images_are_made_once_for_all_metrics_and_seeds(ran):
    (entry,) = (ran / "store" / "prepared").iterdir()
    kept = Arrays(ran / "store").load(f"prepared/{entry.name}", "prepared")
    assert kept is not None
    assert kept.shape == (360, 64)


def test_scores_are_those_of_the_metric_asked_directly(ran, records):
    from bench.datasets.images import Digits
    from bench.interfaces import Given
    from bench.metrics.fidelity import FID

    samples = harness.load(ran / "drawn").samples(0)
    direct = FID(extractor="pixels").measure(Given(samples=samples[0], law=Digits()))["fid"]
    kept = records.loc[(records["cell"] == 0) & (records["metric"] == "fid[pixels]"), "value"].item()
    assert kept == pytest.approx(direct, rel=1e-4)


def test_a_finite_training_set_is_passed_through_in_epochs(records):
    assert records.loc[records["metric"] == "epochs", "value"].tolist() == pytest.approx([20 * 16 / 1437] * 4)


def test_ddim_on_the_straight_line_is_eulers_method(ran):
    cells = pd.read_csv(ran / "drawn" / "tables" / "cells.csv").set_index(["solver", "seed"])
    euler, ddim = (
        np.load(ran / "store" / cells.loc[(solver, 0), "sample_entry"] / "samples.npy")
        for solver in ("euler(steps=2)", "ddim(steps=2)")
    )
    np.testing.assert_allclose(euler, ddim, atol=1e-4)


def test_the_report_shows_the_samples_a_row_a_class_and_the_way(ran):
    page = (ran / "drawn" / "report.md").read_text()
    for name in ("images", "classes", "image_way", "losses"):
        file = f"figures/{name}.{'svg' if name == 'losses' else 'webp'}"
        assert f"({file})" in page
        assert (ran / "drawn" / file).stat().st_size > 3000
    assert ">epoch<" in (ran / "drawn" / "figures" / "losses.svg").read_text()


def test_of_images_the_ways_that_are_shown_are_kept_and_all_in_the_nets_own_precision(ran):
    store = Store(ran / "store", reading=True)
    kept = [store.find(*entry) for entry in store.entries() if entry[0] == "sample"]
    assert len(kept) == 4
    for entry in filter(None, kept):
        frames, samples = entry.array("frames"), entry.array("samples")
        assert frames.shape == (8, 16, 1, 8, 8)
        assert (frames.dtype, samples.dtype) == (np.float32, np.float32)


def test_an_extractor_that_does_not_fit_or_has_no_weights_costs_its_own_values_and_is_told(bench, tmp_path):
    text = SUITE[: SUITE.index("    metrics:")].replace("seeds: 2", "seeds: 1")
    wrong = "{name: kid, extractor: pixels}, {name: precision_recall, weights: none.safetensors}"
    (tmp_path / "drawn.yaml").write_text(dedent(text + f"    metrics: [fid, {wrong}]\n"))
    absent = bench("plan", tmp_path / "drawn.yaml")
    assert absent.returncode == 2
    assert "none.safetensors: No such file or directory; paths begin in the folder of the suite" in absent.stderr
    (tmp_path / "none.safetensors").write_bytes(b"no weights")
    done = bench("run", tmp_path / "drawn.yaml", "--results", tmp_path / "results")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no value in any cell: the extractor lenet64 looks at images of shape (1, 28, 28)" in done.stderr
    assert "none.safetensors: not the weights of lenet64" in done.stderr.replace("\n", "")
    records = pd.read_csv(tmp_path / "results" / "drawn" / "tables" / "records.csv")
    assert records.loc[records["metric"] == "kid[pixels]", "value"].notna().all()
    assert records.loc[records["metric"].str.match(r"fid\[|precision\["), "value"].isna().all()
    assert (pd.read_csv(tmp_path / "results" / "drawn" / "tables" / "cells.csv")["status"] == "ok").all()


def test_data_that_are_nowhere_cost_their_own_cells_alone(tmp_path):
    """The folders are empty, there is no npm, and the mirrors' names are looked up in vain."""
    text = SUITE.replace("dataset: digits", "").replace("    grid:\n", "    grid:\n      dataset: [digits, mnist]\n")
    file, empty = tmp_path / "drawn.yaml", tmp_path / "empty"
    file.write_text(dedent(text[: text.index("    claims:")]).replace("seeds: 2", "seeds: 1"))
    empty.mkdir()
    (empty / "git").symlink_to(shutil.which("git") or sys.executable)
    alone = {"PATH": str(empty), "HOME": str(empty), "BENCH_DATA": str(empty), "OMP_WAIT_POLICY": "passive"}
    alone |= {"PYTHONPATH": os.pathsep.join(["", *sys.path]), "http_proxy": "http://127.0.0.1:9"}
    alone |= {"https_proxy": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-m", "bench", "run", str(file), "--results", str(tmp_path / "results")],
        env=alone, capture_output=True, text=True, timeout=300, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 cells skipped: mnist: not in" in done.stdout
    for way in ("1. set BENCH_DATA", "2. put these files", "3. run where"):
        assert done.stdout.count(way) == 2  # when it is found out, and at the end
    cells = pd.read_csv(tmp_path / "results" / "drawn" / "tables" / "cells.csv")
    assert dict(cells.groupby("dataset")["status"].first()) == {"digits": "ok", "mnist": "skipped"}
