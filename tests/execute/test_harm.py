"""Every kind of file in a results folder, harmed in every way: the next commands end in words, with the same numbers.

A file that is emptied, cut, changed by a bit, deleted, or replaced by a folder, a link or a FIFO is found and made
again, or refused by name with what to do; never a traceback, a wait or another number, and nothing outside is touched.
"""

import json
import os
import shutil
import subprocess
import sys
from textwrap import dedent

import pandas as pd
import pytest

SUITE = """
    suite: tiny
    question: Does it hold?
    seeds: 1
    base:
      dataset: two_gaussians
      net: {name: mlp, width: 8, depth: 1}
      training: {steps: 20, batch: 16}
      sampling: {n: 32, repeats: 2}
      solver: {name: euler, steps: 2}
"""

HARMS = ("empty", "cut", "bit", "deleted", "folder", "link", "loop", "fifo")
SOLID = ("folder", "link", "loop", "fifo")


@pytest.fixture(scope="module")
def finished(bench, tmp_path_factory):
    """A finished run: its suite file and its results."""
    folder = tmp_path_factory.mktemp("harm")
    (folder / "tiny.yaml").write_text(dedent(SUITE))
    done = bench("run", folder / "tiny.yaml", "--results", folder / "results")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def place(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "copy")
    return tmp_path / "copy"


