"""Statistics over seeds: intervals, contrasts of claims, fronts, and how many digits a number deserves.

One seed is one observation. Repeats of an evaluation are averaged before they come here, and a cell that
gave no number is counted (`of`) and never averaged away. Pure functions; nothing here imports torch.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from bench.automatic import EXCESS
from bench.nfe import Budget, largest

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """A mean over n seeds with its two-sided t interval; nan where n is too small to have one."""

    mean: float
    low: float
    high: float
    n: int
    sd: float

    @property
    def half_width(self) -> float:
        """Half the interval's length, in the unit of the mean."""
        return (self.high - self.low) / 2


class Difference(NamedTuple):
    """A claim's contrast: positive means that the claim's side does better.

    `interval` is over the seeds whose pairs are all there; `of` is the number of seeds that have a pair at
    all; `pairs` is the number of contrasts averaged within a seed (the most of any seed); `note` says what
    kept seeds out.
    """

    interval: Interval
    of: int
    pairs: int
    direction: str
    unit: str
    note: str


def half_width(sd: ArrayLike, n: ArrayLike, level: float = 0.95) -> Floats:
    """Half-width of Student's t interval of a mean, t_{n-1} sd / sqrt(n); nan where n < 2. Broadcasts."""
    n = np.asarray(n, dtype=float)
    safe = np.where(n >= 2, n, np.nan)
    return np.asarray(stdtrit(safe - 1, (1 + level) / 2) * np.asarray(sd, dtype=float) / np.sqrt(safe))


def mean_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """Mean of one value per seed, (n,), with its t interval; for paired data give the differences.

    One value has no interval (nan), none has no mean either. Raises ValueError where a value is not finite:
    a missing seed has to be counted by the caller, not averaged away here.
    """
    x = np.asarray(values, dtype=float).ravel()
    if not np.isfinite(x).all():
        raise ValueError("a value is not finite: leave out seeds without a result and report n of how many")
    if len(x) == 0:
        return Interval(math.nan, math.nan, math.nan, 0, math.nan)
    mean, sd = float(x.mean()), float(x.std(ddof=1)) if len(x) > 1 else math.nan
    half = float(half_width(sd, len(x), level))
    return Interval(mean, mean - half, mean + half, len(x), sd)


def over_seeds(values: pd.Series[float], groups: pd.Series[Any], excess: bool = False) -> pd.DataFrame:
    """mean, low, high, half (of the interval's length), n and `of` of each group, over its values that are known.

    values: one per seed, nan where there is none; groups: what each belongs to. Of an excess the gaps are
    averaged and have the t interval, and the root comes last, for the mean and both ends: the mean of seeds'
    signed roots would lie too near to 0 wherever some of them have the other sign.
    """
    averaged = pd.Series(signed_square(values), index=values.index) if excess else values
    table = averaged.groupby(groups).agg(["mean", "std", "count", "size"])
    spread = half_width(table["std"], table["count"])
    ends = pd.DataFrame(
        {"mean": table["mean"], "low": table["mean"] - spread, "high": table["mean"] + spread}, dtype=float
    )
    if excess:
        ends = ends.apply(signed_root)
    half = (ends["high"] - ends["low"]) / 2 if excess else spread
    return ends.assign(half=half, n=table["count"].astype(int), of=table["size"].astype(int))


def excess(score: ArrayLike, floor: ArrayLike) -> float:
    """What one cell's score holds beyond a perfect sampler's: the signed root of the mean gap, in the score's unit.

    score, floor: (R,), one per repeat, against the same references; the gap is score^2 - floor^2.
    """
    gap = np.mean(np.square(np.asarray(score, float)) - np.square(np.asarray(floor, float)))
    return float(signed_root(gap))


def is_excess(name: str) -> bool:
    """Whether a value is an excess, by its name: the signed root of a gap."""
    return name.endswith(EXCESS)


def signed_root(gap: ArrayLike) -> Floats:
    """Sign times sqrt|gap|: of a gap the excess, in the score's unit."""
    gap = np.asarray(gap, dtype=float)
    return np.asarray(np.copysign(np.sqrt(np.abs(gap)), gap))


def signed_square(excess: ArrayLike) -> Floats:
    """The gap e |e| of an excess e, in the score's unit squared; undoes `signed_root`."""
    e = np.asarray(excess, dtype=float)
    return np.asarray(e * np.abs(e))


def prediction_interval(mean: float, sd: float, n: int, runs: int, level: float = 0.95) -> tuple[float, float]:
    """Where the mean of `runs` further runs is expected, given mean and standard deviation of n published runs.

    mean -+ t sd sqrt(1 / n + 1 / runs), t the quantile of n - 1 degrees of freedom: the published numbers are
    all that is assumed, so a replication's own spread does not widen it. Geisser 1993, section 2.
    """
    half = float(stdtrit(n - 1, 0.5 + level / 2)) * sd * math.sqrt(1 / n + 1 / runs)
    return mean - half, mean + half


