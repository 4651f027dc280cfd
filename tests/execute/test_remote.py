"""Other machines: the same numbers as here, nothing lost with a worker or a node. Real Ray, real jobs of submitit."""

import math
import os
import shutil
import signal
from contextlib import suppress
from pathlib import Path
from textwrap import dedent

import pandas as pd
import pytest

from bench.execute import tree
from tests.execute.commands import end, left, numbers, start, until

pytest.importorskip("ray", reason="the extra `ray` is not installed")
pytest.importorskip("submitit", reason="the extra `slurm` is not installed")

PLUGIN = '''
    """A path whose width comes from a file beside it, by a helper beside it; its net says what it may see."""
    import os
    from dataclasses import dataclass

    from bench.interfaces import Net
    from bench.nets.mlp import MLP
    from bench.paths import Linear
    from helper import read

    files = ("width.txt",)


    @dataclass(frozen=True)
    class Wavy(Linear):
        "Linear, blurred as a file says."
        sigma_min: float = read(files[0])


    @dataclass(frozen=True)
    class Telling(MLP):
        "Says which devices it may see."

        def build(self, *a, **k):
            print("visible", os.environ.get("CUDA_VISIBLE_DEVICES"))
            return super().build(*a, **k)


    PATHS = {"wavy": Wavy}
    NETS = {"telling": Telling}
'''

HELPER = """
    from pathlib import Path


    def read(name):
        return float((Path(__file__).parent / name).read_text())
"""

SUITE = """
    suite: far
    question: Does it run elsewhere?
    seeds: 2
    plugins: [far.py]
    base:
      dataset: {name: points, file: own.csv}
      net: {name: NET, width: 8, depth: 1}
      training: {steps: STEPS, batch: 16}
      sampling: {n: 32, repeats: 1}
    grid:
      path: [linear, wavy]
      solver:
        - {name: euler, steps: 4}
        - {name: rk4, steps: 2}
    metrics: [wasserstein]
"""


def write(folder, steps=30, net="mlp"):
    (folder / "far.py").write_text(dedent(PLUGIN))
    (folder / "helper.py").write_text(dedent(HELPER))
    (folder / "width.txt").write_text("0.25")
    (folder / "own.csv").write_text("".join(f"{math.cos(k)},{math.sin(3 * k)}\n" for k in range(100)))
    file = folder / "far.yaml"
    file.write_text(dedent(SUITE).replace("STEPS", str(steps)).replace("NET", net))
    return file


def run(file, results, *options, status=0, folder=None):
    return end(start(file, results, *options, folder=folder), status)


def published(results):
    """Files and folders of finished jobs."""
    store = results / "store"
    return sorted(str(path.relative_to(store)) for kind in ("train", "sample") for path in store.glob(f"{kind}/*/DONE"))


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A suite, and what the local engine makes of it."""
    folder = tmp_path_factory.mktemp("here")
    file = write(folder)
    run(file, folder / "results")
    return file, folder / "results"


@pytest.fixture(scope="module")
def cluster():
    """Two nodes with a CPU and a logical GPU each, beside a head that gives neither."""
    from ray.cluster_utils import Cluster

    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "num_gpus": 0})
    for _ in range(2):
        found.add_node(num_cpus=1, num_gpus=1)
    yield found
    found.shutdown()


def test_ray_gives_the_same_numbers_from_plugins_and_data_that_travelled(here, cluster, tmp_path):
    file, results = here
    for name in ("scipy", "pydantic", "typer"):  # what lies in the working directory is nobody's module
        (tmp_path / f"{name}.py").write_text(
            f"open({str(tmp_path / 'ran')!r}, 'a').write({name!r})\nraise SystemExit(3)\n"
        )
    said = run(file, tmp_path / "results", "--engine", "ray", "--address", cluster.address, folder=tmp_path)
    assert not (tmp_path / "ran").exists()
    assert numbers(tmp_path / "results" / "far") == numbers(results / "far")
    assert published(tmp_path / "results") == published(results)
    assert "times are taken on one kind of node: " in said
    records = pd.read_csv(tmp_path / "results" / "far" / "tables" / "records.csv")
    assert records.loc[records["metric"] == "sample_seconds", "value"].notna().all()
    assert not list((tmp_path / "results" / "store").glob("tmp/*")), "nothing is left in staging"


@pytest.mark.long
def test_nothing_is_lost_with_a_worker_and_a_node_in_the_middle_of_work(cluster, tmp_path):
    file = write(tmp_path, steps=8000)
    whole = tmp_path / "whole"
    run(file, whole)
    doomed = cluster.add_node(num_cpus=1, num_gpus=1)
    results = tmp_path / "results"
    process = start(file, results, "--engine", "ray", "--address", cluster.address)
    worker = until(lambda: [pid for pid in working() if at_work(pid)])
    os.kill(worker[0], signal.SIGKILL)
    until(lambda: set(working()) - {worker[0]})
    cluster.remove_node(doomed, allow_graceful=False)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert "was lost" in said
    assert numbers(results / "far") == numbers(whole / "far")
    assert published(results) == published(whole)
    until(lambda: not [pid for pid in working() if at_work(pid)])


def working():
    """Ray's workers that do a batch of ours, of the clusters that this process started."""
    found = []
    for pid in tree.below(os.getpid(), tree.children()):
        with suppress(OSError):
            if b"ray::_serve" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def at_work(pid):
    """Whether a host has a worker with a job in hand: a child of its fork server."""
    return len(tree.below(pid, tree.children())) > 1


