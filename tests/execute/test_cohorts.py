"""Which trainings go as one, and what becomes of them where they do not fit or one of them fails."""

from dataclasses import replace

import pytest
import torch

from bench import train
from bench.batches import TrainJob
from bench.couplings import Independent, OptimalTransport
from bench.datasets import DATASETS, SOURCES
from bench.nets import MLP
from bench.paths import Linear
from bench.planner import plan
from bench.settings import Training
from bench.stages import STAGES
from bench.suite import load_suite

SUITE = """\
suite: many
question: Who trains with whom?
seeds: {seeds}
base:
  dataset: two_gaussians
  net: {{name: mlp, width: 8, depth: 1}}
  training: {{steps: 4, batch: 16}}
  sampling: {{n: 16}}
"""


@pytest.fixture
def laid(tmp_path):
    def laid(seeds):
        (tmp_path / "many.yaml").write_text(SUITE.format(seeds=seeds))
        return plan(load_suite(tmp_path / "many.yaml"), "here")

    return laid


class Enough(Exception):
    """No more than what was handed out is looked at."""


@pytest.mark.parametrize(
    ("device", "slots", "machine", "seeds", "sizes"),
    [
        ("cpu", 2, "", 10, [3, 4]),  # all workers have some, and none of them a fifth
        ("cpu", 4, "", 3, [1, 1, 1]),
        ("cuda", 16, "", 56, [56]),  # one process with many members, rather than many with one
        ("cuda:0", 16, "", 130, [44, 43, 43]),
        ("cuda", 2, "two GPUs", 56, [28, 28]),
        ("cuda", 2, "two GPUs", 300, [50, 63]),
    ],
)
def test_trainings_go_together_by_workers_on_a_cpu_and_all_at_once_on_a_gpu(
    run_inline, laid, tmp_path, device, slots, machine, seeds, sizes
):
    given = []

    def watched(engine):
        engine.slots, engine.free, engine.machine = slots, slots, machine

        def submitted(batch):
            if batch[0].kind != "train":
                raise Enough
            given.append(len(batch))
            engine.free -= 1
            if not engine.free:
                raise Enough

        engine.submit = submitted
        return engine

    with pytest.raises(Enough):
        run_inline(laid(seeds), tmp_path / "store", watched, device=device)
    assert given == sizes


@pytest.mark.parametrize("device", [torch.device("cpu"), torch.device("cuda")], ids=str)
@pytest.mark.parametrize("spare", [0, 5])
def test_threads_draw_ahead_of_a_gpu_and_on_a_cpu_where_there_is_pairing(monkeypatch, device, spare):
    asked = []
    monkeypatch.setattr(train, "made_ahead", lambda calls, threads, depth: asked.append(threads))
    for coupling in (Independent(), OptimalTransport()):
        job = TrainJob(
            DATASETS["two_gaussians"](), SOURCES["gaussian"](), coupling, Linear(), "exact", "noise_at_0", MLP(8, 1),
            Training(steps=4, batch=16), seed=0,
        )  # fmt: skip
        train._drawn([job], device, 0, spare)
    independent, paired = asked
    assert independent == (spare + 1 if device.type == "cuda" else 0)
    assert paired == (spare + 1 if device.type == "cuda" or spare else 0)


def test_another_error_that_names_no_member_is_looked_for_in_each_by_itself(run_inline, laid, tmp_path, monkeypatch):
    laid_out, tried, run = laid(4), [], STAGES["train"].run

    def failing(tasks, *more):
        tried.append(len(tasks))
        if any(task.seed == 2 for task in tasks):
            raise ZeroDivisionError("by design")
        return run(tasks, *more)

    monkeypatch.setitem(STAGES, "train", replace(STAGES["train"], run=failing))
    outcomes = run_inline(laid_out, tmp_path / "store")
    failed = [laid_out.jobs[job].seed for job, outcome in outcomes.items() if job[0] == "train" and not outcome.ok]
    assert (failed, tried) == ([2], [4, 1, 1, 1, 1])


@pytest.mark.parametrize("fits", [1, 2, 3, 8])
def test_what_does_not_fit_into_memory_together_is_halved_until_it_does(run_inline, laid, tmp_path, monkeypatch, fits):
    """A cohort of eight, of which so many fit: each has the weights that it has where all fit."""
    laid_out, tried, run = laid(8), [], STAGES["train"].run

    def bounded(tasks, *more):
        tried.append(len(tasks))
        if len(tasks) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run(tasks, *more)

    monkeypatch.setattr("bench.execute.driver.COHORT", 8)
    monkeypatch.setitem(STAGES, "train", replace(STAGES["train"], run=bounded))
    outcomes = run_inline(laid_out, tmp_path / "store")
    assert all(outcome.ok for outcome in outcomes.values())
    assert tried == {1: [8, *[4, *[2, 1, 1] * 2] * 2], 2: [8, *[4, 2, 2] * 2], 3: [8, *[4, 2, 2] * 2], 8: [8]}[fits]
