"""The figure that shows a run's claims: each seed's paired difference as a dot, a row per claim and data set."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import TYPE_CHECKING, Any

import pandas as pd

from bench.report.canvas import GREY, Drawing, gallery, shown
from bench.report.results import Results
from bench.stats import mean_interval
from bench.verdicts import claims_table, seeds_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"supported": "#1b7f4b", "equivalent": "#1b7f4b", "refuted": "#c0392b"}
CAPTION = (
    "Each dot is one seed's paired difference, the diamond their mean, the line its 95 % t interval, not adjusted. "
    "Right of 0 the claim's side is ahead; the band is the margin, where one is stated."
)
MOST_CLAIMS = 24


def forest(results: Results) -> Iterator[Drawing]:
    """A panel per claim, since claims differ in their units; in it a row for all data sets and one for each."""
    claims, seeds = claims_table(results).head(MOST_CLAIMS), seeds_table(results)
    seeds = seeds[seeds["difference"].notna()]
    if seeds.empty:
        return
    rows = [max(1, seeds.loc[seeds["claim"] == claim, "dataset"].nunique()) for claim in claims["claim"]]
    figure, axes = gallery(len(claims), (len(claims), 1), width=7.0, height=0.62 + 0.26 * max(rows), beside=0.0)
    for ax, claim in zip(axes, claims.to_dict("records"), strict=True):
        _panel(ax, claim, seeds[seeds["claim"] == claim["claim"]])
    yield Drawing("claims", "What was claimed", CAPTION, figure)


def _panel(ax: Axes, claim: dict[Hashable, Any], seeds: pd.DataFrame) -> None:
    colour = COLOURS.get(str(claim["verdict"]), GREY)
    labels = list(dict.fromkeys(seeds["dataset"]))
    if (margin := claim["margin"] or 0) > 0:
        ax.axvspan(-margin, margin, color="0.5", alpha=0.12, linewidth=0)
    ax.axvline(0, color=GREY, linewidth=1)
    for place, label in enumerate(labels):
        values = seeds.loc[seeds["dataset"] == label, "difference"].to_numpy(dtype=float)
        inside = mean_interval(values)
        ax.plot(values, [place] * len(values), "o", color=colour, alpha=0.45, markersize=5, markeredgewidth=0)
        ax.plot([inside.low, inside.high], [place, place], color=colour, linewidth=1.6)
        ax.plot([inside.mean], [place], "D", color=colour, markersize=5)
    ax.set_yticks(range(len(labels)), [shown(label or "all", 24) for label in labels])
    ax.set(ylim=(len(labels) - 0.4, -0.6))
    ax.grid(visible=False, axis="y")
    unit = f" [{claim['unit']}]" if claim["unit"] else ""
    ax.set_title(f"{shown(claim['claim'], 70)}: {claim['verdict']}", loc="left")
    ax.set_xlabel(shown(f"{claim['metric']}, difference{unit}", 70), fontsize=8)
