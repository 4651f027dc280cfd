"""Jobs that misbehave, with real workers: each has its own status and reason, and all others are done."""

import io
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from multiprocessing import forkserver
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace

import pandas as pd
import pytest
from rich.console import Console

from bench.errors import SuiteError
from bench.execute.allowance import DISK, MACHINE, Allowance
from bench.execute.server import Server
from bench.limits import MEANINGS, Limit
from bench.planner import plan
from bench.progress import watcher
from bench.suite import load_suite

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

SUITE = """
    suite: unruly
    question: Does one job's fault stay its own?
    plugins: [unruly.py]
    metrics: [unruly, wasserstein]
    base:
      dataset: two_gaussians
      net: oracle
      sampling: {n: 16, repeats: 1}
    grid:
      solver:
        - {name: euler, steps: 4}
        - {name: unruly, steps: 2}
"""
PLUGIN = """
    import ctypes, os, subprocess, sys, time
    from dataclasses import dataclass
    import torch
    from bench.interfaces import Measured, Metric
    from bench.solvers import Euler

    HELD = []

    def timing():
        frame = sys._getframe()
        while frame and not frame.f_code.co_filename.endswith("timing.py"):
            frame = frame.f_back
        return frame is not None

    @dataclass(frozen=True)
    class Unruly(Euler):
        "Does something before it solves."
        def solve(self, velocity, x, times):
            IN_SOLVER
            return super().solve(velocity, x, times)

    @dataclass(frozen=True)
    class UnrulyMetric(Metric):
        "Does something before it measures."
        values = {"unruly": Measured("1", "lower")}
        floored = False
        inputs = ("samples",)

        def measure(self, given):
            IN_METRIC
            return {"unruly": 1.0}

    SOLVERS = {"unruly": Unruly}
    METRICS = {"unruly": UnrulyMetric}
"""


@pytest.fixture
def unruly(bench, tmp_path):
    """Run the suite with these deeds; returns its cells, its records, and what was printed."""

    def run(*options, solver="pass", metric="pass", status=1):
        deeds = {"IN_SOLVER": solver, "IN_METRIC": metric}
        text = PLUGIN
        for place, deed in deeds.items():
            text = text.replace(place, deed.replace("\n", "\n" + " " * 12))
        (tmp_path / "unruly.py").write_text(dedent(text))
        (tmp_path / "unruly.yaml").write_text(dedent(SUITE))
        done = bench("run", tmp_path / "unruly.yaml", "--results", tmp_path / "results", *options)
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        tables = tmp_path / "results" / "unruly" / "tables"
        cells, records = (pd.read_csv(tables / f"{name}.csv", keep_default_na=False) for name in ("cells", "records"))
        assert not left_behind()
        return cells, records, done.stdout + done.stderr

    return run


def left_behind():
    """Processes below this one and its fork server that are neither the server nor multiprocessing's tracker."""
    found, deadline = [], time.monotonic() + 3
    while time.monotonic() < deadline:
        found = [pid for pid, parent in parents().items() if parent == Server().pid]
        if not found:
            break
        time.sleep(0.05)
    return found


def parents():
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state != "Z":
            found[int(folder.name)] = int(parent)
    return found


def alive(file):
    """The processes whose ids a deed wrote down, as far as they still run."""
    pids = [int(pid) for pid in file.read_text().split()]
    assert pids
    return [pid for pid in pids if pid in parents()]


def of_metric(records, name):
    return records[records["metric"] == name]


def only_the_guilty_cell(cells, status, *words):
    """One cell has this status, and its reason these words; the other is well."""
    assert sorted(cells["status"]) == sorted(["ok", status])
    (reason,) = cells.loc[cells["status"] == status, "reason"]
    assert all(word in reason for word in words), reason


def test_a_cell_that_hangs_in_sampling_is_stopped_and_the_others_are_done(unruly, tmp_path):
    cells, records, said = unruly("--max-minutes", "0.025", solver="time.sleep(600)")
    only_the_guilty_cell(cells, "timeout", "not done after 1.5 s", "set by --max-minutes 0.025", "limits: {minutes:")
    assert "timeout: sample" in said
    assert "not done after 1.5 s" in (tmp_path / "results" / "unruly" / "report.md").read_text()
    ok = of_metric(records, "wasserstein").query("status == 'ok'")
    assert len(ok) == 1


