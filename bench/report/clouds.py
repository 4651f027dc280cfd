"""Figures out of the store's arrays: losses, samples over their target, and the way from noise to data."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd

from bench.report.canvas import GREY, Drawing, colours, fold, nice_log, panels, shown
from bench.report.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Cell = dict[str, Any]

T = TypeVar("T")
GENERATED = "#1b9e4b"
TARGET = "#d6403a"
MOST_PANELS = 12
MOST_POINTS = 1000
MOST_WAYS = 3
FRAMES = 6
LOSS_POINTS = 200


@dataclass(frozen=True)
class Arrays:
    """Arrays of store entries, by the paths that cells.csv gives; never unpickled."""

    root: Path

    def load(self, entry: object, name: str) -> Floats | None:
        """An entry's array as float64, or none where there is no such file."""
        file = self.root / str(entry) / f"{name}.npy"
        if not entry or not file.is_file():
            return None
        return np.asarray(np.load(file, allow_pickle=False), dtype=np.float64)


def losses(results: Results, arrays: Arrays) -> Iterator[Drawing]:
    """Training loss over steps, one curve per training: the median over seeds and their range."""
    cells = results.cells[results.cells["train_entry"] != ""] if "train_entry" in results.cells else pd.DataFrame()
    if cells.empty:
        return
    trained = cells.drop_duplicates("train_entry")
    axes = [axis for axis in results.varied if (cells.groupby("train_entry")[axis].nunique() == 1).all()]
    axes = [axis for axis in axes if trained[axis].nunique() > 1]
    facet = next((axis for axis in axes if axis.split(".")[0] == "dataset"), None)
    named = [axis for axis in axes if axis != facet]
    label = trained[named].agg(" · ".join, axis=1) if named else pd.Series("all", index=trained.index)
    trained = trained.assign(label=label, panel=trained[facet] if facet else "")
    order = list(dict.fromkeys(trained["label"]))[:MOST_PANELS]
    trained = trained[trained["label"].isin(order)]
    loaded = {str(entry): arrays.load(entry, "losses") for entry in trained["train_entry"]}
    curves = {entry: _smoothed(loss) for entry, loss in loaded.items() if loss is not None and len(loss) > 1}
    trained = trained[trained["train_entry"].isin(curves.keys())]
    if trained.empty:
        return
    yield _draw_losses(trained, curves, order, facet, " · ".join(named))


def _draw_losses(
    trained: pd.DataFrame, curves: dict[str, tuple[Floats, Floats]], order: list[str], facet: str | None, title: str
) -> Drawing:
    groups = list(trained.groupby("panel", sort=False))
    rows, columns = fold(len(groups), 4)
    figure, grid = panels(rows, columns, width=4.2 if len(groups) == 1 else 3.1, beside=1.7 if title else 0.2)
    palette, several = colours(order), False
    for ax in list(grid.flat)[len(groups) :]:
        ax.set_visible(False)
    for ax, (panel, part) in zip(grid.flat, groups, strict=False):
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
    figure.supxlabel("training step", fontsize=9)
    figure.supylabel("training loss (running mean)", fontsize=9)
    if title:
        handles = {h.get_label(): h for ax in grid.flat for h in ax.get_lines()}
        figure.legend(handles=list(handles.values()), title=shown(title, 40), loc="outside right upper")
    seeds = trained["seed"].nunique()
    over = f"the median of {seeds} seeds, the band their range" if several else "one seed"
    caption = (
        f"Training loss, a running mean over 1 % of the steps: {over}. A loss is not a score: its least value is not 0."
    )
    return Drawing("losses", "Training loss", caption, figure)


def samples_over_target(results: Results, arrays: Arrays) -> Iterator[Drawing]:
    """Generated points over target points, one panel per setting and solver at its largest NFE."""
    chosen, left = _settings(results, arrays)
    if not chosen:
        return
    rows, columns = fold(len(chosen), 4)
    figure, grid = panels(rows, columns, width=2.3, height=2.45, beside=0.1)
    contours = False
    for ax in list(grid.flat)[len(chosen) :]:
        ax.set_visible(False)
    for ax, (title, cell) in zip(grid.flat, chosen, strict=False):
        generated, target = _points(arrays, cell)
        _cloud(ax, target, TARGET, size=4, alpha=0.45)
        _cloud(ax, generated, GENERATED, size=4, alpha=0.55)
        contours |= _density(ax, arrays, cell)
        window = _window(arrays, cell, target)
        _square(ax, window)
        out = float(np.mean(_outside(generated, window)))
        ax.set_title(title, fontsize=8)
        if out:
            ax.text(
                0.98, 0.02, f"{out:.1%} outside", transform=ax.transAxes, ha="right", va="bottom", size=7, color=GREY
            )
    _two_colours(figure)
    lines = ", lines the target's exact density" if contours else ""
    seed = chosen[0][1]["seed"]
    caption = (
        f"Generated points (green) over target points (red){lines}; seed {seed}, at most {MOST_POINTS} points of each, "
        f"each solver at its largest NFE. Axes in data units.{left}"
    )
    yield Drawing("samples", "Samples over their target", caption, figure)


