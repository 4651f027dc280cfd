"""The functions that a notebook calls: a run's tables, samples and figures, and the words of the command line."""

import os
import re
import subprocess
import sys
from textwrap import dedent

import numpy as np
import pandas as pd
import pytest

import bench
from bench.errors import StoreError, SuiteError, UsageError

SUITE = {
    "suite": "tiny",
    "question": "Does it run from Python?",
    "seeds": 2,
    "base": {
        "dataset": "two_gaussians",
        "net": {"name": "mlp", "width": 8, "depth": 1},
        "training": {"steps": np.int64(20), "batch": 16, "learning_rate": 1e-3},
        "sampling": {"n": 32, "repeats": 1},
    },
    "grid": {"solver": [{"name": "euler", "steps": 2}, {"name": "rk4", "steps": 1}]},
    "metrics": ["wasserstein"],
    "claims": [
        {
            "claim": "RK4 wins",
            "metric": "wasserstein",
            "better": {"solver.name": "rk4"},
            "than": {"solver.name": "euler"},
        }
    ],
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("api")


@pytest.fixture(scope="module")
def ran(place):
    return bench.run(SUITE, results=place / "results", device="cpu", quiet=True)


def test_a_run_is_its_tables_its_samples_and_its_figures(ran, place):
    assert ran.folder == place / "results" / "tiny"
    assert ran.ok
    assert len(ran.cells) == 4
    assert set(ran.cells["status"]) == {"ok"}
    records = ran.records
    w2 = records[records["metric"] == "wasserstein"]
    assert w2["value"].gt(0).all()
    assert len(w2) == 4
    (claim,) = ran.claims.to_dict("records")
    assert (claim["claim"], claim["verdict"], claim["n"]) == ("RK4 wins", "too few seeds", 2)
    assert set(ran.effects["factor"]) == {"solver"}
    assert ran.samples(0).shape == (1, 32, 2)
    assert not np.array_equal(ran.samples(0), ran.samples(1))
    assert "claims" in ran.figures
    assert ran.figure("claims")._repr_mimebundle_()["image/svg+xml"].startswith("<?xml")
    assert "RK4 wins" in ran._repr_html_()
    assert ran.answer in repr(ran)
    before = ran.cells
    before.loc[:, "status"] = "changed"
    assert set(ran.cells["status"]) == {"ok"}, "what is given away is a copy"


def test_what_is_stored_is_loaded_planned_and_not_done_again(ran, place):
    pd.testing.assert_frame_equal(bench.load(ran.folder).records, ran.records)
    found = bench.plan(SUITE, results=place / "results")
    assert found.kinds["to_do"].sum() == 0
    assert found.kinds.loc["train", "jobs"] == 2
    assert str(found).startswith("tiny: Does it run from Python?\n  4 cells, 2 seeds")
    assert len(found.cells) == 4
    more = bench.plan(SUITE, results=place / "results", seeds=3)
    assert more.kinds.loc["train"].tolist() == [3, 2, 1]
    again = bench.run(SUITE, results=place / "results", device="cpu", quiet=True)
    pd.testing.assert_frame_equal(again.records, ran.records)
    assert not bench.compare(again, ran).regressed


def test_a_run_keeps_to_its_own_numbers_where_a_newer_one_writes_into_its_folder(place):
    old = bench.run(SUITE, results=place / "results", device="cpu", quiet=True, only="solver.name=euler")
    bench.run(SUITE, results=place / "results", device="cpu", quiet=True, only="solver.name=rk4")
    assert set(old.records["solver"]) == {"euler(steps=2)"}
    assert old.samples(0).shape == (1, 32, 2)
    with pytest.raises(StoreError, match="a newer run has written its report here"):
        old.figure(old.figures[0])


def test_a_dict_is_the_suite_that_the_same_file_is(ran, place):
    import yaml

    plain = {**SUITE, "base": {**SUITE["base"], "training": {"steps": 20, "batch": 16, "learning_rate": 1e-3}}}
    file = place / "tiny.yaml"
    file.write_text(yaml.safe_dump(plain))
    assert bench.plan(file, results=place / "results").kinds["to_do"].sum() == 0


def test_quiet_says_nothing_and_loud_says_how_far_it_is(place, capfd):
    bench.run(SUITE, results=place / "results", device="cpu", quiet=True)
    assert capfd.readouterr() == ("", "")
    bench.run(SUITE, results=place / "results", device="cpu")
    said = capfd.readouterr().out
    assert "tiny: 4 cells on cpu" in said
    assert "nothing new" in said


def test_mistakes_raise_the_command_lines_words(place):
    wrong = {**SUITE, "base": {**SUITE["base"], "net": {"name": "mpl"}}, "metrics": ["wassersten"]}
    with pytest.raises(SuiteError) as raised:
        bench.run(wrong, results=place / "none", quiet=True)
    assert len(raised.value.faults) == 2
    assert re.search("<dict>:.* base.net.name: no net named 'mpl'. Did you mean 'mlp'", str(raised.value))
    assert not (place / "none").exists()
    for call, words in [
        (lambda: bench.run("no_such_suite", results=place), "no_such_suite"),
        (lambda: bench.run({1: 2}, results=place), "keys are text"),
        (lambda: bench.run({"base": object()}, results=place), "a suite holds text, numbers"),
        (lambda: bench.run(SUITE, results=place, limits={"minuts": 3}), "minutes"),
        (lambda: bench.run(SUITE, results=place, limits={"minutes": -3}), r"limits\['minutes'\]"),
        (
            lambda: bench.run(SUITE, results=place, profile="smoke"),
            r"'smoke': the suite has none \('quick' is the suite",
        ),
        (
            lambda: bench.run({**SUITE, "profiles": {"fast": {"seeds": 1}}}, profile="fats"),
            "Did you mean 'fast'. Known: quick, fast",
        ),
        (lambda: bench.run(SUITE, results=place, device="gpu"), "no device 'gpu'"),
    ]:
        with pytest.raises(UsageError, match=words):
            call()
    with pytest.raises(StoreError):
        bench.load(place / "nowhere")


@pytest.mark.parametrize(
    ("suite", "options", "words"),
    [
        (5, {}, "a suite is a file, a name or a dict, not 5"),
        (SUITE, {"seeds": -1}, "seeds=-1: give a number of seeds from 1 on"),
        (SUITE, {"workers": 0}, "workers=0: give a number of processes from 1 on"),
        (SUITE, {"only": "solver=zz"}, "--only solver=zz: "),
    ],
)
def test_wrong_arguments_are_refused_in_words(place, suite, options, words):
    for asked in (bench.run, bench.plan):
        with pytest.raises(UsageError, match=re.escape(words)):
            asked(suite, results=place / "wrong", **options)
    assert not (place / "wrong" / "tiny").exists()


def test_what_a_run_lacks_is_said(ran):
    with pytest.raises(UsageError, match="no cell 7; its cells are 0 to 3"):
        ran.samples(7)
    with pytest.raises(UsageError, match="no array 'sample'"):
        ran.samples(0, "sample")
    with pytest.raises(UsageError, match="claims"):
        ran.figure("claim")


def test_a_script_needs_no_main_guard_and_a_working_directory_is_never_imported_by_workers(place):
    script = place / "script.py"
    script.write_text(
        dedent(f"""
        import bench
        SUITE = { {**SUITE, "suite": "script", "base": {**SUITE["base"], "training": {"steps": 10, "batch": 8}}}!a}
        print("begun")
        found = bench.run(SUITE, results="there", device="cpu", quiet=True)
        print(found.ok, len(found.cells))
        """)
    )
    done = subprocess.run(
        [sys.executable, script], cwd=place, capture_output=True, text=True, env={**os.environ}, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "begun\nTrue 4\n", "")


@pytest.mark.long
def test_a_notebook_runs_it_and_shows_it(place):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    book = nbformat.v4.new_notebook()
    suite = {**SUITE, "suite": "book", "base": {**SUITE["base"], "training": {"steps": 15, "batch": 8}}}
    book.cells = [
        nbformat.v4.new_code_cell(text)
        for text in (
            f"import bench\nfound = bench.run({suite!a}, results='there', device='cpu')",
            "found",
            "found.figure('claims')",
        )
    ]
    nbclient.NotebookClient(book, timeout=300, resources={"metadata": {"path": str(place)}}).execute()
    shown = [output for cell in book.cells[1:] for output in cell.outputs if output.output_type == "execute_result"]
    assert "RK4 wins" in shown[0]["data"]["text/html"]
    assert "svg" in shown[1]["data"]["image/svg+xml"]
    said = "".join(output.get("text", "") or output.data["text/plain"] for output in book.cells[0].outputs)
    assert "book: 4 cells on cpu" in said
