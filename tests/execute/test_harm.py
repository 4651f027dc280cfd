"""Every kind of file in a results folder, harmed in every way: the next commands end in words, with the same numbers.

A file that is emptied, cut, changed by a bit, deleted, or replaced by a folder, a link or a FIFO is found and made
again, or refused by name with what to do; never a traceback, a wait or another number, and nothing outside is touched.
"""

import io
import json
import os
import re
import shutil
import subprocess
import sys
from textwrap import dedent

import pandas as pd
import pytest

from bench.planner import plan
from bench.report import seal
from bench.suite import load_suite

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
        changed = bytearray(content or b"\0")  # of an empty file, such as a log, it is a byte too many
        digits = [place for place, byte in enumerate(content) if byte in b"12345678"]
        changed[digits[len(digits) // 2] if digits else len(changed) // 2] ^= 1  # a digit becomes another digit
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


def sealed_again(folder, change):
    """Change what a run wrote, and seal it as the run would: damage that no checksum shows."""
    about = seal.read_suite(folder)
    tables = {name: (folder / name).read_bytes() for name in seal.TABLES}
    body = {key: value for key, value in about.items() if key not in ("sha256", "inputs", "written")}
    change(body, tables)
    seal.write_run(folder, tables, body)


def test_a_changed_number_is_found_by_the_store_even_where_it_is_sealed_anew(bench, place):
    def digit(about, tables):
        records = pd.read_csv(io.BytesIO(tables["tables/records.csv"]), dtype=str, keep_default_na=False)
        own = records["metric"] == "wasserstein"
        last = records.loc[own, "value"].str[-1].astype(int)
        records.loc[own, "value"] = records.loc[own, "value"].str[:-1] + ((last + 1) % 10).astype(str)
        tables["tables/records.csv"] = records.to_csv(index=False).encode()

    folder = place / "results" / "tiny"
    sealed_again(folder, digit)
    said = ended(bench("report", "tiny", "--results", place / "results"), 1)
    assert "records.csv: cell 0, wasserstein" in said
    assert "the store holds" in said
    assert "run its suite again" in said
    (place / "results" / "store").rename(place / "elsewhere")
    said = ended(bench("report", "tiny", "--results", place / "results"), 0)
    assert "numbers could not be held against the store" in said


@pytest.fixture(scope="module")
def four(bench, tmp_path_factory):
    """A finished run of two solvers and two seeds."""
    folder = tmp_path_factory.mktemp("four")
    text = dedent(SUITE).replace("seeds: 1", "seeds: 2").replace("suite: tiny", "suite: four")
    text = text.replace("  solver: {name: euler, steps: 2}\n", "") + "grid: {solver: [euler, midpoint]}\n"
    (folder / "four.yaml").write_text(text)
    ended(bench("run", folder / "four.yaml", "--results", folder / "results"), 0)
    return folder


def w2(tables):
    records = pd.read_csv(io.BytesIO(tables["tables/records.csv"]), dtype=str, keep_default_na=False)
    return records, records["metric"] == "wasserstein"


def exchanged(about, tables):
    """Two cells have each other's numbers, with their entries."""
    records, own = w2(tables)
    first, second = records.index[own][:2]
    both = ["value", "entries"]
    records.loc[[first, second], both] = records.loc[[second, first], both].to_numpy()
    tables["tables/records.csv"] = records.to_csv(index=False).encode()


def unnamed(about, tables):
    """A number that names no entry."""
    records, own = w2(tables)
    records.loc[records.index[own][0], ["value", "entries"]] = ["0.001", ""]
    tables["tables/records.csv"] = records.to_csv(index=False).encode()


def foreign(about, tables):
    """Numbers of another metric under this one's name."""
    records, own = w2(tables)
    nfe = records[records["metric"] == "nfe"]
    records.loc[own, ["value", "entries"]] = nfe[["value", "entries"]].to_numpy()
    tables["tables/records.csv"] = records.to_csv(index=False).encode()


def dropped(about, tables):
    """A cell without its row."""
    records, own = w2(tables)
    tables["tables/records.csv"] = records.drop(records.index[own][0]).to_csv(index=False).encode()


def renamed(about, tables):
    """Two cells have each other's entries."""
    cells = pd.read_csv(io.BytesIO(tables["tables/cells.csv"]), dtype=str, keep_default_na=False)
    made = ["train_entry", "sample_entry", "reference_entry"]
    cells.loc[[0, 1], made] = cells.loc[[1, 0], made].to_numpy()
    tables["tables/cells.csv"] = cells.to_csv(index=False).encode()


def fewer(about, tables):
    """The cells of one seed are gone, with their rows."""
    records, _ = w2(tables)
    cells = pd.read_csv(io.BytesIO(tables["tables/cells.csv"]), dtype=str, keep_default_na=False)
    gone = cells.loc[cells["seed"] == "0", "cell"]
    tables["tables/cells.csv"] = cells[~cells["cell"].isin(gone)].to_csv(index=False).encode()
    tables["tables/records.csv"] = records[~records["cell"].isin(gone)].to_csv(index=False).encode()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (exchanged, "is no entry of this cell"),
        (unnamed, "a number that names no entry"),
        (foreign, "is no entry of this cell"),
        (dropped, "has no row for wasserstein"),
        (renamed, "is of another"),
        (fewer, "lacks a seed"),
    ],
)
def test_numbers_sealed_anew_must_be_the_cells_own_and_all_there(bench, four, tmp_path, change, words):
    place = shutil.copytree(four, tmp_path / "copy")
    sealed_again(place / "results" / "four", change)
    said = ended(bench("report", "four", "--results", place / "results"), 1)
    assert words in said
    assert "run its suite again" in said
    ended(bench("run", place / "four.yaml", "--results", place / "results"), 0)
    ended(bench("report", "four", "--results", place / "results"), 0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda about: about.update(plugins=["far.py"]), "plugins.0"),
        (lambda about: about.update(seeds="3"), "seeds"),
        (lambda about: about.update(claims=[{"claim": "c", "metric": "m", "pairs": [[1]]}]), "claims.0.pairs.0"),
        (lambda about: about.update(values={"wasserstein": 3}), "values.wasserstein"),
        (lambda about: about.update(jobs={"train": {"done": "many"}}), "jobs.train.done"),
        (lambda about: about.pop("axes"), "holds no axes"),
        (lambda about: about.update(provenance=[]), "provenance"),
    ],
)
def test_a_sealed_body_of_another_shape_is_damage_with_its_place(bench, place, change, words):
    sealed_again(place / "results" / "tiny", lambda about, tables: change(about))
    said = ended(bench("report", "tiny", "--results", place / "results"), 1)
    assert f"suite.json: {words}" in said
    assert "run its suite again" in said
    ended(bench("run", place / "tiny.yaml", "--results", place / "results"), 0)
    ended(bench("report", "tiny", "--results", place / "results"), 0)


