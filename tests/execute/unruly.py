"""A suite of two cells whose jobs do as they are told, and what is left of them."""

import time
from pathlib import Path
from textwrap import dedent

from bench.execute.server import Server

SUITE = """
    suite: unruly
    question: Does one job's fault stay its own?
    plugins: [unruly.py]
    metrics: [unruly, wasserstein]
    base:
      dataset: two_gaussians
      net: oracle
      sampling: {n: 16, repeats: 1}
    grid:
      solver:
        - {name: euler, steps: 4}
        - {name: unruly, steps: 2}
"""
PLUGIN = """
    import ctypes, os, subprocess, sys, time
    from dataclasses import dataclass
    import torch
    from bench.interfaces import Measured, Metric
    from bench.solvers import Euler

    HELD = []

    def timing():
        frame = sys._getframe()
        while frame and not frame.f_code.co_filename.endswith("timing.py"):
            frame = frame.f_back
        return frame is not None

    @dataclass(frozen=True)
    class Unruly(Euler):
        "Does something before it solves."
        def solve(self, velocity, x, times):
            IN_SOLVER
            return super().solve(velocity, x, times)

    @dataclass(frozen=True)
    class UnrulyMetric(Metric):
        "Does something before it measures."
        values = {"unruly": Measured("1", "lower")}
        floored = False
        inputs = ("samples",)

        def measure(self, given):
            IN_METRIC
            return {"unruly": 1.0}

    SOLVERS = {"unruly": Unruly}
    METRICS = {"unruly": UnrulyMetric}
"""


def write(folder, solver="pass", metric="pass"):
    """The suite and its plugin, with these deeds before one of its two solvers and before its metric."""
    text = PLUGIN
    for place, deed in {"IN_SOLVER": solver, "IN_METRIC": metric}.items():
        text = text.replace(place, deed.strip().replace("\n", "\n" + " " * 12))
    (folder / "unruly.py").write_text(dedent(text))
    (folder / "unruly.yaml").write_text(dedent(SUITE))
    return folder / "unruly.yaml"


def left_behind():
    """Processes below this one and its fork server that are neither the server nor multiprocessing's tracker."""
    found, deadline = [], time.monotonic() + 3
    while time.monotonic() < deadline:
        found = [pid for pid, parent in parents().items() if parent == Server().pid]
        if not found:
            break
        time.sleep(0.05)
    return found


def parents():
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state != "Z":
            found[int(folder.name)] = int(parent)
    return found


def alive(file):
    """The processes whose ids a deed wrote down, as far as they still run."""
    pids = [int(pid) for pid in file.read_text().split()]
    assert pids
    return [pid for pid in pids if pid in parents()]


def of_metric(records, name):
    return records[records["metric"] == name]


def only_the_guilty_cell(cells, status, *words):
    """One cell has this status, and its reason these words; the other is well."""
    assert sorted(cells["status"]) == sorted(["ok", status])
    (reason,) = cells.loc[cells["status"] == status, "reason"]
    assert all(word in reason for word in words), reason
