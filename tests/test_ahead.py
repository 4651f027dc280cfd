"""What is made ahead by threads: in order, bounded, and with its errors in their places."""

import threading
from contextlib import closing
from functools import partial

import pytest

from bench.ahead import made_ahead


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
