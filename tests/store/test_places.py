"""Nothing is read, written or removed through a link below the results folder, and reading needs no leave to write."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from bench import files
from bench.errors import Corrupt, StoreError
from bench.store import Store, write_array

KEY, CODE = "0123456789abcdef" * 2, "a1b2c3d4e5f6"


def fill(root):
    store = Store(root)
    folder = store.staging("train", KEY)
    write_array(folder, "losses", [1.0])
    os.chmod(folder / "losses.npy", 0o600)  # as safetensors leaves its files
    store.publish("train", KEY, CODE, folder, {"group": "g", "seconds": 2.0})
    store.publish_score("score", KEY, CODE, {"group": "g", "seconds": 1.0})
    store.close()
    return store


def test_every_file_of_an_entry_has_the_mode_that_the_umask_says(tmp_path):
    before = os.umask(0o027)
    try:
        store = fill(tmp_path)
        files.write_beside(tmp_path, "page.md", b"text")
    finally:
        os.umask(before)
    found = [
        *store.find("train", KEY, CODE).place.iterdir(),
        store.find("score", KEY, CODE).place,
        tmp_path / "page.md",
    ]
    assert {file.stat().st_mode & 0o777 for file in found} == {0o640}


@pytest.mark.parametrize("name", ["", "train", "score", "staging", "partial", "failed", "aside"])
@pytest.mark.parametrize("harm", ["link", "loop", "dangling", "file", "fifo"])
def test_what_stands_in_place_of_a_folder_of_the_store_is_refused_by_name(tmp_path, name, harm):
    root, outside = tmp_path / "store", tmp_path / "outside"
    fill(root)
    outside.mkdir()
    (outside / "mine").write_text("mine")
    place = root / name if name else root
    shutil.rmtree(place)
    if harm == "file":
        place.write_text("")
    elif harm == "fifo":
        os.mkfifo(place)
    else:
        place.symlink_to({"link": outside, "loop": place, "dangling": tmp_path / "nowhere"}[harm])
    with pytest.raises(StoreError, match="move it away") as error:
        Store(root)
    assert str(place) in str(error.value)
    assert [file.name for file in outside.iterdir()] == ["mine"]
    assert not (tmp_path / "nowhere").exists()


def test_the_results_folder_itself_may_be_a_link(tmp_path):
    fill(tmp_path / "disk" / "store")
    (tmp_path / "results").symlink_to(tmp_path / "disk")
    assert Store(tmp_path / "results" / "store").find("train", KEY, CODE)


def test_a_spread_folder_that_is_a_link_is_refused(tmp_path):
    fill(tmp_path / "store")
    folder = tmp_path / "store" / "score" / KEY[:2]
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match=f"{folder}: a symbolic link where a folder belongs"):
        Store(tmp_path / "store").find("score", KEY, CODE)
    with pytest.raises(StoreError, match=f"{folder}: a symbolic link where a folder belongs"):
        Store(tmp_path / "store").standing([("score", KEY)])


def test_an_entry_that_is_a_link_is_set_aside_and_what_it_leads_to_stays(tmp_path):
    fill(tmp_path / "store")
    place = tmp_path / "store" / "train" / f"{KEY}-{CODE}"
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    store = Store(tmp_path / "store")
    assert store.find("train", KEY, CODE) is None
    assert str(place) in store.notices[0]
    assert len(list((tmp_path / "elsewhere").iterdir())) == 3


@pytest.mark.parametrize("bad", ["../x", "/etc/passwd", "a/../b", "a//b", "a/./b", "", "a\0b"])
def test_a_path_that_does_not_lead_down_is_refused(tmp_path, bad):
    for deed in (lambda: files.read_regular(tmp_path, bad, 9), lambda: files.write_beside(tmp_path, bad, b"")):
        with pytest.raises(StoreError, match="not a path below"):
            deed()


def test_a_file_beyond_its_bound_and_a_device_are_not_read(tmp_path):
    (tmp_path / "file").write_bytes(b"0123456789")
    assert files.read_regular(tmp_path, "file", 10) == b"0123456789"
    with pytest.raises(Corrupt, match="10 bytes, more than the 9"):
        files.read_regular(tmp_path, "file", 9)
    with pytest.raises(Corrupt, match="a device, not a plain file"):
        files.read_regular(Path("/dev"), "zero", 9)


def test_writing_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("old")

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="free some space"):
        files.write_beside(tmp_path, "file", b"new")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("file", "old")]


@pytest.fixture
def read_only(tmp_path, monkeypatch):
    """Any making of files, folders and names below tmp_path is refused, as a disk that is mounted read-only does."""

    def refuse(real):
        def deed(path, *arguments, **more):
            if str(path).startswith(str(tmp_path)) and not (real is os.mkdir and os.path.lexists(path)):
                raise OSError(errno.EROFS, "Read-only file system", str(path))
            return real(path, *arguments, **more)

        return deed

    def switch():
        for name in ("mkdir", "rename", "unlink", "replace", "link", "rmdir"):
            monkeypatch.setattr(os, name, refuse(getattr(os, name)))

    return switch


def test_a_store_on_a_read_only_disk_is_read_and_says_so_where_it_would_be_written(tmp_path, read_only):
    fill(tmp_path / "store")
    damaged = tmp_path / "store" / "train" / f"{KEY}-{CODE}" / "losses.npy"
    read_only()
    store = Store(tmp_path / "store")
    assert not store.writable
    assert store.find("train", KEY, CODE).array("losses").tolist() == [1.0]
    assert store.seconds("g") == [1.0, 2.0]
    store.sweep()
    with pytest.raises(StoreError, match="Read-only file system; it is mounted read-only; keep the results in"):
        store.staging("train", KEY)
    damaged.write_bytes(b"")
    fresh = Store(tmp_path / "store")
    assert fresh.find("train", KEY, CODE) is None
    assert "cannot be set aside" in fresh.notices[0]
    assert list(Store(tmp_path / "nowhere" / "store").entries()) == []
