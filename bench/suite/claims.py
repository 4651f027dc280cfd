"""Claims: what a suite says beforehand about its cells, and the pairs of cells that bear on it.

    - claim: Heun needs fewer evaluations than Euler
      metric: wasserstein           a value of one of the suite's metrics, its `_excess`, or an automatic one
      better: {solver: heun}
      than: {solver: euler}
      by: 10%                       optional: by at least so much
      margin: 0.02                  optional, in the metric's units: closer than this counts as equal
      at: nfe <= 20                 optional: each side at its largest number of evaluations up to 20

      source: arXiv:2206.00364      optional: who says so (a paper, a tutorial, a folk saying)
      because: ...                  optional: what limits the question itself, for the reader of its verdict
      topic: solvers                optional: where an index of claims lists it
    - claim: Heun is as good as a perfect sampler, by half
      metric: wasserstein
      where: {solver: heun}
      reaches: 1.5 x floor at nfe <= 20     each score against 1.5 times its own floor; `at ...` is optional

Cells pair within a seed on every factor that does not tell the selectors apart: one that neither names, or to which
both give the same values, which are then matched value by value. Axes that run in step, and an ablation, count as
named together. With `at`, everything that varies the solver counts as named, since both sides then choose their own
number of steps. Cells of different laws or sample sizes never pair, and scores of evenly spread samples (a
quasi-random start, a sampler without noise of its own) not with those of random ones, whose floor is another.

A claim on an excess compares gaps, score^2 - floor^2, of which each excess is the signed root: only gaps can be
averaged near the floor. Its difference and its `margin` are therefore in the score's unit squared. `by: 10%` still
asks for nine tenths of the other side's excess, which is .81 of its gap.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.automatic import AUTOMATIC, EXCESS
from bench.components import FACTORS, Config, Tables
from bench.interfaces import Metric
from bench.nfe import BUDGET, Budget
from bench.suite.axes import Dimension
from bench.suite.faults import Faults, Place
from bench.suite.model import Cells, Claim, text_of
from bench.suite.reader import Node, as_list, as_record, as_text
from bench.suite.selectors import Finder, Term, as_selector, read_selector
from bench.suite.values import resolved
from bench.words import TOPICS, shown, unknown

REQUIRED = ("claim", "metric", "better", "than")
REACHING = ("claim", "metric", "where", "reaches")
SAYING = ("source", "because", "topic")
OPTIONAL = ("by", "margin", "at", *SAYING)
PAIRS_MAX = 1_000_000
PERCENT = r"([0-9]+(?:\.[0-9]+)?)\s*%"
_PERCENT = re.compile(PERCENT)
REACHES = rf"([0-9]{{1,6}}(?:\.[0-9]{{1,6}})?|\.[0-9]{{1,6}})\s*[x×]\s*floor(?:\s+at\s+({BUDGET}))?"
_REACHES = re.compile(REACHES)


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
    reaches: float | None = None
    floored: bool = False
    """Whether the metric has a floor, what a perfect sampler of as many points would score."""
    excess: bool = False
    """And whether the excess over it is a value of the suite's, too."""
    source: str = ""
    because: str = ""
    topic: str = ""

    @property
    def shared(self) -> list[Term]:
        """Terms that both selectors give the same values: they tell the sides not apart."""
        return [term for term in self.better if any(_alike(term, other) for other in self.than)]

    @property
    def own(self) -> list[str]:
        """Keys of the terms that do."""
        shared = {term.key for term in self.shared}
        return [term.key for term in (*self.better, *self.than) if term.key not in shared]


def _alike(one: Term, other: Term) -> bool:
    values = [{text_of(value) for _, value in term.values} for term in (one, other)]
    return one.key == other.key and values[0] == values[1]


def value_names(metrics: Sequence[Config], tables: Tables) -> dict[str, str]:
    """Values that the suite's cells have, and which way each is better: "lower", "higher" or "none"."""
    names: dict[str, str] = {}
    for metric in metrics:
        cls: type[Metric] = tables.cls("metric", metric.name)
        names |= {value: measured.direction for value, measured in cls.values.items()}
        if cls.floored and cls.excess:
            names |= {f"{value}{EXCESS}": measured.direction for value, measured in cls.values.items()}
    return names | {name: about.better for name, about in AUTOMATIC.items()}


