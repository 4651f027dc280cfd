"""Which trainings go as one, and what becomes of them where they do not fit or one of them fails."""

from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from bench import fitting, train
from bench.batches import TrainJob
from bench.couplings import Independent, OptimalTransport
from bench.datasets import DATASETS, SOURCES
from bench.execute.protocol import Work
from bench.execute.task import WorkTask
from bench.execute.together import do_together
from bench.execute.watch import Watched, excess
from bench.nets import MLP
from bench.paths import Linear
from bench.planner import plan
from bench.settings import Training
from bench.stages import STAGES
from bench.suite import load_suite
from bench.timing import Lap

LONG_ENOUGH = 1200
"""Steps of trainings whose sizes are measured."""

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
        ("cpu", 2, "", 56, [14, 11]),  # more where many wait, and never more than half of a worker's share
        ("cpu", 2, "", 300, [30, 30]),
        ("cpu", 4, "", 3, [1, 1, 1]),
        ("cuda", 16, "", 56, [56]),  # one process with many members, rather than many with one
        ("cuda:0", 16, "", 600, [300, 300]),
        ("cuda", 2, "two GPUs", 56, [28, 28]),
        ("cuda", 2, "two GPUs", 1200, [300, 450]),
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


@pytest.mark.parametrize(("best", "sizes"), [(1, [1] * 8), (3, [2, 3, 3]), (7, [4, 4]), (8, [8])])
def test_a_batch_is_done_in_even_parts_that_begin_and_end_one_after_the_other(laid, tmp_path, monkeypatch, best, sizes):
    """Whatever the size, each has the weights that it has by itself."""
    monkeypatch.setattr("bench.execute.together.best_size", lambda jobs, *more: best)
    jobs = [job for job in laid(8).jobs.values() if job.kind == "train"]
    said, places = [], [tmp_path / str(number) for number in range(len(jobs))]
    for place in places:
        place.mkdir()
    works = [
        Work("train", job.key, [(role, c.factor, c.name, c.plain) for role, c in job.configs.items()], job.fields,
             job.seed, 0, {}, str(place))
        for job, place in zip(jobs, places, strict=True)
    ]  # fmt: skip
    do_together(works, said.append)
    begun = [message["job"][1] for message in said if message.get("trial")]
    assert begun == [work.key for work in works], "who dies while sizes are measured is one of all"
    told = [
        (message["event"], message["job"][1])
        for message in said
        if message["event"] != "progressed" and not message.get("trial")
    ]
    keys = iter(work.key for work in works)
    parts = [[next(keys) for _ in range(size)] for size in sizes]
    assert told == [(event, key) for part in parts for event in ("started", "ended") for key in part]
    for work, place in zip(works, places, strict=True):
        job, kept = train.train_job(WorkTask(work, print)), load_file(place / "weights_raw.safetensors")
        alone = train.train(job, torch.device("cpu"), lambda *news: None).weights["raw"]
        assert all(torch.equal(alone[name], kept[name]) for name in alone)


def test_an_error_while_sizes_are_measured_is_told_by_each_that_has_it(run_inline, laid, tmp_path, monkeypatch):
    def failing(jobs, *more):
        raise ZeroDivisionError("while measuring")

    monkeypatch.setattr("bench.execute.together.best_size", failing)
    assert all(outcome.ok for outcome in run_inline(laid(4), tmp_path / "store").values())


def test_members_have_their_minutes_together_also_while_they_end_one_by_one():
    works = [Work("train", key, [], {}, 0, 0, {}, "", limits={"seconds": (10.0, "you")}) for key in "abcd"]
    worker = object.__new__(Watched)  # without a process
    worker.waiting, worker.begun, worker.trial, worker.ended = works, set(), False, 0
    for work in works:
        worker.begin(work.id, trial=True)
    assert [work.key for work in worker.in_hand] == ["a", "b", "c", "d"]
    for work in works[:3]:
        worker.begin(work.id)
    assert [work.key for work in worker.in_hand] == ["a", "b", "c"]
    worker.heard, worker.since = worker.since, worker.since - 25
    assert excess(worker) is None
    for work in works[:2]:
        worker.end(work.id)
    assert excess(worker) is None
    worker.since -= 10
    assert excess(worker)[1].startswith("not done after 30 s, set by you")
    worker.end(works[2].id)
    worker.begin(works[3].id)
    worker.since -= 11
    assert excess(worker)[1].startswith("not done after 10 s")


UNRULY = """\
import os, time
from dataclasses import dataclass
import torch
from bench.interfaces import Coupling

@dataclass(frozen=True)
class Bad(Coupling):
    deed: str = "none"

    def pair(self, x0, x1, generator):
        if self.deed == "exit":
            os._exit(3)
        if self.deed == "hang":
            time.sleep(600)
        if self.deed == "raise":
            raise ValueError("mine")
        if self.deed == "memory":
            held = []
            while True:
                held.append(torch.ones(2**22))
                time.sleep(0.02)
        return x0, x1

COUPLINGS = {"bad": Bad}
"""


