"""What gave no number, and why: cells that did not end well, and every missing value with its own reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.report.results import Results

UPSTREAM = "training: "
"""What the reason of a value begins with where its cell's training, and not its own job, went wrong."""


def failures(results: Results) -> pd.DataFrame:
    """A row per cell that is not ok, and one per missing value whose reason its cell's row does not tell.

    `what` is `cell` or the value's name; `log` where the job's own words are kept, if they are.
    """
    columns = ["cell", "seed", *results.axes, "status", "what", "reason", "log"]
    cells = results.cells.reset_index(drop=True)
    lost = results.records.loc[results.records["missing"], ["cell", "base", "status", "reason", "log"]]
    lost = lost.drop_duplicates(["cell", "base"]).rename(columns={"base": "what"})
    lost = lost.merge(cells[["cell", "seed", *results.axes]], on="cell")
    whole = cells.assign(what="cell")[cells["status"] != "ok"]
    reasons = dict(zip(whole["cell"], whole["reason"].astype(str), strict=True))
    told = np.array([_tells(reasons.get(c), said) for c, said in zip(lost["cell"], lost["reason"], strict=True)], bool)
    logs = lost[told & (lost["log"] != "")].drop_duplicates("cell")
    log = dict(zip(logs["cell"], logs["log"], strict=True))
    whole = whole.assign(log=[log.get(cell, "") for cell in whole["cell"]])
    parts = [part.reindex(columns=columns) for part in (whole, lost[~told]) if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def _tells(of_cell: str | None, of_value: str) -> bool:
    """Whether the reason of a cell (None: it is ok) says what a value's reason does."""
    if of_cell is None:
        return False
    said = of_value.removeprefix(UPSTREAM)
    return not said or said in {of_cell, *(part.removeprefix(UPSTREAM) for part in of_cell.split("; "))}


def failure_groups(results: Results) -> pd.DataFrame:
    """Failures that share status and reason in one row: of what, in how many cells, and the first of those in words."""
    rows = failures(results)
    table = []
    for (status, reason), group in rows.groupby(["status", "reason"], sort=False):
        cells = group.drop_duplicates("cell")
        names = list(dict.fromkeys(_cell_name(row, results.varied) for row in cells.to_dict("records")))
        logs = [log for log in dict.fromkeys(group["log"]) if log]
        where = _first(names, 3, "; ")
        table.append([status, _first(list(dict.fromkeys(group["what"])), 8, ", "), str(len(cells)), where])
        table[-1] += [reason or "not said", _first(logs, 1, "; ")]
    made = pd.DataFrame(table, columns=["status", "of", "cells", "where", "reason", "log"])
    return made if made["log"].any() else made.drop(columns="log")


def _first(names: Sequence[str], most: int, between: str) -> str:
    """The first of some names, and how many more there are."""
    rest = [f"and {len(names) - most} more"] if len(names) > most else []
    return between.join([*names[:most], *rest])


def _cell_name(row: Mapping[Any, Any], axes: Sequence[str]) -> str:
    """A cell in words: its labels, or its seed where nothing varies."""
    return ", ".join(f"{axis}={row[axis]}" for axis in axes) or f"seed {row['seed']}"
