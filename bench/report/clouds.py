"""Figures of points: samples over their target, and the way from noise to data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from bench.report.arrays import Arrays, Cell, nearest, settings, spread
from bench.report.canvas import GREY, Drawing, fold, gallery, panels
from bench.report.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

GENERATED = "#1b9e4b"
TARGET = "#d6403a"
MOST_POINTS = 1000
MOST_WAYS = 3
FRAMES = 6


def samples_over_target(results: Results, arrays: Arrays) -> Iterator[Drawing]:
    """Generated points over target points, one panel per setting and solver at its largest NFE."""
    chosen, left = settings(results, partial(_of_points, arrays))
    if not chosen:
        return
    figure, axes = gallery(len(chosen), fold(len(chosen), 4), width=2.3, height=2.45, beside=0.1)
    contours, views = False, set[str]()
    for ax, (title, cell) in zip(axes, chosen, strict=True):
        generated, target = _points(arrays, cell)
        plane, said = view(target)
        views.add(said)
        generated, target = plane(generated), plane(target)
        _cloud(ax, target, TARGET, size=4, alpha=0.45)
        _cloud(ax, generated, GENERATED, size=4, alpha=0.55)
        contours |= _density(ax, arrays, cell)
        window = _window(arrays, cell, target)
        _frame(ax, window, said)
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
        f"each solver at its largest NFE. {_axes_said(views)}{left}"
    )
    yield Drawing("samples", "Samples over their target", caption, figure, raster=True)


def the_way(results: Results, arrays: Arrays) -> Iterator[Drawing]:
    """Points on their way from noise (t = 0) to data (t = 1), about six times of a few settings."""
    chosen, _ = settings(results, partial(_of_points, arrays, needs="frames"))
    ways = spread(chosen, MOST_WAYS)
    if not ways:
        return
    figure, grid = panels(len(ways), FRAMES, width=1.75, height=1.9, beside=0.1)
    views = set[str]()
    for row, (title, cell) in zip(grid, ways, strict=True):
        frames, times = arrays.load(cell["sample_entry"], "frames"), arrays.load(cell["sample_entry"], "times")
        _, target = _points(arrays, cell)
        assert frames is not None
        plane, said = view(target)
        views.add(said)
        frames, target = np.stack([plane(frame) for frame in frames]), plane(target)
        when = np.linspace(0, 1, len(frames)) if times is None or len(times) != len(frames) else times
        window = _both(_window(arrays, cell, target), _extent(frames[0]))
        for ax, place in zip(row, nearest(when, np.linspace(0, 1, FRAMES).tolist()), strict=True):
            _cloud(ax, target, TARGET, size=2, alpha=0.25)
            _cloud(ax, frames[place], GENERATED, size=3, alpha=0.6)
            _frame(ax, window, said)
            ax.tick_params(labelsize=6.5)
            ax.set_title(f"t = {when[place]:.2g}", fontsize=8)
            ax.label_outer()
        row[0].set_ylabel(title, fontsize=7.5)
    _two_colours(figure)
    caption = (
        "The way of the points (green) from noise at t = 0 to data at t = 1, over the target (red); "
        f"seed {ways[0][1]['seed']}. {_axes_said(views)}"
    )
    yield Drawing("way", "From noise to data", caption, figure, raster=True)


LINE = "Of a law on the line, x is the point and y the share of points below it."
PRINCIPAL = "Of a law in more dimensions the first two principal axes of the target are shown, with"


def view(target: Floats) -> tuple[Callable[[Floats], Floats], str]:
    """What puts points (n, d) on a plane (n, 2), and what is to be said of it; of the plane itself nothing.

    More than two axes are those of the largest variance of the target (n, d), each with its largest part positive. A
    single one is shown with its cumulative share.
    """
    d = target.shape[1]
    if d == 1:
        return lambda points: np.column_stack([points[:, 0], points[:, 0].argsort().argsort() / len(points)]), LINE
    if d == 2:
        return lambda points: points, ""
    middle = target.mean(axis=0)
    _, sizes, axes = np.linalg.svd(target - middle, full_matrices=False)
    axes = axes[:2] * np.sign(axes[:2][[0, 1], np.abs(axes[:2]).argmax(axis=1)])[:, None]
    share = (sizes[:2] ** 2).sum() / max((sizes**2).sum(), np.finfo(float).tiny)
    return lambda points: (points - middle) @ axes.T, f"{PRINCIPAL} {share:.0%} of its variance."


def _axes_said(views: set[str]) -> str:
    """What the axes are, for a caption."""
    shown = sorted(words for words in views if not words.startswith(PRINCIPAL))
    shares = sorted(words.removeprefix(PRINCIPAL).split()[0] for words in views if words.startswith(PRINCIPAL))
    if len(shares) > 1:
        shown.append(f"{PRINCIPAL} {shares[0]} to {shares[-1]} of its variance.")
    elif shares:
        shown += [words for words in views if words.startswith(PRINCIPAL)]
    return " ".join(["Axes in data units.", *filter(None, shown)])


def _frame(ax: Axes, window: Floats, said: str) -> None:
    """The window, in equal units both ways where both are data units."""
    _square(ax, window)
    if said == LINE:
        ax.set(ylim=(-0.05, 1.05), aspect="auto")


def _of_points(arrays: Arrays, cell: Cell, needs: str = "samples") -> bool:
    """Whether a cell's samples and reference are points of one space, no pictures."""
    entries = (cell["sample_entry"], needs), (cell["reference_entry"], "reference"), (cell["sample_entry"], "samples")
    made, target, samples = (arrays.shape(*entry) for entry in entries)
    alike = bool(samples) and made[-1:] == target[-1:]
    return alike and all(len(shape) == 3 and 0 not in shape for shape in (made, target))


def _points(arrays: Arrays, cell: Cell) -> tuple[Floats, Floats]:
    """The first repeat's generated and target points, each (n, d)."""
    samples, target = arrays.load(cell["sample_entry"], "samples"), arrays.load(cell["reference_entry"], "reference")
    assert samples is not None
    assert target is not None
    return samples[0], target[0]


def _cloud(ax: Axes, points: Floats, colour: str, size: float, alpha: float) -> None:
    """Points, below all lines."""
    x, y = points[:MOST_POINTS].T
    ax.scatter(x, y, s=size, color=colour, alpha=alpha, linewidths=0, zorder=-1)


def _density(ax: Axes, arrays: Arrays, cell: Cell) -> bool:
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


def _window(arrays: Arrays, cell: Cell, target: Floats) -> Floats:
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
