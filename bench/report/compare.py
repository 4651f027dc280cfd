"""Two runs of one suite: which values moved beyond noise, which verdicts changed, what is missing.

A combination is what the labels of all axes say. Of each value that both runs have there, the differences over common
seeds have a paired t test and all seeds of both a pooled one; the smaller p counts twice, and Holm's procedure holds
the chance of any false alarm in a whole comparison at 5 %. So the last digits in which processors differ move nothing,
and a solver with a mistake does. One seed has no noise of its own: there a value moved when it changed by more than a
tenth, the most that another processor's rounding was seen to do after thousands of steps of training.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import stdtr

from bench.automatic import AUTOMATIC, EXCESS, FLOOR_SD
from bench.errors import UsageError
from bench.report.results import Results
from bench.report.tables import escape, markdown
from bench.signflip import holm
from bench.stats import mean_interval
from bench.verdicts import claims_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Labels = tuple[str, ...]
    Values = dict[tuple[Labels, str], "Value"]

LEVEL = 0.05
"""Chance that a comparison of two runs that differ by noise alone finds anything that moved."""

ALONE = 0.1
"""Relative change beyond which a value of one seed has moved."""

ROUNDED = 1e-5
"""Relative difference below which two values are one: what rounding float32 on another processor does where no training
makes it more (FID of real pictures differed by 2e-8, its limit of infinite n by 3e-7).
"""

HARDWARE = ("cpu", "cores", "gpu")
"""What of the provenance must agree before times are compared."""

LEAST_SLOWER = 1.25
"""Times closer than this are not told apart, whatever their spread: a machine's neighbours do as much."""

DERIVED = (EXCESS, FLOOR_SD)
"""Ends of names of values that follow from others."""

TIMES = ("slower", "faster")
COLUMNS = ["value", "before", "now", "change", "seeds", "p", "which"]
SHOWN = 30


@dataclass(frozen=True)
class Comparison:
    """What is new (`now`) against what was (`before`).

    moved: a row per combination and value, labels first, then COLUMNS; `which` is better, worse, changed (a value
    that has no better side), slower or faster. verdicts: claim, before, now. lost: values that were there and are
    missing now. alike: combinations that both have and in which nothing moved. timed: why times were not compared,
    empty where they were.
    """

    suite: str
    moved: pd.DataFrame
    verdicts: pd.DataFrame
    lost: pd.DataFrame
    both: int
    alike: int
    only_before: int
    only_now: int
    timed: str

    @property
    def regressed(self) -> bool:
        """Whether a verdict changed, a value got worse or changed, or one is missing. Times never count as that."""
        return bool(len(self.verdicts) or len(self.lost) or self.moved["which"].isin(["worse", "changed"]).any())

    @property
    def summary(self) -> str:
        """One sentence."""
        combinations = f"{self.both} combination{'' if self.both == 1 else 's'}"
        if not self.both:
            return f"{self.suite}: the two runs have no combination in common."
        if self.alike == self.both and not len(self.verdicts) and not len(self.lost):
            every = f"all {combinations}" if self.both > 1 else "its one combination"
            return f"{self.suite} agrees with the other run in {every}."
        parts = [f"{n} values {which}" for which, n in self.moved["which"].value_counts().items()]
        parts += [f"{len(self.verdicts)} verdicts changed"] if len(self.verdicts) else []
        parts += [f"{len(self.lost)} values missing"] if len(self.lost) else []
        return f"{self.suite} agrees with the other run in {self.alike} of {combinations}; {', '.join(parts)}."


class Value(NamedTuple):
    """A value of a combination: which way is better, whether it is a time, the devices, and each seed's number."""

    better: str
    timed: bool
    device: str
    found: dict[int, float]


