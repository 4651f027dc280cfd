"""Score against cost: field evaluations, and seconds with the front that no other point beats."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bench.report.arrays import spread
from bench.report.canvas import (
    DASHES,
    GREY,
    MARKERS,
    Drawing,
    colours,
    effect,
    fold,
    gallery,
    nice_log,
    shown,
)
from bench.report.results import COST_AXES, Results, Score, dataset_axis, file_part
from bench.stats import pareto_front

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SLOPED = "solver_error"
"""The value that falls as a power of the NFE, whose exponent is the solver's order."""

MOST_PAGES = 12
MOST_LABELS = 16
"""Labels of one axis that a figure tells apart by colours, by dashes or by panels."""

TITLE_LETTERS = 30
"""Letters of a title that fit above a panel beside others; longer ones are set smaller."""

MOST_ROWS = 3
MOST_ACROSS = 4


@dataclass(frozen=True)
class Roles:
    """Which column of the points is shown by what; none where there is nothing to tell apart."""

    colour: str | None
    style: str | None
    facet: str | None
    row: str | None
    page: tuple[str, ...]


def score_vs_nfe(results: Results, score: Score) -> Iterator[Drawing]:
    """Work and precision: the score over the NFE, a line per solver and setting, the floor dashed."""
    points = _points(results, score, "nfe")
    if points["x"].nunique() < 2:
        return
    roles = _roles(results, points)
    caption = (
        f"{_name(score)} over the number of field evaluations (NFE), both axes logarithmic. "
        f"{score.better.capitalize()}. Points are means over seeds{_bands(points)}.{_floor_words(points, score)}"
    )
    if score.value == SLOPED:
        caption += " The number at a line's end is its slope between the two finest points, minus the order reached."
    points, left = _legible(points, roles)
    for end, where, part in _pages(points, roles):
        figure, axes, parts = _facets(part, roles)
        ticks = sorted(set(part["x"].round(6)))
        for ax, panel in zip(axes, parts, strict=True):
            _lines(ax, panel, roles, results)
            if score.value == SLOPED:
                _slopes(ax, panel, roles, results)
            _frame(ax, _framed(panel, part, roles), ticks=ticks)
        _legend(figure, part, roles, results, [])
        figure.supxlabel("field evaluations per sample (NFE)", fontsize=9)
        figure.supylabel(shown(score.label, 60), fontsize=9)
        yield Drawing(f"score_vs_nfe-{score.slug}{end}", f"{score.key} over NFE{where}", caption + left, figure)


def score_vs_seconds(results: Results, score: Score) -> Iterator[Drawing]:
    """The score over the seconds that sampling takes, one figure per device, with the Pareto front."""
    from matplotlib.lines import Line2D

    times = results.times("sample_seconds")
    for device, key in times.items():
        points = _points(results, score, key)
        if len(points) < 2:
            continue
        roles = _roles(results, points)
        on = f" on {device}" if len(times) > 1 else ""
        caption = (
            f"{_name(score)} over the time that the samples of one evaluation take{on}, both axes logarithmic. "
            f"{score.better.capitalize()}. Points are means over seeds; the ringed ones on the line are the front: no "
            f"other point of the panel is as fast and as good.{_floor_words(points, score)}"
        )
        front = Line2D([], [], color=GREY, marker="o", mfc="none", ms=9, lw=1, label="front")
        points, left = _legible(points, roles)
        for end, where, part in _pages(points, roles):
            figure, axes, parts = _facets(part, roles)
            for ax, panel in zip(axes, parts, strict=True):
                _scatter(ax, panel, roles, results, score)
                _frame(ax, _framed(panel, part, roles))
            _legend(figure, part, roles, results, [front])
            figure.supxlabel(f"sampling time{on} [s]", fontsize=9)
            figure.supylabel(shown(score.label, 60), fontsize=9)
            name = f"score_vs_seconds-{score.slug}" + (f"-{file_part(device)}" if on else "") + end
            yield Drawing(name, f"{score.key} over seconds{on}{where}", caption + left, figure)