def test_a_job_without_progress_is_stopped(unruly):
    cells, _, _ = unruly("--max-still", "0.02", solver="time.sleep(600)")
    only_the_guilty_cell(cells, "timeout", "no sign of progress for 1.2 s", "--max-still 0.02")


@pytest.mark.long
def test_a_job_that_does_nothing_at_all_is_stopped_without_being_told_to(unruly, monkeypatch):
    monkeypatch.setattr("bench.execute.allowance.IDLE_SECONDS", 2.0)
    cells, _, _ = unruly(solver="time.sleep(600)")
    only_the_guilty_cell(cells, "timeout", "did nothing at all for 2 s", "--max-still")
    busy = "end = time.monotonic() + 4\nwhile time.monotonic() < end:\n    pass"
    cells, _, _ = unruly(solver=f"{busy}  # says nothing, but works", status=0)
    assert set(cells["status"]) == {"ok"}


def test_disk_without_bound_is_stopped_with_its_figures(unruly, tmp_path):
    fill = (
        "import glob\nplace = max(glob.glob('RESULTS/store/staging/sample-*'), key=os.path.getmtime)\n"
        "big = open(place + '/big.bin', 'wb')\nwhile True:\n    big.write(bytes(2**20))\n    big.flush()"
    ).replace("RESULTS", str(tmp_path / "results"))
    cells, _, _ = unruly("--max-disk", "200 MiB", solver=fill)
    only_the_guilty_cell(cells, "failed", "of the disk, the limit is 200 MiB", "--max-disk 200 MiB")
    assert not list((tmp_path / "results" / "store" / "staging").iterdir())


def test_memory_without_bound_ends_in_oom_with_its_figures(unruly):
    grow = "while True: HELD.append(torch.ones(100 * 2**18)); time.sleep(0.05)"
    cells, _, _ = unruly("--max-memory", "300 MiB", solver=grow)
    only_the_guilty_cell(cells, "oom", "MiB of memory, the limit is 300 MiB", "--max-memory 300 MiB")
    (reason,) = cells.loc[cells["status"] == "oom", "reason"]
    assert 300 < float(reason.split()[1]) < 3000


def test_memory_that_a_child_takes_counts_and_what_torch_is_refused_is_oom(unruly):
    grow = "if os.fork() == 0: held = [b'x' * 2**20 for _ in range(600)]; time.sleep(600)\ntime.sleep(600)"
    cells, records, _ = unruly("--max-memory", "300", solver=grow, metric="torch.empty(2**52)")
    only_the_guilty_cell(cells, "oom", "the limit is 300 MiB")
    assert set(of_metric(records, "unruly")["status"]) == {"oom"}
    assert of_metric(records, "unruly")["reason"].str.contains("out of memory|the limit").all()


def test_shared_memory_counts(unruly):
    share = "import mmap\nheld = mmap.mmap(-1, 600 * 2**20)\nheld.write(bytes(600 * 2**20))\ntime.sleep(600)"
    cells, _, _ = unruly("--max-memory", "300", solver=share)
    only_the_guilty_cell(cells, "oom", "the limit is 300 MiB")


STAGED = "import glob, shutil\nplace = max(glob.glob('RESULTS/store/staging/sample-*'), key=os.path.getmtime)\n"


@pytest.mark.parametrize(
    ("deed", "words"),
    [
        ("os.symlink('/etc/hostname', place + '/link')", "not a plain file"),
        ("os.mkdir(place + '/DONE')", "not a plain file"),
        ("shutil.rmtree(place)", "sample-"),
    ],
)
def test_a_staging_folder_that_is_no_entry_costs_its_own_job(unruly, tmp_path, deed, words):
    cells, _, _ = unruly(solver=STAGED.replace("RESULTS", str(tmp_path / "results")) + deed)
    only_the_guilty_cell(cells, "failed", words)


