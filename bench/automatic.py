"""The one table of values that every cell has without being asked, and the names that follow from others'.

Reader, records, tables and figures read it. A component of a user's own may not take one of these names.
"""

from __future__ import annotations

from typing import NamedTuple


class Automatic(NamedTuple):
    """Kind of job that measures it, unit, and which way is better: "lower", "higher", or "none" where neither is."""

    kind: str
    unit: str
    better: str

    @property
    def seconds(self) -> bool:
        """Whether it is a time, which is never compared across devices."""
        return self.unit == "s"


AUTOMATIC: dict[str, Automatic] = {
    "nfe": Automatic("sample", "evaluations", "lower"),
    "rejected_steps": Automatic("sample", "steps", "lower"),
    "train_loss": Automatic("train", "squared target", "none"),
    "parameters": Automatic("train", "count", "none"),
    "epochs": Automatic("train", "count", "none"),
    "train_seconds": Automatic("train_time", "s", "lower"),
    "coupling_seconds": Automatic("train_time", "s", "lower"),
    "spent_seconds": Automatic("train", "s", "none"),
    "sample_seconds": Automatic("sample_time", "s", "lower"),
    "sample_seconds_q25": Automatic("sample_time", "s", "none"),
    "sample_seconds_q75": Automatic("sample_time", "s", "none"),
    "first_call_seconds": Automatic("sample_time", "s", "none"),
    "score_seconds": Automatic("score", "s", "none"),
}
"""By name. score_seconds is the sum over a cell's metrics; epochs has no value where every training point is fresh."""

FLOOR, FLOOR_SD, EXCESS = "_floor", "_floor_sd", "_excess"
SUFFIXES = (FLOOR, FLOOR_SD, EXCESS)
"""Endings of the values that stand beside a score."""


TABLES = ("cells", "records", "headline", "failures", "claims", "claim_seeds", "effects", "fronts", "published")
"""Tables that a report has beside one for each score."""

COLUMNS = (
    "cell", "seed", "metric", "value", "unit", "better", "n", "repeats", "status", "reason", "log", "note", "seconds",
    "device", "threads", "started", "peak_mb", "commit", "dirty", "code", "versions", "entries",
)  # fmt: skip
"""Columns of the records that are no axis."""


def reserved(name: str) -> str | None:
    """Why a value or a metric may not have this name, or None."""
    if not (name.isascii() and name.isidentifier()):
        return f"{name!r} names a file and a column: letters, digits and _ alone, beginning with a letter"
    if name.lower() in AUTOMATIC:
        return f"{name!r} is a value that every cell has already ({AUTOMATIC[name.lower()].unit})"
    if name.lower() in (*TABLES, *COLUMNS):
        return f"{name!r} is a table of the report or a column of the records"
    ending = next((end for end in SUFFIXES if name.endswith(end)), None)
    return f"names that end in {ending!r} stand beside the score of the name before it" if ending else None
