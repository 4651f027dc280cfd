"""Figures of images: sheets of samples, a row per class where the net is told the class, and one sample's way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from bench.report.arrays import Arrays, Cell, nearest, settings, spread
from bench.report.canvas import Drawing, fold, gallery, panels
from bench.report.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SIDE = 8
"""Images along each side of a sheet."""

WAY = (0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 0.98, 1.0)
"""Times of a sample's way: after 0, 5, 10, 20, 30, 40, 49 and all of 50 equal steps, as the MNIST tutorial shows it."""

MOST_WAYS = 4
MOST_CLASSES = 20
GAP = 1
"""Pixels between two images."""


def sheets(results: Results, arrays: Arrays) -> Iterator[Drawing]:
    """64 samples of each setting, the first of its first seed."""
    chosen, left = settings(results, partial(_is_images, arrays))
    if not chosen:
        return
    figure = _pictures(chosen, 4, 2.4, lambda cell: mosaic(_images(arrays, cell)[: SIDE * SIDE], SIDE))
    caption = (
        f"The first {SIDE * SIDE} samples, as they come; seed {chosen[0][1]['seed']}, each solver at its largest NFE. "
        f"Settings start from the same noise.{left}"
    )
    yield Drawing("images", "Samples", caption, figure, raster=True)


def class_sheets(results: Results, arrays: Arrays) -> Iterator[Drawing]:
    """Samples of nets that are told the class, a row per class."""
    chosen, left = settings(results, lambda cell: _is_images(arrays, cell) and _classes(results, cell) > 1)
    if not chosen:
        return

    def sheet(cell: Cell) -> Floats:
        """Sample i was told the class i mod K: every K-th one is of one class."""
        count, samples = _classes(results, cell), _images(arrays, cell)
        across = max(1, min(10, len(samples) // count))
        rows = [samples[kind::count][:across] for kind in range(min(count, MOST_CLASSES))]
        return mosaic(np.concatenate(rows), across)

    figure = _pictures(chosen, 3, 3.0, sheet)
    caption = f"Samples of each class, a row per class from 0 on, as they come; seed {chosen[0][1]['seed']}.{left}"
    yield Drawing("classes", "Samples by class", caption, figure, raster=True)


def image_way(results: Results, arrays: Arrays) -> Iterator[Drawing]:
    """One sample from noise to image, at the tutorial's steps, in a few settings."""
    chosen, _ = settings(results, partial(_is_images, arrays, needs="frames"))
    ways = spread(chosen, MOST_WAYS)
    if not ways:
        return
    figure, grid = panels(len(ways), len(WAY), width=1.05, height=1.3, beside=0.9)
    for row, (title, cell) in zip(grid, ways, strict=True):
        frames, times = arrays.load(cell["sample_entry"], "frames"), arrays.load(cell["sample_entry"], "times")
        assert frames is not None
        assert times is not None
        for ax, place in zip(row, nearest(times, WAY), strict=True):
            _show(ax, _grey(frames[place, 0]))
            ax.set_title(f"t = {times[place]:.2g}", fontsize=8)
        row[0].set_ylabel(title, fontsize=7, rotation=0, ha="right", va="center")
    caption = (
        "One sample, the first, on its way from noise at t = 0 to data at t = 1: where 50 equal steps are after 0, 5, "
        f"10, 20, 30, 40, 49 and all of them; seed {ways[0][1]['seed']}."
    )
    yield Drawing("image_way", "From noise to image", caption, figure, raster=True)


def _pictures(chosen: list[tuple[str, Cell]], most: int, width: float, picture: Callable[[Cell], Floats]) -> Figure:
    """A figure with a titled picture of each setting, `most` side by side, each `width` inches wide."""
    figure: Figure
    figure, axes = gallery(len(chosen), fold(len(chosen), most), width=width, height=width + 0.35, beside=0.1)
    for ax, (title, cell) in zip(axes, chosen, strict=True):
        _show(ax, picture(cell))
        ax.set_title(title, fontsize=8)
    return figure


def mosaic(images: Floats, across: int) -> Floats:
    """Images (N, C, H, W) on the scale from -1 to 1 as one picture, 0 to 1, `across` side by side."""
    count, channels, height, width = images.shape
    down = -(-count // across)
    sheet = np.ones((down * (height + GAP) - GAP, across * (width + GAP) - GAP, channels))
    for place, image in enumerate(images):
        row, column = divmod(place, across)
        top, left = row * (height + GAP), column * (width + GAP)
        sheet[top : top + height, left : left + width] = _grey(image)
    return sheet


def _grey(image: Floats) -> Floats:
    """One image (C, H, W) on the scale from -1 to 1 as (H, W, C), 0 to 1."""
    return np.clip((image.transpose(1, 2, 0) + 1) / 2, 0, 1)


def _show(ax: Axes, picture: Floats) -> None:
    """A picture pixel by pixel, without axes."""
    ax.imshow(picture.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="none")
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set_visible(False)


def _is_images(arrays: Arrays, cell: Cell, needs: str = "samples") -> bool:
    """Whether a cell's samples are there and are images, (R, N, C, H, W) or frames (F, N, C, H, W)."""
    shape = arrays.shape(cell.get("sample_entry"), needs)
    return len(shape) == 5 and shape[2] in (1, 3)


def _images(arrays: Arrays, cell: Cell) -> Floats:
    """The first repeat's samples, (N, C, H, W)."""
    made = arrays.load(cell["sample_entry"], "samples")
    assert made is not None
    first: Floats = made[0]
    return first


def _classes(results: Results, cell: Cell) -> int:
    """Number of classes that the cell's net is told; 0 where it is told none, also by guidance of weight 0."""

    def resolved(name: str) -> float | None:
        """A parameter of the cell, whether it varies or not."""
        value = cell.get(name) or results.suite["fixed"].get(name)
        return float(value) if value not in (None, "", "none") else None

    return 0 if resolved("sampling.guidance") == 0 else int(resolved("net.classes") or 0)