def test_each_job_gets_a_share_of_one_gpu_of_the_node(cluster, tmp_path):
    """Logical GPUs: torch sees none, so trainings fail, and say first which device they were given."""
    file = write(tmp_path, net="telling")
    file.write_text(file.read_text().replace("seeds: 2", "seeds: 1").replace("path: [linear, wavy]", "path: [wavy]"))
    run(file, tmp_path / "results", "--engine", "ray", "--address", cluster.address, "--device", "cuda", status=1)
    logs = [path.read_text() for path in (tmp_path / "results" / "store" / "failed").glob("train-*.log")]
    told = [line for log in logs for line in log.splitlines() if line.startswith("visible")]
    assert told
    assert set(told) == {"visible 0"}


@pytest.mark.long
def test_slurm_gives_the_same_numbers_and_another_pilot_when_one_is_killed(here, tmp_path):
    file, results = here
    own = tmp_path / "results"
    process = start(file, own, "--engine", "slurm", "--slurm", "cluster=local", "--workers", "2")
    pilots = until(lambda: [pid for pid in left(own) if is_pilot(pid) and at_work(pid)])
    os.kill(pilots[0], signal.SIGKILL)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert "another is asked for" in said
    assert numbers(own / "far") == numbers(results / "far")
    assert published(own) == published(results)
    assert not list(own.glob(".slurm-*"))
    until(lambda: not left(own))


def is_pilot(pid):
    try:
        return b"submitit.core._submit" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--engine", "rya"], "Did you mean 'ray'?"),
        (["--address", "here:1"], "give --engine ray too"),
        pytest.param(
            ["--engine", "slurm"],
            "there is no Slurm here",
            marks=pytest.mark.skipif(shutil.which("sbatch") is not None, reason="there is Slurm here"),
        ),
        (["--slurm", "time=3"], "give --engine slurm too"),
        (["--engine", "slurm", "--slurm", "cluster=local", "--slurm", "time"], "must be KEY=VALUE"),
        (["--engine", "slurm", "--slurm", "cluster=local", "--slurm", "partitoin=gpu"], "partitoin"),
    ],
)
def test_a_wrong_engine_or_option_is_told(bench, tmp_path, options, words):
    done = bench("run", write(tmp_path), *options)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_cluster_that_is_not_there_is_told_at_once(bench, tmp_path):
    done = bench("run", write(tmp_path), "--engine", "ray", "--address", "127.0.0.1:1")
    assert done.returncode == 1
    assert "--address 127.0.0.1:1: nobody answers there" in done.stderr


@pytest.mark.long
def test_a_cluster_that_ends_under_way_ends_the_run_and_loses_nothing_that_was_finished(tmp_path):
    """Ray itself ends a process whose node is gone, at times before a word can be said."""
    from ray.cluster_utils import Cluster

    file, results = write(tmp_path, steps=200_000), tmp_path / "results"
    other = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    process = start(file, results, "--engine", "ray", "--address", other.address)
    until(lambda: [pid for pid in working() if at_work(pid)])
    other.shutdown()
    process.communicate(timeout=200)
    assert process.returncode != 0
    run(write(tmp_path, steps=30), results)
