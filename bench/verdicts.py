"""What a run says to its suite's claims: a verdict, an effect with its interval and a sentence for each, and one
answer.

The tests are in `decisions` (fixed seeds) and `sequential` (a suite that was settled), the pairing in `contrasts`; here
they meet a run's results. Nothing imports torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from bench import effects
from bench.contrasts import Difference, asked_share, claim_difference
from bench.decisions import LEVEL, MORE_MAX, Decision, decide
from bench.nfe import Budget
from bench.sequential import settle
from bench.stats import cluster_words, is_excess, mean_interval, round_to_interval, seeds_needed
from bench.titles import short, title

if TYPE_CHECKING:
    from bench.report.results import Results

ABOUT = ("claim", "topic", "metric", "better", "than", "by", "margin", "at", "source", "because")
FOUND = (
    "unit", "verdict", "effect", "low", "high", "n", "of", "pairs", "p", "p_holm", "e", "looks", "more_seeds",
    "excludes", "answer", "note",
)  # fmt: skip
COLUMNS = (*ABOUT, *FOUND)
"""Columns of claims.csv. effect, low, high: the mean paired difference, positive where the claim's side is ahead, with
its 95 % t interval, which is not adjusted; pairs: contrasts averaged within a seed; p, p_holm or e, looks,
more_seeds, excludes: see `Decision`."""

SEED_COLUMNS = ("claim", "dataset", "seed", "difference")
"""Columns of claim_seeds.csv: per claim and seed a row without data set, and one for each where there are several."""

LEADS = {
    "supported": "Supported",
    "refuted": "Refuted, the other side is ahead",
    "equivalent": "Equivalent, no difference beyond the margin",
    "undecided": "Undecided",
    "too few seeds": "Too few seeds",
    "no data": "No data",
}
"""How an answer names each verdict, in its order."""

LEADS_WITH_MARGIN = {"refuted": "Refuted, a difference beyond the margin"}
"""The same of claims with a margin, where it is another thing."""

MANY, NAMED = 5, 2
"""Of more claims than MANY an answer names so many of each verdict, and counts the others."""


def answer(results: Results) -> str:
    """One or two sentences: which claims have which verdict; without claims, what matters most in the grid, said to be
    a first look.
    """
    table = claims_table(results)
    if table.empty:
        return _first_look(results)
    if len(table) == 1:
        return str(table["answer"].iloc[0]) + "."
    leads = [LEADS_WITH_MARGIN.get(verdict, LEADS[verdict]) if margin else LEADS[verdict]
             for verdict, margin in zip(table["verdict"], table["margin"].notna(), strict=True)]  # fmt: skip
    lists = []
    for lead in dict.fromkeys((*LEADS.values(), *LEADS_WITH_MARGIN.values())):
        claims = [f"“{claim}”" for claim, of in zip(table["claim"], leads, strict=True) if of == lead]
        if len(table) > MANY and len(claims) > NAMED + 1:
            claims = [*claims[:NAMED], f"{len(claims) - NAMED} more"]
        lists += [f"{lead}: {_and(claims)}."] if claims else []
    return " ".join(lists)


def claims_table(results: Results) -> pd.DataFrame:
    """A row per claim, with the columns `COLUMNS`."""
    stated: Sequence[Mapping[str, Any]] = results.suite["claims"]
    found = differences(results)
    decisions = decisions_on(results, found)
    rows = []
    for claim, each, decision in zip(stated, found, decisions, strict=True):
        inside = each.interval
        told = {
            "unit": each.unit, "verdict": decision.verdict, "effect": inside.mean, "low": inside.low,
            "high": inside.high, "n": inside.n, "of": each.of, "pairs": each.pairs, "p": decision.p,
            "p_holm": decision.p_holm, "e": decision.e, "looks": decision.looks, "more_seeds": decision.more_seeds,
            "excludes": decision.excludes,
            "answer": sentence(claim, each, decision, len(stated)), "note": note(each),
        }  # fmt: skip
        rows.append({**{key: claim.get(key) for key in ABOUT}, **told})
    return pd.DataFrame(rows, columns=list(COLUMNS))


def decisions_on(results: Results, found: Sequence[Difference]) -> list[Decision]:
    """Decisions on a run's claims, `tested`; a verdict that seeds without a number may have made is withheld."""
    return [
        replace(one, verdict="undecided") if withheld(each, one) else one
        for each, one in zip(found, tested(results, found), strict=True)
    ]


