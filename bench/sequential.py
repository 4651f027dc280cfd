"""Verdicts that may be looked at after every seed: e-values of paired differences, and e-Holm over claims. Pure.

Under the null a difference is as likely with the other sign, given all earlier ones. Then any bet on its sign that is
fixed beforehand keeps the expected wealth at 1, and so does the mean of one wealth that bets on plus and one on minus:

    E_n = (prod_i (1 + b_i psi(d_i / s_i)) + prod_i (1 - b_i psi(d_i / s_i))) / 2,    psi(x) = tanh(2 x)

b_i and s_i come from earlier seeds alone: s_i is the median of their magnitudes (psi is the sign where there are none),
b_i a mean over a grid weighted by what each bet would have won, .8 at first. By Ville's inequality E exceeds 1 / level
at any time with probability `level` at most, so a run may stop when it likes. de la Pena 1999; Ramdas and Wang,
arXiv:2410.23614, chapter 4 and section 9 for e-Holm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bench.decisions import LEVEL, Decision, Verdict

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

BETS = (0.2, 0.5, 0.8, 0.95)
FIRST = 0.8
"""The bet before there is a difference to learn from."""


def least_seeds(claims: int, level: float = LEVEL) -> int:
    """Seeds before which no claim of so many can be decided: all of one sign, and as large as can be."""
    won, n = (1 + FIRST) / 2, 1
    while won < claims / level:
        won, n = won * (1 + max(BETS)), n + 1
    return n


class Evidence(NamedTuple):
    """log e after each seed, (..., n): that the differences have a side, and that they lie within a margin.

    `ahead`, (..., n): which side. Without a margin `near` is -inf: nothing speaks for equivalence.
    """

    side: Floats
    near: Floats
    ahead: NDArray[np.bool_]


def log_wealth(differences: ArrayLike) -> tuple[Floats, Floats]:
    """Logarithms of the wealth that bets on plus and of the one that bets on minus, each (..., n), after each
    difference.

    differences: (..., n), finite.
    """
    d = np.asarray(differences, dtype=float)
    bets = np.asarray(BETS)
    won = np.zeros((2, *d.shape[:-1], len(bets)))  # by each bet of the grid, on plus and on minus
    total, found = np.zeros((2, *d.shape[:-1])), np.empty((2, *d.shape))
    for i in range(d.shape[-1]):
        x, bet = d[..., i], np.asarray(FIRST)
        psi = np.sign(x)
        if i:
            scale = np.median(np.abs(d[..., :i]), axis=-1)
            with np.errstate(over="ignore"):  # beside next to nothing, anything is as large as can be
                psi = np.where(scale > 0, np.tanh(2 * x / np.where(scale > 0, scale, 1.0)), psi)
            either = np.logaddexp(won[0], won[1])
            weight = np.exp(either - either.max(axis=-1, keepdims=True))
            bet = (weight * bets).sum(axis=-1) / weight.sum(axis=-1)
        for side, sign in enumerate((1.0, -1.0)):
            total[side] += np.log1p(sign * bet * psi)
            won[side] += np.log1p(sign * bets * psi[..., None])
            found[side, ..., i] = total[side]
    return found[0], found[1]


def evidence(differences: ArrayLike, margin: float | None = None) -> Evidence:
    """What differences (..., n) say after each of them.

    With a margin m a side is one beyond it, by bets on d - m and on -d - m; and near is the lesser of the bets on m - d
    and on m + d, both of which have to win.
    """
    d = np.asarray(differences, dtype=float)
    if not margin:
        plus, minus = log_wealth(d)
        return Evidence(np.logaddexp(plus, minus) - math.log(2), np.full(d.shape, -math.inf), plus > minus)
    over, under = log_wealth(d - margin)[0], log_wealth(-d - margin)[0]
    near = np.minimum(log_wealth(margin - d)[0], log_wealth(margin + d)[0])
    return Evidence(np.logaddexp(over, under) - math.log(2), near, over > under)


class Stopped(NamedTuple):
    """A claim's verdict, the log e that it rests on, and at which step (from 0) it was reached, or the last one."""

    verdict: Verdict
    log_e: float
    step: int


def stop(found: Evidence, level: float = LEVEL) -> list[Stopped]:
    """Follow the claims of a suite, evidence (m, n), seed by seed in step, and stop each when it is decided.

    e-Holm after every seed: a claim is decided where its e reaches (claims not yet given a side) / level; the same
    over the claims with a margin for equivalence. What is decided stays so, at the e that it had, and makes it easier
    for the rest. nan is no news: a seed that lacks a number, or one that the claim was not given.
    """
    claims, steps = found.side.shape
    verdicts: list[Verdict] = ["undecided"] * claims
    last, at = np.full((2, claims), -math.inf), np.full(claims, -1)
    kinds = (found.side, found.near)
    counts = [claims, int((found.near > -math.inf).any(axis=1).sum())]
    for step in range(steps):
        for i in range(claims):
            if verdicts[i] == "undecided" and not math.isnan(found.side[i, step]):
                last[:, i], at[i] = [kind[i, step] for kind in kinds], step
        for kind in (0, 1):
            for i in np.argsort(-last[kind], kind="stable"):
                if verdicts[i] == "undecided" and last[kind, i] >= math.log(max(counts[kind], 1) / level):
                    ahead = bool(found.ahead[i, at[i]])
                    verdicts[i] = "equivalent" if kind else "supported" if ahead else "refuted"
                    counts[kind] -= 1
        if "undecided" not in verdicts:
            break
    equal = [verdict == "equivalent" or (verdict == "undecided" and last[1, i] > last[0, i])
             for i, verdict in enumerate(verdicts)]  # fmt: skip
    return [Stopped(verdicts[i], float(last[int(equal[i]), i]), int(at[i])) for i in range(claims)]


def settle(series: Sequence[Floats], margins: Sequence[float | None], level: float = LEVEL) -> list[Decision]:
    """Verdicts on the claims of a suite whose seeds were added while it was looked at.

    series: each claim's differences in the order of the seeds, nan where a seed lacks a number. Those that came after a
    claim was decided say nothing more. The result is the same whatever the rounds were in which the seeds came.
    """
    if not series:
        return []
    n = max((len(d) for d in series), default=0)
    side, near = np.full((2, len(series), n), math.nan)
    ahead = np.zeros((len(series), n), dtype=bool)
    for i, (d, margin) in enumerate(zip(series, margins, strict=True)):
        there = np.flatnonzero(np.isfinite(d))
        side[i, there], near[i, there], ahead[i, there] = evidence(d[there], margin)
    found = []
    for i, one in enumerate(stop(Evidence(side, near, ahead), level)):
        used = series[i][: one.step + 1]
        used = used[np.isfinite(used)]
        if not len(used):
            found.append(Decision("no data"))
            continue
        shut = excluded(used, level / len(series))
        e = math.exp(min(one.log_e, 700.0))
        found.append(Decision(one.verdict, e=e, looks=len(used), excludes=shut))
    return found


def excluded(differences: Floats, level: float) -> float:
    """The smallest margin within which these differences (n,) are shown to lie, to 1 % of the largest magnitude.

    nan where so few exclude nothing.
    """
    top = float(np.abs(differences).max(initial=0.0))
    low, high = abs(float(differences.mean())), 4 * top

    def shows(margin: float) -> bool:
        """Whether they lie within it."""
        return bool(evidence(differences, margin).near[-1] >= -math.log(level))

    if top == 0 or not shows(high):
        return math.nan
    while high - low > 1e-2 * top:
        middle = (low + high) / 2
        low, high = (low, middle) if shows(middle) else (middle, high)
    return high
