"""Laws of the store: what goes in comes out, and any change of a byte is noticed."""

import errno
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bench.errors import StoreError
from bench.store import FORMS, Store, write_array

KEY, CODE = "0123456789abcdef" * 2, "a1b2c3d4e5f6"
OTHER = "ffffffffffff"

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
jobs = st.dictionaries(st.text().filter(lambda name: name not in ("group", "seconds")), json_values, max_size=4)
arrays = hnp.arrays(
    st.sampled_from([np.float32, np.float64]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    elements={"allow_nan": True, "allow_infinity": True},
)


def publish(store, kind="train", key=KEY, code=CODE, job=None, **held):
    """An entry of either form; `held` arrays go into folder kinds."""
    job = {"seconds": 1.5, "group": "mlp"} if job is None else job
    if FORMS[kind] == "file":
        return store.publish_score(kind, key, code, job)
    folder = store.staging(kind, key)
    for name, array in (held or {"losses": np.arange(5.0)}).items():
        write_array(folder, name, array)
    (folder / "log.txt").write_text("done\n")
    return store.publish(kind, key, code, folder, job)


@pytest.fixture
def root():
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "store"


@settings(max_examples=25, deadline=None)
@given(job=jobs, array=arrays)
def test_what_is_published_is_found_unchanged(job, array):
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        given_back = publish(store, "sample", job=job, x=array)
        publish(store, "score", job=job)
        for found in (given_back, Store(Path(folder)).find("sample", KEY, CODE)):
            assert found.job == job
            assert found.array("x").dtype == array.dtype
            np.testing.assert_array_equal(found.array("x"), array)
        assert Store(Path(folder)).find("score", KEY, CODE).job == job


@pytest.mark.parametrize("kind", FORMS)
def test_an_entry_is_found_by_kind_key_and_code_alone(root, kind):
    store = Store(root)
    assert store.find(kind, KEY, CODE) is None
    assert store.other_code(kind, KEY, CODE) is None
    entry = publish(store, kind)
    assert store.find(kind, KEY, CODE) == Store(root).find(kind, KEY, CODE) == entry
    assert all(store.find(k, KEY, CODE) is None for k in FORMS if k != kind)
    assert store.find(kind, KEY, OTHER) is None
    assert list((root / "staging").iterdir()) == []
    assert store.notices == []


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_changed_byte_is_noticed_and_the_entry_set_aside(data):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        kind = data.draw(st.sampled_from(["train", "score"]))
        place = publish(Store(root), kind).place
        file = data.draw(st.sampled_from(sorted(place.iterdir()) if place.is_dir() else [place]))
        content = bytearray(file.read_bytes())
        content[data.draw(st.integers(0, 10**6)) % len(content)] ^= data.draw(st.integers(1, 255))
        file.write_bytes(content)

        fresh = Store(root)
        assert fresh.find(kind, KEY, CODE) is None
        assert not place.exists()
        assert len(list((root / "aside").iterdir())) == 1
        assert len(fresh.notices) == 1
        assert str(file) in fresh.notices[0]
        assert fresh.seconds("mlp") == []
        assert publish(fresh, kind) == fresh.find(kind, KEY, CODE)


@pytest.mark.parametrize("kind", ["train", "score"])
def test_a_seal_cut_short_anywhere_is_noticed(root, kind):
    place = publish(Store(root), kind).place
    seal = place / "DONE" if place.is_dir() else place
    whole = seal.read_bytes()
    for length in range(0, len(whole), 7):
        place = publish(Store(root), kind).place
        seal.write_bytes(seal.read_bytes()[:length])
        fresh = Store(root)
        assert fresh.find(kind, KEY, CODE) is None
        assert str(seal) in fresh.notices[0]


@pytest.mark.parametrize("harm", ["no file", "no DONE", "another's name", "a file in its place"])
def test_an_entry_that_is_not_whole_is_set_aside(root, harm):
    place = publish(Store(root)).place
    if harm == "no file":
        (place / "losses.npy").unlink()
    elif harm == "no DONE":
        (place / "DONE").unlink()
    elif harm == "another's name":
        shutil.rmtree(place)
        shutil.copytree(publish(Store(root), code=OTHER).place, place)
    else:
        shutil.rmtree(place)
        place.write_text("")
    fresh = Store(root)
    assert fresh.find("train", KEY, CODE) is None
    assert str(place) in fresh.notices[0]
    assert publish(fresh).array("losses").tolist() == [0, 1, 2, 3, 4]


def test_what_is_published_first_stays(root):
    first = publish(Store(root), job={"by": "first"})
    store = Store(root)
    second = publish(store, job={"by": "second"}, losses=np.zeros(2))
    assert second == first == store.find("train", KEY, CODE)
    score = publish(store, "score", job={"by": "first"})
    assert publish(store, "score", job={"by": "second"}) == score
    assert list((root / "staging").iterdir()) == []


@pytest.mark.parametrize("kind", ["train", "score"])
def test_the_newest_whole_entry_of_another_code_is_the_stale_one(root, kind):
    store = Store(root)
    codes = ["aaaaaaaaaaaa", "bbbbbbbbbbbb", "999999999999"]
    entries = [publish(store, kind, code=code) for code in codes]
    publish(store, kind, key="f" * 32)
    (root / "index.sqlite").unlink()  # the files alone decide
    assert store.other_code(kind, KEY, CODE) == entries[2]
    assert store.other_code(kind, KEY, codes[2]) == entries[1]
    seal = entries[2].place / "DONE" if kind == "train" else entries[2].place
    seal.write_bytes(b"{}")
    fresh = Store(root)
    assert fresh.other_code(kind, KEY, CODE) == entries[1]
    assert len(fresh.notices) == 1


def test_what_stands_of_many_jobs_is_listed_at_once_whole_or_not(root):
    store = Store(root)
    publish(store, "train")
    damaged = publish(store, "score", code=OTHER).place
    publish(store, "score", key="f" * 32)
    damaged.write_bytes(b"{}")
    asked = {("train", KEY), ("score", KEY), ("score", "0" * 32), ("sample", KEY)}
    assert store.standing(asked) == {("train", KEY): [CODE], ("score", KEY): [OTHER]}


@pytest.mark.parametrize("kind", ["train", "score"])
def test_a_stale_entry_of_another_process_is_seen_after_an_earlier_look(root, kind):
    looking, writing = Store(root), Store(root)
    parent = publish(writing, kind, key=KEY[:-1] + "0").place.parent
    os.utime(parent, (1, 1))  # long settled: the list of names may be kept
    assert looking.other_code(kind, KEY, CODE) is None
    entry = publish(writing, kind, code=OTHER)
    assert looking.other_code(kind, KEY, CODE) == entry

    just_now = time.time() + 60  # both changes fall into one tick of the file system's clock
    os.utime(parent, (just_now, just_now))
    assert looking.other_code(kind, KEY, CODE) == entry
    newer = publish(writing, kind, code="eeeeeeeeeeee")
    os.utime(parent, (just_now, just_now))
    assert looking.other_code(kind, KEY, CODE) == newer


def test_files_and_arrays_are_asked_for_by_name(root):
    entry = publish(Store(root), losses=np.ones(3))
    assert entry.has("losses")
    assert entry.has("losses.npy")
    assert not entry.has("weights.safetensors")
    assert entry.file("log.txt").read_text() == "done\n"
    with pytest.raises(StoreError, match=r"samples\.npy.*the entry holds job\.json, log\.txt, losses\.npy"):
        entry.array("samples")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), {1, 2}, object()])
