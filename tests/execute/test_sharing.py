"""Drivers that share a store share its work: each job is done once, whoever starts, dies or fails."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from textwrap import dedent

import pytest

from bench.store import Store
from bench.store.claims import Claims
from tests.execute.commands import end, left, numbers, start, until

SUITE = """
    suite: shared
    question: Who does what?
    seeds: 3
    plugins: [slow.py]
    base:
      dataset: two_gaussians
      net: {name: mlp, width: 8, depth: 1}
      training: {steps: STEPS, batch: 16}
      sampling: {n: 32, repeats: 1}
    grid:
      path: [linear, slow]
      solver:
        - {name: euler, steps: 4}
        - {name: rk4, steps: 2}
    metrics: [wasserstein]
"""

SLOW = '''
    """A path that fails where it is told to, and notes each training of its own."""
    from dataclasses import dataclass
    from pathlib import Path

    from bench.paths import Linear


    @dataclass(frozen=True)
    class Slow(Linear):
        "Linear; notes that it is asked."

        def alpha(self, t):
            if Path(__file__).with_name("fail").exists():
                with Path(__file__).with_name("tried").open("a") as tried:
                    tried.write("x")
                raise ValueError("told to fail")
            return super().alpha(t)


    PATHS = {"slow": Slow}
'''


@pytest.fixture
def suite(tmp_path):
    def write(steps):
        (tmp_path / "slow.py").write_text(dedent(SLOW))
        file = tmp_path / "shared.yaml"
        file.write_text(dedent(SUITE).replace("STEPS", str(steps)))
        return file

    return write


def status(file, results, *options):
    words = [sys.executable, "-m", "bench", "status", file, "--results", results, *options]
    return subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)


def counted(said):
    """Jobs that a driver says it has to do, and that were done by it, out of what it printed."""
    return [line for line in said.splitlines() if line.startswith("to do: ")]


def entries(results):
    """Every finished job with when it was published: what is done again is another file."""
    return {path: path.stat().st_mtime_ns for path in (results / "store").glob("*/*/DONE")}


def published(results):
    """Entries and scores, as `entries` has them, without what is whole and not in its place yet."""
    scores = (results / "store" / "score").glob("*/*.json")
    made = entries(results) | {path: path.stat().st_mtime_ns for path in scores}
    return {path: when for path, when in made.items() if "staging" not in path.relative_to(results).parts}


def is_tidy(results):
    """Nothing of a driver that has ended is left: no claim, no sign of life, no staging, no process."""
    store = results / "store"
    held = [path for name in ("claims", "drivers", "staging") for path in (store / name).iterdir()]
    return not held and not left(results)


def claimant(root):
    """A process that holds the claim of one job, until it is told to end."""
    code = (
        "import sys; from pathlib import Path; from bench.store.claims import Claims; c = Claims(Path(sys.argv[1]))\n"
        "c.open(); print(c.claim(('train', 'ef', '01')) is None, flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-c", code, root]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "True\n"
    return process


def test_a_claim_is_one_drivers_and_a_dead_ones_is_taken_over_by_exactly_one(tmp_path):
    root = Store(tmp_path / "store").root
    job = ("train", "ab", "cd")
    ours, theirs = Claims(root), Claims(root)
    for each in (ours, theirs):
        each.open()
    assert ours.claim(job) is None
    assert ours.claim(job) is None, "again is no fault"
    assert theirs.claim(job).name == ours.name
    ours.release(job)
    assert theirs.holder(job) is None
    assert theirs.claim(job) is None
    other = claimant(root)
    assert ours.claim(("train", "ef", "01")).pid == other.pid
    other.kill()
    other.wait()
    other.stdin.close()
    other.stdout.close()
    assert ours.holder(("train", "ef", "01")) is None
    assert ours.claim(("train", "ef", "01")) is None
    assert theirs.claim(("train", "ef", "01")).name == ours.name
    for each in (ours, theirs):
        each.close()
    last = Claims(root)
    last.open()
    last.close()
    assert not list((root / "claims").iterdir()), "what the dead left goes when a driver is alone"
    assert not list((root / "drivers").iterdir())


def test_a_driver_that_was_stopped_is_not_waited_for(tmp_path, monkeypatch):
    """By its signs, which a process that sleeps (Ctrl-Z) does not give, though it is there."""
    monkeypatch.setattr("bench.store.claims.LOST_SECONDS", 1.0)
    root = Store(tmp_path / "store").root
    ours, job = Claims(root), ("train", "ef", "01")
    ours.open()
    other = claimant(root)
    other.send_signal(signal.SIGSTOP)
    assert ours.holder(job).pid == other.pid
    until(lambda: ours.holder(job) is None, seconds=10)
    assert ours.claim(job) is None
    other.kill()
    other.communicate()


def test_drivers_that_start_while_another_tidies_up_keep_their_names(tmp_path):
    root = Store(tmp_path / "store").root
    for number in range(2000):
        (root / "claims" / f"train-{number:04x}-00.0").write_text("00000000-00000000-1-1-00000000")
    (root / "claims" / "train-aa-bb.0").mkdir()
    code = (
        "import sys; from pathlib import Path; from bench.store.claims import Claims; c = Claims(Path(sys.argv[1]))\n"
        "c.open(); print(c.claim(('train', sys.argv[2], '01')) is None, flush=True); sys.stdin.read(); c.close()"
    )
    started = []
    for number in range(4):
        words = [sys.executable, "-c", code, root, f"{number:02x}"]
        started.append(subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    assert [each.stdout.readline() for each in started] == ["True\n"] * 4
    for each in started:
        each.communicate()
    assert not list((root / "drivers").iterdir())


def test_processes_that_fight_for_dead_drivers_claims_never_both_get_one(tmp_path):
    root = Store(tmp_path / "store").root
    jobs = [("sample", f"{n:02x}", "00") for n in range(200)]
    watching, dead = Claims(root), Claims(root)
    for each in (watching, dead):  # while one lives nobody tidies up
        each.open()
    for job in jobs:
        assert dead.claim(job) is None
    for name in (dead.name, f"{dead.name}.json"):  # as of a process that is gone
        text = (root / "drivers" / name).read_text()
        gone = dead.name.replace(f"-{os.getpid()}-", "-4194305-")
        (root / "drivers" / name.replace(dead.name, gone)).write_text(text.replace(dead.name, gone))
        (root / "drivers" / name).unlink()
    for job in jobs:
        claim = root / "claims" / f"{'-'.join(job)}.0"
        claim.unlink()
        claim.write_text(gone)
    code = (
        "import sys; from pathlib import Path; from bench.store.claims import Claims; c = Claims(Path(sys.argv[1]))\n"
        "c.open(); sys.stdin.readline()\n"
        "print(*(n for n in range(200) if c.claim(('sample', f'{n:02x}', '00')) is None), flush=True); sys.stdin.read()"
    )
    fighters = [
        subprocess.Popen([sys.executable, "-c", code, root], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    until(lambda: len(list((root / "drivers").glob("*.json"))) == 6)
    for each in fighters:
        each.stdin.write("go\n")
        each.stdin.flush()
    got = Counter(int(number) for each in fighters for number in each.stdout.readline().split())
    for each in fighters:
        each.communicate()
    assert got == Counter(range(200)), "each claim has one new owner"


@pytest.mark.long
def test_two_drivers_do_each_job_once_and_both_report_all_of_it(suite, tmp_path):
    file = suite(1500)
    end(start(file, tmp_path / "alone"))
    together = tmp_path / "together"
    pair = [start(file, together) for _ in range(2)]
    said = [end(process) for process in pair]
    assert numbers(together / "shared") == numbers(tmp_path / "alone" / "shared")
    assert is_tidy(together)
    assert each_once(said) == [], said


def each_once(said):
    """What is wrong with this: all that drivers had to do, less what others did for them, is every job once."""
    had = [sum(map(int, re.findall(r"([0-9]+) [a-z_]+", line))) for text in said for line in counted(text)]
    others = [int(found[1]) if (found := re.search(r"([0-9]+) jobs were done meanwhile", text)) else 0 for text in said]
    did = [all_ - shared for all_, shared in zip(had, others, strict=True)]
    return [] if sum(did) == max(had) else [had, others]


@pytest.mark.long
def test_five_drivers_take_about_as_long_as_one(suite, tmp_path):
    """Not by the clock, which others share: by the work that is done."""
    file = suite(300)
    said = [end(process) for process in [start(file, tmp_path / "results", "--workers", "1") for _ in range(5)]]
    assert each_once(said) == [], said
    assert is_tidy(tmp_path / "results")


@pytest.mark.long
def test_when_one_of_two_drivers_is_killed_the_other_does_its_work(suite, tmp_path):
    file = suite(3000)
    end(start(file, tmp_path / "alone"))
    together = tmp_path / "together"
    doomed, other = start(file, together, "--workers", "1"), start(file, together, "--workers", "1")
    until(lambda: len([name for name in (together / "store" / "claims").glob("train-*") if name]) > 1)
    doomed.kill()
    doomed.communicate()
    end(other)
    assert numbers(together / "shared") == numbers(tmp_path / "alone" / "shared")
    end(start(file, together))
    assert is_tidy(together)


@pytest.mark.long
def test_a_failure_is_met_once_and_told_by_both(suite, tmp_path):
    file = suite(100)
    (tmp_path / "fail").write_text("")
    end(start(file, tmp_path / "alone"), status=1)
    alone = (tmp_path / "tried").read_text()
    (tmp_path / "tried").unlink()
    together = tmp_path / "together"
    said = [end(process, status=1) for process in [start(file, together) for _ in range(2)]]
    assert all("told to fail" in text for text in said)
    assert len((tmp_path / "tried").read_text()) == len(alone), "each failure is met once"
    (tmp_path / "fail").unlink()
    done = subprocess.run(
        [sys.executable, "-m", "bench", "status", file, "--results", together],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "told to fail" in done.stdout, done.stdout + done.stderr
    end(start(file, together))
    done = subprocess.run(
        [sys.executable, "-m", "bench", "status", file, "--results", together, "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    kinds = json.loads(done.stdout)["kinds"]
    assert all(counts["done"] == counts["all"] for counts in kinds.values())


def test_status_tells_what_runs_while_it_runs(suite, tmp_path):
    file, results = suite(200_000), tmp_path / "results"
    process = start(file, results)
    until(lambda: list((results / "store" / "claims").glob("train-*")))

    def running():
        told = status(file, results, "--json")
        assert told.returncode == 1, told.stderr
        found = json.loads(told.stdout)
        return [job for job in found["running"] if job["kind"] == "train" and job["at"]] and found

    found = until(running)
    assert {job["pid"] for job in found["running"]} == {process.pid}
    assert found["kinds"]["train"]["running"] == 6
    process.send_signal(signal.SIGTERM)
    end(process, status=130)
    assert is_tidy(results)


MOMENTS, QUARTERS = 20, 4


@pytest.mark.long
@pytest.mark.parametrize("quarter", range(QUARTERS))
def test_a_driver_killed_at_any_moment_loses_nothing_and_leaves_nothing(suite, tmp_path, quarter):
    """SIGKILL within a seeded random part of a second of each twentieth of the work; the same command goes on."""
    file = suite(1000)
    end(start(file, tmp_path / "alone"))
    whole = len(published(tmp_path / "alone"))
    rng = random.Random(quarter)
    stages = set()
    for moment in range(quarter, MOMENTS, QUARTERS):
        results = tmp_path / f"killed{moment}"
        process = start(file, results)
        due = whole * moment // (MOMENTS - 1)
        until(lambda results=results, due=due: len(published(results)) >= due)
        time.sleep(rng.random() / 2)
        process.kill()
        process.communicate()
        until(lambda results=results: not left(results))
        before = published(results)
        stages |= {path.relative_to(results / "store").parts[0] for path in before}
        end(start(file, results))
        assert numbers(results / "shared") == numbers(tmp_path / "alone" / "shared"), moment
        after = published(results)
        assert {path: after[path] for path in before} == before, "what was published is not done again"
        assert is_tidy(results)
    assert {"train", "sample", "score"} <= stages


@pytest.mark.long
def test_a_driver_killed_while_it_writes_the_report_reports_the_same(suite, tmp_path):
    file = suite(300)
    end(start(file, tmp_path / "alone"))
    for number in range(5):
        results = tmp_path / f"report{number}"
        process = start(file, results)
        until(lambda results=results: (results / "shared" / "tables").is_dir())
        time.sleep(0.02 * number)
        process.kill()
        process.communicate()
        end(start(file, results))
        assert numbers(results / "shared") == numbers(tmp_path / "alone" / "shared")
        assert (results / "shared" / "report.md").read_bytes()


OWNER = {"host": "h", "pid": 1, "since": 1.0, "beat": 1.0, "sweeping": False, "jobs": {}}


@pytest.mark.parametrize(
    "wrong",
    [
        {"pid": float("inf")}, {"pid": "many"}, {"since": "x"}, {"since": float("nan")}, {"jobs": [1]},
        {"jobs": {"j": 3}},
        {"jobs": {"train/a/b": {"since": "x", "at": None}}}, {"jobs": {"train/a/b": {"since": 1.0, "at": [5]}}},
        {"jobs": {"train/a/b": {"since": 1.0, "at": "abc"}}},
    ],
)  # fmt: skip
def test_a_sign_of_life_of_another_shape_is_nobodys_and_is_swept(tmp_path, wrong):
    for name in ("claims", "drivers"):
        (tmp_path / name).mkdir()
    sign = tmp_path / "drivers" / "x.json"
    sign.write_text(json.dumps(OWNER | wrong))
    claims = Claims(tmp_path)
    assert claims.living() == []
    claims.open()
    assert not sign.exists()
    claims.close()
