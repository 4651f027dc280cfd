"""What is made ahead by threads: in order, bounded, and with its errors in their places."""

import threading
from contextlib import closing
from functools import partial

import pytest
import torch

from bench.ahead import foreseen, made_ahead
from bench.diffusion import brownian
from bench.planner import plan
from bench.suite import load_suite


def threads():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("ahead")]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_results_come_in_order_and_an_error_in_its_place(count):
    def call(number):
        if number == 7:
            raise ValueError("the eighth")
        return number

    flow = made_ahead((partial(call, number) for number in range(20)), count, 5)
    got = [next(flow) for _ in range(7)]
    with pytest.raises(ValueError, match="the eighth"):
        next(flow)
    assert got == list(range(7))
    assert not threads()


def test_as_many_as_asked_are_made_ahead_and_no_more_once_it_is_closed():
    begun, gate = [], threading.Event()

    def call(number):
        begun.append(number)
        gate.wait(10 if number else 0)
        return number

    with closing(made_ahead((partial(call, number) for number in range(100)), 2, 4)) as flow:
        assert next(flow) == 0
        while len(begun) < 3:  # both threads have one in hand
            threading.Event().wait(0.001)
        gate.set()
    assert max(begun) <= 4
    assert not threads()


@pytest.mark.parametrize("count", [1, 3])
def test_noise_that_is_foreseen_is_the_same_in_whatever_order_it_is_asked_for(count):
    noise, asked = brownian(0, 5, torch.zeros(70, 3)), [0, 1, 2, 2, 9, 4, 5]
    made = []

    def seen(step):
        made.append(step)
        return noise(step)

    with foreseen(seen, count) as ahead:
        assert all(torch.equal(ahead(step), noise(step)) for step in asked)
    assert max(made) <= max(asked) + count + 1
    assert not threads()


def test_an_error_in_what_is_foreseen_is_raised_where_it_is_asked_for():
    with foreseen([7, 8].__getitem__, 2) as ahead:
        assert (ahead(0), ahead(1)) == (7, 8)
        with pytest.raises(IndexError):
            ahead(2)
    assert not threads()


SUITE = """\
suite: one
question: Who helps?
base:
  dataset: two_gaussians
  coupling: ot
  net: {name: mlp, width: 8, depth: 1}
  training: {steps: 4, batch: 16}
  sampling: {n: 16}
"""


@pytest.mark.parametrize(("slots", "seeds", "given"), [(2, 1, 1), (2, 3, 0), (8, 1, 7), (8, 3, 1), (16, 3, 4)])
def test_trainings_share_the_cores_whatever_short_jobs_wait_beside_them(run_inline, tmp_path, slots, seeds, given):
    (tmp_path / "one.yaml").write_text(f"{SUITE}seeds: {seeds}\n")
    spare = {}

    def watched(engine):
        engine.slots, engine.free, engine.machine, submit = slots, slots, "", engine.submit

        def submitted(batch):
            spare.setdefault(batch[0].kind, batch[0].spare)
            submit(batch)

        engine.submit = submitted
        return engine

    run_inline(plan(load_suite(tmp_path / "one.yaml"), "here"), tmp_path / "store", watched)
    assert spare["train"] == given