def floored_names(metrics: Sequence[Config], tables: Tables) -> list[str]:
    """Of the suite's values the scores that have a floor."""
    classes: list[type[Metric]] = [tables.cls("metric", metric.name) for metric in metrics]
    return [value for cls in classes if cls.floored for value, about in cls.values.items() if about.direction != "none"]


def read_claims(
    node: Node | None, known: Mapping[str, str] | None, floored: Sequence[str], faults: Faults
) -> list[Draft]:
    """The file's claims. `known` are the values' names, None where a faulty metric leaves them unknown; `floored`:
    those with a floor.
    """
    found = [_claim(item, known, floored, faults) for item in as_list(node, faults, "claims", least=0)] if node else []
    return [draft for draft in found if draft]


def _claim(node: Node, known: Mapping[str, str] | None, floored: Sequence[str], faults: Faults) -> Draft | None:
    if node.get("reaches") or node.get("where"):
        held = as_record(node, faults, "claim", REACHING, SAYING)
    else:
        held = as_record(node, faults, "claim", REQUIRED, OPTIONAL)
    claim = as_text(held["claim"].node, faults) if "claim" in held else None
    metric = _judged(held["metric"].node, known, faults) if "metric" in held else None
    said = {key: as_text(held[key].node, faults) or "" for key in ("source", "because") if key in held}
    if "topic" in held:
        said["topic"] = str(held["topic"].node.plain)
        if said["topic"] not in TOPICS:
            faults.add(held["topic"].node.place, unknown("topic", said["topic"], TOPICS))
    if "reaches" in held:
        if metric and known is not None and metric not in floored:
            why = f"{metric} has no floor to reach"
            remedy = f"take one of {', '.join(floored)}" if floored else "no metric of this suite has one"
            faults.add(held["metric"].node.place, f"{why}; {remedy}")
        side = _side(held["where"].node, faults) if "where" in held else None
        times, at = _reaches(held["reaches"].node, faults)
        if side is None or times is None:
            return None
        return Draft(node.place, claim or "", metric or "", side, side, None, None, at, times, True, False, **said)
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
    floor, over = metric in floored, f"{metric}{EXCESS}" in (known or ())
    return Draft(node.place, claim or "", metric or "", better, than, by, margin, at, None, floor, over, **said)


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


def _reaches(node: Node, faults: Faults) -> tuple[float | None, str | None]:
    """How many times its floor a score is to reach, and the budget, if there is one; None (and a fault) otherwise."""
    match = _REACHES.fullmatch(node.value.strip()) if isinstance(node.value, str) else None
    if not match or float(match[1]) == 0 or (match[2] and int(match[3]) == 0):
        wanted = "such as `1.5 x floor` or `1.5 x floor at nfe <= 20`"
        faults.add(node.place, f"must be a multiple of the floor, {wanted}, got {shown(node.plain)}")
        return None, None
    return float(match[1]), str(Budget.parse(match[2])) if match[2] else None


def pair(draft: Draft, cells: Cells, dimensions: Sequence[Dimension], tables: Tables, faults: Faults) -> Claim | None:
    """The claim with its pairs of cells; None (and faults) where it has none."""
    finder = Finder(cells)
    better = finder.find(draft.better, faults)
    than = better if draft.reaches else finder.find(draft.than, faults)
    if better is None or than is None:
        return None
    for name, mask in (("where" if draft.reaches else "better", better), ("than", than)):
        if not mask.any():
            faults.add(draft.place, f"no cell fits all of `{name}` at once")
            return None
    if not draft.reaches and (better & than).any():
        count = int((better & than).sum())
        faults.add(draft.place, f"`better` and `than` share {count} cells; they must tell cells apart")
        return None
    group = _groups(draft, cells, dimensions, finder)
    left, right = np.bincount(group[better]), np.bincount(group[than])
    shared = min(len(left), len(right))
    count = int((left[:shared].astype(np.int64) * right[:shared]).sum())
    if count > PAIRS_MAX:
        faults.add(draft.place, f"{count:,} pairs of cells; name more factors, at most {PAIRS_MAX:,} are compared")
        return None
    if not count:
        faults.add(
            draft.place,
            "no cell of `better` agrees with one of `than` in seed and in all factors that do not tell them apart",
        )
        return None
    frame = pd.DataFrame({"group": group, "cell": np.arange(len(cells))})
    both = frame[better].merge(frame[than], on="group", suffixes=("_better", "_than"))
    both = both.sort_values(["cell_better", "cell_than"])
    ends = both["cell_better"].to_numpy(), both["cell_than"].to_numpy()
    if not draft.reaches and (why := _apart(draft, cells, tables, *ends)):
        faults.add(draft.place, why)
        return None
    pairs = tuple(zip(ends[0].tolist(), ends[1].tolist(), strict=True))
    sides = as_selector(draft.better), {} if draft.reaches else as_selector(draft.than)
    return Claim(
        draft.claim, draft.metric, *sides, draft.by, draft.margin, draft.at, pairs, draft.reaches, draft.source,
        draft.because, draft.topic,
    )  # fmt: skip


