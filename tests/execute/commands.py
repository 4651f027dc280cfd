"""The command line in processes of its own, as users have it, and what of it is left."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

from bench.automatic import AUTOMATIC

MEASURED = [name for name, about in AUTOMATIC.items() if about.seconds]


def start(file, results, *options, folder=None):
    """`bench run`; all that it starts carries its results folder in the environment (`left`)."""
    device = [] if "--device" in options else ["--device", "cpu"]
    words = [sys.executable, "-m", "bench", "run", file, "--results", results, *device, *options]
    return subprocess.Popen(
        list(map(str, words)), env={**os.environ, "BENCH_TEST": mark(results)}, cwd=folder,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def end(process, status=0):
    """What a run has said, when it has ended with this status."""
    said, _ = process.communicate(timeout=400)
    assert process.returncode == status, said
    assert "Traceback" not in said
    return said


def mark(results):
    return f"marked {results} so"


def marked(text):
    """Processes that live and have a text in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if text.encode() in (folder / "environ").read_bytes() and (folder / "stat").read_text().split()[2] != "Z":
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def left(results):
    """Processes of runs with this results folder."""
    return marked(mark(results))


def numbers(folder):
    """Every value of a report's folder that is no time, to the last bit that records keep."""
    records = pd.read_csv(folder / "tables" / "records.csv", dtype=str, keep_default_na=False)
    records = records[~records["metric"].isin(MEASURED)]
    return records[["cell", "metric", "value", "status"]].sort_values(["cell", "metric"]).to_numpy().tolist()


def until(there, seconds=120):
    """Wait for something to be there, and give it."""
    deadline = time.monotonic() + seconds
    while not (found := there()):
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)
    return found
