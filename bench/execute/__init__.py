"""The order of work: which jobs are missing, who does them, and what became of each."""

from __future__ import annotations

from bench.execute.driver import Results, execute
from bench.execute.estimate import Estimator
from bench.execute.local import LocalEngine
from bench.execute.protocol import Ended, Engine, Event, Noticed, Observer, Outcome, Progressed, Started, Work

__all__ = [
    "Ended",
    "Engine",
    "Estimator",
    "Event",
    "LocalEngine",
    "Noticed",
    "Observer",
    "Outcome",
    "Progressed",
    "Results",
    "Started",
    "Work",
    "execute",
]
