"""What matters in a grid: main effects and two-way interactions of its factors, and the fronts that it reaches. Pure.

The seed is the replicate. Effects are worked out within each seed on a complete, balanced part of the grid, where they
are means of equally many cells and orthogonal (Fisher 1935, chapter 6), and their t intervals are over the seeds.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from bench.stats import half_width, mean_interval

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

COLUMNS = ("metric", "factor", "other", "level", "effect", "low", "high", "share")
"""Columns of effects.csv; `other` is the second factor of an interaction, whose level is written `a × b`."""


class Grid(NamedTuple):
    """A complete grid: values (S, L1, ..., Lk), one per seed and combination of levels; in words, what was left out."""

    values: Floats
    factors: tuple[str, ...]
    levels: tuple[tuple[str, ...], ...]
    left_out: str


def balanced(cells: pd.DataFrame, factors: Sequence[str]) -> Grid | None:
    """A complete part of a grid; None where no factor varies in any.

    cells: a row per cell with the columns of `factors` (texts), `seed` and `value` (nan where there is none). Factors
    that run in step are one, `a + b`. While a combination is missing, the level with the largest share of missing ones
    goes, of several the one that costs fewest cells, and the last of these. Seeds that lack a value of what is left go
    too; where that would leave fewer than two, combinations that lack a value in any seed count as missing instead.
    """
    table, names = _in_step(cells, factors)
    if not names:
        return None
    levels = [list(dict.fromkeys(table[name])) for name in names]
    for whole in (False, True):
        known = table["value"].notna().groupby([table[name] for name in names], sort=False)
        there = known.all() if whole else known.any()
        index = pd.MultiIndex.from_product(levels) if len(names) > 1 else pd.Index(levels[0])
        present = there.reindex(index, fill_value=False).to_numpy(dtype=bool).reshape([len(one) for one in levels])
        keep = _complete(present)
        kept = [[one[i] for i in chosen] for one, chosen in zip(levels, keep, strict=True)]
        part = table[np.logical_and.reduce([table[name].isin(one) for name, one in zip(names, kept, strict=True)])]
        size = int(np.prod([len(one) for one in kept]))
        counts = part[part["value"].notna()].groupby("seed").size()
        seeds = counts.index[counts == size]
        if len(seeds) >= 2 or whole:
            break
    varied = [i for i, one in enumerate(kept) if len(one) > 1]
    if not varied or not len(seeds):
        return None
    part = part[part["seed"].isin(seeds)]
    columns = ["seed", *names]
    order = pd.MultiIndex.from_product([list(seeds), *kept], names=columns)
    shape = (len(seeds), *(len(kept[i]) for i in varied))
    values = part.set_index(columns)["value"].reindex(order).to_numpy(dtype=float).reshape(shape)
    lost = [
        f"{name} {', '.join(x for x in one if x not in left)}"
        for name, one, left in zip(names, levels, kept, strict=True)
        if len(left) < len(one)
    ]
    gone = table["seed"].nunique() - len(seeds)
    lost += [f"{gone} seed{'' if gone == 1 else 's'} that lack{'s' if gone == 1 else ''} a value"] if gone else []
    return Grid(values, tuple(names[i] for i in varied), tuple(tuple(kept[i]) for i in varied), "; ".join(lost))


def effects(grid: Grid, block: str | None = None) -> pd.DataFrame:
    """Main effects and two-way interactions of a grid, a row per level, with all columns of `COLUMNS` but `metric`.

    effect, low, high: the mean over seeds of what a level adds to the grid's mean, and its t interval, not adjusted.
    share: of the variance of the cells within a seed, what the factor or interaction accounts for, the part that noise
    between seeds would give it subtracted (a signed share below 0 is 0). `block`: a factor whose levels are not on one
    scale, such as data sets: it has no main effect, and the variance is within its levels.
    """
    y = grid.values
    seeds, axes = len(y), range(1, y.ndim)
    centred = y - y.mean(axis=tuple(axes), keepdims=True)
    mains = {i: _over_others(centred, (i,)) for i in axes}
    own = grid.factors.index(block) + 1 if block in grid.factors else 0
    total = float(((centred - mains[own] if own else centred) ** 2).mean())
    rows = []
    for term in [(i,) for i in axes if i != own] + list(itertools.combinations(axes, 2)):
        effect = _over_others(centred, term)
        for i in term if len(term) > 1 else ():
            effect = effect - mains[i]
        mean = effect.mean(axis=0)
        sd = effect.std(axis=0, ddof=1) if seeds > 1 else np.full(mean.shape, np.nan)
        noise = float((sd**2).mean()) / seeds if seeds > 1 else 0.0
        share = max(0.0, float((mean**2).mean()) - noise) / total if total > 0 else 0.0
        half = half_width(sd, seeds)
        names = [grid.factors[i - 1] for i in term]
        labels = itertools.product(*(grid.levels[i - 1] for i in term))
        for label, e, h in zip(labels, mean.ravel(), half.ravel(), strict=True):
            other = names[1] if len(names) > 1 else ""
            rows.append((names[0], other, " × ".join(label), float(e), float(e - h), float(e + h), share))
    return pd.DataFrame(rows, columns=list(COLUMNS[1:]))


def hypervolume(cost: ArrayLike, score: ArrayLike, worst: tuple[float, float]) -> float:
    """The area that points dominate below a worst point, lower being better in both: (n,) and (n,). nan dominates
    nothing.

    Zitzler and Thiele 1999. Points beyond the worst one count for nothing.
    """
    x, y = np.asarray(cost, dtype=float), np.asarray(score, dtype=float)
    inside = (x < worst[0]) & (y < worst[1])
    area, height = 0.0, worst[1]
    for i in np.lexsort((y[inside], x[inside])):
        if y[inside][i] < height:
            area += (worst[0] - x[inside][i]) * (height - y[inside][i])
            height = y[inside][i]
    return area


def fronts(cells: pd.DataFrame, settings: Sequence[str], panel: str | None, higher: bool = False) -> pd.DataFrame:
    """Hypervolume of each setting's front of score against NFE, with its t interval over seeds: 0 nothing, 1
    everything.

    cells: a row per cell with the columns of `settings` (which tell fronts apart), `seed`, `nfe` and `value`. The NFE
    counts by its logarithm. The unit is the box between the best and the worst numbers of a panel (a data set, say),
    in any seed. A seed with a number missing in a setting is left out there. Settings of one number of evaluations
    have no front.
    """
    rows = []
    cells = cells.assign(
        cost=np.log(cells["nfe"].where(cells["nfe"] > 0)), score=-cells["value"] if higher else cells["value"]
    )
    for _, whole in cells.groupby(panel, sort=False) if panel else [("", cells)]:
        low, high = whole[["cost", "score"]].min(), whole[["cost", "score"]].max()
        box = float(np.prod(high - low))
        if not box > 0:
            continue
        worst = (float(high["cost"]), float(high["score"]))
        for labels, part in whole.groupby(list(settings), sort=False) if settings else [((), whole)]:
            if part["cost"].nunique() < 2:
                continue
            full = part.groupby("seed").filter(lambda seed: bool(seed[["cost", "score"]].notna().all(axis=None)))
            found = [hypervolume(one["cost"], one["score"], worst) / box for _, one in full.groupby("seed")]
            inside = mean_interval(found)
            given = labels if isinstance(labels, tuple) else (labels,)
            rows.append((*given, inside.mean, inside.low, inside.high, inside.n, part["seed"].nunique()))
    return pd.DataFrame(rows, columns=[*settings, "hypervolume", "low", "high", "n", "of"])


def _over_others(y: Floats, keep: Sequence[int]) -> Floats:
    """Means over all axes but the seeds' and those to keep, which stay as they are so that the result broadcasts."""
    return np.asarray(y.mean(axis=tuple(i for i in range(1, y.ndim) if i not in keep), keepdims=True))