Positions = NDArray[np.int64]


def _apart(draft: Draft, cells: Cells, tables: Tables, better: Positions, than: Positions) -> str:
    """Why paired cells (P,) do not compare, and what to do; empty where they do."""
    from bench.exact import law_of

    if not all(resolved(config) for factor in ("dataset", "sampling", "solver") for config in cells.configs[factor]):
        return ""  # a fault that is told already
    built = {factor: [tables.build(config) for config in cells.configs[factor]] for factor in ("sampling", "solver")}
    names = [str(config.name) for config in cells.configs["dataset"]]
    laws = [law_of(tables.build(config)) for config in cells.configs["dataset"]]
    sizes = [sampling.n for sampling in built["sampling"]]

    def first(factor: str, different: Callable[[int, int], bool]) -> tuple[int, int] | None:
        """The first pair of a factor's values that are paired and different."""
        index = cells.index[factor]
        met = dict.fromkeys(zip(index[better].tolist(), index[than].tolist(), strict=True))
        return next((both for both in met if both[0] != both[1] and different(*both)), None)

    if both := first("dataset", lambda a, b: laws[a] != laws[b]):
        one, other = (names[i] for i in both)
        what = f"{one} with {other}" if one != other else f"{one} with another {one}"
        return (
            f"pairs cells of different laws ({what}), whose numbers do not compare; give both sides the same data sets"
        )
    if both := first("sampling", lambda a, b: sizes[a] != sizes[b]):
        one, other = (sizes[i] for i in both)
        return f"pairs cells of {one} and of {other} samples, which do not compare; give both sides the same sampling.n"
    if not draft.floored:
        return ""
    quasi = np.asarray([sampling.start == "quasi" for sampling in built["sampling"]])
    noisy = np.asarray([solver.stochastic for solver in built["solver"]])
    even = quasi[cells.index["sampling"]] & ~noisy[cells.index["solver"]]
    if (even[better] != even[than]).any():
        return (
            f"pairs samplers that add noise, or start at random, with ones that keep an even (quasi-random) start, and "
            f"their floors differ: the {draft.metric} itself does not compare; set `sampling: {{start: independent}}`"
            f"{f', or take {draft.metric}{EXCESS}' if draft.excess else ''}"
        )
    return ""


def _groups(draft: Draft, cells: Cells, dimensions: Sequence[Dimension], finder: Finder) -> NDArray[np.int64]:
    """A number per cell, equal where seed and everything that does not tell the claim's sides apart agree."""
    if draft.reaches and not draft.at:
        return np.arange(len(cells))  # each cell against its own floor
    keys = draft.own
    named = [d for d in dimensions if _names(keys, d, dimensions) or (draft.at and "solver" in d.factors)]
    factors = {key.partition(".")[0] for key in keys}.union(*(d.factors for d in named))
    if draft.at:
        factors.add("solver")
    columns: dict[str, NDArray[np.generic]] = {"": cells.seed}
    for dimension in dimensions:
        if dimension not in named:
            columns |= {f"label {a}": cells.labels[a].cat.codes.to_numpy() for a in dimension.axes}
    columns |= {factor: cells.index[factor] for factor in FACTORS if factor not in factors}
    for term in draft.shared if not draft.reaches else ():
        if len(term.values) > 1:  # also where the factor is named by another key, or in step with one that is
            fits = [finder.one(term.key, value) for _, value in term.values]
            columns[f"value {term.key}"] = np.argmax(fits, axis=0)
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
    return replace(claim, pairs=pairs)
