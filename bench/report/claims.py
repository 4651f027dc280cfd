"""Claims of a suite as tables and sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from bench.nfe import Budget
from bench.report.results import Results
from bench.contrasts import Difference, asked_share, claim_difference
from bench.stats import is_excess, round_to_interval


def claims(results: Results) -> pd.DataFrame:
    """A row per claim: difference (positive: the claim's side does better), interval, seeds and words."""
    about = ["seed", *results.axes, *(["solver.steps"] if "solver.steps" in results.cells else [])]
    columns = ["base", "value", "n", "unit", "better", "device"]
    cells = results.cells[["cell", *dict.fromkeys(about)]].reset_index(drop=True)
    records = cells.merge(results.records[["cell", *columns]].rename(columns={"base": "metric"}), how="left")
    given = ["claim", "metric", "better", "than", "by", "margin", "at"]
    rows = []
    for claim in results.suite["claims"]:
        found = claim_difference(records, claim, results.axes)
        inside = found.interval
        rows.append(
            {
                **{key: claim.get(key) for key in given},
                "unit": found.unit,
                "difference": inside.mean,
                "low": inside.low,
                "high": inside.high,
                "n": inside.n,
                "of": found.of,
                "pairs": found.pairs,
                "words": claim_words(claim, found),
            }
        )
    found_here = ["unit", "difference", "low", "high", "n", "of", "pairs", "words"]
    return pd.DataFrame(rows, columns=[*given, *found_here])


def claims_text(results: Results) -> pd.DataFrame:
    """The claims as a table to read."""
    table = claims(results)
    means = table["difference"].astype(float)
    halves = (table["high"] - table["low"]).astype(float) / 2
    shown = [round_to_interval(mean, half) for mean, half in zip(means, halves, strict=True)]
    seeds = [f"{n} of {of}" for n, of in zip(table["n"], table["of"], strict=True)]
    kept = table[["claim", "metric", "better", "than"]].assign(difference=shown, seeds=seeds)
    return kept.assign(**{"in words": table["words"]})


def claim_words(claim: Mapping[str, Any], found: Difference) -> str:
    """A claim's contrast in one sentence, without a verdict."""
    inside, seeds = found.interval, f"{found.interval.n} of {found.of} seeds"
    if not inside.n:
        return f"No difference can be given: {found.note or 'no seed has all its scores'}."
    amount = round_to_interval(abs(inside.mean), inside.half_width)
    fair, ahead = ("higher", "lower") if found.direction != "higher" else ("lower", "higher")
    word = ahead if inside.mean >= 0 else fair
    at = f", at the largest {Budget.parse(claim['at']).words}" if claim.get("at") else ""
    unit = f" {found.unit}" if found.unit else ""
    share = asked_share(claim, found.direction)
    times = f"{share:g} times " if share != 1 else ""
    squared = is_excess(claim["metric"])
    metric = f"squared {claim['metric']} (score² − floor², signed)" if squared else claim["metric"]
    text = f"The {metric} of ({claim['better']}) is {word} than {times}that of ({claim['than']}) by {amount}{unit}{at}"
    if inside.n < 2:
        return f"{text}; {seeds}, so there is no interval."
    if inside.low > 0:
        side = "the whole interval lies on the claim's side"
    elif inside.high < 0:
        side = "the whole interval lies against the claim"
    else:
        side = "the interval holds 0, so this does not tell the two apart"
    if claim.get("margin"):
        within = -claim["margin"] < inside.low and inside.high < claim["margin"]
        side += f"; it {'lies within' if within else 'reaches beyond'} the margin of ±{claim['margin']:g}{unit}"
    note = f" ({found.note})" if found.note else ""
    return f"{text} (paired 95 % t interval, {seeds}); {side}{note}."
