"""Factor by factor: a heat map of mean scores for each pair of axes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bench.report.canvas import Drawing, fold, gallery, nice_log, shown
from bench.report.results import Results, Score

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize

MOST_LABELS = 16
MOST_PAIRS = 6


def heat_maps(results: Results, score: Score) -> Iterator[Drawing]:
    """A panel per pair of axes, at most six: the mean score where two labels meet.

    What is averaged within a square are seeds and all other axes, each solver at its largest NFE unless the
    pair is about the solver.
    """
    axes = [axis for axis in results.varied if len(results.labels(axis)) <= MOST_LABELS]
    pairs = list(itertools.combinations(axes, 2))
    values = results.wide[score.key]
    if not pairs or values.notna().sum() < 2:
        return
    tables = [_table(results, values, down, across) for down, across in pairs[:MOST_PAIRS]]
    norm, log = _norm(tables)
    shape = fold(len(tables), 3 if len(tables) != 4 else 2)
    wide = max(max(0.62 * means.shape[1] + 1.5, 2.6) for means, _ in tables)
    tall = max(max(0.34 * means.shape[0] + 1.1, 1.8) for means, _ in tables)
    figure, drawn = gallery(len(tables), shape, width=wide, height=tall, beside=0.9)
    for ax, (means, words) in zip(drawn, tables, strict=True):
        _draw(ax, means, words, norm, score)
    bar = figure.colorbar(_mappable(norm, score), ax=figure.axes, shrink=0.8, pad=0.02)
    bar.set_label(shown(score.label, 60))
    bar.outline.set_visible(False)
    if log:
        nice_log(bar.ax.yaxis, *(float(norm.vmin or 0), float(norm.vmax or 1)))
    left = f" {len(pairs) - MOST_PAIRS} more pairs are not shown." if len(pairs) > MOST_PAIRS else ""
    if large := [axis for axis in results.varied if axis not in axes]:
        left += f" Not shown, with more than {MOST_LABELS} labels: {', '.join(f'`{axis}`' for axis in large)}."
    caption = (
        f"Mean `{score.key}` where two factors meet, over seeds and all other factors, each solver at its largest NFE "
        f"unless the pair is about the solver{', colours logarithmic' if log else ''}. Small fractions: how many of "
        f"the cells have a score; a cross: none has. Means over factors carry no interval: the tables do.{left}"
    )
    yield Drawing(f"factors-{score.slug}", f"{score.key}, factor by factor", caption, figure)


def _table(results: Results, values: pd.Series[float], down: str, across: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Mean score and its annotation for each meeting of labels; nan and "" where the suite has no cell."""
    cells = results.cells
    if not {down, across} & set(results.solver_axes):
        cells = cells[cells["combo"].isin(results.at_largest_nfe(results.settings))]
    groups = values.reindex(cells.index).groupby([cells[down], cells[across]])
    mean, good, size = groups.mean(), groups.count(), groups.size()
    text = [
        ("×" if not n else _two_digits(value)) + (f"\n{n}/{of}" if n < of else "")
        for value, n, of in zip(mean, good, size, strict=True)
    ]
    words = pd.Series(text, index=mean.index)
    rows, columns = results.labels(down), results.labels(across)
    numbers, texts = (s.unstack(across).reindex(index=rows, columns=columns) for s in (mean, words))
    return numbers, texts.fillna("")


def _two_digits(value: float) -> str:
    """Two significant digits, whole numbers from ten on, powers only where zeros would be many."""
    if abs(value) >= 10 or value == 0:
        return f"{value:.0f}" if abs(value) < 1e5 else f"{value:.1e}"
    return f"{value:#.2g}"


def _norm(tables: list[tuple[pd.DataFrame, pd.DataFrame]]) -> tuple[Normalize, bool]:
    """One colour scale for all panels; logarithmic where the scores span a factor of five or more."""
    from matplotlib.colors import LogNorm, Normalize

    every = np.concatenate([means.to_numpy(dtype=float).ravel() for means, _ in tables])
    low, high = float(np.nanmin(every)), float(np.nanmax(every))
    log = low > 0 and high >= 5 * low
    return (LogNorm if log else Normalize)(low, high), log


def _colours(score: Score) -> Any:
    """Dark is worse, whichever way the score runs."""
    import seaborn as sns

    return sns.color_palette("crest" if score.lower_is_better else "crest_r", as_cmap=True)


def _mappable(norm: Normalize, score: Score) -> Any:
    from matplotlib.cm import ScalarMappable

    return ScalarMappable(norm, _colours(score))


def _draw(ax: Axes, means: pd.DataFrame, words: pd.DataFrame, norm: Normalize, score: Score) -> None:
    import seaborn as sns

    sns.heatmap(
        means, ax=ax, norm=norm, cmap=_colours(score), annot=words, fmt="", cbar=False,
        linewidths=1.5, linecolor="white", annot_kws={"size": 8},
    )  # fmt: skip
    numbers = means.to_numpy(dtype=float)
    for row, column in itertools.product(range(means.shape[0]), range(means.shape[1])):
        if np.isnan(numbers[row, column]):
            ax.text(column + 0.5, row + 0.5, str(words.iat[row, column]), ha="center", va="center", color="0.3", size=8)
    down, across = str(means.index.name), str(means.columns.name)
    ax.set(xlabel=shown(across), ylabel=shown(down))
    ax.grid(visible=False)
    turned: dict[str, Any] = {"rotation": 30, "ha": "right"} if max(map(len, means.columns)) > 6 else {"rotation": 0}
    ax.set_xticklabels([shown(label, 22) for label in means.columns], **turned)
    ax.set_yticklabels([shown(label, 22) for label in means.index], rotation=0)
