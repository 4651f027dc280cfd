"""A store travels whole, by the same bytes, and an archive from a stranger does nothing but be refused."""

import os
import stat
import time
import zipfile

import numpy as np
import pytest

from bench.errors import StoreError
from bench.store import Store, write_array
from bench.store import archive as archives

KEY, CODE = "0123456789abcdef" * 2, "a1b2c3d4e5f6"
JOB = {"seconds": 1.0, "started": 1.0, "threads": 1, "versions": {"python": "3"}}
SCORE = {**JOB, "values": {"w": [0.5]}, "score_seconds": 0.1, "repeats": 1}


def fill(results, code=CODE, losses=(1.0, 2.0)):
    store = Store(results / "store")
    folder = store.staging("train", KEY)
    write_array(folder, "losses", list(losses))
    store.publish("train", KEY, code, folder, JOB)
    store.publish_score("score", KEY, code, SCORE)
    store.close()
    return store


@pytest.fixture
def packed(bench, tmp_path):
    """An archive of two entries, and their results folder."""
    fill(tmp_path / "results")
    done = bench("store", "export", tmp_path / "out.zip", "--results", tmp_path / "results")
    assert done.returncode == 0, done.stderr
    return tmp_path / "out.zip"


def take(bench, file, results, *more):
    done = bench("store", "import", file, "--results", results, *more)
    assert "Traceback" not in done.stderr
    return done


def test_an_export_comes_back_whole_and_its_bytes_are_the_same_each_time(bench, packed, tmp_path):
    again = tmp_path / "again.zip"
    assert bench("store", "export", again, "--results", tmp_path / "results").returncode == 0
    assert again.read_bytes() == packed.read_bytes()
    done = take(bench, packed, tmp_path / "other")
    assert "2 entries taken in, 0 stood here already" in done.stdout
    here, there = Store(tmp_path / "results" / "store"), Store(tmp_path / "other" / "store")
    assert there.find("score", KEY, CODE).job == here.find("score", KEY, CODE).job
    assert there.find("train", KEY, CODE).array("losses").tolist() == [1.0, 2.0]
    assert "0 entries taken in, 2 stood here already" in take(bench, packed, tmp_path / "other").stdout
    assert list((tmp_path / "other" / "store" / "staging").iterdir()) == []


def test_what_stands_whole_is_never_overwritten_and_what_is_damaged_is_made_good(bench, packed, tmp_path):
    fill(tmp_path / "mine", losses=[7.0])
    take(bench, packed, tmp_path / "mine")
    mine = Store(tmp_path / "mine" / "store")
    assert mine.find("train", KEY, CODE).array("losses").tolist() == [7.0]
    (mine.find("train", KEY, CODE).place / "losses.npy").write_bytes(b"")
    assert "1 entries taken in, 1 stood" in take(bench, packed, tmp_path / "mine").stdout
    assert Store(tmp_path / "mine" / "store").find("train", KEY, CODE).array("losses").tolist() == [1.0, 2.0]


def change(file, add=(), replace=None):
    """The archive with other members: (name, content, mode) beside its own."""
    with zipfile.ZipFile(file) as old:
        held = {name: old.read(name) for name in old.namelist()}
    held |= replace or {}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        for name, content, mode in [*((n, c, 0) for n, c in held.items()), *add]:
            about = zipfile.ZipInfo(name)
            about.external_attr = mode << 16
            new.writestr(about, content)