@pytest.mark.parametrize("junk", [b"\0\0\0\3abc", b"\0\0\0\2{}", b"\x7f\xff\xff\xf0"])
def test_what_a_job_writes_into_its_workers_pipe_costs_it_alone(unruly, monkeypatch, junk):
    monkeypatch.setattr("bench.execute.server.SECONDS_TO_SAY", 2.0)
    write = (
        "import stat\nfor fd in range(3, 60):\n    try:\n        if stat.S_ISSOCK(os.fstat(fd).st_mode):\n"
        f"            os.write(fd, {junk!r})\n    except OSError:\n        pass\ntime.sleep(600)"
    )
    cells, _, _ = unruly(solver=write)
    only_the_guilty_cell(cells, "failed", "what is no message")


def test_a_job_that_stops_the_server_of_processes_stops_nothing_else(unruly):
    cells, _, _ = unruly(solver="import signal\nos.kill(os.getppid(), signal.SIGSTOP)", status=0)
    assert set(cells["status"]) == {"ok"}


def test_what_a_job_sets_for_its_process_reaches_no_other_job(unruly, tmp_path):
    _, records, _ = unruly(status=0)
    deed = (
        "torch.set_default_dtype(torch.float64); torch.set_grad_enabled(False); os.chdir('/'); os.umask(0o777)\n"
        "os.environ.clear(); sys.path.clear(); torch.use_deterministic_algorithms(True)"
    )
    _, again, _ = unruly("--workers", "1", solver=deed, metric=deed, status=0)
    own = ["cell", "metric", "value", "status"]
    before, after = (of_metric(table, "wasserstein")[own] for table in (records, again))
    pd.testing.assert_frame_equal(after, before)
    assert {oct(path.stat().st_mode & 0o777) for path in (tmp_path / "results" / "store").rglob("*.json")} == {"0o644"}


def test_an_error_that_is_no_exception_keeps_its_words_and_control_characters_are_shown_as_such(unruly):
    odd = "class Odd(BaseException): pass\nraise Odd('my own \\x1b[31mwords')"
    cells, _, said = unruly(solver=odd)
    only_the_guilty_cell(cells, "failed", "Odd (my own ", "words)")
    assert "\x1b" not in said
    assert "\\x1b[31mwords" in said


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
    if end:
        words = ["timeout", "not done after"] if "sleep" in end else ["failed", "exit status 0 before it was done"]
        only_the_guilty_cell(cells, *words)
    else:
        assert set(cells["status"]) == {"ok"}


@pytest.mark.parametrize(
    ("deed", "words"),
    [
        ("ctypes.string_at(0)", "signal SIGSEGV"),
        ("os.kill(os.getpid(), 9)", "signal SIGKILL"),
        ("os.close(0); os.closerange(3, 4096); time.sleep(600)", "closed its connection"),
        ("if os.fork() == 0: raise ValueError('a child')\nos._exit(3)", "exit status 3"),
    ],
    ids=["segfault", "kill", "closed", "fork"],
)
def test_a_death_has_its_own_words(unruly, deed, words):
    cells, _, _ = unruly(solver=deed)
    only_the_guilty_cell(cells, "failed", "the worker process died", words)


def test_output_without_bound_is_cut(unruly, tmp_path):
    """100 MB by Python and as many by C code; a message of 20 MB, with half a surrogate pair."""
    metric = """
libc = ctypes.CDLL(None)
for _ in range(100): print("x" * 1_000_000)
for _ in range(100): os.write(1, b"y" * 1_000_000)
raise ValueError("\\ud800" + "z" * 20_000_000)
""".strip()
    cells, records, said = unruly(metric=metric)
    assert set(cells["status"]) == {"ok"}
    rows = of_metric(records, "unruly")
    assert set(rows["status"]) == {"failed"}
    assert rows["reason"].str.contains("ValueError: ").all()
    assert (rows["reason"].str.len() < 700).all()
    for log in rows["log"]:
        kept = (tmp_path / "results" / log).read_bytes()
        assert len(kept) < 2.5 * 2**20
        assert b"dropped" in kept
        assert b"Traceback" in kept
    assert len(said) < 10_000
    assert (tmp_path / "results" / "unruly" / "report.md").stat().st_size < 100_000