@pytest.mark.parametrize(
    ("deed", "limit", "reason"),
    [
        ("exit", (), "exit status 3"),
        ("raise", (), "mine"),
        ("hang", ("--max-minutes", "0.05"), "not done after"),
        ("memory", ("--max-memory", "600"), "of memory"),
    ],
)
def test_what_one_does_while_sizes_are_measured_costs_itself_alone(bench, tmp_path, deed, limit, reason):
    (tmp_path / "bad.py").write_text(UNRULY)
    suite = SUITE.format(seeds=1).replace("steps: 4,", f"steps: {LONG_ENOUGH},")
    couplings = f"a: independent, b: {{name: bad}}, c: {{name: bad, deed: {deed}}}, d: {{name: bad, deed: also}}"
    (tmp_path / "many.yaml").write_text(
        f"{suite}plugins: [bad.py]\ngrid: {{coupling: {{{couplings}}}}}\nmetrics: [mmd]\n"
    )
    done = bench("run", tmp_path / "many.yaml", "--results", tmp_path, "--workers", "1", *limit)
    cells = pd.read_csv(tmp_path / "many" / "tables" / "cells.csv", keep_default_na=False)
    failed = cells[cells["status"] != "ok"]
    assert list(failed["coupling"]) == ["c"], done.stderr
    assert reason in failed["reason"].item()


class Paced:
    """A stopwatch by which members' steps take these seconds, by how many there are; MiB that so many take."""

    def __init__(self, monkeypatch, seconds, mib=lambda size: 0.0):
        self.seconds, self.mib, self.tried = seconds, mib, []
        self.now = 0.0
        monkeypatch.setattr(fitting, "rehearsal", self.rehearsed)
        monkeypatch.setattr(fitting, "lap", self.lap)
        monkeypatch.setattr(fitting, "time", SimpleNamespace(perf_counter=lambda: self.now))

    def lap(self, call, device):
        seconds = call()
        self.now += seconds
        return Lap(seconds, 1.0)

    def rehearsed(self, jobs, device, steps, *, anew):
        size = len(jobs)
        self.tried.append(size)
        laps = iter((9e-3, 2e-3, 1e-3, 3e-3, 2e-3, 3e-3))  # the first warms up, and others are disturbed
        return lambda: next(laps) * self.seconds(size) * size * steps, steps, None

    def used(self):
        return 500.0 + max(map(self.mib, self.tried), default=0.0)


def trainings(count, steps=2000):
    job = TrainJob(
        DATASETS["two_gaussians"](), SOURCES["gaussian"](), Independent(), Linear(), "exact", "noise_at_0", MLP(8, 1),
        Training(steps=steps, batch=16), seed=0,
    )  # fmt: skip
    return [replace(job, seed=seed) for seed in range(count)]


@pytest.mark.parametrize(
    ("count", "seconds", "best"),
    [
        (14, lambda size: 1 / size, 14),
        (14, lambda size: size, 1),
        (32, lambda size: abs(size - 8) + 1, 8),
        (14, {1: 1.0, 2: 1.1, 4: 0.9, 8: 0.5, 14: 0.6}.__getitem__, 8),  # better again after it was worse
        (3, {1: 1.0, 2: 0.5, 3: 0.6}.__getitem__, 2),
        (4, {1: 1.0, 2: 0.6, 4: 0.58}.__getitem__, 2),  # hardly better, and longer until something is stored
    ],
)
def test_the_size_is_that_of_the_quickest_member_step(monkeypatch, count, seconds, best):
    Paced(monkeypatch, seconds)
    assert fitting.best_size(trainings(count, steps=5000), torch.device("cpu")) == best


def test_no_size_is_tried_that_would_not_fit_into_memory(monkeypatch):
    watch = Paced(monkeypatch, lambda size: 1 / size, mib=lambda size: 100.0 * size)
    assert fitting.best_size(trainings(32), torch.device("cpu"), 900.0, watch.used) == 8
    assert watch.tried == [1, 2, 4, 8]


def test_nets_whose_steps_are_long_are_measured_no_longer_than_it_takes_to_see_that(monkeypatch):
    watch = Paced(monkeypatch, lambda size: 200.0 / size)
    assert fitting.best_size(trainings(32), torch.device("cpu")) == fitting.USUAL
    assert watch.tried == [1]


def test_what_is_paired_at_once_counts_as_measured(monkeypatch):
    watch = Paced(monkeypatch, lambda size: 1 / size)
    jobs = [replace(job, coupling=OptimalTransport(transport_batch=1024)) for job in trainings(8)]  # 64 steps at once
    assert fitting.best_size(jobs, torch.device("cpu")) == fitting.USUAL
    assert watch.tried == []


def test_a_size_for_which_memory_lacks_is_not_taken(monkeypatch):
    def seconds(size):
        if size > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return 1 / size

    Paced(monkeypatch, seconds)
    assert fitting.best_size(trainings(32), torch.device("cpu")) == 4


@pytest.mark.parametrize(("count", "size"), [(1, 1), (3, 3), (32, fitting.USUAL)])
def test_sizes_of_trainings_too_short_to_be_worth_it_are_not_measured(monkeypatch, count, size):
    watch = Paced(monkeypatch, lambda size: 1 / size)
    assert fitting.best_size(trainings(count, steps=100), torch.device("cpu")) == size
    assert watch.tried == []


def test_real_sizes_are_measured_without_a_trace():
    jobs, device = trainings(6, steps=1000), torch.device("cpu")
    before = torch.get_rng_state()
    assert fitting.best_size(jobs, device) in (1, 2, 4, 6)
    assert torch.equal(before, torch.get_rng_state())


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

    monkeypatch.setattr("bench.execute.driver.LEAST", 8)
    monkeypatch.setattr("bench.fitting.USUAL", 8)
    monkeypatch.setitem(STAGES, "train", replace(STAGES["train"], run=bounded))
    outcomes = run_inline(laid_out, tmp_path / "store")
    assert all(outcome.ok for outcome in outcomes.values())
    assert tried == {1: [8, *[4, *[2, 1, 1] * 2] * 2], 2: [8, *[4, 2, 2] * 2], 3: [8, *[4, 2, 2] * 2], 8: [8]}[fits]
