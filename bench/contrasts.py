"""What a claim says of its cells, as one difference per seed: pairing, shares, budgets, floors.

Matched pairs are averaged within a seed; a seed that lacks any of its numbers is left out and counted. Pure functions
over tidy records; nothing here imports torch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bench.automatic import FLOOR
from bench.nfe import Budget, largest
from bench.stats import Interval, is_excess, is_solver_axis, mean_interval, named_unit, signed_square

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """A claim's contrast: positive means that the claim's side does better.

    `by_seed` has a value for each seed that has a pair at all (index: seed; nan where a number is lacking), and so has
    each data set's in `by_dataset`, by label, where both sides of every pair are of one data set. `pairs` is the number
    of contrasts averaged within a seed (the most of any seed); `note` says what kept seeds out. `lost` counts the seeds
    in which only the claim's side lacks a number, and those in which only the other side does. `levels`: the means of
    the two sides' own numbers over the seeds that count, nan of an excess, which is contrasted by its square.
    """

    by_seed: pd.Series[float]
    pairs: int
    direction: str
    unit: str
    note: str
    by_dataset: Mapping[str, pd.Series[float]] = field(default_factory=dict)
    lost: tuple[int, int] = (0, 0)
    levels: tuple[float, float] = (math.nan, math.nan)

    @property
    def values(self) -> Floats:
        """(n,) differences of the seeds whose pairs are all there, in the order of the seeds."""
        return np.asarray(self.by_seed.dropna(), dtype=np.float64)

    def in_order(self, seeds: Sequence[int]) -> Floats:
        """The differences of these seeds, nan where a seed has none."""
        return np.asarray(self.by_seed.reindex(list(seeds)), dtype=np.float64)

    @property
    def interval(self) -> Interval:
        """Their mean with its t interval."""
        return mean_interval(self.values)

    @property
    def of(self) -> int:
        """Seeds that have a pair at all."""
        return len(self.by_seed)


def claim_difference(records: pd.DataFrame, claim: Mapping[str, Any], axes: Sequence[str] = ()) -> Difference:
    """A claim's contrast: matched pairs averaged within a seed.

    `records` are tidy rows (cell, seed, axes, metric, value, n, unit, better). Where lower is better the contrast is
    than - better, otherwise better - than. `by: .1` asks for a tenth: .9 than - better, or better - 1.1 than.
    `reaches: 1.5` has one side alone, whose pairs name a cell twice: 1.5 floor - score, or score - 1.5 floor. `at: nfe
    <= 20` takes from each side the cells of the largest NFE up to 20, never the best ones; sides then meet whatever
    the solver's axes say. Of an excess the gaps are contrasted, in squared units.
    """
    cells = records.drop_duplicates("cell").set_index("cell")
    rows = _rows(records, claim["metric"])
    unit, direction = named_unit(_common(rows, "unit")), _common(rows, "better")
    reaches = claim.get("reaches")
    pairs = pd.DataFrame(list(claim["pairs"]), columns=["better", "than"], dtype=int)
    pairs = pairs[pairs["better"].isin(cells.index) & pairs["than"].isin(cells.index)]
    pairs = pairs.assign(seed=cells["seed"].reindex(pairs["better"]).to_numpy(), dataset=_datasets(pairs, cells, axes))
    note = "" if len(pairs) else "no pair of cells to compare"
    if claim.get("at") and len(pairs):
        budget = Budget.parse(claim["at"])
        pairs = _at_nfe(pairs, records, cells, budget, axes)
        if reaches:
            pairs = pairs[pairs["better"] == pairs["than"]]
        note = "" if len(pairs) else f"no pair of cells at {budget}"
    mixed = _mixed(rows, pairs, timed=unit == "s")
    values = pd.to_numeric(rows["value"])
    if is_excess(claim["metric"]):
        values, unit = pd.Series(signed_square(values), index=values.index), _squared(unit)
    if mixed:
        none = pd.Series(math.nan, index=sorted(set(pairs["seed"])), dtype=float)
        return Difference(none, 0, direction, unit, mixed)
    a = values.reindex(pairs["better"]).to_numpy(dtype=float)
    if reaches:
        floors = pd.to_numeric(_rows(records, f"{claim['metric']}{FLOOR}")["value"])
        b = reaches * floors.reindex(pairs["than"]).to_numpy(dtype=float)
    else:
        b = values.reindex(pairs["than"]).to_numpy(dtype=float)
    gain = _gain(a, b, direction, asked_share(claim, direction))
    pairs = pairs.assign(gain=np.where(np.isfinite(gain), gain, math.nan), no_a=~np.isfinite(a), no_b=~np.isfinite(b))
    without = pairs.groupby("seed")[["no_a", "no_b"]].any()
    alone = int((without["no_a"] & ~without["no_b"]).sum()), int((without["no_b"] & ~without["no_a"]).sum())
    by_seed = _whole(pairs)
    lost = int(by_seed.isna().sum())
    if lost:
        note = f"{lost} of {len(by_seed)} seeds lack a score and are left out"
    if unit == "s" and (again := by_seed.notna() & by_seed.duplicated()).any():
        by_seed = by_seed.mask(again)  # the clock does not run once a seed where the work is the same
        note = f"{int(again.sum())} of {len(by_seed)} seeds share a timing with another and are no n of their own"
    labels = [label for label in dict.fromkeys(pairs["dataset"]) if label]
    by_dataset = {} if (pairs["dataset"] == "").any() else {x: _whole(pairs[pairs["dataset"] == x]) for x in labels}
    most = int(pairs.groupby("seed").size().max()) if len(pairs) else 0
    levels = (math.nan, math.nan) if is_excess(claim["metric"]) else _levels(pairs.assign(a=a, b=b), by_seed)
    return Difference(by_seed, most, direction, unit, note, by_dataset, alone, levels)


def asked_share(claim: Mapping[str, Any], direction: str) -> float:
    """What of the other side's number a claim asks for: 1, .9 with `by: 10%`, .9^2 of the gap where it is an excess."""
    share = 1 + (1 if direction == "higher" else -1) * (claim.get("by") or 0.0)
    return share**2 if is_excess(claim["metric"]) else share