def test_a_job_that_is_not_plain_json_is_refused_and_leaves_nothing(root, bad):
    store = Store(root)
    folder = store.staging("train", KEY)
    with pytest.raises(ValueError, match=f"{KEY}-{CODE}.*finite numbers"):
        store.publish("train", KEY, CODE, folder, {"loss": bad})
    store.discard(folder)
    with pytest.raises(ValueError, match="finite numbers"):
        store.publish_score("score", KEY, CODE, {"loss": bad})
    assert store.find("train", KEY, CODE) is store.find("score", KEY, CODE) is None
    assert list((root / "staging").iterdir()) == []


def test_nothing_is_pickled_or_unpickled(root):
    store = Store(root)
    folder = store.staging("sample", KEY)
    with pytest.raises(ValueError, match=r"[Oo]bject arrays"):
        write_array(folder, "x", np.array([{}]))
    np.save(folder / "x.npy", np.array([{}]), allow_pickle=True)
    entry = store.publish("sample", KEY, CODE, folder, {})
    with pytest.raises(ValueError, match="allow_pickle"):
        entry.array("x")


def test_names_that_are_no_entry_are_refused(root):
    store = Store(root)
    folder = store.staging("train", KEY)
    for kind, key, code in [("trian", KEY, CODE), ("train", "../x", CODE), ("train", KEY, "B")]:
        with pytest.raises(ValueError, match=r"kind must be|hexadecimal"):
            store.find(kind, key, code)
    with pytest.raises(ValueError, match="one of floor, score, train_time"):
        store.publish_score("train", KEY, CODE, {})
    with pytest.raises(ValueError, match="one of train, reference, prepared, sample"):
        store.publish("score", KEY, CODE, folder, {})
    with pytest.raises(ValueError, match="not a folder that staging"):
        store.discard(root / "train")
    (folder / "inner").mkdir()
    with pytest.raises(StoreError, match="inner: not a plain file"):
        store.publish("train", KEY, CODE, folder, {})


@pytest.mark.parametrize("kind", ["train", "score"])
def test_a_full_disk_is_said_with_place_and_remedy_and_publishes_nothing(root, kind, monkeypatch):
    store = Store(root)

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match=rf"{root}.*No space left on device; free some space"):
            publish(store, kind)
    assert store.find(kind, KEY, CODE) is None
    assert publish(store, kind) == Store(root).find(kind, KEY, CODE)


@pytest.mark.parametrize(
    ("file", "draw"), [("x.npy", "integers(256, size=10**5, dtype=np.uint8)"), ("x.planes", "normal(size=10**5)")]
)
def test_a_file_limit_hit_while_an_array_is_written_is_a_store_error(root, file, draw):
    code = (
        "import resource, sys, numpy as np; from pathlib import Path; from bench.errors import StoreError\n"
        "from bench.store import write_array\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        f"try: write_array(Path(sys.argv[1]), 'x', np.random.default_rng(0).{draw})\n"
        "except StoreError as error: print(error)\n"
    )
    root.mkdir()
    done = subprocess.run([sys.executable, "-c", code, root], capture_output=True, text=True, check=True)
    assert f"{root}: cannot write {file}" in done.stdout


def test_a_root_that_cannot_be_written_is_said_with_place_and_remedy(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=rf"{tmp_path}/file: cannot make the folder.*move it away"):
        Store(tmp_path / "file")

    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "store"
        Store(root).close()
        os.chmod(name, 0o755)  # root may write anywhere, so the test looks with another user's eyes
        os.chmod(root / "staging", 0o555)
        user = os.geteuid()
        try:
            if user == 0:
                os.seteuid(65534)
            store = Store(root)
            assert not store.writable
            with pytest.raises(StoreError, match=rf"{root}.*Permission denied; make it readable and writable"):
                store.staging("train", KEY)
        finally:
            os.seteuid(user)


def test_the_store_does_not_load_torch():
    code = "import bench.store, sys; print(sorted({'torch', 'ot'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
