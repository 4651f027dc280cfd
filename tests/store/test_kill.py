"""Real processes, killed at any point: what is visible is whole, and publishing goes on."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.store import Store
from bench.store.staging import abandoned, staging_name

KEY, BUILD = "0123456789abcdef" * 2, "a1b2c3d4e5f6"

PUBLISH = """
import itertools, os, signal, sys
from pathlib import Path
import numpy as np
from bench.store import Store, write_array

def publish(store, kind, key, by):
    job = {"by": by, "group": "g", "seconds": 1.0}
    if kind == "score":
        return store.publish_score(kind, key, "BUILD", job)
    folder = store.staging(kind, key)
    write_array(folder, "x", np.full(5000, float(by)))
    return store.publish(kind, key, "BUILD", folder, job)
""".replace("BUILD", BUILD)

LOOP = (
    PUBLISH
    + """
store, by = Store(Path(sys.argv[1])), int(sys.argv[2])
print("ready", flush=True)
for n in itertools.count():
    for kind in ("train", "score"):
        publish(store, kind, f"{n % 2000:04x}" * 8, by)
"""
)

DIE_AT_EVENT = (
    PUBLISH
    + """
# Every call that touches the file system raises an audit event: die just before the n-th one.
TOUCHING = ("open", "os.", "shutil.", "sqlite3.")
root, kind = Path(sys.argv[1]), sys.argv[2]
for n in itertools.count(1):
    store = Store(root / str(n))
    child = os.fork()
    if child == 0:
        left = n
        def count(event, _):
            global left
            if event.startswith(TOUCHING):
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(count)
        publish(Store(root / str(n)), kind, "0123456789abcdef" * 2, n)
        os._exit(0)
    if os.WIFEXITED(os.waitpid(child, 0)[1]):
        break
"""
)


def whole(entry, kind):
    """A visible entry is one writer's alone."""
    return kind == "score" or set(entry.array("x")) == {float(entry.job["by"])}


def visible(store):
    """(kind, key) of everything that stands in the kinds' own folders."""
    places = [*store.root.glob("train/*"), *store.root.glob("score/*/*")]
    return [(place.relative_to(store.root).parts[0], place.name.partition("-")[0]) for place in places]


@pytest.mark.parametrize("kind", ["train", "score"])
def test_killed_before_any_touch_of_the_disk_leaves_no_part_of_an_entry(tmp_path, kind):
    code = [sys.executable, "-c", DIE_AT_EVENT, str(tmp_path), kind]
    subprocess.run(code, check=True, timeout=120)
    roots = sorted(tmp_path.iterdir(), key=lambda root: int(root.name))
    seen = []
    for root in roots:
        store = Store(root)
        before = visible(store)
        found = store.find(kind, KEY, BUILD)
        assert store.notices == []
        assert before == ([(kind, KEY)] if found else [])
        assert found is None or whole(found, kind)
        seen.append(found is not None)
        store.sweep()
        assert list((root / "staging").iterdir()) == []
        again = store.publish_score(kind, KEY, BUILD, {}) if kind == "score" else store.publish(
            kind, KEY, BUILD, store.staging(kind, KEY), {}
        )  # fmt: skip
        assert again == Store(root).find(kind, KEY, BUILD)
        store.close()
    assert len(seen) > 10
    assert seen == sorted(seen)  # one moment from which on it is visible
    assert not seen[0]
    assert seen[-1]


def test_killed_at_random_while_two_publish_the_same_keys(tmp_path):
    chance = random.Random(0)
    for trial in range(5):
        racers = [
            subprocess.Popen([sys.executable, "-c", LOOP, str(tmp_path), str(2 * trial + me)], stdout=subprocess.PIPE)
            for me in range(2)
        ]
        for racer in racers:
            assert racer.stdout.readline() == b"ready\n"
        for racer in racers:
            time.sleep(chance.uniform(0, 0.2))
            racer.send_signal(signal.SIGKILL)
        for racer in racers:
            assert racer.wait() == -signal.SIGKILL
            racer.stdout.close()
        store = Store(tmp_path)
        names = visible(store)
        for kind, key in names:
            entry = store.find(kind, key, BUILD)
            assert entry is not None
            assert whole(entry, kind)
        assert store.notices == []
        assert list((tmp_path / "aside").iterdir()) == []
        store.sweep()
        assert list((tmp_path / "staging").iterdir()) == []
        store.close()
    assert len(names) > 4


def test_two_processes_that_publish_the_same_keys_agree_on_each_entry(tmp_path):
    code = (
        PUBLISH
        + """
store = Store(Path(sys.argv[1]))
for n in range(60):
    for kind in ("train", "score"):
        print(kind, n, publish(store, kind, f"{n:04x}" * 8, int(sys.argv[2])).job["by"])
assert not store.notices, store.notices
"""
    )
    argv = [sys.executable, "-c", code, str(tmp_path)]
    racers = [subprocess.Popen([*argv, str(me)], stdout=subprocess.PIPE, text=True) for me in (1, 2)]
    said = [racer.communicate(timeout=60)[0].splitlines() for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0]
    assert len(said[0]) == 120
    assert said[0] == said[1]
    store = Store(tmp_path)
    for line in said[0]:
        kind, n, by = line.split()
        entry = store.find(kind, f"{int(n):04x}" * 8, BUILD)
        assert entry.job["by"] == int(by)
        assert whole(entry, kind)
    assert store.rebuild() == 120
    assert list((tmp_path / "staging").iterdir()) == []


def test_sweep_removes_the_folders_of_dead_processes_alone(tmp_path):
    store = Store(tmp_path)
    mine = store.staging("train", KEY)
    hold = (
        "import sys; from pathlib import Path; from bench.store import Store\n"
        "print(Store(Path(sys.argv[1])).staging('train', '00'), flush=True); sys.stdin.read()\n"
    )
    argv = [sys.executable, "-c", hold, str(tmp_path)]
    other = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    theirs = Path(other.stdout.readline().strip())
    stray = tmp_path / "staging" / "somebody's notes"
    stray.mkdir()
    try:
        store.sweep()
        assert mine.exists()
        assert theirs.exists()
    finally:
        other.kill()
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)  # dead, but not yet reaped
    store.sweep()
    assert mine.exists()
    assert not theirs.exists()
    assert stray.exists()
    other.communicate()


def test_sweep_removes_checkpoints_that_nobody_came_back_to(tmp_path):
    store = Store(tmp_path)
    old, young = (store.checkpoint("train", key, "00") for key in ("aa", "bb"))
    for file, days in ((old, 31), (young, 29)):
        file.write_bytes(b"")
        os.utime(file, (time.time() - days * 86400,) * 2)
    store.sweep()
    assert list(old.parent.iterdir()) == [young]


def test_a_process_id_used_again_and_another_machine_are_told_apart(tmp_path):
    kind, key, machine, boot, pid, start, rest = staging_name("train", KEY).split("-")

    def folder(*parts):
        path = tmp_path / "-".join((kind, key, *parts, rest))
        path.mkdir()
        return path

    assert not abandoned(folder(machine, boot, pid, start))
    assert abandoned(folder(machine, boot, pid, str(int(start) + 1)))
    assert abandoned(folder(machine, "rebooted", pid, start))
    elsewhere = folder("elsewhere", boot, pid, start)
    assert not abandoned(elsewhere)
    eight_days_ago = time.time() - 8 * 24 * 3600
    os.utime(elsewhere, (eight_days_ago, eight_days_ago))
    assert abandoned(elsewhere)
