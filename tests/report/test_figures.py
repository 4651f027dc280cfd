"""What figures show by what, and how pictures are laid out."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from bench.report import curves, figures
from bench.report.canvas import Drawing, about, drawn, look, panels
from bench.report.images import mosaic
from bench.report.results import load_results

OPEN = ("by", "margin", "at", "reaches", "source", "because", "topic")
SAYS = {"flow": "velocity", "diffusion": "noise"}


def test_axes_that_run_in_step_are_one_and_so_share_a_panel(make_run):
    def in_step(cell):
        cell["prediction"] = SAYS[cell["path"]]

    axes = {"path": ["flow", "diffusion"], "prediction": ["velocity"], "solver": ["euler(10)", "euler(20)"]}
    results = load_results(make_run(axes, change=in_step))
    assert set(results.varied) == {"path", "prediction", "solver"}
    points = curves._points(results, results.scores[0], "nfe")
    roles = curves._roles(results, points)
    assert (roles.colour, roles.facet, roles.row, roles.page) == ("path", None, None, ())


def test_solvers_of_one_name_are_told_apart_by_what_else_varies_and_keep_their_curves(make_run):
    def clipped(cell):
        cell["solver.clip"] = "" if cell["solver"] == "euler(20) free" else "1.0"

    axes = {"path": ["flow", "diffusion"], "solver": ["euler(10)", "euler(20)", "euler(20) free", "rk4(5)"]}
    results = load_results(make_run(axes, change=clipped))
    assert results.labels("solver.kind") == ["euler, clip 1.0", "euler, clip none", "rk4"]


@pytest.mark.long
def test_no_figure_is_cut_off_and_what_is_too_many_to_tell_apart_is_said(make_run):
    long = "a name that goes on and on, and then on again"
    axes = {
        "dataset": [f"{long} {i}" for i in range(2)],
        "path": [f"{i} {long}" for i in range(20)],
        "solver": ["euler(10)", f"heun({long})", "rk4(10)"],
    }
    claim = {"claim": long * 3, "metric": "wasserstein", "better": "", "than": "", "sides": ["", ""], "pairs": [[0, 1]]}
    results = load_results(make_run(axes, (0, 1), claims=[{**dict.fromkeys(OPEN), **claim}]))
    for what, draw in figures._recipes(results, None):
        with look():
            for drawing in draw() if "mmd" not in what else ():
                drawn(drawing)
                held, (width, height) = drawing.figure.get_tightbbox(), drawing.figure.get_size_inches()
                assert min(held.x0, held.y0, width - held.x1, height - held.y1) >= -0.01, drawing.name
                assert "claims" in drawing.name or "16" in drawing.caption


CASES = [
    "side by side",
    "a helper is killed",
    "a figure fails",
    "another thread runs",
    "no process",
    "daemon",
]


@pytest.mark.parametrize("case", CASES)
def test_figures_are_the_same_whoever_draws_them(make_run, monkeypatch, tmp_path, case):
    results = load_results(make_run({"path": ["straight", "noisy"], "solver": ["euler(10)", "rk4(5)"]}, store=True))
    me, draw, began = os.getpid(), figures._made, tmp_path / "began"

    def by_whom(recipe):
        if os.getpid() != me:
            began.touch()
            if case == "a helper is killed":
                os.kill(os.getpid(), signal.SIGKILL)
        return draw(recipe)

    def failing(*args, of=ValueError):
        raise of("no figure")

    count, left = threading.active_count, threading.active_count() - 1  # by other tests of this process
    monkeypatch.setattr(threading, "active_count", lambda: count() - left)
    if case == "a figure fails":
        monkeypatch.setattr(figures.curves, "score_vs_nfe", failing)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0})
    alone = figures.draw_figures(results, tmp_path / "store")
    monkeypatch.setattr(figures, "_made", by_whom)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2})
    if case == "no process":
        monkeypatch.setattr(os, "fork", partial(failing, of=BlockingIOError))
    if case == "daemon":  # which may have no children
        monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)
    held = threading.Event()
    other = threading.Thread(target=held.wait)
    if case == "another thread runs":
        other.start()
    try:
        assert figures.draw_figures(results, tmp_path / "store") == alone
    finally:
        held.set()
    assert len(alone[0]) > 5
    assert began.exists() == (case in CASES[:3])
    assert any("ValueError: no figure" in text for text in alone[2]) == (case == "a figure fails")
    assert multiprocessing.active_children() == []


KILLED = """
import os, sys, time
from bench.report import figures

