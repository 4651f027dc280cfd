from types import SimpleNamespace

import pytest
import torch

from bench import timing

CPU = torch.device("cpu")


class FakeClock:
    """Wall-clock and processor seconds that pass in calls alone."""

    def __init__(self, monkeypatch):
        self.wall = self.cpu = 0.0
        self.order = []
        fake = SimpleNamespace(perf_counter=lambda: self.wall, process_time=lambda: self.cpu)
        monkeypatch.setattr(timing, "time", fake)

    def call(self, name, *seconds, share=1.0):
        """A call that takes these seconds in turn, the last of them from then on."""
        left = list(seconds)

        def run():
            took = left.pop(0) if len(left) > 1 else left[0]
            self.wall, self.cpu = self.wall + took, self.cpu + share * took
            self.order.append(name)

        return run

    def measure(self, *calls, **more):
        """As time jobs do it: first calls, then rounds."""
        firsts = [timing.lap(call, CPU) for call in calls]
        self.order.clear()
        return timing.measure(calls, firsts, CPU, **more)


@pytest.fixture
def clock(monkeypatch):
    return FakeClock(monkeypatch)


def test_candidates_take_turns_and_the_first_call_stands_by_itself(clock):
    a, b = clock.measure(clock.call("a", 1.0, 0.01, 0.02, 0.03, 0.04, 0.05), clock.call("b", 0.5, 0.02))
    assert clock.order == ["a", "b"] * timing.ROUNDS
    assert (a.first, b.first) == (1.0, 0.5)
    assert (a.q25, a.median, a.q75) == pytest.approx((0.02, 0.03, 0.04))
    assert a.spent == pytest.approx(1.15)


@pytest.mark.parametrize(
    ("seconds", "rounds"), [(0.01, 5), (0.2, 3), (2.0, 3), (4.0, 2), (4.9, 2), (5.0, 1), (60.0, 1)]
)
def test_the_longer_a_call_the_fewer_rounds(clock, seconds, rounds):
    (row,) = clock.measure(clock.call("a", seconds))
    assert row.rounds == rounds
    assert row.spent == pytest.approx(clock.wall)
    assert row.calls == rounds + (seconds < timing.LONG_SECONDS), "what is spent in all calls is shared out among them"
    assert row.median == pytest.approx(seconds)


@pytest.mark.parametrize(("seconds", "rounds"), [(0.01, 5), (0.08, 3), (0.2, 2), (2.0, 2)])
def test_those_that_differ_in_their_seed_alone_share_the_rounds(clock, seconds, rounds):
    calls = [clock.call(name, seconds) for name in "abcde"]
    rows = clock.measure(*calls, alike=["dopri5", "dopri5", "dopri5", "euler", "euler"])
    assert [row.rounds for row in rows] == [rounds] * 3 + [max(rounds, 3)] * 2
    assert [row.median for row in rows] == pytest.approx([seconds] * 5)


def test_a_gpu_is_warm_before_it_is_timed_however_long_that_takes(clock, monkeypatch):
    monkeypatch.setattr(timing, "_synchronise", lambda device: None)
    cold, call = timing.Lap(9.0, 1.0), clock.call("a", 6.0)
    (row,) = timing.measure([call], [cold], torch.device("cuda"))
    assert (row.first, row.median, row.rounds, row.calls) == (9.0, 6.0, 1, 2)


def test_a_long_first_call_is_never_repeated(clock):
    (row,) = clock.measure(clock.call("a", 5.0, 100.0))
    assert clock.order == []
    assert row.first == row.median == row.q25 == row.q75 == row.spent == 5.0


@pytest.mark.parametrize(("share", "busy"), [(1.0, False), (0.95, False), (0.5, True)])
def test_a_machine_that_others_used_is_said_to_have_been_busy(clock, share, busy):
    (row,) = clock.measure(clock.call("a", 0.1, share=share))
    assert row.busy is busy
