"""Claims: what a suite says beforehand about its cells, and the pairs of cells that bear on it.

    - claim: Heun needs fewer evaluations than Euler
      metric: wasserstein           a value of one of the suite's metrics, its `_excess`, or an automatic one
      better: {solver: heun}
      than: {solver: euler}
      by: 10%                       optional: by at least so much
      margin: 0.02                  optional, in the metric's units: closer than this counts as equal
      at: nfe <= 20                 optional: each side at its largest number of evaluations up to 20

Cells pair within a seed on every factor that neither selector names. Axes that run in step, and an ablation,
count as named together. With `at`, everything that varies the solver counts as named, since both sides then
choose their own number of steps.

A claim on an excess compares gaps, score^2 - floor^2, of which each excess is the signed root: only gaps can be
averaged near the floor. Its difference and its `margin` are therefore in the score's unit squared. `by: 10%` still
asks for nine tenths of the other side's excess, which is .81 of its gap.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.automatic import AUTOMATIC, EXCESS
from bench.components import FACTORS, Config, Tables
from bench.interfaces import Metric
from bench.nfe import Budget
from bench.suite.axes import Dimension
from bench.suite.faults import Faults, Place
from bench.suite.model import Cells, Claim
from bench.suite.reader import Node, as_list, as_record, as_text
from bench.suite.selectors import Finder, Term, as_selector, read_selector
from bench.words import shown, unknown

REQUIRED = ("claim", "metric", "better", "than")
OPTIONAL = ("by", "margin", "at")
PAIRS_MAX = 1_000_000
PERCENT = r"([0-9]+(?:\.[0-9]+)?)\s*%"
_PERCENT = re.compile(PERCENT)


@dataclass(frozen=True)
class Draft:
    """A claim whose cells have not been looked up."""

    place: Place
    claim: str
    metric: str
    better: list[Term]
    than: list[Term]
    by: float | None
    margin: float | None
    at: str | None

    @property
    def terms(self) -> list[Term]:
        """Terms of both selectors."""
        return [*self.better, *self.than]


def value_names(metrics: Sequence[Config], tables: Tables) -> dict[str, str]:
    """Values that the suite's cells have, and which way each is better: "lower", "higher" or "none"."""
    names: dict[str, str] = {}
    for metric in metrics:
        cls: type[Metric] = tables.cls("metric", metric.name)
        names |= {value: measured.direction for value, measured in cls.values.items()}
        if cls.floored and cls.excess:
            names |= {f"{value}{EXCESS}": measured.direction for value, measured in cls.values.items()}
    return names | {name: about.better for name, about in AUTOMATIC.items()}


def read_claims(node: Node | None, known: Mapping[str, str] | None, faults: Faults) -> list[Draft]:
    """The file's claims. `known` are the values' names, None where a faulty metric leaves them unknown."""
    found = [_claim(item, known, faults) for item in as_list(node, faults, "claims", least=0)] if node else []
    return [draft for draft in found if draft]


def _claim(node: Node, known: Mapping[str, str] | None, faults: Faults) -> Draft | None:
    held = as_record(node, faults, "claim", REQUIRED, OPTIONAL)
    claim = as_text(held["claim"].node, faults) if "claim" in held else None
    metric = _judged(held["metric"].node, known, faults) if "metric" in held else None
    better = _side(held["better"].node, faults) if "better" in held else None
    than = _side(held["than"].node, faults) if "than" in held else None
    by = _by(held["by"].node, faults) if "by" in held else None
    margin = _margin(held["margin"].node, faults) if "margin" in held else None
    at = _at(held["at"].node, faults) if "at" in held else None
    if "by" in held and "margin" in held:
        why = "`by` asks for more than a difference, `margin` says what counts as none"
        faults.add(held["margin"].key, f"{why}; keep one, or make two claims")
    if better is None or than is None:
        return None
    return Draft(node.place, claim or "", metric or "", better, than, by, margin, at)


def read_value_name(node: Node, known: Mapping[str, str] | None, faults: Faults) -> str | None:
    """The name of a value that the suite reports; None (and a fault) where it is none."""
    name = as_text(node, faults)
    if name is not None and known is not None and name not in known:
        faults.add(node.place, unknown("value of this suite's metrics", name, list(known)))
        return None
    return name


def _judged(node: Node, known: Mapping[str, str] | None, faults: Faults) -> str | None:
    """The same for a value of which one side is better."""
    name = read_value_name(node, known, faults)
    if name is not None and known is not None and known[name] == "none":
        sided = ", ".join(value for value, better in known.items() if better != "none")
        faults.add(
            node.place, f"of {name} neither more nor less is better, so no side of a claim can be; take one of {sided}"
        )
        return None
    return name