def waiting(helpers):
    print(*[helper.process.pid for helper in helpers], flush=True)
    time.sleep(60)

os.sched_getaffinity = lambda process: {0, 1, 2}
figures._made = lambda draw: figures.Made([], "x" * 10**6)
figures._Helper.made = lambda helper: waiting([*helper.earlier, helper]) if helper.earlier else []
figures._all_made([("figure", None)] * 3)
"""


def state(process):
    """One letter; of one that is gone that of one that has ended, and that nobody has asked for its end."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return (process / "stat").read_text().rpartition(")")[2].split()[0]
    return "Z"


def test_helpers_end_in_silence_with_who_waits_for_them():
    """Killed, while they have more to send than a pipe holds."""
    ran = subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    helpers = [Path(f"/proc/{pid}") for pid in ran.stdout.readline().split()]
    assert len(helpers) == 2
    assert all(helper.exists() for helper in helpers)
    ran.kill()
    said = ran.communicate(timeout=60)[1]  # once all that had its end of the pipe are gone
    assert said == ""
    until = time.monotonic() + 60
    while running := [helper for helper in helpers if state(helper) != "Z"]:
        assert time.monotonic() < until, running
        time.sleep(0.05)


def test_a_sheet_holds_its_images_row_by_row():
    images = np.linspace(-1, 1, 5)[:, None, None, None] * np.ones((5, 1, 4, 3))
    sheet = mosaic(images, 2)
    assert sheet.shape == (3 * 5 - 1, 2 * 4 - 1, 1)
    levels = [sheet[row * 5 : row * 5 + 4, column * 4 : column * 4 + 3] for row in range(3) for column in range(2)]
    for place, level in enumerate(levels[:5]):
        assert level == pytest.approx(place / 4)
    assert (levels[5] == 1).all()
    assert mosaic(np.full((1, 1, 2, 2), 7.0), 1).max() == 1


def test_a_figure_of_very_many_lines_becomes_pixels_and_keeps_its_caption():
    for count, ending in ((3, "svg"), (800, "webp")):
        figure, axes = panels(1, 1)
        for _ in range(count):
            axes[0, 0].plot([0, 1, 2], [0, 1, 0])
        name, content = drawn(Drawing("curves", "Curves", "What each shows", figure))
        assert name == f"curves.{ending}"
        assert about(content, name) == ("Curves", "What each shows")


def test_points_of_the_plane_are_shown_as_they_are_and_others_on_the_planes_that_show_most_of_them():
    from bench.report.clouds import view

    random = np.random.default_rng(0)
    flat = random.normal(size=(100, 2)) * [3, 1]
    assert view(flat)[0](flat) is flat
    turn = np.linalg.qr(random.normal(size=(7, 7)))[0][:, :2]
    plane, said = view(flat @ turn.T + 5)
    np.testing.assert_allclose(pdist(plane(flat @ turn.T + 5)), pdist(flat), rtol=1e-9)
    assert "two principal axes" in said
    assert "100% of its variance" in said
    line, said = view(flat[:, :1])
    shown = line(np.array([[3.0], [1.0], [2.0]]))
    np.testing.assert_allclose(shown, [[3, 2 / 3], [1, 0], [2, 1 / 3]])
    assert "share of points" in said