@pytest.mark.parametrize("deed", ['raise ValueError("third call")', "time.sleep(600)", "os._exit(0)"])
def test_one_stopwatch_that_misbehaves_costs_itself_alone(unruly, deed):
    solver = "if timing(): HELD.append(1)\nif len(HELD) == 3: " + deed
    _, records, _ = unruly("--max-minutes", "0.05", solver=solver)
    times = of_metric(records, "sample_seconds")
    assert sorted(times["status"]) in (["failed", "ok"], ["ok", "timeout"])
    assert (times.loc[times["status"] == "ok", "value"].astype(float) > 0).all()
    told = times.loc[times["status"] != "ok", "reason"].item()
    assert any(words in told for words in ("third call", "not done after 3 s", "exit status 0 before it was done"))


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


def test_no_driver_leaves_what_a_job_started_even_where_it_is_killed(tmp_path):
    pids = tmp_path / "pids"
    deed = (DAEMON.strip().replace("PIDS", repr(str(pids))) + "\ntime.sleep(600)").replace("\n", "\n" + " " * 12)
    (tmp_path / "unruly.py").write_text(dedent(PLUGIN.replace("IN_SOLVER", deed).replace("IN_METRIC", "pass")))
    (tmp_path / "unruly.yaml").write_text(dedent(SUITE))
    driver = subprocess.Popen(
        [sys.executable, "-m", "bench", "run", "unruly.yaml"], cwd=tmp_path, stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not (pids.exists() and pids.read_text().endswith(" ")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert alive(pids)
    driver.kill()
    driver.wait()
    deadline = time.monotonic() + 10
    while alive(pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(pids)


def test_a_run_that_gets_no_processes_says_so_and_reports(unruly, monkeypatch):
    def refuse(fds):
        raise EOFError

    monkeypatch.setattr(forkserver, "connect_to_new_process", refuse)
    cells, _, said = unruly()
    assert set(cells["status"]) == {"cancelled"}
    assert said.count("no worker process can be started") == 1


@pytest.mark.long
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk")
def test_a_disk_that_fills_at_any_size_loses_nothing_and_the_run_goes_on_with_more_room(bench, tmp_path):
    """Ten sizes, from one that holds no entry to one that lacks only the report; then the same disk, larger."""
    suite = dedent(SUITE).replace("plugins: [unruly.py]\nmetrics: [unruly, wasserstein]\n", "")
    (tmp_path / "unruly.yaml").write_text(suite.replace("unruly, steps", "heun, steps").replace("n: 16", "n: 3000"))
    run = ("run", tmp_path / "unruly.yaml", "--results")

    def numbers(results):
        records = pd.read_csv(results / "unruly" / "tables" / "records.csv", keep_default_na=False)
        return records.loc[~records["metric"].str.contains("seconds"), ["cell", "metric", "value", "status"]]

    assert bench(*run, tmp_path / "whole").returncode == 0
    needed = sum(path.stat().st_blocks * 512 for path in (tmp_path / "whole").rglob("*") if path.is_file())
    ends = []
    for tenth in range(10):
        disk = tmp_path / f"disk{tenth}"
        disk.mkdir()
        size = int(needed * (0.1 + 0.1 * tenth)) // 1024 + 64
        if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "none", disk], check=False).returncode:
            pytest.skip("no small disk can be mounted here")
        try:
            done = bench(*run, disk)
            said = done.stdout + done.stderr
            ends.append(done.returncode)
            assert "Traceback" not in said
            assert done.returncode in (0, 1), said
            assert said.count("No space left") <= 2, "once for the run, once for its report"
            assert done.returncode == 0 or "No space left" in said, said
            subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
            done = bench(*run, disk)
            assert done.returncode == 0, done.stdout + done.stderr
            pd.testing.assert_frame_equal(numbers(disk), numbers(tmp_path / "whole"))
            assert bench("store", "verify", "--results", disk).returncode == 0
        finally:
            subprocess.run(["umount", "-l", disk], check=True)
    assert ends[:8] == [1] * 8, ends


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk")
def test_a_full_disk_ends_the_run_in_one_sentence(bench, tmp_path):
    (tmp_path / "disk").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", tmp_path / "disk"], check=True)
    try:
        suite = dedent(SUITE).replace("plugins: [unruly.py]\nmetrics: [unruly, wasserstein]\n", "")
        suite = suite.replace("unruly, steps", "heun, steps").replace("n: 16", "n: 30000")
        (tmp_path / "unruly.yaml").write_text(suite)
        done = bench("run", tmp_path / "unruly.yaml", "--results", tmp_path / "disk")
    finally:
        subprocess.run(["umount", "-l", tmp_path / "disk"], check=True)
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert "Traceback" not in said
    assert said.count("No space left") <= 2, "once for the run, once for its report"
    assert "store" in said
    assert not left_behind()


def test_limits_stand_in_a_suite(tmp_path):
    file = tmp_path / "s.yaml"
    file.write_text(
        "question: q\nlimits: {minutes: 30, still: none, memory: 4 GB}\nprofiles: {a: {limits: {memory: 7}}}"
    )
    limits = load_suite(file).limits
    assert limits["minutes"].amount == 30
    assert limits["still"].amount == float("inf")
    assert limits["memory"].amount == pytest.approx(4e9 / 2**20)
    assert load_suite(file, "a").limits["memory"].amount == 7


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ("{minuts: 3}", "no limit named 'minuts'. Did you mean 'minutes'?"),
        ("{minutes: 0}", "2:19 limits.minutes: must be minutes that one job may take"),
        ("{still: soon}", 'got "soon"'),
        ("{minutes: true}", "got true"),
        ("{memory: [1]}", "a number of MiB, or text such as 4 GB"),
        ("3", "must be a mapping of minutes, still, memory"),
    ],
)
def test_a_limit_that_is_none_is_told_with_its_place(tmp_path, limit, words):
    (tmp_path / "s.yaml").write_text(f"question: q\nlimits: {limit}\n")
    with pytest.raises(SuiteError, match=re.escape(words)):
        load_suite(tmp_path / "s.yaml")


