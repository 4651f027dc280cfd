"""Published numbers: what others reported for a cell, so that a replication is graded beside its own figures.

- where: {coupling: ot, solver: dopri5}     cells of one combination of labels
  metric: wasserstein_squared               a value of one of the suite's metrics, or an automatic one
  mean: 0.050                               as published
  sd: 0.040                                 standard deviation over their runs
  n: 10                                     number of their runs
  source: arXiv:2503.10636, table 1
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.automatic import EXCESS
from bench.suite.claims import read_value_name
from bench.suite.faults import Faults, Place
from bench.suite.model import Cells, Published, selector_text
from bench.suite.reader import Node, as_list, as_record, as_text
from bench.suite.selectors import Finder, Term, as_selector, read_selector
from bench.words import shown

KEYS = ("where", "metric", "mean", "sd", "n", "source")
RUNS_LEAST = 2
"""Runs behind a published number: a standard deviation needs two."""


@dataclass(frozen=True)
class Draft:
    """A published number whose cells have not been looked up."""

    place: Place
    where: list[Term]
    metric: str
    mean: float
    sd: float
    n: int
    source: str


def read_published(node: Node | None, known: Mapping[str, str] | None, faults: Faults) -> list[Draft]:
    """The file's published numbers. `known` are the values' names, None where they cannot be told."""
    found = [_one(item, known, faults) for item in as_list(node, faults, "published numbers", least=0)] if node else []
    return [draft for draft in found if draft]


def _one(node: Node, known: Mapping[str, str] | None, faults: Faults) -> Draft | None:
    held = as_record(node, faults, "published number", KEYS)
    if not all(key in held for key in KEYS):
        return None
    where = read_selector(held["where"].node, faults)
    metric = read_value_name(held["metric"].node, known, faults)
    if metric is not None and metric.endswith(EXCESS):
        score = metric.removesuffix(EXCESS)
        faults.add(held["metric"].node.place, f"an excess is not what papers report; compare {score} itself")
    mean = _number(held["mean"].node, None, faults)
    sd = _number(held["sd"].node, 0, faults)
    n = _number(held["n"].node, RUNS_LEAST, faults)
    source = as_text(held["source"].node, faults)
    if where is None or metric is None or mean is None or sd is None or n is None or source is None:
        return None
    return Draft(node.place, where, metric, mean, sd, int(n), source)


def _number(node: Node, least: int | None, faults: Faults) -> float | None:
    value = node.value
    whole = least == RUNS_LEAST
    number = None if isinstance(value, bool) or not isinstance(value, int if whole else int | float) else float(value)
    if number is None or (least is not None and number < least):
        bound = "" if least is None else f" >= {least}"
        faults.add(node.place, f"must be a {'whole ' if whole else ''}number{bound}, got {shown(node.plain)}")
        return None
    return number


def match(draft: Draft, cells: Cells, faults: Faults) -> Published | None:
    """The published number with its cells; None (and faults) where they are none or of several combinations."""
    found = Finder(cells).find(draft.where, faults)
    if found is None:
        return None
    if not found.any():
        faults.add(draft.place, "no cell fits all of `where` at once")
        return None
    combinations = cells.labels[found].drop_duplicates()
    if len(combinations) > 1:
        faults.add(
            draft.place, f"`where` fits {len(combinations)} combinations of labels; name more axes, until one is left"
        )
        return None
    where = selector_text(as_selector(draft.where))
    picked = tuple(int(cell) for cell in np.flatnonzero(found))
    return Published(where, draft.metric, draft.mean, draft.sd, draft.n, draft.source, picked)


def renumbered(published: Published, keep: NDArray[np.bool_]) -> Published:
    """The published number after only the cells where `keep` is true are left."""
    position = np.cumsum(keep) - 1
    cells = tuple(int(position[cell]) for cell in published.cells if keep[cell])
    return Published(
        published.where, published.metric, published.mean, published.sd, published.n, published.source, cells
    )