def the_way(results: Results, arrays: Arrays) -> Iterator[Drawing]:
    """Points on their way from noise (t = 0) to data (t = 1), about six times of a few settings."""
    chosen, _ = _settings(results, arrays, needs="frames")
    ways = _spread(chosen, MOST_WAYS)
    if not ways:
        return
    figure, grid = panels(len(ways), FRAMES, width=1.75, height=1.9, beside=0.1)
    for row, (title, cell) in zip(grid, ways, strict=True):
        frames, times = arrays.load(cell["sample_entry"], "frames"), arrays.load(cell["sample_entry"], "times")
        _, target = _points(arrays, cell)
        assert frames is not None
        when = np.linspace(0, 1, len(frames)) if times is None or len(times) != len(frames) else times
        window = _both(_window(arrays, cell, target), _extent(frames[0]))
        for ax, place in zip(row, _nearest(when, FRAMES), strict=True):
            _cloud(ax, target, TARGET, size=2, alpha=0.25)
            _cloud(ax, frames[place], GENERATED, size=3, alpha=0.6)
            _square(ax, window)
            ax.tick_params(labelsize=6.5)
            ax.set_title(f"t = {when[place]:.2g}", fontsize=8)
            ax.label_outer()
        row[0].set_ylabel(title, fontsize=7.5)
    _two_colours(figure)
    caption = (
        "The way of the points (green) from noise at t = 0 to data at t = 1, over the target (red); "
        f"seed {ways[0][1]['seed']}. Axes in data units."
    )
    yield Drawing("way", "From noise to data", caption, figure)


def _settings(results: Results, arrays: Arrays, needs: str = "samples") -> tuple[list[tuple[str, Cell]], str]:
    """(title, cell) of each setting whose arrays lie in the plane, and a sentence on what is left out.

    A setting is a solver at its largest NFE with one value of each other axis; where those are too many for
    one figure, the solver that spends most stands for all.
    """
    about = results.combinations
    if not {"sample_entry", "reference_entry"} <= set(about.columns):
        return [], ""
    solver = ["solver.name"] if "solver.name" in about and about["solver.name"].nunique() > 1 else []
    nfe = results.over_seeds("nfe")["mean"].fillna(-1.0)
    found: list[tuple[str, Cell]] = []
    for keys in ([*results.other_axes, *solver], list(results.other_axes)):
        groups = nfe.groupby([about[key] for key in keys], sort=False).idxmax() if keys else [nfe.idxmax()]
        cells = [cell for combo in groups if (cell := _drawable(results, arrays, combo, needs))]
        found = [(_panel_title(cell, keys, nfe[cell["combo"]]), cell) for cell in cells]
        if len(found) <= MOST_PANELS:
            only = " Of the solvers the one with the most NFE is shown." if solver and solver[0] not in keys else ""
            return found, only
    return _spread(found, MOST_PANELS), f" {MOST_PANELS} of {len(found)} settings are shown, evenly spread."


def _drawable(results: Results, arrays: Arrays, combo: Hashable, needs: str) -> Cell | None:
    """The first seed's cell of a combination that is ok and has its arrays."""
    for cell in results.cells[results.cells["combo"] == combo].to_dict("records"):
        if cell["status"] == "ok" and _in_plane(arrays, cell, needs):
            return {str(key): value for key, value in cell.items()}
    return None


def _panel_title(cell: Cell, keys: list[str], nfe: float) -> str:
    spent = f"NFE {nfe:.0f}" if nfe >= 0 else ""
    words = _wrapped(" · ".join(shown(cell[key], 24) for key in keys))
    return "\n".join(part for part in (words, spent) if part)


def _in_plane(arrays: Arrays, cell: dict[Any, Any], needs: str) -> bool:
    made, target = arrays.load(cell["sample_entry"], needs), arrays.load(cell["reference_entry"], "reference")
    plane = all(a is not None and a.ndim == 3 and a.shape[-1] == 2 and a.size for a in (made, target))
    return plane and arrays.load(cell["sample_entry"], "samples") is not None


