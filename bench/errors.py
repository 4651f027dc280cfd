"""Every error that the harness raises on purpose.

BenchError                    anything below; its text names the place, the fault and the remedy
├── SuiteError                the suite is wrong: every fault of the file at once (exit status 2)
├── UsageError                the command line is wrong (exit status 2)
├── ComponentError            a plugin that cannot be loaded, or a wrong component
│   └── ContractBroken        a component does not do what its room promises
├── EngineError                no worker process can be had
├── StoreError                the results folder cannot be used
│   ├── Corrupt               what stands there is not what was written
│   └── NoEntry               a job left behind what is no entry; it fails, and the run goes on
└── JobError                  one job ended without a result; carries the status of its record
    ├── Diverged              the loss or the samples are not finite
    ├── NotConverged          a solver stopped before its tolerance
    ├── BadNet                a net that cannot be trained or sampled as it is
    ├── WrongAnswer           a metric's answer is not what it declares, or not finite
    ├── Exited                code of a job called for the end of its process
    ├── PluginChanged         a plugin is another than when the job was planned
    ├── Unavailable           what the job needs is not on this machine (its cells are skipped)
    │   └── DataMissing       a data set's files are nowhere to be found and cannot be fetched
    └── Undefined             a metric has no value for such a cell (that row is skipped, the cell stays ok)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class BenchError(Exception):
    """Base of every error raised on purpose."""


@dataclass(frozen=True, order=True)
class Fault:
    """One mistake in a suite: where it is, what is wrong and what would be right.

    line and column count from 1, as editors do; key is the dotted path inside the file.
    """

    file: str
    line: int
    column: int
    key: str
    message: str

    def __str__(self) -> str:
        key = f"{self.key}: " if self.key else ""
        return f"{self.file}:{self.line}:{self.column} {key}{self.message}"


class SuiteError(BenchError):
    """All the faults of one suite file."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(sorted(set(faults)))
        super().__init__("\n".join(str(fault) for fault in self.faults))


class UsageError(BenchError):
    """A wrong command line."""


class ComponentError(BenchError):
    """A plugin that cannot be loaded, or a component that breaks its contract."""


class ContractBroken(ComponentError):
    """A component does not do what its room promises: what failed, where, and how to mend it."""


class EngineError(BenchError):
    """No worker process can be started."""


class StoreError(BenchError):
    """The results folder cannot be read or written."""


class Corrupt(StoreError):
    """What stands there is not what was written: another content, or no file at all."""


class NoEntry(StoreError):
    """What a job left in its staging folder is no entry."""


class JobError(BenchError):
    """One job ended without a result; `status` is what its record will say."""

    status = "failed"


class Diverged(JobError):
    """The loss or the samples are not finite."""

    status = "diverged"


class NotConverged(JobError):
    """A numerical solver stopped before it reached its tolerance."""


class BadNet(JobError):
    """A net that answers in another shape than it is asked in, or is not what it says of itself; it is not trained."""


class WrongAnswer(JobError):
    """A metric lacks a value that it declares, or gives one that is not finite."""


class Exited(JobError):
    """A component's code raised SystemExit, which would end the worker and say nothing."""


class PluginChanged(JobError):
    """A plugin's file, or one that it imports, is another than when the job was planned."""


class Unavailable(JobError):
    """What the job needs (a data set, weights, a device) is not on this machine."""

    status = "skipped"


class DataMissing(Unavailable):
    """The files of a data set are nowhere to be found; says how to provide them."""


class Undefined(JobError):
    """A metric has no value for such a cell: not a failure, and the same on every machine."""

    status = "skipped"
