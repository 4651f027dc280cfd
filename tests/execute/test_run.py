"""Whole runs through the command line: real workers, a real store, real kills."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from textwrap import dedent

import pandas as pd
import pytest

from bench.planner import plan
from bench.suite import load_suite
from tests.execute.commands import marked

SUITE = """
    suite: tiny
    question: Does it run?
    seeds: 2
    base:
      dataset: two_gaussians
      net: {name: mlp, width: 8, depth: 1}
      training: {steps: 20, batch: 16}
      sampling: {n: 32, repeats: 2}
    grid:
      path: [linear, noisy_bridge]
      solver:
        - {name: euler, steps: 4}
        - {name: rk4, steps: 2}
"""


def command(*arguments):
    return [sys.executable, "-m", "bench", *map(str, arguments)]


@pytest.fixture(scope="module")
def bench(bench):
    """Output and messages of a command that must end with this status, without a traceback."""

    def run(*arguments, status=0):
        done = bench(*arguments)
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout, done.stderr

    return run


def bench_anew(*arguments):
    """The same in a process of its own: code that changed is seen by new ones alone."""
    done = subprocess.run(command(*arguments), capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, done.stderr


@pytest.fixture
def suite(tmp_path):
    def write(*changes, name="tiny.yaml"):
        text = SUITE
        for before, after in changes:
            assert before in text
            text = text.replace(before, after)
        file = tmp_path / name
        file.write_text(dedent(text))
        return file

    return write


@pytest.fixture(scope="module")
def finished(bench, tmp_path_factory):
    """Results of the tiny suite, run once; a test that changes them takes a copy."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.yaml").write_text(dedent(SUITE))
    bench("run", folder / "tiny.yaml", "--results", folder / "results")
    return folder / "results"


@pytest.fixture
def results(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "results")


def table(folder, name):
    return pd.read_csv(folder / "tables" / f"{name}.csv", keep_default_na=False)


def entries(results, kind):
    return sorted(str(path) for path in (results / "store" / kind).glob("*/DONE"))


def test_a_run_writes_tidy_records_and_a_report(finished):
    cells, records = table(finished / "tiny", "cells"), table(finished / "tiny", "records")
    assert len(cells) == 8
    assert set(cells["status"]) == {"ok"}
    assert set(records["status"]) == {"ok"}
    assert not records.duplicated(["cell", "metric"]).any()
    nfe = records[records["metric"] == "nfe"].merge(cells[["cell", "solver.name"]], on="cell")
    assert set(zip(nfe["solver.name"], nfe["value"].astype(float), strict=True)) == {("euler", 4.0), ("rk4", 8.0)}
    expected = {
        "wasserstein",
        "wasserstein_floor",
        "wasserstein_excess",
        "train_seconds",
        "sample_seconds",
        "spent_seconds",
    }
    assert expected | {"score_seconds", "train_loss", "parameters"} <= set(records["metric"])
    assert "wasserstein" in (finished / "tiny" / "report.md").read_text()
    about = json.loads((finished / "tiny" / "suite.json").read_text())
    assert about["fixed"]["training.steps"] == 20
    assert about["provenance"]["versions"]["torch"]
    assert about["jobs"]["train"] == {"done": 4, "stored": 0, "failed": 0}
    assert len(entries(finished, "train")) == 4


def test_the_second_run_does_nothing_and_touches_nothing(bench, suite, results):
    files = [path for path in (*results.glob("tiny/**/*"), *results.glob("store/*/**/*")) if path.is_file()]
    before = {path: path.stat().st_mtime_ns for path in files}
    out, _ = bench("run", suite(), "--results", results)
    assert "nothing new" in out
    assert {path: path.stat().st_mtime_ns for path in files} == before


def test_more_solvers_and_metrics_train_nothing_and_resample_nothing(bench, suite, results):
    trained, sampled = entries(results, "train"), entries(results, "sample")
    more = suite(
        ("question:", "metrics: [wasserstein, mmd]\n    question:"),
        ("- {name: rk4, steps: 2}", "- {name: rk4, steps: 2}\n        - midpoint"),
    )
    out, _ = bench("run", more, "--results", results)
    assert "to do: 4 sample" in out
    assert entries(results, "train") == trained
    assert len(entries(results, "sample")) == len(sampled) + 4
    out, _ = bench("run", suite(("batch: 16", "batch: 17")), "--results", results)
    assert "to do: 4 train" in out


