"""What jobs start ends with them; what starts the jobs may end itself."""

import os
import signal
import subprocess
import sys
import threading
import time
from multiprocessing import forkserver
from pathlib import Path

import pytest

from bench.execute.group import Group, own, tidy
from bench.execute.server import Server
from tests.execute.commands import until
from tests.execute.unruly import alive, only_the_guilty_cell, parents, write

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

CHILD = """
if (pid := os.fork()) == 0: time.sleep(600); os._exit(0)
open(PIDS, "a").write(f"{pid} ")
"""
DAEMON = """
if (pid := os.fork()) == 0:
    os.setsid()
    if (pid := os.fork()) == 0:
        open(PIDS, "a").write(f"{os.getpid()} ")
        time.sleep(600)
    os._exit(0)
os.waitpid(pid, 0)
time.sleep(0.2)
"""
HOP = """
import ctypes, os, time
ctypes.CDLL(None).prctl(15, b"NAME", 0, 0, 0)
end = time.time() + 90
while time.time() < end:
    if os.fork(): os._exit(0)
"""
HOPPERS = f"""
import signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for _ in range(40):
    if os.fork() == 0: os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", {HOP!r}])
time.sleep(600)
"""
"""Forty that each live for less time than reading /proc takes, and each start the next."""


def has_groups():
    """Whether this process may make control groups."""
    sleeper = subprocess.Popen(["sleep", "60"])
    group = Group.around(sleeper.pid, os.getpid())
    try:
        return group.folder is not None
    finally:
        group.remove()
        sleeper.kill()
        sleeper.wait()


needs_groups = pytest.mark.skipif(sys.platform == "linux" and not has_groups(), reason="makes control groups")


def called(name):
    """Processes of this name, which those that they fork inherit."""
    found = []
    for pid in parents():
        try:
            if Path(f"/proc/{pid}/comm").read_text().strip() == name:
                found.append(pid)
        except OSError:
            continue
    return found


def groups(server):
    """Groups of a fork server's workers that are still there."""
    return list(own().glob(f"flowmatch-bench-{server}-*")) if own() else []


def start(file, *before):
    """`bench run` in a session of its own."""
    return subprocess.Popen(
        [*before, sys.executable, "-m", "bench", "run", file.name], cwd=file.parent, stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}, start_new_session=True,
    )  # fmt: skip


def gone(found, seconds=10):
    """Whether nothing is found any more by then."""
    deadline = time.monotonic() + seconds
    while left := found():
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    return not left


@pytest.mark.parametrize("deed", [CHILD, DAEMON], ids=["child", "daemon"])
@pytest.mark.parametrize("end", ["", "os._exit(0)", "time.sleep(600)"], ids=["done", "dead", "stopped"])
def test_what_a_job_starts_ends_with_it_and_keeps_no_slot(unruly, tmp_path, deed, end):
    pids = tmp_path / "pids"
    deed = deed.replace("PIDS", repr(str(pids))).strip()
    options = ["--workers", "1", *(["--max-minutes", "0.025"] if "sleep" in end else [])]
    began = time.monotonic()
    cells, _, _ = unruly(*options, solver=f"{deed}\n{end}".strip(), status=1 if end else 0)
    assert time.monotonic() - began < 60
    assert not alive(pids)
    assert not groups(Server().pid)
    if end:
        words = ["timeout", "not done after"] if "sleep" in end else ["failed", "exit status 0 before it was done"]
        only_the_guilty_cell(cells, *words)
    else:
        assert set(cells["status"]) == {"ok"}


@needs_groups
def test_a_group_ends_at_a_stroke_with_what_is_about_to_be_born_in_it(tmp_path):
    name, go = f"hop{os.getpid()}", tmp_path / "go"
    code = f"import os, sys, time, ctypes\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)\n{HOPPERS}"
    worker = subprocess.Popen([sys.executable, "-c", code.replace("NAME", name)])
    group = Group.around(worker.pid, os.getpid())
    go.touch()
    until(lambda: len(group.pids()) > 10)
    first = group.pids()
    until(lambda: not (first & group.pids()) - {worker.pid})  # none of them lives any more: all hop
    born = group.pids()
    group.kill()
    assert gone(group.pids, 1)
    group.remove()
    assert not group.folder.exists()  # the system lets go of empty ones alone
    assert len(born) > 1
    assert worker.pid in born
    assert worker.wait() == -signal.SIGKILL