@pytest.mark.parametrize(
    ("name", "mode", "said"),
    [
        ("/etc/evil", 0, "not a name"),
        ("../evil", 0, "not a name"),
        ("store/../../evil", 0, "not a name"),
        ("suite/../../evil", 0, "not a name"),
        ("store/train/evil", 0, "not a name"),
        ("store/index.sqlite", 0, "not a name"),
        ("store/suite.json", 0, "not a name"),
        ("evil/tables/a/b.csv", 0, "not a name"),
        (f"store/train/{KEY}-{CODE}/more.npy", stat.S_IFLNK | 0o777, "not a plain file"),
        (f"store/train/{KEY}-{CODE}/more.npy", stat.S_IFCHR | 0o666, "not a plain file"),
        (f"store/train/{KEY}-{CODE}/more.npy", stat.S_IFIFO | 0o666, "not a plain file"),
        (f"store/train/{KEY}-{CODE}/more.npy", 0, "files that it does not list"),
        (f"store/train/{KEY}-{CODE}/DONE", 0, "there twice"),
        (f"store/score/{KEY[:2]}/{KEY}-00.json", 0, "checksum differs"),
        ("evil/report.md", 0, "suite.json"),
        ("evil/suite.json", 0, "not JSON"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_that_is_not_an_export_is_refused_and_nothing_is_taken(bench, packed, tmp_path, name, mode, said):
    change(packed, [(name, b"evil", mode)])
    done = take(bench, packed, tmp_path / "other")
    assert done.returncode == 1
    assert said in done.stderr
    assert str(packed) in done.stderr or "evil" in done.stderr
    store = Store(tmp_path / "other" / "store")
    assert list(store.entries()) == []
    assert list((store.root / "staging").iterdir()) == []
    assert not list(tmp_path.rglob("evil*"))


def test_an_entry_that_was_changed_on_the_way_is_refused(bench, packed, tmp_path):
    change(packed, replace={f"store/train/{KEY}-{CODE}/losses.npy": b"\x93NUMPY"})
    done = take(bench, packed, tmp_path / "other")
    assert done.returncode == 1
    assert "losses.npy" in done.stderr


@pytest.mark.parametrize("harm", ["cut", "empty", "folder", "fifo", "nothing"])
def test_what_is_no_archive_is_said(bench, packed, tmp_path, harm):
    content = packed.read_bytes()
    packed.unlink()
    if harm == "folder":
        packed.mkdir()
    elif harm == "fifo":
        os.mkfifo(packed)
    elif harm != "nothing":
        packed.write_bytes(content[: len(content) // 2] if harm == "cut" else b"")
    done = take(bench, packed, tmp_path / "other")
    assert done.returncode in (1, 2)
    assert str(packed) in done.stderr


def test_more_than_the_limit_is_refused_whatever_the_archive_says_of_its_size(bench, packed, tmp_path, monkeypatch):
    change(packed, [(f"store/train/{KEY}-{CODE}/zeros.npy", bytes(10**7), 0)])
    done = take(bench, packed, tmp_path / "other", "--limit", "0.005")
    assert done.returncode == 1
    assert "--limit" in done.stderr
    folder = tmp_path / "unpacked"
    folder.mkdir()
    monkeypatch.setattr(archives, "_check", lambda *_: None)  # as if each member had said that it is small
    with pytest.raises(StoreError, match="more than"):
        archives.unpack(packed, folder, 10**6)
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) <= 10**6


def test_arrays_count_by_the_memory_that_they_take_however_often_they_are_packed(bench, tmp_path):
    fill(tmp_path / "results", losses=np.zeros(10**6))
    file = tmp_path / "out.zip"
    assert bench("store", "export", file, "--results", tmp_path / "results").returncode == 0
    assert file.stat().st_size < 10**5
    done = take(bench, file, tmp_path / "other", "--limit", "0.005")
    assert done.returncode == 1
    assert "--limit" in done.stderr
    assert take(bench, file, tmp_path / "other", "--limit", "0.01").returncode == 0


def test_verify_counts_and_names_what_is_damaged_and_moves_nothing(bench, tmp_path):
    store = fill(tmp_path / "results")
    done = bench("store", "verify", "--results", tmp_path / "results")
    assert done.returncode == 0
    assert "2 entries and 0 reports are whole" in done.stdout
    place = store.root / "train" / f"{KEY}-{CODE}" / "losses.npy"
    place.write_bytes(place.read_bytes()[:-1] + b"\0")
    done = bench("store", "verify", "--results", tmp_path / "results")
    assert done.returncode == 1
    assert str(place) in done.stderr
    assert place.exists()
    assert bench("store", "verify", "--results", tmp_path).returncode == 2


def test_a_sealed_entry_whose_job_cannot_be_recorded_is_damage(bench, tmp_path):
    store = Store(tmp_path / "results" / "store")
    for number, job in enumerate(
        [{}, {**SCORE, "values": 3}, {**SCORE, "values": {"w": ["x"]}}, {**JOB, "seconds": "1"}]
    ):
        store.publish_score("score", KEY, f"{number:02x}", job)
    done = bench("store", "verify", "--results", tmp_path / "results")
    assert done.returncode == 1
    assert "4 damaged" in done.stderr


def test_gc_lists_first_and_removes_only_what_nobody_looks_for(bench, tmp_path):
    results = tmp_path / "results"
    store = fill(results, code="aaaaaaaaaaaa")
    time.sleep(0.01)
    fill(results)
    old, young = store.root / "aside" / "old", store.root / "aside" / "young"
    for folder in (old, young):
        folder.mkdir()
    os.utime(old, (time.time() - 31 * 86400,) * 2)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine").write_text("mine")
    link = store.root / "failed" / "link"
    link.symlink_to(outside)
    os.utime(link, (1, 1), follow_symlinks=False)
    listed = bench("store", "gc", "--results", results)
    assert listed.returncode == 0
    assert "4 files or folders; nothing was removed" in listed.stdout
    assert len(list(store.entries())) == 4
    assert "4 files or folders removed" in bench("store", "gc", "--delete", "--results", results).stdout
    assert not old.exists()
    assert not os.path.lexists(link)
    assert young.exists()
    assert (outside / "mine").read_text() == "mine"
    assert {code for _, _, code in store.entries()} == {CODE}
    assert "nothing" in bench("store", "gc", "--results", results).stdout
