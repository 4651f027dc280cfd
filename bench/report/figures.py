"""All figures of a run, drawn side by side into figures/, as SVG or WebP; one that fails costs only itself."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.errors import Corrupt
from bench.report import budget, clouds, curves, factors, forest, images, losses
from bench.report.arrays import Arrays
from bench.report.canvas import Drawing, about, drawn, look
from bench.report.results import Results
from bench.report.seal import noted_figure

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

STORE_FIGURES = ("samples", "way", "images", "classes", "image_way", "losses")
"""Figures made of the store's arrays: kept as they are, in either format, where those arrays are not at hand."""


@dataclass(frozen=True)
class Shown:
    """A figure on the page: its file relative to the run's folder, its heading and its caption."""

    file: str
    title: str
    caption: str


Recipe = tuple[str, Callable[[], Iterator[Drawing]]]
"""What a figure, or several of a kind, is called in a warning, and how it is drawn."""


class Made(NamedTuple):
    """What came of a recipe: stem, how it is shown, and content of each figure; why there are no more of them."""

    figures: list[tuple[str, Shown, bytes]]
    fault: str


def draw_figures(results: Results, store_root: Path | None) -> tuple[list[Shown], dict[str, bytes], list[str]]:
    """Draw what applies to this run: the figures in the page's order, their files, and warnings for what failed."""
    shown: dict[str, Shown] = {}
    files: dict[str, bytes] = {}
    warnings: list[str] = []
    recipes = list(_recipes(results, store_root))
    for (what, _), made in zip(recipes, _all_made(recipes), strict=True):
        for name, figure, content in made.figures:
            files[figure.file] = content
            shown[name] = figure
        if made.fault:  # a figure is never worth the report
            warnings.append(f"{what}: the figure could not be drawn ({made.fault})")
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


def _all_made(recipes: list[Recipe]) -> list[Made]:
    """The figures of each recipe, or why they could not be drawn; drawn side by side where there are cores for it."""
    # Of a lock that another thread holds at the moment of a fork the child has a copy that stays locked.
    forks = sys.platform == "linux" and threading.active_count() == 1 and not multiprocessing.current_process().daemon
    processes = max(1, min(len(os.sched_getaffinity(0)), len(recipes))) if forks else 1
    shares = [recipes[first::processes] for first in range(processes)]
    helpers: list[_Helper] = []
    try:
        with look(), suppress(OSError):  # with all that drawing needs loaded; and as many as the system gives
            for share in shares[1:]:
                helpers.append(_Helper(share, helpers))
        made = [_all_of(shares[0]), *(helper.made() for helper in helpers), *map(_all_of, shares[1 + len(helpers) :])]
    finally:
        for helper in helpers:
            helper.end()
    return [made[place % processes][place // processes] for place in range(len(recipes))]


class _Helper:
    """A process that draws some recipes; forked, since what they draw from is large, and is not copied so."""

    def __init__(self, share: list[Recipe], earlier: Sequence[_Helper]) -> None:
        fork = multiprocessing.get_context("fork")
        self.share, self.earlier = share, list(earlier)
        self.pipe, end = fork.Pipe(duplex=False)
        self.process = fork.Process(target=self._draw, args=(end,), daemon=True)
        held = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, held)
            end.close()

    def _draw(self, end: Connection) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is heard by who waits
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))
        for helper in (self, *self.earlier):
            helper.pipe.close()  # or nobody would notice that who reads is gone
        with suppress(BrokenPipeError):
            end.send(_all_of(self.share))

    def made(self) -> list[Made]:
        """What it drew; drawn here where it did not come to that."""
        try:
            made: list[Made] = self.pipe.recv()
        except (EOFError, OSError):
            return _all_of(self.share)
        return made

    def end(self) -> None:
        """It has sent what it made, or nobody waits for it any more."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _all_of(share: list[Recipe]) -> list[Made]:
    return [_made(draw) for _, draw in share]


def _made(draw: Callable[[], Iterator[Drawing]]) -> Made:
    figures: list[tuple[str, Shown, bytes]] = []
    try:
        with look():
            for drawing in draw():
                name, content = drawn(drawing)
                figures.append((drawing.name, Shown(f"figures/{name}", drawing.title, drawing.caption), content))
    except Exception as error:
        text = " ".join(str(error).split()) or "no reason given"
        return Made(figures, f"{type(error).__name__}: {text[:200]}")
    return Made(figures, "")


def _recipes(results: Results, store_root: Path | None) -> Iterator[Recipe]:
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