@needs_groups
def test_what_forks_faster_than_it_can_be_looked_for_ends_with_its_group(unruly):
    name = f"hop{os.getpid()}"
    cells, _, _ = unruly("--workers", "1", "--max-minutes", "0.05", solver=HOPPERS.replace("NAME", name))
    assert not called(name)
    assert not groups(Server().pid)
    only_the_guilty_cell(cells, "timeout", "not done after 3 s")


def hidden(folder):
    """Words before a command that let it see no control groups: what most users have."""
    words = ["unshare", "--mount", "sh", "-c", f'umount -l "{own()}" && exec "$@"', "sh"]
    if own() is None or subprocess.run([*words, "true"], check=False, cwd=folder).returncode:
        pytest.skip("control groups cannot be hidden here")
    return words


@pytest.mark.parametrize("grouped", [True, False], ids=["with-groups", "without"])
def test_no_driver_leaves_what_a_job_started_even_where_it_is_killed(tmp_path, grouped):
    pids = tmp_path / "pids"
    file = write(tmp_path, solver=DAEMON.replace("PIDS", repr(str(pids))) + "time.sleep(600)")
    driver = start(file, *([] if grouped else hidden(tmp_path)))
    assert gone(lambda: not (pids.exists() and pids.read_text().endswith(" ")), 60)
    assert alive(pids)
    (server,) = servers(driver.pid)
    assert bool(groups(server)) == (grouped and has_groups())
    driver.kill()
    driver.wait()
    assert gone(lambda: alive(pids))
    assert gone(lambda: groups(server))


@needs_groups
def test_no_driver_leaves_what_forks_without_end(tmp_path):
    name = f"hop{os.getpid()}"
    driver = start(write(tmp_path, solver=HOPPERS.replace("NAME", name)))
    assert gone(lambda: not called(name), 60)
    driver.kill()
    driver.wait()
    assert gone(lambda: called(name))


@needs_groups
def test_groups_of_a_killed_server_are_removed_later_and_those_of_a_living_one_are_not(tmp_path):
    dead = subprocess.Popen(["true"])
    dead.wait()
    mine = [own() / f"flowmatch-bench-{pid}-1" for pid in (dead.pid, os.getpid())]
    for folder in mine:
        folder.mkdir()
    tidy()
    there = [folder.exists() for folder in mine]
    mine[1].rmdir()
    assert there == [False, True]


def servers(driver):
    """The fork servers of a driver: its children that load what workers need."""
    return [
        pid
        for pid, parent in parents().items()
        if parent == driver and b"forkserver" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


def test_a_fork_server_that_is_killed_is_said_and_the_jobs_are_tried_again(unruly, tmp_path):
    def strike():
        deadline = time.monotonic() + 30
        while not (tmp_path / "begun").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(Server().pid, signal.SIGKILL)

    mark = repr(str(tmp_path / "begun"))
    thread = threading.Thread(target=strike)
    thread.start()
    deed = f"if not os.path.exists({mark}): open({mark}, 'w').close(); time.sleep(600)"
    cells, _, said = unruly(solver=deed, status=0)
    thread.join()
    assert set(cells["status"]) == {"ok"}
    assert "the process that starts the workers died" in said


@pytest.mark.long
def test_a_job_that_kills_the_fork_server_each_time_fails_in_the_end(unruly, monkeypatch):
    monkeypatch.setattr("bench.execute.local.TRIES", 1)  # a server takes seconds to load
    cells, _, _ = unruly(solver="os.kill(os.getppid(), 9); time.sleep(600)")
    only_the_guilty_cell(cells, "failed", "died while this job ran")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_loading_ends_in_a_sentence(how, tmp_path):
    (tmp_path / "slow.py").write_text("import time; print('loading', flush=True); time.sleep(60)")
    (tmp_path / "s.yaml").write_text("question: q\nplugins: [slow.py]\n")
    driver = subprocess.Popen(
        # Tests that are started behind `&` ignore Ctrl-C, and so would this.
        ["env", "--default-signal=INT", sys.executable, "-m", "bench", "run", "s.yaml"],
        cwd=tmp_path, text=True, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert driver.stdout.readline() == "loading\n"
    driver.send_signal(how)
    _, err = driver.communicate(timeout=20)
    assert driver.returncode == 130
    assert "interrupted" in err
    assert "Traceback" not in err


def test_a_run_that_gets_no_processes_says_so_and_reports(unruly, monkeypatch):
    def refuse(fds):
        raise EOFError

    monkeypatch.setattr(forkserver, "connect_to_new_process", refuse)
    cells, _, said = unruly()
    assert set(cells["status"]) == {"cancelled"}
    assert said.count("no worker process can be started") == 1
