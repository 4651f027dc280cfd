"""All figures of a run, drawn one by one into figures/, as SVG or WebP; one that fails costs only itself."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.errors import Corrupt
from bench.report import budget, clouds, curves, factors, forest, images, losses
from bench.report.arrays import Arrays
from bench.report.canvas import Drawing, about, drawn, look
from bench.report.results import Results
from bench.report.seal import noted_figure

STORE_FIGURES = ("samples", "way", "images", "classes", "image_way", "losses")
"""Figures made of the store's arrays: kept as they are, in either format, where those arrays are not at hand."""


@dataclass(frozen=True)
class Shown:
    """A figure on the page: its file relative to the run's folder, its heading and its caption."""

    file: str
    title: str
    caption: str


def draw_figures(results: Results, store_root: Path | None) -> tuple[list[Shown], dict[str, bytes], list[str]]:
    """Draw what applies to this run: the figures in the page's order, their files, and warnings for what failed."""
    shown: dict[str, Shown] = {}
    files: dict[str, bytes] = {}
    warnings: list[str] = []
    for what, draw in _recipes(results, store_root):
        try:
            with look():
                for drawing in draw():
                    name, content = drawn(drawing)
                    files[f"figures/{name}"] = content
                    shown[drawing.name] = Shown(f"figures/{name}", drawing.title, drawing.caption)
        except Exception as error:  # a figure is never worth the report
            text = " ".join(str(error).split()) or "no reason given"
            warnings.append(f"{what}: the figure could not be drawn ({type(error).__name__}: {text[:200]})")
    for name, ending in itertools.product(STORE_FIGURES, ("webp", "svg")):
        file = f"figures/{name}.{ending}"
        if name in shown:
            continue
        try:
            if held := noted_figure(results.folder, file, results.suite):
                shown[name] = Shown(file, *about(held, name))
                files[file] = held
        except (Corrupt, SyntaxError, ValueError, OSError) as error:
            warnings.append(f"{file}: left out, since it cannot be used ({' '.join(str(error).split())[:300]})")
    return list(shown.values()), files, warnings


def _recipes(results: Results, store_root: Path | None) -> Iterator[tuple[str, Callable[[], Iterator[Drawing]]]]:
    """(what it is, how to draw it) of every figure that may apply, in the page's order."""
    if results.suite["claims"]:
        yield "claims", partial(forest.forest, results)
    yield "error budget", partial(budget.budget, results)
    for score in results.scores:
        if score.value in budget.IN_BUDGET and budget.is_there(results):
            continue
        yield f"{score.key} over NFE", partial(curves.score_vs_nfe, results, score)
        if score.direction == "none" or (score.value in budget.PARTS and budget.is_there(results)):
            continue
        yield f"{score.key} over seconds", partial(curves.score_vs_seconds, results, score)
        yield f"{score.key}, factor by factor", partial(factors.heat_maps, results, score)
    if store_root is not None and store_root.is_dir():
        arrays = Arrays(store_root)
        yield "samples over their target", partial(clouds.samples_over_target, results, arrays)
        yield "from noise to data", partial(clouds.the_way, results, arrays)
        yield "sheets of samples", partial(images.sheets, results, arrays)
        yield "samples by class", partial(images.class_sheets, results, arrays)
        yield "from noise to image", partial(images.image_way, results, arrays)
        yield "training loss", partial(losses.losses, results, arrays)