def withheld(found: Difference, decision: Decision) -> bool:
    """Whether the side that wins, or either of two that are equal, gave no number in seeds where the other did.

    A side that diverges in its bad seeds looks good in the rest.
    """
    losers = {"supported": found.lost[:1], "refuted": found.lost[1:], "equivalent": found.lost}
    return any(losers.get(decision.verdict, ()))


def tested(results: Results, found: Sequence[Difference]) -> list[Decision]:
    """Decisions by e-values where a suite was settled, else by tests at a fixed number of seeds."""
    margins = [claim.get("margin") for claim in results.suite["claims"]]
    if not results.suite.get("settled"):
        return decide([each.values for each in found], margins)
    return settle([each.in_order(results.suite["seeds"]) for each in found], margins)


def seeds_table(results: Results) -> pd.DataFrame:
    """Each claim's difference in each seed, with the columns `SEED_COLUMNS`; nan where a number is lacking."""
    rows = []
    for claim, found in zip(results.suite["claims"], differences(results), strict=True):
        parts = {"": found.by_seed, **(found.by_dataset if len(found.by_dataset) > 1 else {})}
        for label, series in parts.items():
            rows += [(claim["claim"], label, seed, value) for seed, value in series.items()]
    return pd.DataFrame(rows, columns=list(SEED_COLUMNS))


def effects_table(results: Results) -> tuple[pd.DataFrame, dict[str, str]]:
    """Main effects and interactions of each score, with the columns of effects.csv, and of each what was left out.

    A suite that was settled has none: its cells have as many seeds as their claims took.
    """
    if "effects" not in results.made:
        results.made["effects"] = _effects_table(results)
    table, left_out = results.made["effects"]
    return table.copy(), left_out


def _effects_table(results: Results) -> tuple[pd.DataFrame, dict[str, str]]:
    parts, left_out = [pd.DataFrame(columns=list(effects.COLUMNS))], dict[str, str]()
    for score in () if results.suite.get("settled") else results.scores:
        cells = results.cells[["seed", *results.varied]].assign(value=results.wide[score.key])
        if grid := effects.balanced(cells, results.varied):
            block = next((name for name in grid.factors if _of_dataset(name)), None)
            parts.append(effects.effects(grid, block).assign(metric=score.key)[list(effects.COLUMNS)])
            left_out[score.key] = grid.left_out
    found = [part for part in parts if len(part)]
    return pd.concat(found, ignore_index=True) if found else parts[0], left_out