def harm(file, how, outside):
    """Do it, and give what outside must stay as it is."""
    content = file.read_bytes() if file.exists() else b"content"
    outside.write_bytes(content)
    if how == "cut":
        file.write_bytes(content[: len(content) * 2 // 3])
    elif how == "bit":
        changed = bytearray(content)
        digits = [place for place, byte in enumerate(content) if byte in b"12345678"]
        changed[digits[len(digits) // 2] if digits else len(content) // 2] ^= 1  # a digit becomes another digit
        file.write_bytes(changed)
    elif how == "empty":
        file.write_bytes(b"")
    else:
        file.unlink(missing_ok=True)
        if how == "folder":
            file.mkdir()
            (file / "mine").write_text("mine")
        elif how == "fifo":
            os.mkfifo(file)
        elif how != "deleted":
            file.symlink_to(outside if how == "link" else file)
    return content


def values(results):
    """All numbers of the records but what took how long."""
    records = pd.read_csv(results / "tiny" / "tables" / "records.csv", keep_default_na=False)
    return records.loc[~records["metric"].str.contains("seconds"), ["cell", "metric", "value", "status"]]


def ended(done, *statuses):
    assert done.returncode in statuses, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("how", HARMS)
def test_a_store_that_is_harmed_everywhere_gives_the_same_numbers(bench, finished, place, tmp_path, how):
    store = place / "results" / "store"
    train = next((store / "train").iterdir())
    harmed = [
        next((store / "sample").iterdir()) / "samples.npy",
        next((store / "reference").iterdir()) / "job.json",
        train / "DONE",
        next((store / "score").glob("*/*.json")),
        store / "index.sqlite",
        store / "partial" / f"train-{train.name}.safetensors",
        store / "failed" / f"train-{train.name}.log",
    ]
    before = [harm(file, how, tmp_path / f"outside{number}") for number, file in enumerate(harmed)]
    ended(bench("report", "tiny", "--results", place / "results"), 0)
    said = ended(bench("run", place / "tiny.yaml", "--results", place / "results"), 0)
    for file in harmed[: 3 if how == "deleted" else 4]:
        assert str(file) in said or str(file.parent) in said
    assert [(tmp_path / f"outside{number}").read_bytes() for number in range(len(harmed))] == before
    pd.testing.assert_frame_equal(values(place / "results"), values(finished / "results"))
    assert ended(bench("store", "verify", "--results", place / "results"), 0)


SOURCES = ("suite.json", "tables/cells.csv", "tables/records.csv")
MADE = ("report.md", "tables/headline.csv", "figures/samples.webp")
ALWAYS = {
    *((name, how) for name in (SOURCES[0], SOURCES[2]) for how in ("empty", "cut", "bit", "folder", "fifo")),
    ("report.md", "bit"), ("report.md", "link"), ("tables/headline.csv", "cut"), ("tables/headline.csv", "fifo"),
    ("figures/samples.webp", "bit"), ("figures/samples.webp", "loop"), ("tables/cells.csv", "link"),
}  # fmt: skip
"""Tried at every change; the rest by `make test-slow`."""


@pytest.mark.parametrize(
    ("name", "how"),
    [
        pytest.param(name, how, marks=[] if (name, how) in ALWAYS else pytest.mark.long)
        for name in (*SOURCES, *MADE)
        for how in HARMS
    ],
)
def test_a_report_that_is_harmed_is_written_anew_or_refused(bench, finished, place, tmp_path, name, how):
    folder = place / "results" / "tiny"
    file, outside = folder / name, tmp_path / "outside"
    before = harm(file, how, outside)
    run, report = (("run", place / "tiny.yaml"), ("report", "tiny"))
    said = ended(bench(*report, "--results", place / "results"), 0, 1, 2)
    source = name in SOURCES
    if source and not (name == "suite.json" and how == "deleted"):
        assert str(file) in said
    if source:
        assert "report: " not in said
    said = ended(bench(*run, "--results", place / "results"), 0, 1)
    if how in SOLID:
        assert str(file) in said
        assert "move it away" in said
        shutil.rmtree(file) if how == "folder" else file.unlink()
        ended(bench(*run, "--results", place / "results"), 0)
    assert outside.read_bytes() == before
    whole = finished / "results" / "tiny"
    pd.testing.assert_frame_equal(values(place / "results"), values(finished / "results"))
    for same in ("tables/cells.csv", "tables/records.csv", "tables/headline.csv"):
        assert (folder / same).read_bytes() == (whole / same).read_bytes()
    assert json.loads((folder / "suite.json").read_text())["inputs"]
    assert "nothing new" in bench(*run, "--results", place / "results").stdout


def test_a_link_in_a_results_folder_is_refused_and_nothing_behind_it_is_touched(bench, place, tmp_path):
    docs = tmp_path / "docs"
    docs.mkdir()
    for name in ("notes.md", "table.csv", "picture.svg", "suite.json"):
        (docs / name).write_text("mine")
    folder = place / "results" / "tiny"
    commands = (("report", "tiny"), ("run", place / "tiny.yaml"))
    for name in ("tables", "figures", ".", "../store"):
        link = (folder / name).resolve()
        link.rename(tmp_path / "away")
        link.symlink_to(docs)
        for command in commands if name != "../store" else commands[1:]:
            said = ended(bench(*command, "--results", place / "results"), 1)
            assert str(link) in said
            assert "move it away" in said
        assert {(file.name, file.read_text()) for file in docs.iterdir()} == {
            (name, "mine") for name in ("notes.md", "table.csv", "picture.svg", "suite.json")
        }
        link.unlink()
        (tmp_path / "away").rename(link)
    for command in commands:
        ended(bench(*command, "--results", place / "results"), 0)


def test_a_finished_run_on_a_disk_that_cannot_be_written_is_planned_and_run(bench, place, tmp_path):
    """Where this process may mount: a folder mounted read-only over itself, in a namespace of its own."""
    results = place / "results"
    script = (
        f"mount --bind {results} {results} && mount -o remount,ro,bind {results} && "
        f"{sys.executable} -m bench plan {place / 'tiny.yaml'} --results {results} && "
        f"{sys.executable} -m bench run {place / 'tiny.yaml'} --results {results}"
    )
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs leave to mount")
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, check=False)
    said = ended(done, 0)
    assert "nothing to do" in said
    assert "nothing new" in said


def test_a_run_of_an_older_version_is_reported_with_one_warning(bench, place):
    folder = place / "results" / "tiny"
    about = json.loads((folder / "suite.json").read_text())
    for key in ("sha256", "inputs", "written"):
        del about[key]
    (folder / "suite.json").write_text(json.dumps(about))
    shutil.copytree(folder, place / "results" / "twin")
    said = ended(bench("report", "--results", place / "results"), 0)
    assert said.count("without checksums") == 1
    ended(bench("run", place / "tiny.yaml", "--results", place / "results"), 0)
    assert "tiny" not in bench("report", "--results", place / "results").stderr


def test_reports_and_entries_travel_together(bench, place, tmp_path):
    assert ended(bench("store", "export", tmp_path / "all.zip", "--results", place / "results"), 0)
    ended(bench("store", "import", tmp_path / "all.zip", "--results", tmp_path / "there"), 0)
    said = ended(bench("run", place / "tiny.yaml", "--results", tmp_path / "there"), 0)
    assert "nothing new" in said
    for file in ("report.md", "suite.json"):
        assert (tmp_path / "there" / "tiny" / file).read_bytes() == (place / "results" / "tiny" / file).read_bytes()
    said = ended(bench("store", "import", tmp_path / "all.zip", "--results", tmp_path / "there"), 0)
    assert "stays as it is" in said
