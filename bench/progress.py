"""Who watches a run: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Collection
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bench.kinds import KINDS
from bench.words import duration

if TYPE_CHECKING:
    from bench.execute import Estimator, Outcome, Progressed
    from bench.planner import Plan
    from bench.recipes import Job, JobId


QUIET_SECONDS = 60.0
"""After so long in which no job ended, a plain line tells what runs."""

LONG_SECONDS = 10.0
"""A job that has run for so long is shown on a terminal with its age."""

SHOWN = 3
"""Jobs that are shown with their age, the oldest."""


def watcher(console: Console, plan: Plan, estimator: Estimator, slots: int, *, quiet: bool = False) -> _Counts:
    """A live display where somebody looks on, else plain lines."""
    kind = _Live if console.is_terminal and not quiet else _Lines
    return kind(console, plan, estimator, slots)


class _Counts:
    """Counts and time left; what both displays share."""

    def __init__(self, console: Console, plan: Plan, estimator: Estimator, slots: int) -> None:
        self.console, self.plan, self.estimator, self.slots = console, plan, estimator, slots
        self.totals = {kind: plan.count(kind) for kind in KINDS}
        self.stored = dict.fromkeys(KINDS, 0)
        self.done: dict[str, int] = dict.fromkeys(KINDS, 0)
        self.failed = 0
        self.told: set[str] = set()
        self.losses: dict[str, tuple[int, int, float]] = {}
        self.left = dict(plan.jobs)
        self.running: dict[JobId, float] = {}
        self.moved = time.monotonic()
        self.began = time.monotonic()

    def __enter__(self) -> _Counts:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def looked_up(self, stored: Collection[JobId]) -> None:
        """Note how much is stored already."""
        for job in stored:
            self.done[job[0]] += 1
            self.left.pop(job, None)
        self.stored = dict(self.done)

    def started(self, job: Job) -> None:
        """A job began: note when."""
        self.running[job.id] = time.monotonic()

    def returned(self, job: Job) -> None:
        """A job is to be tried again."""
        self.running.pop(job.id, None)

    def waiting(self) -> None:
        """Nothing has happened: nothing to say yet."""

    def progressed(self, job: Job, event: Progressed) -> None:
        """Keep the latest loss of each training in flight."""
        if event.loss is not None:
            self.losses[job.key] = (event.done, event.total, event.loss)

    def ended(self, job: Job, outcome: Outcome) -> None:
        """Count a job's end."""
        self.left.pop(job.id, None)
        self.losses.pop(job.key, None)
        self.running.pop(job.id, None)
        self.moved = time.monotonic()
        if outcome.ok:
            self.done[job.kind] += 1
            if outcome.entry:
                self.estimator.learn(job, float(outcome.entry.job["seconds"]))
        else:
            self.failed += 1

    def notice(self, text: str) -> None:
        """Say something at once."""
        self.console.print(f"note: {text}")

    def oldest(self, seconds: float) -> list[str]:
        """What has run for so long, the oldest first: `sample 1a2b3c4d for 3 min (solver=euler, net=mlp)`."""
        now = time.monotonic()
        old = sorted((since, job) for job, since in list(self.running.items()) if now - since >= seconds)
        return [f"{kind} {key[:8]} for {duration(now - since)}{self._who(kind, key)}" for since, (kind, key) in old]

    def _who(self, kind: str, key: str) -> str:
        job = self.plan.jobs[kind, key]
        names = [f"{role}={config.name}" for role, config in job.configs.items() if config.name]
        return f" ({', '.join([*names, f'seed={job.seed}'])})"

    def time_left(self) -> str:
        """Expected time for what is left, from past and present jobs of the same kind."""
        seconds, unknown = self.estimator.left(self.left.values(), self.slots)
        if unknown and not seconds:
            return "time left unknown"
        return f"about {duration(seconds)} left" + (f", and {unknown} jobs of unknown length" if unknown else "")

    def say_failure(self, job: Job, outcome: Outcome) -> None:
        """One line for a job that did not make it; a reason that many share is told once."""
        told = "as above" if outcome.reason in self.told else outcome.reason
        self.told.add(outcome.reason)
        self.console.print(f"{outcome.status}: {job.kind} {job.key[:8]}: {told}")


class _Lines(_Counts):
    """A line at each tenth of the jobs, and one for each failure."""

    def __init__(self, console: Console, plan: Plan, estimator: Estimator, slots: int) -> None:
        super().__init__(console, plan, estimator, slots)
        self.next_line = 0.0

    def waiting(self) -> None:
        """Each minute in which nothing ended, what runs longest."""
        now = time.monotonic()
        if now - self.moved >= QUIET_SECONDS and (old := self.oldest(QUIET_SECONDS / 2)):
            self.moved = now
            more = f", and {len(old) - SHOWN} more" if len(old) > SHOWN else ""
            self.console.print(f"still running: {'; '.join(old[:SHOWN])}{more}")

    def looked_up(self, stored: Collection[JobId]) -> None:
        """Say what is left to do."""
        super().looked_up(stored)
        missing = {kind: n - self.stored[kind] for kind, n in self.totals.items() if n > self.stored[kind]}
        if missing:
            self.console.print("to do: " + ", ".join(f"{n} {kind}" for kind, n in missing.items()))

    def ended(self, job: Job, outcome: Outcome) -> None:
        """Count it, and say what went wrong."""
        super().ended(job, outcome)
        if not outcome.ok and outcome.status != "cancelled":
            self.say_failure(job, outcome)
        total, done = sum(self.totals.values()), sum(self.done.values())
        if total and done / total >= self.next_line:
            self.next_line = (int(10 * done / total) + 1) / 10
            passed = duration(time.monotonic() - self.began)
            self.console.print(f"{done} of {total} jobs after {passed}; {self.time_left()}")


class _Live(_Counts):
    """A table of counts with the losses of the trainings in flight and the time left."""

    def __init__(self, console: Console, plan: Plan, estimator: Estimator, slots: int) -> None:
        super().__init__(console, plan, estimator, slots)
        self.live = Live(get_renderable=self.render, console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> _Live:
        self.live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.__exit__(kind, error, trace)

    def ended(self, job: Job, outcome: Outcome) -> None:
        """Count it, and say what went wrong."""
        super().ended(job, outcome)
        if not outcome.ok and outcome.status != "cancelled":
            self.say_failure(job, outcome)

    def render(self) -> RenderableType:
        """What stands on the terminal now."""
        table = Table.grid(padding=(0, 2))
        for kind in KINDS:
            total, stored = self.totals[kind], self.stored[kind]
            if total:
                bar = "█" * int(20 * self.done[kind] / total)
                note = f"{stored} stored" if stored else ""
                table.add_row(kind, f"{self.done[kind]}/{total}", f"{bar:<20}", note)
        lines = [
            Text(f"training {key[:8]}: step {done} of {total}, loss {loss:.4g}")
            for key, (done, total, loss) in list(self.losses.items())
        ]
        lines += [Text(f"running: {text}") for text in self.oldest(LONG_SECONDS)[:SHOWN]]
        failed = f", {self.failed} failed" if self.failed else ""
        passed = duration(time.monotonic() - self.began)
        return Group(table, *lines, Text(f"{passed} passed, {self.time_left()}{failed}"))