def _whole(pairs: pd.DataFrame) -> pd.Series[float]:
    """Mean gain of each seed, nan where any of its pairs has none."""
    found = pairs.groupby("seed")["gain"].agg(["mean", "count", "size"])
    return found["mean"].where(found["count"] == found["size"]).astype(float)


def _levels(pairs: pd.DataFrame, by_seed: pd.Series[float]) -> tuple[float, float]:
    """Means of both sides' numbers within each seed that counts, and then over these."""
    means = pairs.groupby("seed")[["a", "b"]].mean().loc[by_seed.dropna().index].mean()
    return float(means["a"]), float(means["b"])


def _datasets(pairs: pd.DataFrame, cells: pd.DataFrame, axes: Sequence[str]) -> list[str]:
    """Of each pair the label of its data set, empty where its sides have different ones or no axis varies it."""
    own = [axis for axis in axes if axis.partition(".")[0] == "dataset" and axis in cells]
    if not own or pairs.empty:
        return [""] * len(pairs)
    label = cells[own].astype(str).agg(", ".join, axis=1)
    better, than = (label.loc[pairs[side]].to_numpy() for side in ("better", "than"))
    return [one if one == other else "" for one, other in zip(better, than, strict=True)]


def _at_nfe(
    pairs: pd.DataFrame, records: pd.DataFrame, cells: pd.DataFrame, budget: Budget, axes: Sequence[str]
) -> pd.DataFrame:
    """Pairs of the cells with the largest NFE up to the limit, chosen on each side for itself.

    Cells that the given pairs connect meet, whatever their solvers: heun with 10 steps and euler with 20 cost the same
    and are labelled differently. A side whose NFE is unknown (it failed in every seed) leaves a pair of cell -1, which
    has no score.
    """
    nfe = _known_nfe(records, cells, axes)
    if "solver.steps" in cells:  # no solver asks the field less than once a step
        steps = pd.to_numeric(cells["solver.steps"], errors="coerce")
        nfe = nfe.mask(nfe.isna() & (steps > budget.limit), math.inf)
    chosen: list[tuple[int, int, int, str]] = []
    for _, group in pairs.groupby(_connected(pairs), sort=True):
        seed, dataset = int(group["seed"].iloc[0]), str(group["dataset"].iloc[0])
        spent = [nfe.loc[sorted(set(group[side]))] for side in ("better", "than")]
        sides = [[-1] if side.isna().any() else largest(side, budget.limit) for side in spent]
        chosen += [(int(one), int(other), seed, dataset) for one in sides[0] for other in sides[1]]
    return pd.DataFrame(chosen, columns=["better", "than", "seed", "dataset"])


