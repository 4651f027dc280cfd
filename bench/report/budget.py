"""The error budget: what solver, net, target and path each contribute, beside what W2 saw of it all."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pandas as pd

from bench.automatic import EXCESS
from bench.report.canvas import GREY, Drawing, colours, fold, gallery, nice_log, shown
from bench.report.results import Results, dataset_axis, file_part

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PARTS = {"solver_error": "o", "model_error": "s", "target_error": "^", "path_error": "D"}
"""Parts of the budget and their markers, in the order in which a sample meets them backwards."""

IN_BUDGET = ("model_error", "target_error", "path_error", "excess_loss")
"""Values of the metric that get no figures of their own: the solver does not move them."""

MOST_ROWS = 36
DECADES = 4.0


def is_there(results: Results) -> bool:
    """Whether the run has all parts of a budget."""
    return set(PARTS) <= {score.value for score in results.scores}


def budget(results: Results) -> Iterator[Drawing]:
    """A row per combination, a marker per part on a logarithmic axis, W2's excess as a bar; a panel per data set."""
    if not is_there(results):
        return
    for tail in [score.key.removeprefix("solver_error") for score in results.scores if score.value == "solver_error"]:
        excess = f"wasserstein{EXCESS}{tail}"
        keys = {f"{part}{tail}": part for part in PARTS if f"{part}{tail}" in results.wide}
        table = _table(results, keys, excess if excess in results.wide else None)
        if table.empty:
            continue
        yield _drawing(results, table, tail)


def _table(results: Results, keys: dict[str, str], excess: str | None) -> pd.DataFrame:
    """Rows (combo, part, mean, low, high, n) of every combination that has any part."""
    parts = []
    for key, part in [*keys.items(), *([(excess, "excess")] if excess else [])]:
        stats = results.over_seeds(key)[["mean", "low", "high", "n"]]
        parts.append(stats[stats["mean"].notna()].assign(part=part, combo=lambda t: t.index))
    table = pd.concat(parts, ignore_index=True)
    known = set(table.loc[table["part"] != "excess", "combo"])
    return table[table["combo"].isin(known)]


def _drawing(results: Results, table: pd.DataFrame, tail: str) -> Drawing:
    about = results.combinations
    facet = dataset_axis(results.varied)
    rows = [axis for axis in results.varied if axis != facet]
    combos = [combo for combo in about.index if combo in set(table["combo"])]
    groups = [list(g) for _, g in itertools.groupby(sorted(combos, key=_order(results, facet)), _order(results, facet))]
    low, high = _window(table)
    tallest = min(max(map(len, groups)), MOST_ROWS)
    longest = max(len(_row_name(about, combo, rows)) for combo in combos)
    width, height = 3.0 + 0.06 * min(longest, 44), 0.9 + 0.24 * tallest
    figure, axes = gallery(len(groups), fold(len(groups), 3), width=width, height=height, beside=1.4)
    for ax, group in zip(axes, groups, strict=True):
        kept = group[:MOST_ROWS]
        _panel(ax, table, kept, [_row_name(about, combo, rows) for combo in kept], (low, high))
        if facet:
            ax.set_title(shown(f"{facet} = {about.loc[kept[0], facet]}", 40))
    excess = bool((table["part"] == "excess").any())
    _legend(figure, excess)
    figure.supxlabel("root mean square distance [data units]", fontsize=9)
    left = sum(max(0, len(group) - MOST_ROWS) for group in groups)
    caption = (
        "Where the error comes from. From the same starting noise, root mean square distances between: the samples "
        "and the fine flow of the same net (solver); that flow and the exact one of the net's own target (model); the "
        "exact flows of that target and of the exact target (target); the path's exact flow and the data's (path). "
        "Each bounds the W2 that it causes, and their sum bounds the W2 from a perfect sampler. Points are means over "
        f"seeds, lines their 95 % t intervals. Hollow at the left edge: below {low:.1g}, or 0."
        + (" The bar is the measured excess of W2, the grey its interval; without a bar it is below the axis." * excess)
        + (f" {left} more rows are not shown." if left else "")
    )
    at = tail.strip("[]")
    name = "error_budget" + (f"-{file_part(tail)}" if tail else "")
    return Drawing(name, "Error budget" + (f" ({at})" if at else ""), caption, figure)


