"""Jobs that take too long or too much: each has its own status and reason, and all others are done."""

import io
import math
import re
import sys
import time
from types import SimpleNamespace

import pytest
from rich.console import Console

from bench.errors import SuiteError
from bench.execute.allowance import DISK, MACHINE, Allowance
from bench.limits import MEANINGS, Limit
from bench.planner import plan
from bench.progress import watcher
from bench.suite import load_suite
from tests.execute.unruly import of_metric, only_the_guilty_cell

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


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