def test_limits_by_default_follow_a_jobs_past_and_change_no_key(tmp_path):
    class Past:
        def seconds(self, group):
            return {"short": [1.0, 2.0, 3.0], "long": [100.0]}.get(group, [])

        def free_mb(self):
            return 5000.0

    allowance = Allowance({}, Past(), 2)
    limits = {group: allowance.of(SimpleNamespace(group=group)) for group in ("short", "long", "new")}
    assert limits["short"]["seconds"][0] == 600
    assert limits["long"]["seconds"][0] == 2000
    assert "seconds" not in limits["new"]
    assert limits["new"]["memory"][1] == MACHINE
    assert limits["new"]["disk"] == (2500.0, DISK)
    assert limits["new"]["idle"][0] == 600
    lifted = Allowance({key: Limit(math.inf, "me") for key in MEANINGS}, Past(), 2)
    assert lifted.of(SimpleNamespace(group="long")) == {}
    keys = []
    for text in ("", "limits: {minutes: 1, memory: 9}\n"):
        (tmp_path / "s.yaml").write_text(f"suite: s\nquestion: q\n{text}")
        keys.append(set(plan(load_suite(tmp_path / "s.yaml"), "here").jobs))
    assert keys[0] == keys[1]


def test_what_runs_longest_is_told_with_its_age(tmp_path, monkeypatch):
    (tmp_path / "s.yaml").write_text("question: q\n")
    laid, said = plan(load_suite(tmp_path / "s.yaml"), "here"), io.StringIO()
    watching = watcher(Console(file=said, width=200), laid, SimpleNamespace(learn=None), 1)
    job = next(job for job in laid.jobs.values() if job.kind == "sample")
    watching.started(job)
    watching.waiting()
    now = time.monotonic()
    monkeypatch.setattr("time.monotonic", lambda: now + 180)
    watching.waiting()
    watching.waiting()
    assert said.getvalue().count("still running") == 1
    assert f"still running: sample {job.key[:8]} for 3 min (" in said.getvalue()
    assert "solver=euler" in said.getvalue()
    watching.returned(job)
    assert not watching.oldest(0)