def _points(arrays: Arrays, cell: dict[str, Any]) -> tuple[Floats, Floats]:
    """The first repeat's generated and target points, each (n, 2)."""
    samples, target = arrays.load(cell["sample_entry"], "samples"), arrays.load(cell["reference_entry"], "reference")
    assert samples is not None
    assert target is not None
    return samples[0], target[0]


def _cloud(ax: Axes, points: Floats, colour: str, size: float, alpha: float) -> None:
    """Points as one image per panel: thousands of vector dots would make the file slow and large."""
    ax.set_rasterization_zorder(0)
    x, y = points[:MOST_POINTS].T
    ax.scatter(x, y, s=size, color=colour, alpha=alpha, linewidths=0, zorder=-1)


def _density(ax: Axes, arrays: Arrays, cell: dict[str, Any]) -> bool:
    """Contours of the target's density where the reference entry has it."""
    grid = [arrays.load(cell["reference_entry"], name) for name in ("density_x", "density_y", "density")]
    x, y, density = grid
    if x is None or y is None or density is None or min(density.shape) < 2 or not density.max() > 0:
        return False
    stride = max(1, min(len(x), len(y)) // 60)
    x, y, density = x[::stride], y[::stride], density[::stride, ::stride]
    flat = np.mean(density[density > 0] > 0.9 * density.max()) > 0.8  # a uniform law has an outline and no slopes
    levels = density.max() * np.array([0.5] if flat else [0.1, 0.4, 0.75])
    x, y = (np.concatenate([[2 * at[0] - at[1]], at, [2 * at[-1] - at[-2]]]) for at in (x, y))
    density = np.pad(density, 1)  # so that an outline closes at the edge of the grid
    ax.contour(x, y, density, levels=levels, colors="0.25", linewidths=0.5, alpha=0.8)
    return True


def _window(arrays: Arrays, cell: dict[str, Any], target: Floats) -> Floats:
    """A window around the target, and around the density's grid if there is one."""
    x, y = (arrays.load(cell["reference_entry"], name) for name in ("density_x", "density_y"))
    if x is not None and y is not None and len(x) and len(y):
        return _extent(np.array([[x.min(), y.min()], [x.max(), y.max()]]))
    return _extent(target)


def _extent(points: Floats) -> Floats:
    """A window around points with a tenth to spare."""
    low, high = points.min(axis=0), points.max(axis=0)
    spare = 0.1 * np.maximum(high - low, 1e-9)
    return np.array([low[0] - spare[0], high[0] + spare[0], low[1] - spare[1], high[1] + spare[1]])


def _both(one: Floats, other: Floats) -> Floats:
    """The smallest window that holds two windows."""
    return np.where([True, False, True, False], np.minimum(one, other), np.maximum(one, other))


def _outside(points: Floats, window: Floats) -> NDArray[np.bool_]:
    """Which points the window does not hold."""
    x, y = points.T
    held = (x >= window[0]) & (x <= window[1]) & (y >= window[2]) & (y <= window[3])
    return np.asarray(~held)


def _square(ax: Axes, window: Floats) -> None:
    """Equal units in both directions, few ticks."""
    from matplotlib.ticker import MaxNLocator

    middle = window.reshape(2, 2).mean(axis=1)
    reach = max(window[1] - window[0], window[3] - window[2]) / 2
    ax.set(xlim=(middle[0] - reach, middle[0] + reach), ylim=(middle[1] - reach, middle[1] + reach), aspect="equal")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(4, integer=reach > 1.5))
    ax.tick_params(labelsize=7)
    ax.grid(visible=False)


def _two_colours(figure: Figure) -> None:
    """The legend of green over red, below the panels."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=colour, marker="o", linewidth=0, markersize=5, label=label)
        for colour, label in ((TARGET, "target"), (GENERATED, "generated"))
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)


def _nearest(times: Floats, count: int) -> list[int]:
    """Places of the times nearest to an even spread from first to last."""
    wanted = np.linspace(times[0], times[-1], count)
    return [int(np.abs(times - when).argmin()) for when in wanted]


def _spread(items: list[T], most: int) -> list[T]:
    """At most so many items, evenly spread, the first and the last among them."""
    if len(items) <= most:
        return items
    return [items[round(place)] for place in np.linspace(0, len(items) - 1, most)]


def _wrapped(words: str, width: int = 28) -> str:
    """A title in lines of readable length, broken between its parts."""
    lines = [""]
    for part in words.split(" · "):
        joined = f"{lines[-1]} · {part}" if lines[-1] else part
        lines = [*lines, part] if lines[-1] and len(joined) > width else [*lines[:-1], joined]
    return "\n".join(lines)


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