def compare(now: Results, before: Results) -> Comparison:
    """Compare two runs of one suite. UsageError where their grids have different axes."""
    name = str(now.suite["suite"])
    if name != before.suite["suite"] or set(now.axes) != set(before.axes):
        kinds = (f"{run.suite['suite']} ({', '.join(run.axes) or 'no axes'})" for run in (now, before))
        raise UsageError(f"{' and '.join(kinds)} cannot be compared: give two runs of one suite with the same axes")
    axes = list(now.axes)
    untimed = _why_untimed(now, before)
    one, other = (_values(run, axes, times=not untimed) for run in (now, before))
    here, there = ({tuple(row) for row in run.cells[axes].astype(str).to_numpy()} for run in (now, before))
    both = here & there
    moved = _moved(one, other, axes)
    gone = [(where, base) for (where, base), value in other.items() if where in both and not value.timed]
    gone = [place for place in gone if place not in one]
    touched = {tuple(row) for row in moved.loc[~moved["which"].isin(TIMES), axes].to_numpy()}
    touched |= {where for where, _ in gone}
    lost = pd.DataFrame([(*where, base) for where, base in gone], columns=[*axes, "value"])
    return Comparison(
        name, moved, _verdicts(now, before), lost, len(both), len(both - touched), len(there - both),
        len(here - both), untimed,
    )  # fmt: skip


def text(found: Comparison, before: str) -> str:
    """The comparison in Markdown; `before` names what was compared with."""
    lines = [found.summary.replace("the other run", before)]
    if len(found.verdicts):
        lines += ["", "Verdicts that changed:", "", markdown(found.verdicts, ["claim", "before", "now"])]
    if len(found.moved):
        shown = found.moved.head(SHOWN).copy()
        for column in ("before", "now", "p"):
            shown[column] = shown[column].map(lambda number: f"{number:.3g}")
        shown["change"] = shown["change"].map(lambda share: f"{share:+.1%}" if math.isfinite(share) else "–")
        texts = [str(column) for column in shown if column not in ("before", "now", "change", "p")]
        more = f" (the {SHOWN} surest of {len(found.moved)})" if len(found.moved) > SHOWN else ""
        lines += ["", f"Values that moved beyond noise{more}:", "", markdown(shown, texts)]
    if len(found.lost):
        lines += ["", "Values that are missing now:", "", markdown(found.lost.head(SHOWN), list(map(str, found.lost)))]
    for count, words in ((found.only_before, "of the other run alone"), (found.only_now, "of this run alone")):
        if count:
            lines += ["", f"Not compared: {count} combination{'' if count == 1 else 's'} {words}."]
    if found.timed:
        lines += ["", escape(found.timed)]
    return "\n".join(lines) + "\n"


def _why_untimed(now: Results, before: Results) -> str:
    """Why times are not compared; empty where they are."""
    pair = [[str(run.suite["provenance"].get(key, "")) for key in HARDWARE] for run in (now, before)]
    if pair[0] != pair[1]:
        machines = " and ".join(", ".join(filter(None, machine)) or "an unknown machine" for machine in pair)
        return f"Times are not compared: they were taken on different machines ({machines})."
    return ""


def _values(run: Results, axes: list[str], *, times: bool) -> Values:
    """What a run has, by combination and name, but for what follows from other values and times on a busy machine."""
    records = run.records[run.records["value"].notna()]
    timed = records["unit"] == "s"
    busy = timed & records["note"].str.contains("busy")
    aside = records["base"].isin(AUTOMATIC) & (records["better"] == "none")
    derived = records["base"].str.endswith(DERIVED) | aside
    records = records[~derived & (~timed | (times & ~busy))]
    labels = run.cells[axes].astype(str)
    found: dict[tuple[Labels, str], Value] = {}
    for (_, base), part in records.groupby([run.cells["combo"].reindex(records["cell"]).to_numpy(), "base"]):
        where = tuple(labels.loc[part["cell"].iloc[0]])
        numbers = {int(seed): float(value) for seed, value in zip(part["seed"], part["value"], strict=True)}
        devices = "/".join(sorted(set(part["device"])))
        found[where, str(base)] = Value(
            str(part["better"].iloc[0]), bool((part["unit"] == "s").all()), devices, numbers
        )
    return found