def _in_step(cells: pd.DataFrame, factors: Sequence[str]) -> tuple[pd.DataFrame, list[str]]:
    """The cells with each set of factors whose levels go one to one as a single factor."""
    table, names = cells[["seed", "value"]].copy(), list[str]()
    left = [factor for factor in factors if cells[factor].nunique() > 1]
    while left:
        first, *rest = left
        pairs = {other: cells[[first, other]].drop_duplicates() for other in rest}
        count = cells[first].nunique()
        same = [o for o, both in pairs.items() if len(both) == count == cells[o].nunique()]
        name = " + ".join([first, *same])
        table[name] = cells[[first, *same]].astype(str).agg(" + ".join, axis=1)
        names.append(name)
        left = [other for other in rest if other not in same]
    return table, names


def _complete(present: NDArray[np.bool_]) -> list[list[int]]:
    """Levels of each axis (in their order) between which every combination is present."""
    keep = [list(range(size)) for size in present.shape]
    while not (part := present[np.ix_(*keep)]).all() and part.size:
        worst: tuple[float, int, int, int] | None = None
        for axis, levels in enumerate(keep):
            if len(levels) < 2:
                continue
            missing = 1 - part.mean(axis=tuple(i for i in range(part.ndim) if i != axis))
            for i, share in enumerate(missing):
                candidate = (float(share), -(part.size // len(levels)), axis, i)
                worst = candidate if worst is None or candidate[:2] >= worst[:2] else worst
        if worst is None:
            return [[] for _ in keep]
        del keep[worst[2]][worst[3]]
    return keep