def seeds_needed(claims: int) -> int:
    """Seeds that a verdict on `claims` claims needs: the smallest n with 2 / 2^n <= .05 / claims.

    The exact two-sided sign-flip p is never below 2 / 2^n, and Holm's first step asks for .05 / claims.
    """
    if claims < 1:
        raise ValueError(f"claims must be at least 1, got {claims}")
    return math.ceil(1 + math.log2(20 * claims))


def pareto_front(seconds: ArrayLike, score: ArrayLike) -> NDArray[np.bool_]:
    """Which points no other beats: none is as fast and as good and better in one. Lower is better in both.

    seconds, score: (n,); returns (n,) bool. Equal points stand or fall together; nan is never on the front.
    """
    x, y = np.asarray(seconds, dtype=float), np.asarray(score, dtype=float)
    front = np.zeros(len(x), dtype=bool)
    best, last = math.inf, (math.nan, math.nan)
    for i in np.lexsort((y, x)):
        point = (float(x[i]), float(y[i]))
        if point == last or (np.isfinite(point).all() and point[1] < best):
            front[i], best, last = True, point[1], point
    return front


def round_to_interval(mean: float, half_width: float) -> str:
    """A mean with no more digits than its interval supports, such as "0.53 ± 0.04".

    The half-width keeps two digits if its leading three are below 355 and one otherwise (the Particle Data
    Group's rule), and the mean stops at the same place. Without an interval: two digits, no sign of
    precision. A half-width of 0 leaves the plain number.
    """
    if alone := _alone(mean, half_width):
        return alone
    (shown, spread), power = _to_place((mean, half_width), half_width)
    return f"({shown} ± {spread})e{power}" if power else f"{shown} ± {spread}"


def round_with_ends(mean: float, low: float, high: float) -> str:
    """A mean with an interval that need not lie evenly about it, such as "0.09 (-0.05 to 0.15)".

    All three stop where half of the interval's length does by the rule of `round_to_interval`.
    """
    half_width = (high - low) / 2
    if alone := _alone(mean, half_width):
        return alone
    numbers, power = _to_place((mean, low, high), half_width)
    middle, *ends = (f"{number}e{power}" if power else number for number in numbers)
    return f"{middle} ({' to '.join(ends)})"


def round_like(value: float, half_width: float) -> str:
    """A number that stands beside a mean (its floor), to the same place as that mean's half-width."""
    if not math.isfinite(value) or not math.isfinite(half_width) or half_width <= 1e-12 * abs(value):
        return "–" if not math.isfinite(value) else _plain(value, 2)
    last = _last_place(half_width)
    return _at(value, last) if -6 <= last <= 2 else _plain(value, 2)


def claim_difference(records: pd.DataFrame, claim: Mapping[str, Any], axes: Sequence[str] = ()) -> Difference:
    """A claim's contrast: matched pairs averaged within a seed, then a t interval over the seeds.

    `records` are tidy rows (cell, seed, axes, metric, value, n, unit, better). Where lower is better
    the contrast is than - better, otherwise better - than. `by: .1` asks for a tenth: .9 than - better, or
    better - 1.1 than. `at: nfe <= 20` takes from each side the cells of the largest NFE up to 20, never the
    best ones; sides then meet whatever the solver's axes say. A seed that lacks any of its numbers is left
    out and counted. Of an excess the gaps are contrasted, in squared units.
    """
    cells = records.drop_duplicates("cell").set_index("cell")
    rows = _rows(records, claim["metric"])
    unit, direction = named_unit(_common(rows, "unit")), _common(rows, "better")
    pairs = pd.DataFrame(list(claim["pairs"]), columns=["better", "than"], dtype=int)
    pairs = pairs[pairs["better"].isin(cells.index) & pairs["than"].isin(cells.index)]
    pairs = pairs.assign(seed=cells["seed"].reindex(pairs["better"]).to_numpy())
    note = "" if len(pairs) else "no pair of cells to compare"
    if claim.get("at") and len(pairs):
        budget = Budget.parse(claim["at"])
        pairs = _at_nfe(pairs, records, cells, budget, axes)
        note = "" if len(pairs) else f"no pair of cells at {budget}"
    mixed = _mixed(rows, pairs, timed=unit == "s")
    values = pd.to_numeric(rows["value"])
    if is_excess(claim["metric"]):
        values, unit = pd.Series(signed_square(values), index=values.index), _squared(unit)
    if mixed:
        return Difference(mean_interval([]), int(pairs["seed"].nunique()), 0, direction, unit, mixed)
    a = values.reindex(pairs["better"]).to_numpy(dtype=float)
    b = values.reindex(pairs["than"]).to_numpy(dtype=float)
    gain = pd.Series(_gain(a, b, direction, asked_share(claim, direction)), index=pairs["seed"], dtype=float)
    by_seed = gain.where(np.isfinite(gain)).groupby(level=0).agg(["mean", "count", "size"])
    whole = by_seed.loc[by_seed["count"] == by_seed["size"], "mean"].to_numpy(dtype=float)
    if len(whole) < len(by_seed):
        note = f"{len(by_seed) - len(whole)} of {len(by_seed)} seeds lack a score and are left out"
    most = int(by_seed["size"].max()) if len(by_seed) else 0
    return Difference(mean_interval(whole), len(by_seed), most, direction, unit, note)