def _connected(pairs: pd.DataFrame) -> NDArray[np.int32]:
    """A number per pair, equal where a chain of pairs with a cell in common leads from one to the other."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    better, than = pairs["better"].to_numpy(), pairs["than"].to_numpy()
    size = int(max(better.max(), than.max())) + 1
    _, part = connected_components(coo_array((np.ones(len(pairs)), (better, than)), shape=(size, size)), directed=False)
    return np.asarray(part[better], dtype=np.int32)


def _squared(unit: str) -> str:
    root = re.fullmatch(r"√\((.*)\)", unit)
    return root[1] if root else f"{unit}²" if unit else ""


def _rows(records: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A metric's rows, one per cell."""
    return records[records["metric"] == metric].drop_duplicates("cell", keep="last").set_index("cell")


def _known_nfe(records: pd.DataFrame, cells: pd.DataFrame, axes: Sequence[str]) -> pd.Series[float]:
    """NFE of each cell. A failed cell has that of its other seeds, or else of the same solver elsewhere,
    if that is one and the same number (no adaptive solver).
    """
    nfe = pd.to_numeric(_rows(records, "nfe")["value"]).astype(float).reindex(cells.index)
    everywhere = pd.Series(0, index=cells.index)
    same = nfe.groupby([cells[axis] for axis in axes] or everywhere)
    nfe = nfe.fillna(same.transform("median"))
    alike = nfe.groupby([cells[axis] for axis in axes if is_solver_axis(axis)] or everywhere)
    least, most = alike.transform("min"), alike.transform("max")
    return nfe.fillna(least.where(least == most))


def _gain(better: Floats, than: Floats, direction: str, share: float) -> Floats:
    """How far the claim's side is ahead of a share of the other side's number, and of that number itself.

    Of a number below 0 a share is the easier aim: by a tenth better must always be better.
    """
    if direction == "higher":
        return better - np.maximum(than, share * than)
    return np.minimum(than, share * than) - better


def _mixed(rows: pd.DataFrame, pairs: pd.DataFrame, timed: bool) -> str:
    """What forbids a comparison: different sample sizes, or times of different devices; else empty."""
    known = rows[rows["value"].notna()]
    if "n" in rows:
        better, than = (known["n"].reindex(pairs[side]).to_numpy(dtype=float) for side in ("better", "than"))
        apart = (better != than) & np.isfinite(better) & np.isfinite(than)
        if apart.any():
            sizes = sorted({*better[apart].tolist(), *than[apart].tolist()})
            return f"cells of different sample sizes ({', '.join(f'{n:g}' for n in sizes)}) are not comparable"
    devices = sorted(set(known["device"].reindex([*pairs["better"], *pairs["than"]]).dropna())) if timed else []
    if len(devices) > 1:
        return f"cells of different devices ({', '.join(map(str, devices))}) are not comparable"
    return ""


def _common(rows: pd.DataFrame, column: str) -> str:
    """First text of a column that is one and the same in all rows; empty where there is none."""
    texts = [str(text) for text in rows[column].dropna() if str(text)] if column in rows else []
    return texts[0] if texts else ""