def _side(node: Node, faults: Faults) -> list[Term] | None:
    terms = read_selector(node, faults)
    for term in terms or []:
        if term.key == "seed":
            faults.add(term.place, "a claim compares cells of the same seed; take `seed` out")
            return None
    return terms


def _by(node: Node, faults: Faults) -> float | None:
    match = _PERCENT.fullmatch(node.value.strip()) if isinstance(node.value, str) else None
    share = float(match[1]) / 100 if match else 0.0
    if not 0 < share < 1:
        faults.add(node.place, f"must be a percentage between 0% and 100%, such as 10%, got {shown(node.plain)}")
        return None
    return share


def _margin(node: Node, faults: Faults) -> float | None:
    value = node.value
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        faults.add(node.place, f"must be a number > 0 in the metric's units, got {shown(node.plain)}")
        return None
    return float(value)


def _at(node: Node, faults: Faults) -> str | None:
    try:
        return str(Budget.parse(node.plain))
    except ValueError as error:
        faults.add(node.place, str(error))
        return None


def pair(draft: Draft, cells: Cells, dimensions: Sequence[Dimension], faults: Faults) -> Claim | None:
    """The claim with its pairs of cells; None (and faults) where it has none."""
    finder = Finder(cells)
    better, than = finder.find(draft.better, faults), finder.find(draft.than, faults)
    if better is None or than is None:
        return None
    for name, mask in (("better", better), ("than", than)):
        if not mask.any():
            faults.add(draft.place, f"no cell fits all of `{name}` at once")
            return None
    if (better & than).any():
        count = int((better & than).sum())
        faults.add(draft.place, f"`better` and `than` share {count} cells; they must tell cells apart")
        return None
    group = _groups(draft, cells, dimensions)
    left, right = np.bincount(group[better]), np.bincount(group[than])
    shared = min(len(left), len(right))
    count = int((left[:shared].astype(np.int64) * right[:shared]).sum())
    if count > PAIRS_MAX:
        faults.add(draft.place, f"{count:,} pairs of cells; name more factors, at most {PAIRS_MAX:,} are compared")
        return None
    if not count:
        faults.add(draft.place, "no cell of `better` agrees with one of `than` in seed and in all unnamed factors")
        return None
    frame = pd.DataFrame({"group": group, "cell": np.arange(len(cells))})
    both = frame[better].merge(frame[than], on="group", suffixes=("_better", "_than"))
    both = both.sort_values(["cell_better", "cell_than"])
    pairs = tuple(zip(both["cell_better"].tolist(), both["cell_than"].tolist(), strict=True))
    sides = as_selector(draft.better), as_selector(draft.than)
    return Claim(draft.claim, draft.metric, *sides, draft.by, draft.margin, draft.at, pairs)


def _groups(draft: Draft, cells: Cells, dimensions: Sequence[Dimension]) -> NDArray[np.int64]:
    """A number per cell, equal where seed and everything that the claim does not name agree."""
    keys = [term.key for term in draft.terms]
    named = [d for d in dimensions if _names(keys, d, dimensions) or (draft.at and "solver" in d.factors)]
    factors = {key.partition(".")[0] for key in keys}.union(*(d.factors for d in named))
    if draft.at:
        factors.add("solver")
    columns: dict[str, NDArray[np.generic]] = {"": cells.seed}
    for dimension in dimensions:
        if dimension not in named:
            columns |= {f"label {a}": cells.labels[a].cat.codes.to_numpy() for a in dimension.axes}
    columns |= {factor: cells.index[factor] for factor in FACTORS if factor not in factors}
    frame = pd.DataFrame(columns)
    return frame.groupby(list(frame.columns), sort=False).ngroup().to_numpy().astype(np.int64)


def _names(keys: Sequence[str], dimension: Dimension, dimensions: Sequence[Dimension]) -> bool:
    """Whether a selector's keys speak of a dimension: of its axis, or of a factor that it varies."""
    axes = {axis for each in dimensions for axis in each.axes}
    for key in keys:
        if key in axes:
            if key in dimension.axes:
                return True
            continue
        factor, _, parameter = key.partition(".")
        whole = parameter in ("", "name")
        for varied in dimension.keys:
            if varied.factor == factor and (varied.parameter is None or (not whole and varied.parameter == parameter)):
                return True
    return False


def renumbered(claim: Claim, keep: NDArray[np.bool_]) -> Claim:
    """The claim after only the cells where `keep` is true are left; pairs that lost a cell drop out."""
    position = np.cumsum(keep) - 1
    pairs = tuple((int(position[a]), int(position[b])) for a, b in claim.pairs if keep[a] and keep[b])
    sides = claim.better, claim.than
    return Claim(claim.claim, claim.metric, *sides, claim.by, claim.margin, claim.at, pairs)