def test_cells_that_diverge_are_rows_with_their_reason_and_the_others_go_on(bench, suite, tmp_path):
    results = tmp_path / "results"
    changes = ("path: [linear, noisy_bridge]", "training.learning_rate: [1e-3, 1e30]"), ("steps: 20", "steps: 400")
    _, err = bench("run", suite(*changes), "--results", results, status=1)
    assert "4 diverged of 8 cells" in err
    cells, records = table(results / "tiny", "cells"), table(results / "tiny", "records")
    assert sorted(cells["status"]) == ["diverged"] * 4 + ["ok"] * 4
    bad = records[(records["metric"] == "wasserstein") & (records["status"] == "diverged")]
    assert len(bad) == 4
    assert set(bad["value"]) == {""}
    assert bad["reason"].str.contains("the loss is").all()
    assert "the loss is" in (results / "tiny" / "report.md").read_text()
    trained = entries(results, "train")
    bench("run", suite(*changes), "--results", results, status=1)
    assert entries(results, "train") == trained


def test_a_cell_that_cannot_be_run_is_skipped_with_its_reason_and_fails_nothing(bench, suite, tmp_path):
    results = tmp_path / "results"
    out, _ = bench(
        "run",
        suite(("dataset: two_gaussians", "dataset: rings"), ("path: [linear, noisy_bridge]", "net: [mlp, oracle]")),
        "--results",
        results,
    )
    assert "4 cells skipped" in out
    assert sorted(table(results / "tiny", "cells")["status"]) == ["ok"] * 4 + ["skipped"] * 4


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_ended_leaves_nothing_running_and_is_continued(bench, suite, tmp_path, how):
    results, marker = tmp_path / "results", f"BENCH_TEST_MARK={tmp_path.name}-{int(how)}"
    slow = suite(("steps: 20", "steps: 1500"))
    name, value = marker.split("=")
    driver = subprocess.Popen(
        # Tests that are started behind `&` ignore Ctrl-C, and so would this.
        ["env", "--default-signal=INT", *command("run", slow, "--results", results)],
        env={**os.environ, name: value}, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 90
    while len(entries(results, "train")) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    done = entries(results, "train")
    assert done
    driver.send_signal(how)
    _, err = driver.communicate(timeout=30)
    if how != signal.SIGKILL:
        assert driver.returncode == 130, err
        assert "Traceback" not in err
        assert "cancelled" in set(table(results / "tiny", "cells")["status"])
    deadline = time.monotonic() + 10
    while marked(marker) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not marked(marker)
    times = {path: Path(path).stat().st_mtime_ns for path in done}
    bench("run", slow, "--results", results)
    assert set(table(results / "tiny", "cells")["status"]) == {"ok"}
    assert {path: Path(path).stat().st_mtime_ns for path in done} == times
    assert not list((results / "store" / "staging").iterdir())


def test_a_worker_that_is_killed_costs_its_own_cell_alone(bench, suite, tmp_path):
    (tmp_path / "deadly.py").write_text(
        dedent("""
        import os, signal
        from dataclasses import dataclass
        from bench.interfaces import Metric, Measured

        @dataclass(frozen=True)
        class Deadly(Metric):
            "Kills its own process for one of the samples."
            values = {"deadly": Measured("1", "lower")}
            floored = False
            inputs = ("samples",)

            def measure(self, given):
                if given.seed == 1 and os.path.exists(MARK):
                    os.kill(os.getpid(), signal.SIGKILL)
                return {"deadly": 1.0}

        METRICS = {"deadly": Deadly}
        """).replace("MARK", repr(str(tmp_path / "deadly")))
    )
    (tmp_path / "deadly").touch()
    results = tmp_path / "results"
    file = suite(("question:", "plugins: [deadly.py]\n    metrics: [wasserstein, deadly]\n    question:"))
    bench("run", file, "--results", results, status=1)
    (tmp_path / "deadly").unlink()
    cells, records = table(results / "tiny", "cells"), table(results / "tiny", "records")
    assert set(cells["status"]) == {"ok"}, "it was trained and sampled well"
    killed = records[records["metric"] == "deadly"]
    assert sorted(killed["status"]) == ["failed"] * 4 + ["ok"] * 4
    assert killed[killed["status"] == "failed"]["reason"].str.contains("SIGKILL").all()
    scored = records[records["metric"] == "wasserstein"]
    assert set(scored["status"]) == {"ok"}
    bench("run", file, "--results", results)
    assert set(table(results / "tiny", "cells")["status"]) == {"ok"}


@pytest.mark.parametrize(
    ("deed", "words"),
    [("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"), ('raise ZeroDivisionError("by design")', "by design")],
    ids=["death", "error"],
)
def test_what_befalls_one_in_a_cohort_costs_the_guilty_training_alone(bench, suite, tmp_path, deed, words):
    """Several train in one process: all are tried again by themselves, and the guilty one is the one that fails."""
    (tmp_path / "deadly.py").write_text(
        dedent(f"""
        import os, signal
        from dataclasses import dataclass
        from bench.paths import Linear

        @dataclass(frozen=True)
        class Deadly(Linear):
            "Ends its own training when its velocity is asked."
            def velocity(self, t, x0, x1, xi):
                {deed}

        PATHS = {{"deadly": Deadly}}
        """)
    )
    results = tmp_path / "results"
    file = suite(
        ("question:", "plugins: [deadly.py]\n    question:"), ("noisy_bridge", "deadly"), ("seeds: 2", "seeds: 3")
    )
    bench("run", file, "--results", results, status=1)
    cells = table(results / "tiny", "cells")
    assert dict(cells.groupby(["path", "status"]).size()) == {("deadly", "failed"): 6, ("linear", "ok"): 6}
    assert cells[cells["status"] == "failed"]["reason"].str.contains(words).all()


def test_a_damaged_entry_is_said_set_aside_and_done_again(bench, suite, results):
    victim = Path(entries(results, "train")[0]).parent / "losses.npy"
    content = victim.read_bytes()
    victim.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    out, _ = bench("run", suite(), "--results", results)
    assert "losses.npy" in out
    assert victim.read_bytes() == content


def test_plan_tells_what_is_stored_and_what_is_not(bench, suite, results, tmp_path):
    before, _ = bench("plan", suite(), "--results", tmp_path / "elsewhere")
    assert "8 cells" in before
    assert "4 train       0 stored, 4 to do" in before
    more = suite(("- {name: rk4, steps: 2}", "- {name: rk4, steps: 2}\n        - midpoint"))
    after, _ = bench("plan", more, "--results", results)
    assert "4 train       4 stored, 0 to do" in after
    assert "about " in after


def test_results_of_older_code_are_said_and_never_built_upon(bench, suite, tmp_path):
    """A net whose formula changes: what is kept on request stays marked, what is made new trains anew."""
    results, plugin = tmp_path / "results", tmp_path / "mine.py"
    code = """
        from dataclasses import dataclass
        from bench.nets import MLP

        @dataclass(frozen=True)
        class Mine(MLP):
            "An MLP with another scale."
            def build(self, shape):
                net = super().build(shape)
                net.layers[-1].weight.data *= SCALE
                return net

        SCALE = 1.0
        NETS = {"mine": Mine}
        """
    mine = ("net: {name: mlp, width: 8, depth: 1}", "net: {name: mine, width: 8, depth: 1}")
    plugins, few = (
        ("question:", "plugins: [mine.py]\n    question:"),
        ("path: [linear, noisy_bridge]", "path: [linear]"),
    )
    plugin.write_text(dedent(code))
    bench("run", suite(mine, plugins, few), "--results", results)
    plugin.write_text(dedent(code).replace("SCALE = 1.0", "SCALE = 1.0  # a comment"))
    assert "nothing to do" in bench("plan", suite(mine, plugins, few), "--results", results)[0]
    plugin.write_text(dedent(code).replace("SCALE = 1.0", "SCALE = 3.0"))
    more = suite(mine, plugins, few, ("- {name: rk4, steps: 2}", "- {name: rk4, steps: 2}\n        - midpoint"))
    out, _ = bench("run", more, "--stale", "keep", "--results", results)
    assert "stale" in out
    assert len(entries(results, "train")) == 4  # midpoint needs the new net, whatever is kept beside it
    records = table(results / "tiny", "records").merge(
        table(results / "tiny", "cells")[["cell", "solver.name"]], on="cell"
    )
    notes = records[records["metric"] == "nfe"].groupby("solver.name")["note"].agg(set)
    assert (notes["euler"], notes["rk4"], notes["midpoint"]) == ({"stale"}, {"stale"}, {""})
    out, _ = bench("run", more, "--results", results)
    assert "done again" in out
    assert "stale" not in set(table(results / "tiny", "records")["note"])


POWERED = """
from dataclasses import dataclass
from helper import power, d_power
from bench.interfaces import Path

@dataclass(frozen=True)
class Powered(Path):
    "x_t = p(t) x1 + (1 - p(t)) x0."
    def alpha(self, t): return power(t)
    def sigma(self, t): return 1 - power(t)
    def d_alpha(self, t): return d_power(t)
    def d_sigma(self, t): return -d_power(t)

PATHS = {"powered": Powered}
"""
HELPER = "def power(t): return t**{0}\n\ndef d_power(t): return {0} * t ** ({0} - 1)\n"


def test_a_helpers_change_has_everything_that_it_touches_done_again(bench, suite, tmp_path):
    """A file beside the plugin is found in every worker without PYTHONPATH, and counts like the plugin."""
    results, helper = tmp_path / "results", tmp_path / "helper.py"
    (tmp_path / "my_paths.py").write_text(POWERED)
    file = suite(
        ("question:", "plugins: [my_paths.py]\n    question:"), ("[linear, noisy_bridge]", "[linear, powered]")
    )
    values = {}
    for exponent in (2, 8):
        helper.write_text(HELPER.format(exponent))
        out, _ = bench("run", file, "--results", results)
        records = table(results / "tiny", "records")
        values[exponent] = records[records["metric"] == "wasserstein"].groupby("path")["value"].agg(list)
    assert "results were made by older code and are done again" in out
    assert values[2]["linear"] == values[8]["linear"]
    assert not set(values[2]["powered"]) & set(values[8]["powered"])
    assert "nothing to do" in bench("plan", file, "--results", results)[0]


def test_a_plugin_that_changes_under_way_is_refused_by_the_worker(run_inline, suite, tmp_path):
    """Its numbers would stand under the hash of the code that was planned."""
    (tmp_path / "my_paths.py").write_text(POWERED)
    (tmp_path / "helper.py").write_text(HELPER.format(2))
    file = suite(("question:", "plugins: [my_paths.py]\n    question:"), ("[linear, noisy_bridge]", "[powered]"))
    planned = load_suite(file)
    (tmp_path / "helper.py").write_text(HELPER.format(3))
    outcomes = run_inline(plan(planned, "this machine"), tmp_path / "store", plugins=planned.tables.loaded)
    trained = [outcome for (kind, _), outcome in outcomes.items() if kind == "train"]
    assert all("my_paths.py, or a file that it imports, changed" in outcome.reason for outcome in trained)


def test_a_solver_that_raises_fails_alone_and_leaves_the_clocks_of_others(bench, suite, tmp_path):
    (tmp_path / "raising.py").write_text(
        dedent("""
        from dataclasses import dataclass
        from bench.solvers import Euler

        @dataclass(frozen=True)
        class Raising(Euler):
            "Fails at once."
            def solve(self, velocity, x, times):
                raise ZeroDivisionError("by design")

        SOLVERS = {"raising": Raising}
        """)
    )
    results = tmp_path / "results"
    file = suite(("question:", "plugins: [raising.py]\n    question:"), ("{name: rk4, steps: 2}", "{name: raising}"))
    _, err = bench("run", file, "--results", results, status=1)
    assert "4 failed of 8 cells" in err
    records = table(results / "tiny", "records").merge(
        table(results / "tiny", "cells")[["cell", "solver.name"]], on="cell"
    )
    clocks = records[records["metric"] == "sample_seconds"].set_index("solver.name")
    assert set(clocks.loc["euler", "status"]) == {"ok"}
    assert clocks.loc["raising", "reason"].str.contains("by design").all()


FAILING = """
from dataclasses import dataclass
from bench.interfaces import Metric, Measured

@dataclass(frozen=True)
class NotANumber(Metric):
    "Is not a number."
    values = {"first": Measured("1", "lower")}

    def measure(self, given):
        return {"first": float("nan")}

@dataclass(frozen=True)
class Silent(NotANumber):
    "Answers something else."
    values = {"second": Measured("1", "lower")}

@dataclass(frozen=True)
class Raising(NotANumber):
    "Raises after a word."
    values = {"third": Measured("1", "lower")}

    def measure(self, given):
        print("a word of its own")
        raise ZeroDivisionError("by design")

METRICS = {"not_a_number": NotANumber, "silent": Silent, "raising": Raising}
"""


def test_every_missing_value_has_its_own_reason_and_the_cell_is_well(bench, suite, tmp_path):
    """Of several metrics that fail each is told; a score that is not finite says nothing of the training."""
    (tmp_path / "failing.py").write_text(FAILING)
    results = tmp_path / "results"
    metrics = "plugins: [failing.py]\n    metrics: [wasserstein, not_a_number, silent, raising]\n    question:"
    _, err = bench("run", suite(("question:", metrics)), "--results", results, status=1)
    cells, records = table(results / "tiny", "cells"), table(results / "tiny", "records")
    assert set(cells["status"]) == {"ok"}
    reasons = records[records["value"] == ""].groupby("metric")["reason"].agg(set)
    expected = {
        "first": "first is nan",
        "second": "Silent answers first and declares second",
        "third": "ZeroDivisionError: by design",
    }
    for name, words in expected.items():
        assert all(words in reason for reason in reasons[name])
        assert words in (results / "tiny" / "tables" / "failures.md").read_text()
        assert f"{name}: no value in 8 of 8 cells: " in err
    assert set(records.loc[records["metric"] == "wasserstein", "status"]) == {"ok"}
    logs = set(records.loc[records["metric"] == "third", "log"])
    assert len(logs) == 8
    for log in logs:
        kept = (results / log).read_text()
        assert "a word of its own" in kept
        assert "Traceback" in kept
        assert "by design" in kept
    # What succeeds after all leaves no log of its failure behind.
    (tmp_path / "failing.py").write_text(
        FAILING.replace('raise ZeroDivisionError("by design")', 'return {"third": 1.0}')
    )
    bench("run", suite(("question:", metrics)), "--results", results, status=1)
    third = table(results / "tiny", "records").query("metric == 'third'")
    assert set(third["status"]) == {"ok"}
    assert set(third["log"]) == {""}


def test_failing_fast_tells_what_stands_on_the_culprit_of_the_culprit(bench, suite, tmp_path):
    results = tmp_path / "results"
    file = suite(
        ("path: [linear, noisy_bridge]", "training.learning_rate: [1e30]"),
        ("steps: 20", "steps: 400"),
        ("seeds: 2", "seeds: 1"),
    )
    bench("run", file, "--fail-fast", "--results", results, status=1)
    cells, records = table(results / "tiny", "cells"), table(results / "tiny", "records")
    assert set(cells["status"]) == {"diverged"}
    assert cells["reason"].str.contains("the loss is").all()
    scores = records[records["metric"] == "wasserstein"]
    assert scores["reason"].str.contains("the loss is").all()


def test_only_runs_the_chosen_cells_beside_the_whole(bench, suite, tmp_path):
    results = tmp_path / "results"
    bench("run", suite(), "--only", "path=linear", "--only", "solver.name=rk4", "--results", results)
    assert len(table(results / "tiny-only", "cells")) == 2
    assert not (results / "tiny").exists()


def test_report_is_made_again_without_torch(results):
    before = (results / "tiny" / "report.md").read_text()
    (results / "tiny" / "report.md").unlink()
    code = dedent(f"""
        import sys

        class Block:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in {{"torch", "ot"}}:
                    raise ImportError(name + " must not be needed")

        sys.meta_path.insert(0, Block())
        sys.argv = ["bench", "report", "tiny", "--results", {str(results)!r}]
        from bench.cli import main
        main()
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    assert (results / "tiny" / "report.md").read_text() == before
