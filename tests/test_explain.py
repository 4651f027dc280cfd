"""`bench explain`: what stands behind a cell, from its configuration to the command that selects it alone."""

import shlex
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import bench as api
from bench.errors import UsageError
from bench.store import Store
from bench.suite import load_suite
from bench.work import lay_out, provenance_here

SUITE = """
question: What stands behind a number?
seeds: [3, 5]
base:
  dataset: two_gaussians
  net: {name: mlp, width: 8, depth: 1}
  sampling: {n: 32, repeats: 1}
grid:
  training:
    "short, calm": {steps: 5, batch: 16, learning_rate: 1e-3}
    "short": {steps: 5, batch: 16, learning_rate: 1e-2}
    wild: {steps: 5, batch: 16, learning_rate: 1e30}
  solver: [{name: euler, steps: 2}, {name: rk4, steps: 1}]
metrics: [wasserstein]
profiles:
  smoke: {seeds: 1}
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory, run_inline):
    """The suite's file and its results; one of its three trainings diverges."""
    folder = tmp_path_factory.mktemp("explain")
    file = folder / "asked.yaml"
    file.write_text(SUITE)
    here = provenance_here()
    run_inline(lay_out(load_suite(file), here, "cpu"), folder / "results" / "store", provenance=here)
    figures = folder / "results" / "asked" / "figures"
    figures.mkdir(parents=True)
    (figures / "samples.webp").write_bytes(b"")
    return file, folder / "results"


def explain(ran, *cell, **options):
    return api.explain(ran[0], cell[0] if len(cell) == 1 else cell, results=ran[1], **options)


def test_a_cell_is_its_configuration_its_jobs_and_its_values(ran):
    found = explain(ran, 1)
    assert found.cells[["cell", "seed", "status"]].to_numpy().tolist() == [[1, 5, "ok"]]
    assert found.labels == {"training": "short, calm", "solver": "euler(steps=2)"}
    assert found.configuration["solver"]["steps"] == 2
    assert found.configuration["training"]["learning_rate"] == 1e-3
    assert {"train", "reference", "sample", "floor", "score", "train_time", "sample_time"} == set(found.jobs["kind"])
    assert set(found.jobs["status"]) == {"done"}
    assert set(found.jobs["code"]) == {"ok"}
    for job in found.jobs.to_dict("records"):
        assert job["key"] in Path(job["entry"]).name
        assert Path(job["entry"]).exists()
        assert job["seconds"] > 0
    sample, score = (found.jobs.set_index("kind").loc[kind] for kind in ("sample", "score"))
    assert Path(sample["log"]).parent == Path(sample["entry"])
    values = found.values.set_index("metric")
    held = Store(ran[1] / "store", reading=True).find("score", score["key"], Path(score["entry"]).stem.split("-")[1])
    assert values.loc["wasserstein", "value"] == held.job["values"]["wasserstein"][0]
    assert values.loc["wasserstein", "floor"] > 0
    assert values.loc["nfe", "value"] == 2
    assert found.figures == [ran[1] / "asked" / "figures" / "samples.webp"]
    assert found.notices == []
    for text in ("learning_rate: 0.001", str(sample["entry"]), "code ok", "wasserstein: ", "(floor ", "samples.webp"):
        assert text in str(found)


def test_the_command_selects_exactly_the_cells_for_every_cell_and_combination(ran):
    whole = load_suite(ran[0])
    for cell in range(len(whole.cells)):
        command = shlex.split(explain(ran, cell).command)
        terms = [after for word, after in pairwise(command) if word == "--only"]
        left = load_suite(ran[0], only=terms)
        assert command[:3] == ["bench", "run", str(ran[0])]
        assert command[-2:] == ["--results", str(ran[1])]
        assert left.cells.seed.tolist() == [whole.cells.seed[cell]]
        assert left.cells.labels.astype(str).iloc[0].tolist() == whole.cells.labels.astype(str).iloc[cell].tolist()
    both = explain(ran, "training=short", "solver.name=rk4")
    left = load_suite(ran[0], only=both.only)
    assert left.cells.seed.tolist() == [3, 5]
    assert left.cells.labels.drop_duplicates().to_numpy().tolist() == [["short", "rk4(steps=1)"]]


def test_several_seeds_are_listed_shortly_and_a_failure_with_its_reason_and_log(ran):
    found = explain(ran, "training=wild", "solver.name=euler")
    assert set(found.cells["status"]) == {"diverged"}
    text = str(found)
    assert text.count(": diverged; ") == 2
    assert "failed: train " in text
    one = explain(ran, int(found.cells["cell"].iloc[0]))
    failed = one.jobs.set_index("kind").loc["train"]
    assert failed["status"] == "failed"
    assert failed["reason"].startswith("diverged: ")
    assert failed["entry"] == ""
    assert one.jobs.set_index("kind").loc["score", "status"] == "left"
    assert one.jobs.set_index("kind").loc["score", "reason"].startswith(f"needs train {failed['key'][:8]}, ")
    assert "  no value of " in str(one)
    assert failed["reason"].partition(": ")[2] in str(one)
    assert Path(failed["log"]).is_file()


def test_a_cell_that_is_not_there_is_answered_with_the_nearest(ran):
    for cell, words in [
        ((12,), "no cell 12; asked has 12, 0 to 11, of which 11 is nearest"),
        (("-1",), "of which 0 is nearest"),
        (("training=wilt", "solver=euler(steps=2)"), "Did you mean 'wild'"),
        (("traning=wild",), "Did you mean 'training'"),
        (("wild",), "wild: neither a cell's number, 0 to 11, nor key=value. Did you mean 'training=wild'"),
        (("training=wild",), "leaves 2 combinations in 4 of 12 cells; say more of solver (euler(steps=2), rk4"),
        (("training=wild", "training=short"), "no cell fits all of these at once"),
    ]:
        with pytest.raises(UsageError) as raised:
            explain(ran, *cell)
        assert words in str(raised.value)


def test_results_of_older_code_are_called_stale_and_shown(ran, monkeypatch):
    monkeypatch.setattr("bench.planner.code_hash", lambda **options: "0123456789abcdef")
    found = explain(ran, 0)
    assert set(found.jobs["status"]) == {"left"}
    assert set(found.jobs["code"]) == {"stale"}
    assert "stale" in found.values.set_index("metric").loc["wasserstein", "note"]
    assert found.values.set_index("metric").loc["wasserstein", "value"] > 0


def test_before_a_run_everything_is_left_and_nothing_is_made(bench, ran, tmp_path):
    done = bench("explain", ran[0], "0", "--profile", "smoke", "--results", tmp_path / "none")
    assert done.returncode == 0, done.stderr
    assert "asked-smoke: training=short, calm, solver=euler(steps=2); cell 0, seed 0" in done.stdout
    assert "not run yet" in done.stdout
    assert "--profile smoke --only 'training=short, calm' --only 'solver=euler(steps=2)' --results" in done.stdout
    assert not (tmp_path / "none").exists()
    assert np.isnan(api.explain(ran[0], 0, results=tmp_path / "none").jobs["seconds"]).all()


def test_a_dict_is_explained_too(tmp_path):
    suite = {"suite": "given", "question": "?", "grid": {"solver": ["euler", "heun"]}}
    found = api.explain(suite, ["solver=heun"], results=tmp_path)
    assert found.command == "bench.run({...}, only=['solver=heun'])  # in Python"
