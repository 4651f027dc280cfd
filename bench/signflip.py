"""Exact sign-flip tests of paired differences, and control over several of them. Pure; arrays in, numbers out.

Under the null hypothesis each difference is as likely with the other sign, which holds for paired arms that could be
exchanged whatever the law of the scores. The test flips all signs in every way: Fisher 1935, section 21; Pitman 1937.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

ENUMERATED, MET = 12, 32
"""Most differences of which all 2^n sums are listed; and of which those of two halves are met in the middle."""

DRAWS = 99_999
"""Random sign patterns beyond that; with the one that was seen, 100,000."""

TIE = 1e-9
"""Sums closer than this share of the sum of magnitudes are equal, so that rounding never makes a p smaller."""


def greater_p(differences: ArrayLike) -> Floats:
    """One-sided p of "centred at 0 or below" against "above": the share of sign patterns whose sum is as large.

    differences: (..., n), finite; returns (...). Exact up to 32 differences. Beyond, 100,000 random patterns with a
    fixed seed, the one that was seen among them (Phipson & Smyth 2010), so that p is never too small. A difference of
    0 has no sign to flip: it halves nothing, and the least p is 2^-(n - zeros). Without differences p is 1.
    """
    d = np.asarray(differences, dtype=float)
    if not np.isfinite(d).all():
        raise ValueError("a difference is not finite: leave out seeds without a result and report n of how many")
    n = d.shape[-1]
    if n <= ENUMERATED:
        bound = _bound(d)
        return np.asarray((_sums(d) >= bound[..., None]).mean(axis=-1))
    single = _met if n <= MET else _drawn
    return np.asarray([single(row) for row in d.reshape(-1, n)]).reshape(d.shape[:-1])


def beyond_p(differences: ArrayLike, margin: float = 0.0) -> Floats:
    """Two-sided p of "centred within +-margin", (...), of differences (..., n); without a margin, of "centred at 0".

    One-sided tests at both ends, the smaller p twice. The two of them are about d - margin and -d - margin.
    """
    d = np.asarray(differences, dtype=float)
    return np.asarray(np.minimum(1.0, 2 * np.minimum(greater_p(d - margin), greater_p(-d - margin))))


def within_p(differences: ArrayLike, margin: float) -> Floats:
    """The p of "centred at +-margin or beyond", (...): the larger of the one-sided ones at both ends (TOST).

    Schuirmann 1987; each of the two may be tested at the full level, since both have to be small.
    """
    d = np.asarray(differences, dtype=float)
    return np.maximum(greater_p(margin - d), greater_p(margin + d))


def excluded(differences: ArrayLike, level: float) -> float:
    """The smallest margin m at which `within_p` is at most `level`: effects of m or more are excluded.

    differences: (n,). nan where so few seeds exclude nothing. Found by halving, to a thousandth of the magnitudes.
    """
    d = np.asarray(differences, dtype=float)
    top = float(np.abs(d).max(initial=0.0))
    if len(d) == 0 or 0.5 ** len(d) > level:
        return math.nan
    low, high = abs(float(d.mean())), 2 * top  # beyond the largest magnitude every d - m has the same sign
    if high == 0:
        return 0.0
    while high - low > 1e-3 * top:
        middle = (low + high) / 2
        low, high = (low, middle) if within_p(d, middle) <= level else (middle, high)
    return high


def holm(p: ArrayLike) -> Floats:
    """Holm's adjusted p values, (m,): at most the level where the step-down test rejects.

    nan is no hypothesis: it stays nan and counts for nothing. Holm 1979; valid whatever the dependence between the
    tests.
    """
    raw = np.asarray(p, dtype=float)
    order = np.argsort(raw, kind="stable")[: np.count_nonzero(~np.isnan(raw))]
    steps = raw[order] * np.arange(len(order), 0, -1)
    adjusted = np.full(len(raw), math.nan)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return adjusted


def _bound(d: Floats) -> Floats:
    """What a sum has to reach to count as large as the one that was seen."""
    return np.asarray(d.sum(axis=-1) - TIE * np.abs(d).sum(axis=-1))


def _sums(d: Floats) -> Floats:
    """All 2^n sums of d (..., n) with every pattern of signs: (..., 2^n)."""
    sums = np.zeros((*d.shape[:-1], 1))
    for i in range(d.shape[-1]):
        one = d[..., i, None]
        sums = np.concatenate([sums + one, sums - one], axis=-1)
    return sums


def _met(d: Floats) -> float:
    """`greater_p` of one series by meeting in the middle: sums of one half, counted in the sorted sums of the other."""
    half = len(d) // 2
    left, right = _sums(d[:half]), np.sort(_sums(d[half:]))
    reach = len(right) - np.searchsorted(right, _bound(d) - left, side="left")
    return float(reach.sum() / (len(left) * len(right)))


def _drawn(d: Floats) -> float:
    """`greater_p` of one series by random patterns, its own among them."""
    rng = np.random.default_rng(0)
    bound, hits = _bound(d), 1
    for start in range(0, DRAWS, 10_000):
        signs = rng.integers(0, 2, size=(min(10_000, DRAWS - start), len(d)), dtype=np.int8)
        hits += int(((2.0 * signs - 1) @ d >= bound).sum())
    return hits / (DRAWS + 1)
