"""The one table of kinds of job: what planner, driver, worker, store, records and progress know of each.

A new kind is a line here, a row of what it depends on in `bench.inputs`, and the function of a stage that does it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Kind:
    """One kind of job.

    form: how its result stands in the store, a folder of arrays or a file of numbers. on_device: done where the user
    asked for it, else on the CPU. together: how jobs of the kind share a process: "no" (one process a job), "in turn"
    (short ones, each reported as it ends), "as one" (a cohort of trainings; all of a run's stopwatches in interleaved
    rounds). alone: only when nothing else runs. resumes: goes on from a checkpoint after a kill.
    """

    name: str
    form: Literal["folder", "file"]
    on_device: bool
    together: Literal["no", "in turn", "as one"]
    alone: bool
    resumes: bool = False


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("train", "folder", on_device=True, together="as one", alone=False, resumes=True),
        Kind("reference", "folder", on_device=False, together="no", alone=False),
        Kind("prepared", "folder", on_device=False, together="no", alone=False),
        Kind("sample", "folder", on_device=True, together="in turn", alone=False),
        Kind("floor", "file", on_device=False, together="in turn", alone=False),
        Kind("score", "file", on_device=False, together="in turn", alone=False),
        Kind("train_time", "file", on_device=True, together="as one", alone=True),
        Kind("sample_time", "file", on_device=True, together="as one", alone=True),
    )
}
"""Every kind, in the order in which jobs are handed out: the longest first, and what must be alone at the end."""
