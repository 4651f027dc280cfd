"""Verdicts on several claims together, from one series of paired differences each. Pure; fixed numbers of seeds.

A claim without a margin has one null hypothesis: its differences are centred at 0. One with a margin m splits the line
in three: ahead by more than m (supported), within +-m (equivalent), behind by more than m (refuted). Its two
hypotheses are that the differences are centred within +-m, against a side, and at +-m or beyond, against equivalence.

Two errors are controlled, each at 5 % over the whole suite by Holm's method: a side given to a claim that has none,
over all claims; and "equivalent" said of a claim that lies at its margin or beyond, over the claims with a margin.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from scipy.special import ndtri

from bench.signflip import beyond_p, excluded, holm, within_p
from bench.stats import seeds_needed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Verdict = Literal["supported", "refuted", "equivalent", "undecided", "too few seeds", "no data"]

LEVEL = 0.05
"""The most that either error may happen in, over all claims of a suite."""

POWER = 0.8
"""How likely the seeds that are said to settle a claim should do so, were the effect the one that was seen."""

MORE_MAX = 100
"""Most further seeds that are named; beyond, an effect that small is not what more seeds are for."""


@dataclass(frozen=True)
class Decision:
    """A claim's verdict. nan stands for what there is not.

    p: of the test that decided, or came nearest; p_holm: adjusted over the suite's claims. e, looks: of a suite that
    was settled, the e-value and the number of seeds that were looked at, in place of p. more_seeds: how many further
    seeds would probably settle it, nan where they are more than 100. excludes: effects of this size or more, on either
    side, are excluded, at 5 % over all claims.
    """

    verdict: Verdict
    p: float = math.nan
    p_holm: float = math.nan
    e: float = math.nan
    looks: int = 0
    more_seeds: float = math.nan
    excludes: float = math.nan


class Judged(NamedTuple):
    """A claim's verdict, the p of the test that decided or came nearest, and that p adjusted; nan without a verdict."""

    verdict: Verdict
    p: float
    p_holm: float


def judge(series: Sequence[Floats], margins: Sequence[float | None], level: float = LEVEL) -> list[Judged]:
    """Verdicts on the claims of one suite, whose differences (n,) are positive where the claim's side is ahead.

    Every claim counts, those without data too. Below `seeds_needed` a claim has no verdict, whatever its differences
    are.
    """
    need = seeds_needed(len(series)) if series else 0
    enough = [len(d) >= need for d in series]
    side, near = np.ones(len(series)), np.full(len(series), math.nan)
    for i, (d, margin) in enumerate(zip(series, margins, strict=True)):
        if margin:
            near[i] = within_p(d, margin) if enough[i] else 1.0
        if enough[i]:
            side[i] = beyond_p(d, margin or 0.0)
    side_holm, near_holm = holm(side), holm(near)
    found = []
    for i, d in enumerate(series):
        sided, equal = (float(side[i]), float(side_holm[i])), (float(near[i]), float(near_holm[i]))
        if not enough[i]:
            found.append(Judged("too few seeds" if len(d) else "no data", math.nan, math.nan))
        elif near_holm[i] <= level:
            found.append(Judged("equivalent", *equal))
        elif side_holm[i] <= level:
            found.append(Judged("supported" if d.mean() > 0 else "refuted", *sided))
        else:
            found.append(Judged("undecided", *(equal if near[i] < side[i] else sided)))
    return found


def decide(series: Sequence[Floats], margins: Sequence[float | None], level: float = LEVEL) -> list[Decision]:
    """`judge`, with what an undecided claim would take, and what the seeds exclude."""
    need = seeds_needed(len(series)) if series else 0
    judged = judge(series, margins, level)
    still = max(1, sum(one.verdict == "undecided" for one in judged))
    found = []
    for one, d, margin in zip(judged, series, margins, strict=True):
        undecided = one.verdict == "undecided"
        more = seeds_to_settle(d, margin, level / still, need) if undecided else math.nan
        shut = excluded(d, level / len(series)) if len(d) >= need else math.nan
        found.append(Decision(*one, more_seeds=more, excludes=shut))
    return found


def seeds_to_settle(differences: Floats, margin: float | None, level: float, least: int) -> float:
    """How many more seeds would settle a claim 4 times out of 5, were its effect and spread those that were seen.

    By the normal approximation, (z_level + z_power)^2 / (effect / sd)^2 + z_level^2 / 2 seeds in all, where the effect
    is the distance from 0, or from the nearer end of the margin. At least one; nan where they are more than 100.
    """
    n, mean, sd = len(differences), float(differences.mean()), float(differences.std(ddof=1))
    inside = margin is not None and abs(mean) < margin
    distance = abs(abs(mean) - (margin or 0.0))
    z = float(-ndtri(level if inside else level / 2))
    if distance <= 1e-12 * max(abs(mean), margin or 0.0) or distance == 0:
        return math.nan
    total = ((z + float(ndtri(POWER))) * sd / distance) ** 2 + z**2 / 2
    more = max(1, math.ceil(max(total, least)) - n) if math.isfinite(total) else math.inf
    return float(more) if more <= MORE_MAX else math.nan
