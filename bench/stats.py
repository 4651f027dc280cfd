"""Statistics over seeds: intervals, clusters, fronts, and how many digits a number deserves.

One seed is one observation. Repeats of an evaluation are averaged before they come here, and a cell that
gave no number is counted (`of`) and never averaged away. Pure functions; nothing here imports torch.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from bench.automatic import EXCESS

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


CLUSTERED_LEAST = 6
"""Fewest seeds that may be said to fall into two clusters."""


def clusters(values: ArrayLike) -> tuple[Floats, Floats] | None:
    """The two clusters that values of n seeds fall into, each sorted, of two seeds at least; None where they do not.

    They do where the widest gap between neighbours, against the pooled standard deviation on its two sides, is at
    least 42 / n, and at least 4. So judged, 1 to 2 of 100 samples of one normal law have clusters, whatever n is, and
    2 to 7 of 100 of an exponential law.
    """
    x = np.sort(np.asarray(values, dtype=float).ravel())
    n = len(x)
    if n < CLUSTERED_LEAST or not np.isfinite(x).all():
        return None
    found, widest = None, 0.0
    for k in range(2, n - 1):
        low, high = x[:k], x[k:]
        spread = math.sqrt(((low - low.mean()) ** 2).sum() + ((high - high.mean()) ** 2).sum()) / math.sqrt(n - 2)
        gap = float(high[0] - low[-1])
        if gap > widest * spread and gap >= max(4.0, 42 / n) * spread and gap > 1e-9 * float(np.abs(x).max()):
            found, widest = (low, high), gap / spread if spread else math.inf
    return found


def may_cluster(rows: ArrayLike) -> NDArray[np.bool_]:
    """Which rows of (m, n) numbers `clusters` may find clusters in: all that it does find, at little cost; (m,)."""
    x = np.sort(np.asarray(rows, dtype=float), axis=1)
    n = x.shape[1]
    found = np.zeros(len(x), dtype=bool)
    for k in range(2, n - 1) if n >= CLUSTERED_LEAST else ():
        low, high = x[:, :k], x[:, k:]
        spread = np.sqrt((low.var(axis=1) * k + high.var(axis=1) * (n - k)) / (n - 2))
        found |= high[:, 0] - low[:, -1] >= 0.999 * max(4.0, 42 / n) * spread
    return found


def cluster_words(values: ArrayLike) -> str:
    """Two clusters in words, such as "0.27 to 0.39 (4 seeds) and 0.89 to 1.09 (3)"; empty where there are none."""
    found = clusters(values)
    if not found:
        return ""
    texts = []
    for part in found:
        low, high = (_plain(float(end), 3) for end in (part[0], part[-1]))
        texts.append((low if low == high else f"{low} to {high}", len(part)))
    (first, m), (second, k) = texts
    return f"{first} ({m} seeds) and {second} ({k})"


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


def is_solver_axis(axis: str) -> bool:
    """Whether an axis varies how a trained field is integrated rather than what is integrated."""
    return axis == "solver" or axis.startswith("solver.")


def named_unit(unit: object) -> str:
    """A unit as it stands behind a number: nothing where there is none ("1")."""
    return "" if unit in (None, "1") else str(unit)


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