def _points(results: Results, score: Score, cost: str) -> pd.DataFrame:
    """A row per combination that has both numbers: x, mean, low, high, n, floor and the labels."""
    stats = results.over_seeds(score.key)
    x = results.over_seeds(cost)["mean"]
    floor = results.over_seeds(score.floor)["mean"] if score.floor else math.nan
    points = results.combinations.join(stats).assign(x=x, floor=floor)
    return points[(points["x"] > 0) & points["mean"].notna()].copy()


def _roles(results: Results, points: pd.DataFrame) -> Roles:
    """Data sets side by side, the axis with the most effect in colour, the solver in dashes and markers,
    a further axis of few labels in rows, and a figure for each label of what is left.

    An axis that follows from another one, as axes that run in step do, is not shown. A solver whose settings are not
    told apart by the NFE is shown by its label instead of its kind.
    """
    apart = _free([axis for axis in results.varied if axis not in COST_AXES], points)
    solver = "solver.kind" if "solver.kind" in points else None
    if "solver" in results.varied and (solver is None or points.duplicated([*apart, solver, "x"]).any()):
        solver = "solver"
    if solver and points[solver].nunique() < 2:
        solver = None
    facet = dataset_axis(apart)
    rest = [axis for axis in apart if axis != facet]
    means = points["mean"]
    rest.sort(key=lambda axis: -effect(results, axis, np.log(means) if (means > 0).all() else means))
    if not rest:
        return Roles(solver, None, facet, None, ())
    colour, *more = rest
    if facet is None and more:
        facet, *more = more
    row = next((axis for axis in more if facet and points[axis].nunique() <= MOST_ROWS), None)
    if facet and points[facet].nunique() > MOST_ACROSS:
        row = None
    return Roles(colour, solver, facet, row, tuple(axis for axis in more if axis != row))


def _free(axes: Sequence[str], points: pd.DataFrame) -> list[str]:
    """Axes without those whose label follows from that of another one; of two that follow from each other the first."""
    free = list(axes)
    for axis in reversed(axes):
        others = [other for other in free if other != axis]
        if any((points.groupby(other)[axis].nunique() == 1).all() for other in others):
            free.remove(axis)
    return free


def _legible(points: pd.DataFrame, roles: Roles) -> tuple[pd.DataFrame, str]:
    """The points of as many labels as can be told apart, evenly spread, and sentences on what is left out."""
    words = ""
    for axis in dict.fromkeys(filter(None, (roles.colour, roles.style, roles.facet))):
        labels = list(dict.fromkeys(points[axis]))
        if len(labels) > MOST_LABELS:
            points = points[points[axis].isin(spread(labels, MOST_LABELS))]
            words += f" Of the {len(labels)} labels of `{axis}` {MOST_LABELS} are drawn, evenly spread."
    pages = points.groupby(list(roles.page)).ngroups if roles.page else 1
    if pages > MOST_PAGES:
        words += f" There are figures of {MOST_PAGES} of {pages} combinations of {' and '.join(roles.page)}."
    return points, words + (" The tables have all." if words else "")


def _pages(points: pd.DataFrame, roles: Roles) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """One figure per combination of what no colour or panel shows: (end of the file's name, words, points)."""
    if not roles.page:
        yield "", "", points
        return
    for count, (_, part) in enumerate(points.groupby(list(roles.page), sort=False)):
        if count == MOST_PAGES:
            return
        labels = [str(part[axis].iloc[0]) for axis in roles.page]
        named = [f"{axis}={label}" for axis, label in zip(roles.page, labels, strict=True)]
        yield "-" + file_part("-".join(labels)), f" ({', '.join(named)})", part


