"""The figure of training losses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bench.report.arrays import MOST_PANELS, Arrays
from bench.report.canvas import Drawing, colours, fold, gallery, nice_log, shown
from bench.report.results import Results, dataset_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LOSS_POINTS = 200


def losses(results: Results, arrays: Arrays) -> Iterator[Drawing]:
    """Training loss over epochs, or steps where data are drawn afresh: the median over seeds and their range."""
    cells = results.cells[results.cells["train_entry"] != ""] if "train_entry" in results.cells else pd.DataFrame()
    if cells.empty:
        return
    trained = cells.drop_duplicates("train_entry")
    axes = [axis for axis in results.varied if (cells.groupby("train_entry")[axis].nunique() == 1).all()]
    axes = [axis for axis in axes if trained[axis].nunique() > 1]
    facet = dataset_axis(axes)
    named = [axis for axis in axes if axis != facet]
    label = trained[named].agg(" · ".join, axis=1) if named else pd.Series("all", index=trained.index)
    trained = trained.assign(label=label, panel=trained[facet] if facet else "")
    order = list(dict.fromkeys(trained["label"]))[:MOST_PANELS]
    trained = trained[trained["label"].isin(order)]
    loaded = {
        str(entry): loss for entry in trained["train_entry"] if (loss := arrays.load(entry, "losses")) is not None
    }
    curves = {entry: _smoothed(loss) for entry, loss in loaded.items() if len(loss) > 1}
    trained = trained[trained["train_entry"].isin(curves.keys())]
    if trained.empty:
        return
    epochs = results.wide["epochs"].reindex(trained.index)
    if by_epoch := bool(epochs.notna().all()):
        for entry, whole in zip(trained["train_entry"], epochs, strict=True):
            steps, values = curves[entry]
            curves[entry] = steps * (whole / len(loaded[entry])), values
    yield _draw_losses(trained, curves, order, facet, " · ".join(named), "epoch" if by_epoch else "training step")


def _draw_losses(
    trained: pd.DataFrame,
    curves: dict[str, tuple[Floats, Floats]],
    order: list[str],
    facet: str | None,
    title: str,
    across: str,
) -> Drawing:
    groups = list(trained.groupby("panel", sort=False))
    width, beside = 4.2 if len(groups) == 1 else 3.1, 1.7 if title else 0.2
    figure, axes = gallery(len(groups), fold(len(groups), 4), width=width, beside=beside)
    palette, several = colours(order), False
    for ax, (panel, part) in zip(axes, groups, strict=True):
        for label, entries in part.groupby("label", sort=False):
            found = [curves[entry] for entry in entries["train_entry"]]
            steps = min((steps for steps, _ in found), key=len)
            values = np.stack([loss[: len(steps)] for _, loss in found])
            ax.plot(steps, np.median(values, axis=0), color=palette[str(label)], linewidth=1.2, label=shown(label, 40))
            if len(found) > 1:
                several = True
                ax.fill_between(steps, values.min(0), values.max(0), color=palette[str(label)], alpha=0.2, linewidth=0)
        if all(loss.min() > 0 for _, loss in curves.values()):
            ax.set_yscale("log")
            _plain_log(ax)
        ax.set_title(shown(f"{facet} = {panel}", 38) if facet else "")
    figure.supxlabel(across, fontsize=9)
    figure.supylabel("training loss (running mean)", fontsize=9)
    if title:
        handles = {h.get_label(): h for ax in axes for h in ax.get_lines()}
        figure.legend(handles=list(handles.values()), title=shown(title, 40), loc="outside right upper")
    seeds = trained["seed"].nunique()
    over = f"the median of {seeds} seeds, the band their range" if several else "one seed"
    caption = (
        f"Training loss, a running mean over 1 % of the steps: {over}. A loss is not a score: its least value is not 0."
    )
    return Drawing("losses", "Training loss", caption, figure)


def _smoothed(loss: Floats) -> tuple[Floats, Floats]:
    """Steps and the running mean of the loss over 1 % of them, thinned to a few hundred points."""
    width = max(1, len(loss) // 100)
    total = np.cumsum(np.concatenate([[0.0], loss]))
    mean = (total[width:] - total[:-width]) / width
    keep = np.unique(np.linspace(0, len(mean) - 1, min(LOSS_POINTS, len(mean))).astype(int))
    return keep + (width + 1) / 2, mean[keep]


def _plain_log(ax: Axes) -> None:
    """A log axis for losses with plain numbers, fitted to what is drawn."""
    drawn = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in ax.get_lines()])
    nice_log(ax.yaxis, float(drawn.min()), float(drawn.max()))
