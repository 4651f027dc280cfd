"""Jobs that misbehave in other ways than by wanting too much: each has its own status, and all others are done."""

import sys

import pandas as pd
import pytest

from tests.execute.unruly import of_metric, only_the_guilty_cell

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

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