def _facets(points: pd.DataFrame, roles: Roles) -> tuple[Figure, list[Axes], list[pd.DataFrame]]:
    """A figure with a panel per label of the facet (across) and the row (down), titled; its axes and points."""
    by = [axis for axis in (roles.row, roles.facet) if axis]
    parts = [part for _, part in points.groupby(by, sort=False)] if by else [points]
    rows, columns = fold(len(parts), MOST_ACROSS)
    if roles.row and roles.facet and len(parts) == points[roles.row].nunique() * points[roles.facet].nunique():
        rows, columns = points[roles.row].nunique(), points[roles.facet].nunique()
    figure, axes = gallery(len(parts), (rows, columns), width=4.2 if len(parts) == 1 else 3.1)
    for ax, part in zip(axes, parts, strict=True):
        lines = [shown(f"{axis} = {part[axis].iloc[0]}", 40) for axis in reversed(by)]
        ax.set_title("\n".join(lines))
        if columns > 1 and (longest := max(map(len, lines))) > TITLE_LETTERS:
            ax.title.set_fontsize(9 * TITLE_LETTERS / longest)
    return figure, axes, parts


def _curves(points: pd.DataFrame, roles: Roles, results: Results) -> Iterator[tuple[Any, int, pd.DataFrame]]:
    """Each curve of a panel with its colour and the number of its dash and marker, points by cost."""
    palette = colours(results.labels(roles.colour)) if roles.colour else {}
    styles = results.labels(roles.style) if roles.style else []
    keys = [key for key in (roles.colour, roles.style) if key]
    groups = points.groupby(keys, sort=False) if keys else [((), points)]
    for labels, part in groups:
        colour = palette[str(labels[0])] if roles.colour else "#0173b2"
        place = styles.index(str(labels[-1])) if roles.style else 0
        yield colour, place, part.sort_values("x")


def _lines(ax: Axes, points: pd.DataFrame, roles: Roles, results: Results) -> None:
    import seaborn as sns

    for colour, place, part in _curves(points, roles, results):
        dash, marker = DASHES[place % len(DASHES)], MARKERS[place % len(MARKERS)]
        sns.lineplot(
            x=part["x"], y=part["mean"], ax=ax, color=colour, linestyle=dash, marker=marker, markersize=5,
            linewidth=1.4, errorbar=None, legend=False,
        )  # fmt: skip
        known = part[part["half"].notna()]
        if len(known) > 1:
            ax.fill_between(known["x"], known["low"], known["high"], color=colour, alpha=0.14, linewidth=0)
        elif len(known):
            ax.errorbar(known["x"], known["mean"], known["half"], color=colour, capsize=3, linewidth=1)
    _floors(ax, points, roles, results)


def _slopes(ax: Axes, points: pd.DataFrame, roles: Roles, results: Results) -> None:
    for colour, _, part in _curves(points, roles, results):
        x, y = (np.log(part[name].to_numpy(dtype=float)[-2:]) for name in ("x", "mean"))
        if len(x) == 2 and np.isfinite(y).all():
            ax.annotate(
                f"\u2212{(y[0] - y[1]) / (x[1] - x[0]):.1f}" if y[1] < y[0] else "+",
                (part["x"].iloc[-1], part["mean"].iloc[-1]), (5, -3), textcoords="offset points",
                color=colour, fontsize=7, annotation_clip=False,
            )  # fmt: skip


def _scatter(ax: Axes, points: pd.DataFrame, roles: Roles, results: Results, score: Score) -> None:
    for colour, place, part in _curves(points, roles, results):
        marker = MARKERS[place % len(MARKERS)]
        ax.plot(part["x"], part["mean"], color=colour, marker=marker, markersize=5, linewidth=0.6, alpha=0.9)
    sign = 1.0 if score.lower_is_better else -1.0
    on = pareto_front(points["x"].to_numpy(), sign * points["mean"].to_numpy())
    front = points[on].sort_values("x")
    ax.plot(front["x"], front["mean"], color=GREY, linewidth=1, drawstyle="steps-post", zorder=1.5)
    ax.plot(front["x"], front["mean"], color=GREY, marker="o", markersize=10, mfc="none", linewidth=0)
    _floors(ax, points, roles, results)


def _floors(ax: Axes, points: pd.DataFrame, roles: Roles, results: Results) -> None:
    """The floor as a dashed line: one in grey where all curves share it, else one per curve in its colour."""
    floors = points["floor"].dropna()
    if floors.empty:
        return
    if floors.max() <= 1.05 * floors.min():
        ax.axhline(float(floors.mean()), color=GREY, linestyle="--", linewidth=1)
        return
    for colour, _, part in _curves(points, roles, results):
        if part["floor"].notna().any():
            ax.axhline(float(part["floor"].mean()), color=colour, linestyle="--", linewidth=0.9)