def fronts_table(results: Results) -> pd.DataFrame:
    """Hypervolumes of each score's fronts against the NFE: a row per score and setting, the solver's axes aside."""
    panel = next((axis for axis in results.other_axes if _of_dataset(axis)), None)
    settings = list(results.settings)
    parts = []
    for score in () if results.suite.get("settled") else results.scores:
        cells = results.cells[["seed", *settings]].assign(value=results.wide[score.key], nfe=results.wide["nfe"])
        found = effects.fronts(cells, settings, panel, higher=not score.lower_is_better)
        parts += [found.assign(metric=score.key)] if len(found) else []
    columns = ["metric", *settings, "hypervolume", "low", "high", "n", "of"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def what_matters(table: pd.DataFrame, directions: Mapping[str, str]) -> pd.DataFrame:
    """A row per score and factor or interaction, in the order of their shares: which level is best, and by how much.

    table: `effects_table`; directions: of each score, "lower" or "higher". Columns: metric, factor, share, best,
    effect.
    """
    rows = []
    for (metric, factor, other), part in table.groupby(["metric", "factor", "other"], sort=False):
        higher = directions.get(str(metric)) == "higher"
        best = part.iloc[int(part["effect"].argmax() if higher else part["effect"].argmin())]
        name = f"{factor} with {other}" if other else str(factor)
        text = round_to_interval(best["effect"], (best["high"] - best["low"]) / 2)
        rows.append((metric, name, float(best["share"]), best["level"], text))
    found = pd.DataFrame(rows, columns=["metric", "factor", "share", "best", "effect"])
    order = {metric: i for i, metric in enumerate(dict.fromkeys(found["metric"]))}
    return found.iloc[sorted(range(len(found)), key=lambda i: (order[found["metric"][i]], -found["share"][i]))]


def _first_look(results: Results) -> str:
    """The answer of a suite without claims."""
    table, _ = effects_table(results)
    if table.empty:
        return "Nothing is claimed here, and no grid is complete enough for a first look."
    found = what_matters(table, {score.key: score.direction for score in results.scores})
    first = found[found["metric"] == found["metric"].iloc[0]]
    metric, leading = first["metric"].iloc[0], first[first["share"] >= 0.01].head(3)
    if leading.empty:
        return f"Nothing is claimed here. A first look: nothing that varies accounts for the variance of {metric}."
    shares = [f"{row.factor} for {100 * row.share:.0f} %" for row in leading.itertuples()]
    mains = first[~first["factor"].str.contains(" with ")]
    best = f"; of {mains['factor'].iloc[0]}, {mains['best'].iloc[0]} is best on average" if len(mains) else ""
    text = f"Nothing is claimed here. A first look: of the variance of {metric} between cells, "
    return f"{text}{_and(shares).replace(' for ', ' accounts for ', 1)}{best}."


def _of_dataset(axis: str) -> bool:
    """Whether a factor, or one in step with it, varies the data set: its levels' scores are on no common scale."""
    return any(part.partition(".")[0] == "dataset" for part in axis.split(" + "))


def differences(results: Results) -> list[Difference]:
    """The contrast of each of a run's claims."""
    if "differences" not in results.made:
        results.made["differences"] = _differences(results)
    found: list[Difference] = results.made["differences"]
    return found


def _differences(results: Results) -> list[Difference]:
    about = ["seed", *results.axes, *(["solver.steps"] if "solver.steps" in results.cells else [])]
    columns = ["base", "value", "n", "unit", "better", "device"]
    cells = results.cells[["cell", *dict.fromkeys(about)]].reset_index(drop=True)
    records = cells.merge(results.records[["cell", *columns]].rename(columns={"base": "metric"}), how="left")
    return [claim_difference(records, claim, results.axes) for claim in results.suite["claims"]]


def sentence(claim: Mapping[str, Any], found: Difference, decision: Decision, claims: int) -> str:
    """A claim's verdict in one sentence without its full stop: "Refuted: the nfe of (...) is higher by 3 ± 1"."""
    head = f"{decision.verdict.capitalize()}: "
    if decision.verdict == "no data":
        return head + (found.note or "no seed has all its scores")
    body, count = contrast_words(claim, found), len(found.values)
    n = f"{count} seed{'' if count == 1 else 's'}" if count == found.of else f"{count} of {found.of} seeds"
    unit = f" {found.unit}" if found.unit else ""
    if decision.verdict == "too few seeds":
        many = f"{claims} claims" if claims > 1 else "one claim"
        return f"{head}{body} ({n}; {many} in a suite need{'s' if claims == 1 else ''} {seeds_needed(claims)})"
    evidence = _evidence(decision, claims)
    margin = f"the margin of ±{claim['margin']:g}{unit}" if claim.get("margin") else ""
    if decision.verdict == "equivalent":
        return f"{head}{body}, which is within {margin} ({n}, {evidence})"
    if decision.verdict != "undecided":
        beyond = f", which is beyond {margin}" if margin else ""
        return f"{head}{body}{beyond} ({n}, {evidence})"
    shut = f"; differences above {decision.excludes:.2g}{unit} are excluded" if decision.excludes > 0 else ""
    between = f", neither within nor beyond {margin} for certain" if margin else ""
    return f"{head}{body}{between} ({n}, {evidence}){_outlook(found, decision)}{shut}"


def contrast_words(claim: Mapping[str, Any], found: Difference) -> str:
    """A claim's contrast in words: which side is lower or higher, by how much, and where."""
    inside = found.interval
    fair, ahead = ("higher", "lower") if found.direction != "higher" else ("lower", "higher")
    squared = is_excess(claim["metric"])
    metric = f"squared {claim['metric']} (score² − floor², signed)" if squared else title(claim["metric"])
    share = asked_share(claim, found.direction)
    better, than = claim.get("sides") or (claim["better"], claim["than"])
    other = f"{f'{share:g} times ' if share != 1 else ''}that of ({than})"
    if claim.get("reaches"):
        other = f"{claim['reaches']:g} times its floor"
    at = f", at the largest {Budget.parse(claim['at']).words}" if claim.get("at") else ""
    unit = f" {found.unit}" if found.unit else ""
    if apart := cluster_words(found.values):
        turned = f"; below 0 it is {fair}" if (found.values < 0).any() else ""
        return f"the {metric} of ({better}) is {ahead} than {other} in two clusters, by {apart}{unit}{at}{turned}"
    if inside.mean == 0 and inside.low == inside.high:
        return f"the {metric} of ({better}) is the same as {other} in every seed{at}"
    amount = round_to_interval(abs(inside.mean), inside.half_width)
    word = ahead if inside.mean >= 0 else fair
    return f"the {metric} of ({better}) is {word} than {other} by {amount}{unit}{at}"


def effect_words(found: Difference, metric: str) -> str:
    """A claim's effect for a table: by how much its side does better or worse, and the numbers of both sides.

    Of seeds in two clusters, these; of an excess, whose squares are contrasted, no sides' numbers.
    """
    inside, name = found.interval, short(metric)
    if apart := cluster_words(found.values):
        return f"{name} {apart} {found.unit}".rstrip()
    if not math.isfinite(inside.mean):
        return "–"
    word = "better" if inside.mean >= 0 else "worse"
    text = f"{name} {word} by {round_to_interval(abs(inside.mean), inside.half_width)} {found.unit}".rstrip()
    seen = [size for size in (inside.half_width, abs(inside.mean)) if math.isfinite(size) and size > 0]
    if not seen or not all(map(math.isfinite, found.levels)):
        return text
    places = min(max(0, -math.floor(math.log10(min(seen)))), 6)  # as many as tell the two apart
    own, other = (f"{level:.{places}f}" for level in found.levels)
    return f"{text} ({own} against {other})"


def note(found: Difference) -> str:
    """What a reader has to know beside the verdict: seeds left out, clusters of seeds, what each data set says."""
    parts = [found.note]
    if any(found.lost):
        better, than = found.lost
        parts.append(
            f"the claim's side alone lacks a number in {better} seeds and the other side alone in {than}, and no "
            "verdict rests on a side that fails where the other does not"
        )
    if apart := cluster_words(found.values):
        parts.append(f"the seeds fall into two clusters, {apart}, which a mean would hide")
    parts.append(dataset_words(found.by_dataset))
    return "; ".join(part for part in parts if part)


def dataset_words(by_dataset: Mapping[str, pd.Series[float]]) -> str:
    """The effect on each of several data sets, and whether these disagree; empty where there are not several.

    They disagree where unadjusted 95 % intervals lie on both sides of 0, and do not say the same where only some do.
    """
    if len(by_dataset) < 2:
        return ""
    inside = {label: mean_interval(series.dropna().to_numpy(dtype=float)) for label, series in by_dataset.items()}
    effects = [f"{round_to_interval(each.mean, each.half_width)} on {label}" for label, each in inside.items()]
    side = {label: "ahead" if each.low > 0 else "behind" if each.high < 0 else "" for label, each in inside.items()}
    said = set(side.values())
    text = f"by data set {', '.join(effects)} (95 % t intervals, unadjusted)"
    if len(said) < 2:
        return text
    words = "disagree" if {"ahead", "behind"} <= said else "do not say the same"
    kinds = {"ahead": "ahead on", "behind": "behind on", "": "not told apart on"}
    where = [f"{k} {', '.join(x for x in side if side[x] == s)}" for s, k in kinds.items() if s in said]
    return f"{text}: the data sets {words}, {'; '.join(where)}"


def _evidence(decision: Decision, claims: int) -> str:
    if decision.looks:
        return f"e = {decision.e:.3g} after {decision.looks} looks"
    return f"p = {decision.p_holm:.2g}" + (" adjusted over the claims" if claims > 1 else "")


def _outlook(found: Difference, decision: Decision) -> str:
    """What it would take to settle an undecided claim."""
    if any(found.lost) and (decision.p_holm <= LEVEL or decision.e >= 1 / LEVEL):
        return "; seeds in which one side alone has no number keep it from a verdict"
    if math.isfinite(decision.more_seeds):
        more = int(decision.more_seeds)
        return f"; about {more} more seed{'' if more == 1 else 's'} would settle an effect of this size"
    if not found.values.any():
        return "; more seeds would not tell the two apart"
    if decision.looks:
        return "; the budget was spent"
    return f"; so near a boundary more than {MORE_MAX} further seeds would be needed, if they settle it at all"


def _and(parts: Sequence[str]) -> str:
    *most, last = parts or [""]
    return f"{', '.join(most)} and {last}" if most else last