def kinds_of_file(results):
    """One file of each kind that a run leaves, by its path without keys, so that a new kind is not missed."""
    found = {}
    for file in sorted(path for path in results.rglob("*") if path.is_file()):
        parts = [re.sub(r"\b[0-9a-f]{12,64}\b|^[0-9a-f]{2}$", "*", part) for part in file.relative_to(results).parts]
        found.setdefault("/".join(parts), file.relative_to(results))
    return found


def interrupted(place):
    """Make a finished run one that was killed: its net is trained in part, and a sample half written."""
    store = place / "results" / "store"
    train, sample = (next((store / kind).iterdir()) for kind in ("train", "sample"))
    (store / "partial" / f"train-{train.name}.safetensors").write_bytes(
        (train / "weights_raw.safetensors").read_bytes()
    )
    (store / "failed" / f"train-{train.name}.json").write_text('{"status": "timeout", "reason": "r", "at": 1.0}')
    sample.rename(store / "staging" / f"sample-{sample.name.partition('-')[0]}-00000000-00000000-1-1-00000000")
    shutil.rmtree(train)
    return place


@pytest.mark.long
@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("how", HARMS)
def test_every_kind_of_file_harmed_by_itself_changes_no_number(bench, finished, tmp_path, how, killed):
    """Of a finished run all, of one that was killed what it has besides."""
    whole, model = values(finished / "results"), tmp_path / "model"
    shutil.copytree(finished, model)
    kinds = kinds_of_file(model / "results")
    if killed:
        besides = kinds_of_file(interrupted(model) / "results")
        kinds = {kind: file for kind, file in besides.items() if kind not in kinds}
        assert {kind.split("/")[1] for kind in kinds} == {"staging", "partial", "failed"}
    for number, file in enumerate(kinds.values()):
        place = tmp_path / str(number)
        shutil.copytree(model, place)
        before = harm(place / "results" / file, how, tmp_path / f"outside{number}")
        run = ("run", place / "tiny.yaml", "--results", place / "results")
        said = ended(bench(*run), 0, 1)
        if "move it away" in said:
            harmed = place / "results" / file
            shutil.rmtree(harmed) if harmed.is_dir() else harmed.unlink(missing_ok=True)
            ended(bench(*run), 0)
        pd.testing.assert_frame_equal(values(place / "results"), whole, obj=f"{file}, {how}")
        assert (tmp_path / f"outside{number}").read_bytes() == before
        if number + 1 < len(kinds):
            shutil.rmtree(place)
    assert ended(bench("report", "tiny", "--results", place / "results"), 0)


def test_an_input_that_is_damaged_under_way_fails_its_job_and_changes_no_number(run_inline, place, tmp_path):
    """Between the driver's look and a worker's reading: the worker looks again."""
    laid, store = plan(load_suite(place / "tiny.yaml"), "here"), tmp_path / "store"

    def damaged(engine):
        submit = engine.submit

        def damage_then(batch):
            for file in store.glob("train/*/weights_*.safetensors") if batch[0].kind == "sample" else ():
                content = bytearray(file.read_bytes())
                content[-3] ^= 1
                file.write_bytes(content)
            submit(batch)

        engine.submit = damage_then
        return engine

    outcomes = run_inline(laid, store, watched=damaged)
    ended_so = {outcome.reason for (kind, _), outcome in outcomes.items() if kind == "sample"}
    assert len(ended_so) == 1
    assert "changed since it was made; run the suite again" in ended_so.pop()