def _framed(panel: pd.DataFrame, whole: pd.DataFrame, roles: Roles) -> pd.DataFrame:
    """What a panel's axes must hold: all of the figure, so that panels compare, or itself where each is a data set."""
    return panel if roles.facet is None or dataset_axis([roles.facet]) else whole


def _frame(ax: Axes, points: pd.DataFrame, ticks: Sequence[float] = ()) -> None:
    """Logarithmic axes where the numbers allow it, cut so that wide intervals do not hide the curves."""
    floors = points["floor"].dropna()
    marks = pd.concat([points["mean"], floors[floors > 0]])
    low, high = float(marks.min()), float(marks.max())
    ax.set(xscale="log", xlabel="", ylabel="")
    x_low, x_high = float(points["x"].min()), float(points["x"].max())
    room = max((x_high / x_low) ** 0.06, 1.05)
    ax.set_xlim(x_low / room, x_high * room)
    nice_log(ax.xaxis, x_low, x_high, ticks)
    if low > 0:
        room = max((high / low) ** 0.12, 1.05)
        bottom = min(low / room, max(float(points["low"].min(skipna=True)), low / 2))
        top = max(high * room, min(float(points["high"].max(skipna=True)), high * 2))
        ax.set_yscale("log")
        bottom, top = (b if math.isfinite(b) else c for b, c in ((bottom, low / room), (top, high * room)))
        ax.set_ylim(bottom, top)
        nice_log(ax.yaxis, bottom, top)
    else:
        room = 0.08 * (high - low) or 0.1
        ax.set_ylim(low - room, high + room)


def _legend(figure: Figure, points: pd.DataFrame, roles: Roles, results: Results, more: list[Any]) -> None:
    """One legend at the right: what colours mean, what markers mean, and the rest."""
    from matplotlib.lines import Line2D

    handles: list[Any] = []
    if roles.colour:
        alone = "" if roles.style else "o"
        present = set(points[roles.colour].astype(str))
        handles.append(_heading(roles.colour))
        for label, colour in colours(results.labels(roles.colour)).items():
            if label in present:
                handles.append(Line2D([], [], color=colour, lw=2, marker=alone, ms=5, label=shown(label)))
    if roles.style:
        present = set(points[roles.style].astype(str))
        handles.append(_heading(roles.style))
        for place, label in enumerate(results.labels(roles.style)):
            if label in present:
                line = Line2D([], [], color=GREY, lw=1.2, ms=5, label=shown(label))
                line.set(linestyle=DASHES[place % len(DASHES)], marker=MARKERS[place % len(MARKERS)])
                handles.append(line)
    if points["floor"].notna().any():
        more = [*more, Line2D([], [], color=GREY, linestyle="--", lw=1, label="floor")]
    if handles and more:
        handles.append(Line2D([], [], linewidth=0, label=" "))
    if handles or more:
        figure.legend(handles=[*handles, *more], loc="outside right upper", handlelength=2.6)


def _heading(column: str) -> Any:
    """A line of the legend that names what the lines below it are."""
    from matplotlib.lines import Line2D

    return Line2D([], [], linewidth=0, label=shown({"solver.kind": "solver"}.get(column, column)) + ":")


def _name(score: Score) -> str:
    return f"`{score.key}`" + (f" ({score.unit})" if score.unit else "")


def _bands(points: pd.DataFrame) -> str:
    """What the bands are, with n; empty where no point has an interval."""
    counts = sorted(set(points.loc[points["half"].notna(), "n"].astype(int)))
    if not counts:
        return " (one seed, so no interval)"
    return f", bands their 95 % t intervals (n = {' or '.join(map(str, counts))}), cut at the frame"


def _floor_words(points: pd.DataFrame, score: Score) -> str:
    if points["floor"].isna().all():
        return ""
    return " Dashed: the floor, what a perfect sampler would score" + (
        " (≈ where no exact flow is known)." if score.approximate else "."
    )