def _order(results: Results, facet: str | None) -> Any:
    labels = results.labels(facet) if facet else []
    return lambda combo: labels.index(str(results.combinations.loc[combo, facet])) if facet else 0


def _row_name(about: pd.DataFrame, combo: Any, axes: list[str]) -> str:
    return shown(" · ".join(str(about.loc[combo, axis]) for axis in axes) or "the one cell", 60)


def _window(table: pd.DataFrame) -> tuple[float, float]:
    """Lowest and highest value of the axis: what lies within four decades; below that are fine flows' own errors."""
    high = float(table["mean"].max())
    if not high > 0:
        return 0.1, 1.0
    return float(table.loc[table["mean"] >= high / 10**DECADES, "mean"].min()) / 1.6, high * 1.5


def _panel(ax: Axes, table: pd.DataFrame, combos: list[Any], names: list[str], window: tuple[float, float]) -> None:
    low, high = window
    palette = colours(list(PARTS))
    for place, combo in enumerate(combos):
        own = table[table["combo"] == combo].set_index("part")
        if "excess" in own.index:
            _excess_bar(ax, own.loc["excess"], place, window)
        for lane, (part, marker) in enumerate(PARTS.items()):
            if part not in own.index:
                continue
            mean, inside = float(own.loc[part, "mean"]), float(own.loc[part, "mean"]) > low
            y, colour = place + 0.16 * (lane - 1.5), palette[part]
            ends = [max(float(own.loc[part, "low"]), low), min(float(own.loc[part, "high"]), high)]
            if inside and not math.isnan(ends[0]) and not math.isnan(ends[1]):
                ax.plot(ends, [y, y], color=colour, linewidth=1, zorder=2.5)
            ax.plot(
                [mean if inside else low], [y], color=colour, marker=marker, markersize=5, linewidth=0,
                mfc=colour if inside else "white", clip_on=False, zorder=3,
            )  # fmt: skip
    ax.set(xscale="log", xlim=(low, high), ylim=(len(combos) - 0.4, -0.6))
    ax.set_yticks(range(len(combos)), names)
    ax.grid(visible=False, axis="y")
    for place in range(1, len(combos)):
        ax.axhline(place - 0.5, color="0.93", linewidth=0.8, zorder=0)
    nice_log(ax.xaxis, low, high)


def _excess_bar(ax: Axes, excess: pd.Series[Any], place: int, window: tuple[float, float]) -> None:
    """The excess of W2 as a bar over its interval, as far as the axis shows them."""
    across = place - 0.36, place + 0.36
    start, end = max(excess["low"], window[0]), min(excess["high"], window[1])
    if end > start:
        ax.fill_betweenx(across, start, end, color="0.1", alpha=0.1, linewidth=0, zorder=1)
    if excess["mean"] > window[0]:
        ax.plot([excess["mean"]] * 2, across, color="0.1", linewidth=2, zorder=2)


def _legend(figure: Any, excess: bool) -> None:
    from matplotlib.lines import Line2D

    palette = colours(list(PARTS))
    handles = [
        Line2D([], [], color=palette[part], marker=marker, linewidth=0, markersize=5, label=part.replace("_", " "))
        for part, marker in PARTS.items()
    ]
    handles.append(
        Line2D([], [], color=GREY, marker="o", mfc="white", linewidth=0, markersize=5, label="below the axis")
    )
    if excess:
        handles.append(Line2D([], [], color="0.1", marker="|", markersize=9, mew=2, linewidth=0, label="W2 excess"))
    figure.legend(handles=handles, loc="outside right upper")
