"""The index may be lost, damaged or of another version: the files restore it."""

import os
import sqlite3
import subprocess
import sys

import pytest

from bench.errors import StoreError
from bench.store import Store
from bench.store.index import Index

KEY = "0123456789abcdef" * 2


def code(number):
    return f"{number:012x}"


def filled(root, count=5):
    store = Store(root)
    for number in range(count):
        job = {"group": "mlp" if number % 2 else "cnn", "seconds": float(number)}
        if number % 3:
            store.publish_score("score", KEY, code(number), job)
        else:
            store.publish("train", KEY, code(number), store.staging("train", KEY), job)
    return store


def test_seconds_are_the_groups_own_newest_first(tmp_path):
    store = filled(tmp_path)
    assert store.seconds("mlp") == [3.0, 1.0]
    assert store.seconds("cnn") == [4.0, 2.0, 0.0]
    assert store.seconds("unknown") == []


def test_seconds_are_at_most_a_hundred(tmp_path):
    store = Store(tmp_path)
    for number in range(103):
        store.publish_score("train_time", KEY, code(number), {"group": "g", "seconds": number})
    assert store.seconds("g") == [float(number) for number in range(102, 2, -1)]


def test_entries_without_group_or_seconds_are_no_estimate(tmp_path):
    store = Store(tmp_path)
    for number, job in enumerate([{}, {"group": "g"}, {"seconds": 1.0}, {"group": 1, "seconds": "x"}]):
        store.publish_score("score", KEY, code(number), job)
    assert store.seconds("g") == []
    assert store.rebuild() == 4


@pytest.mark.parametrize("harm", ["deleted", "not a database", "cut", "another version", "no table", "empty"])
def test_an_index_that_is_lost_or_damaged_is_made_again(tmp_path, harm):
    store = filled(tmp_path)
    entry = store.find("score", KEY, code(2))
    store.close()
    index = tmp_path / "index.sqlite"
    if harm == "deleted":
        index.unlink()
    elif harm == "not a database":
        index.write_bytes(b"nonsense" * 1000)
    elif harm == "cut":
        index.write_bytes(index.read_bytes()[:5000])
    elif harm == "empty":
        index.write_bytes(b"")
    else:
        with sqlite3.connect(index) as connection:
            if harm == "no table":
                connection.execute("DROP TABLE entries")
            else:
                connection.execute("DELETE FROM entries")
                connection.execute("PRAGMA user_version = 999")
        connection.close()
    fresh = Store(tmp_path)
    assert fresh.seconds("mlp") == [3.0, 1.0]
    assert fresh.seconds("cnn") == [4.0, 2.0, 0.0]
    assert fresh.find("score", KEY, code(2)) == entry
    assert fresh.rebuild() == 5
    assert fresh.notices == []


def test_damage_that_shows_while_the_index_is_in_use_is_repaired(tmp_path):
    store = filled(tmp_path)
    store.close()
    index = tmp_path / "index.sqlite"
    content = bytearray(index.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)  # the first page, and so the version, stays
    index.write_bytes(content)
    store.publish_score("score", KEY, code(9), {"group": "mlp", "seconds": 9.0})
    assert store.seconds("mlp") == [9.0, 3.0, 1.0]
    assert store.notices == []


def test_an_entry_is_published_even_when_the_index_cannot_follow(tmp_path, monkeypatch):
    store = filled(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Index, "_execute", lambda *_: (_ for _ in ()).throw(sqlite3.OperationalError("disk I/O error")))
        entry = store.publish_score("score", KEY, code(9), {"value": 1.0})
        assert store.find("score", KEY, code(9)) == entry
        assert len(store.notices) == 1
        assert "index.sqlite: the index cannot be used" in store.notices[0]
        with pytest.raises(StoreError, match="delete the file"):
            Store(tmp_path)


@pytest.mark.parametrize("name", ["index.sqlite", "index.sqlite-wal", "index.sqlite-journal"])
@pytest.mark.parametrize("harm", ["folder", "link", "loop", "fifo"])
def test_what_stands_in_the_place_of_the_index_is_moved_away_unopened(tmp_path, name, harm):
    store = filled(tmp_path / "store")
    store.close()
    place, elsewhere = tmp_path / "store" / name, tmp_path / "elsewhere"
    place.unlink(missing_ok=True)
    elsewhere.write_bytes(b"mine")
    if harm == "folder":
        place.mkdir()
    elif harm == "fifo":
        os.mkfifo(place)
    else:
        place.symlink_to(elsewhere if harm == "link" else place)
    fresh = Store(tmp_path / "store")
    assert fresh.seconds("mlp") == [3.0, 1.0]
    assert elsewhere.read_bytes() == b"mine"
    assert len(list((tmp_path / "store" / "aside").iterdir())) == 1


def test_what_is_no_entry_is_passed_over_by_a_rebuild(tmp_path):
    store = filled(tmp_path)
    (tmp_path / "train" / ".hidden").write_text("")
    (tmp_path / "train" / f"{KEY}-{code(8)}").mkdir()
    (tmp_path / "score" / "stray.json").write_text("")
    next((tmp_path / "score").rglob(f"*-{code(1)}.json")).write_text("{}")
    assert store.rebuild() == 4
    assert store.seconds("mlp") == [3.0]


def test_processes_that_open_a_new_store_together_all_succeed(tmp_path):
    code = (
        "import sys; from pathlib import Path; from bench.store import Store; me = int(sys.argv[2])\n"
        "sys.stdin.read(1); store = Store(Path(sys.argv[1]))\n"
        "for n in range(20):\n"
        "    store.publish_score('score', '00', f'{me:02x}{n:02x}', {'group': 'g', 'seconds': 1})\n"
        "assert not store.notices, store.notices\n"
    )
    argv = [sys.executable, "-c", code, str(tmp_path / "store")]
    racers = [subprocess.Popen([*argv, str(me)], stdin=subprocess.PIPE) for me in range(4)]
    for racer in racers:
        racer.stdin.write(b"x")
        racer.stdin.flush()
    for racer in racers:
        racer.communicate(timeout=60)
        assert racer.returncode == 0
    store = Store(tmp_path / "store")
    assert len(store.seconds("g")) == 80
    assert store.rebuild() == 80
