"""A suite as the rest of the harness sees it: frozen, validated, every factor of every cell resolved."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.components import CHOICES, FACTORS, Config, Tables
from bench.limits import Limits

Value = str | int | float | bool | None
Selector = Mapping[str, tuple[Value, ...]]
"""Which cells: keys are ANDed, the values of one key ORed."""


@dataclass(frozen=True)
class Claim:
    """`better` scores better than `than` in `metric`, or, with `reaches`, than so many times its floor.

    `by` is the least relative improvement (10% is .1), `margin` the difference in data units below which the
    two count as equal, `at` a budget such as `nfe <= 20`. `pairs` holds (better cell, than cell), matched within a seed
    on every factor that tells the selectors not apart; with `reaches` both are the same cell. `source` says who claims
    it, `because` what limits the question, `topic` where an index lists it.
    """

    claim: str
    metric: str
    better: Selector
    than: Selector
    by: float | None
    margin: float | None
    at: str | None
    pairs: tuple[tuple[int, int], ...]
    reaches: float | None = None
    source: str = ""
    because: str = ""
    topic: str = ""


@dataclass(frozen=True)
class Exclusion:
    """Cells left out: which, why, and how many cells (seeds included) that removes."""

    where: str
    because: str
    count: int


@dataclass(frozen=True, eq=False)
class Cells:
    """The cells as columns, one entry per cell, seed included (C cells).

    A factor's distinct resolved values stand once in `configs`; `index` (C,) points into them, so that a
    hundred thousand cells cost a few megabytes. `labels` (C, axes) are categorical texts; `seed` is (C,).
    """

    configs: Mapping[str, tuple[Config, ...]]
    index: Mapping[str, NDArray[np.int32]]
    labels: pd.DataFrame
    seed: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.seed)

    def take(self, keep: NDArray[np.bool_]) -> Cells:
        """The cells where `keep` (C,) is true, in their order."""
        index = {factor: column[keep] for factor, column in self.index.items()}
        left = self.labels.loc[keep].reset_index(drop=True)
        labels = left.apply(lambda column: column.cat.remove_unused_categories()) if len(left.columns) else left
        return replace(self, index=index, labels=labels, seed=self.seed[keep])

    def resolved(self) -> pd.DataFrame:
        """Every factor's values in dotted columns (`path.name`, `solver.steps`, `target`), one row a cell.

        A parameter that a cell's component lacks is None; a list becomes a tuple.
        """
        columns: dict[str, Any] = {}
        for factor in FACTORS:
            values = [config.values for config in self.configs[factor]]
            for name in dict.fromkeys(name for held in values for name in _name_first(held)):
                distinct = np.empty(len(values), dtype=object)
                distinct[:] = [_hashable(held.get(name)) for held in values]
                column = pd.Series(distinct[self.index[factor]], dtype=object)
                whole = all(value is not None for value in distinct)
                columns[factor if factor in CHOICES else f"{factor}.{name}"] = (
                    column.infer_objects() if whole else column
                )
        return pd.DataFrame(columns, index=range(len(self)))


@dataclass(frozen=True)
class Published:
    """What others reported for one combination of labels: mean and standard deviation over n runs."""

    where: str
    metric: str
    mean: float
    sd: float
    n: int
    source: str
    cells: tuple[int, ...]


@dataclass(frozen=True)
class Plugin:
    """A plugin as the suite names it, and the hash of what it and its neighbours held when it was run."""

    file: str
    sha256: str


@dataclass(frozen=True, eq=False)
class Suite:
    """One question and its grid of cells. `axes` names the label columns in the file's order."""

    name: str
    question: str
    file: str
    profile: str | None
    seeds: tuple[int, ...]
    axes: tuple[str, ...]
    metrics: tuple[Config, ...]
    claims: tuple[Claim, ...]
    published: tuple[Published, ...]
    exclusions: tuple[Exclusion, ...]
    tables: Tables
    cells: Cells
    plugins: tuple[Plugin, ...] = ()
    limits: Limits = field(default_factory=dict)


def text_of(value: Any) -> str:
    """A value as labels write it: 10, 0.001, true, none, [64,64]."""
    if value is None:
        return "none"
    if isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def selector_text(selector: Selector) -> str:
    """A selector on one line: `path=noisy, solver.steps=10|20`."""
    return ", ".join(f"{key}={'|'.join(text_of(value) for value in values)}" for key, values in selector.items())


def _name_first(values: Mapping[str, Any]) -> list[str]:
    return sorted(values, key=lambda name: (name != "name", name))


def _hashable(value: Any) -> Any:
    return tuple(_hashable(item) for item in value) if isinstance(value, list) else value