def _moved(one: Values, other: Values, axes: list[str]) -> pd.DataFrame:
    """What moved, the surest first."""
    rows: list[dict[str, Any]] = []
    for (where, base), value in one.items():
        past = other.get((where, base))
        if past is None or (value.timed and value.device != past.device):
            continue
        p, seeds = p_moved(value.found, past.found)
        new, old = (float(np.mean(list(side.found.values()))) for side in (value, past))
        change = (new - old) / abs(old) if old else math.inf if new else 0.0
        rows.append({
            **dict(zip(axes, where, strict=True)), "value": base, "before": old, "now": new, "change": change,
            "seeds": seeds, "p": p, "which": _which(value.better, value.timed, new - old),
        })  # fmt: skip
    table = pd.DataFrame(rows, columns=[*axes, *COLUMNS])
    if not len(table):
        return table
    table["p"] = holm(table["p"].to_numpy(dtype=float))
    before, now = (table[name].astype(float) for name in ("before", "now"))
    ratio = np.maximum(now, before) >= LEAST_SLOWER * np.minimum(now, before)
    kept = (table["p"] <= LEVEL) & (~table["which"].isin(TIMES) | ratio)
    return table[kept].sort_values("p", kind="stable").reset_index(drop=True)


def p_moved(now: dict[int, float], before: dict[int, float]) -> tuple[float, int]:
    """How likely noise alone moves a value so far, and the number of seeds that this stands on.

    now, before: seed -> value. Where a side has one seed, 0 for a change of more than ALONE and 1 otherwise.
    """
    x, y = (np.asarray(list(found.values()), dtype=float) for found in (now, before))
    common = sorted(now.keys() & before.keys())
    d = np.asarray([now[seed] - before[seed] for seed in common])
    seeds = min(len(x), len(y))
    scale = ROUNDED * max(float(np.abs(x).max()), float(np.abs(y).max()))
    if seeds == len(common) and (np.abs(d) <= scale).all():
        return 1.0, seeds
    if seeds < 2:
        return float(abs(x.mean() - y.mean()) <= ALONE * abs(y.mean())), seeds
    freedom = len(x) + len(y) - 2
    pooled = ((len(x) - 1) * x.var(ddof=1) + (len(y) - 1) * y.var(ddof=1)) / freedom
    found = [_t_test(float(x.mean() - y.mean()), math.sqrt(pooled * (1 / len(x) + 1 / len(y))), freedom)]
    if len(d) >= 2:
        about = mean_interval(d)
        found.append(_t_test(about.mean, about.sd / math.sqrt(about.n), about.n - 1))
    return min(1.0, len(found) * min(found)), seeds


def _t_test(difference: float, error: float, freedom: int) -> float:
    """Two-sided p of Student's t; without any spread a difference is certain."""
    if error <= ROUNDED * abs(difference):
        return 0.0 if difference else 1.0
    return float(2 * stdtr(freedom, -abs(difference) / error))


def _which(better: str, timed: bool, change: float) -> str:
    if timed:
        return "slower" if change > 0 else "faster"
    if better not in ("lower", "higher"):
        return "changed"
    return "worse" if (change > 0) == (better == "lower") else "better"


def _verdicts(now: Results, before: Results) -> pd.DataFrame:
    """Claims that both runs make and that have another verdict now, both judged by the same code."""
    pair = [claims_table(run).set_index("claim")["verdict"] for run in (now, before)]
    both = [claim for claim in pair[0].index if claim in pair[1].index]
    rows = [(claim, pair[1][claim], pair[0][claim]) for claim in both if pair[0][claim] != pair[1][claim]]
    return pd.DataFrame(rows, columns=["claim", "before", "now"])