def asked_share(claim: Mapping[str, Any], direction: str) -> float:
    """What of the other side's number a claim asks for: 1, .9 with `by: 10%`, .9^2 of the gap where it is an excess."""
    share = 1 + (1 if direction == "higher" else -1) * (claim.get("by") or 0.0)
    return share**2 if is_excess(claim["metric"]) else share


def is_solver_axis(axis: str) -> bool:
    """Whether an axis varies how a trained field is integrated rather than what is integrated."""
    return axis == "solver" or axis.startswith("solver.")


def _at_nfe(
    pairs: pd.DataFrame, records: pd.DataFrame, cells: pd.DataFrame, budget: Budget, axes: Sequence[str]
) -> pd.DataFrame:
    """Pairs of the cells with the largest NFE up to the limit, chosen on each side for itself.

    The sides meet on every axis on which the given pairs agree, the solver's aside: heun with 10 steps
    and euler with 20 cost the same and are labelled differently. A side whose NFE is unknown (it failed in
    every seed) leaves a pair of cell -1, which has no score.
    """
    nfe = _known_nfe(records, cells, axes)
    if "solver.steps" in cells:  # no solver asks the field less than once a step
        steps = pd.to_numeric(cells["solver.steps"], errors="coerce")
        nfe = nfe.mask(nfe.isna() & (steps > budget.limit), math.inf)
    better, than = cells.loc[pairs["better"]], cells.loc[pairs["than"]]
    meet = [
        axis for axis in axes if not is_solver_axis(axis) and (better[axis].to_numpy() == than[axis].to_numpy()).all()
    ]
    chosen: list[tuple[int, int, int]] = []
    keys = [better["seed"].to_numpy(), *(better[axis].to_numpy() for axis in meet)]
    for _, group in pairs.groupby(keys, sort=True):
        seed = int(group["seed"].iloc[0])
        spent = [nfe.loc[sorted(set(group[side]))] for side in ("better", "than")]
        sides = [[-1] if side.isna().any() else largest(side, budget.limit) for side in spent]
        chosen += [(int(one), int(other), seed) for one in sides[0] for other in sides[1]]
    return pd.DataFrame(chosen, columns=["better", "than", "seed"], dtype=int)


def named_unit(unit: object) -> str:
    """A unit as it stands behind a number: nothing where there is none ("1")."""
    return "" if unit in (None, "1") else str(unit)


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
    compared = rows.reindex([*pairs["better"], *pairs["than"]]).dropna(subset=["value"])
    for column, what, asked in (("n", "sample sizes", True), ("device", "devices", timed)):
        if asked and column in compared and compared[column].nunique() > 1:
            shown = ", ".join(str(one) for one in sorted(compared[column].dropna().unique()))
            return f"cells of different {what} ({shown}) are not comparable"
    return ""


def _common(rows: pd.DataFrame, column: str) -> str:
    """First text of a column that is one and the same in all rows; empty where there is none."""
    texts = [str(text) for text in rows[column].dropna() if str(text)] if column in rows else []
    return texts[0] if texts else ""


def _alone(mean: float, half_width: float) -> str:
    """A mean that stands without an interval, or empty where it has one."""
    if not math.isfinite(mean):
        return "–"
    if not math.isfinite(half_width):
        return _plain(mean, 2)
    return _plain(mean, 6) if half_width <= 1e-12 * abs(mean) else ""


def _to_place(numbers: Sequence[float], half_width: float) -> tuple[list[str], int]:
    """Numbers to the last place that a half-width carries, and the power of ten taken out where zeros would be many."""
    last = _last_place(half_width)
    power = 0
    if last > 2 or last < -6:
        power = math.floor(math.log10(max(half_width, *(abs(number) for number in numbers))))
    return [_at(number / 10.0**power, last - power) for number in numbers], power


def _last_place(half_width: float) -> int:
    """Power of ten of the last digit that a half-width carries (Particle Data Group rounding)."""
    power = math.floor(math.log10(max(half_width, sys.float_info.min)))  # less has no digits of its own
    leading = round(half_width / 10.0 ** max(power - 2, -307))
    return power - 1 if leading < 355 else power


def _at(value: float, place: int) -> str:
    """A number rounded to the digit of 10^place; never "-0"."""
    text = f"{round(value, -place):.{max(0, -place)}f}"
    return text[1:] if text.startswith("-") and not text.strip("-0.") else text


def _plain(value: float, digits: int) -> str:
    """A number with so many significant digits, whole numbers in full where they are short."""
    if value == int(value) and abs(value) < 1e7:
        return str(int(value))
    power = math.floor(math.log10(abs(value)))
    if power < -5 or power > 6:
        return f"{value:.{digits - 1}e}"
    text = _at(value, power - digits + 1)
    return text.rstrip("0").rstrip(".") if "." in text and digits > 2 else text
