"""Tables of speed, in Markdown: machine, date, seconds, ratios.

`race` does the grid of suites/quick.yaml three ways in one run, each in fresh processes, one after another: by this
harness; by hand (see by_hand.py beside this file) on one thread and on as many as torch takes; and with every cell
trained anew, as tutorials do, which is measured on a few cells and extrapolated. No table is made where the ways'
scores differ by more than seeds do. `micro` makes one of what pytest-benchmark wrote.

    python tests/race/tables.py race --share 0.3
    python tests/race/tables.py micro build/micro.json --into results/published
"""

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import t as student

from bench.execute import tree
from bench.work import provenance_here

SUITE = Path("suites/quick.yaml")
SEEDS, CELLS = 7, 350
"""Of the suite, each with all solvers; a test holds them against the file."""

CELL = ["dataset", "path", "clock", "solver"]
ALPHA = 0.01
"""Chance that ways which do the same are called different, over all comparisons of a race."""

THREADS = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

HARNESS = "`bench run quick`, its timings, floors and report included"
BY_HAND = "a loop with torchcfm, torchdiffeq and POT, each net trained once"
ANEW = "as tutorials do it, each cell trained anew"


def clocked(command, threads=None):
    """(what a command prints, its seconds as `now` has them); on as many threads as libraries take, or `threads`."""
    quiet = {name: value for name, value in os.environ.items() if name not in THREADS}
    began = now()
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        env=quiet | ({"OMP_NUM_THREADS": str(threads)} if threads else {}),
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    ended = now()[0]
    with contextlib.suppress(ChildProcessError):
        while True:  # what it began and left behind, such as the server of workers, is ours to count
            os.wait()
    return done.stdout, [ended, now()[1]] - began


def now():
    """Seconds on the clock, and on processors of all processes that were begun here and have ended."""
    spent = os.times()
    return np.array([time.perf_counter(), spent.children_user + spent.children_system])


def harness(seeds, folder):
    """(scores, seconds) of `bench run` into an empty folder; all seeds are the suite as it stands."""
    only = [] if seeds == SEEDS else ["--only", f"seed={','.join(map(str, range(seeds)))}"]
    _, seconds = clocked(["-m", "bench", "run", SUITE, "--device", "cpu", "--results", folder, *only])
    (file,) = Path(folder).glob("quick*/tables/records.csv")
    records = pd.read_csv(file)
    return records[records["metric"] == "wasserstein"].rename(columns={"value": "wasserstein"}), seconds


def by_hand(*options, threads):
    """(scores, seconds) of the same by hand."""
    text, seconds = clocked([Path(__file__).with_name("by_hand.py"), *options], threads)
    return pd.read_csv(io.StringIO(text)), seconds


def race(share, anew, say=print):
    """Rows of the table, one a way, and the scores that they made."""
    seeds, cores = max(2, round(share * SEEDS)), provenance_here()["cores"]
    part = f"{seeds} of {SEEDS} seeds, extrapolated" if seeds < SEEDS else f"all {CELLS} cells"
    rows, scores = [], []

    def add(way, threads, seconds, done, made):
        """A way that has been run."""
        rows.append({"way": way, "threads": threads, "seconds": seconds[0], "processor": seconds[1], "done": done})
        scores.append(made.assign(way=len(rows) - 1))
        say(f"{way}: {seconds[0]:,.0f} s ({threads}; {done})", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as folder:
        made, seconds = harness(seeds, folder)
    add(HARNESS, f"{cores} processes of 1", seconds * SEEDS / seeds, part, made)
    for threads in (1, None):
        made, seconds = by_hand("--seeds", seeds, threads=threads)
        add(BY_HAND, threads or "torch's default", seconds * SEEDS / seeds, part, made)
    for threads in (1, None):
        made, _ = by_hand("--anew", anew, threads=threads)
        done = f"{anew} of {CELLS} cells, extrapolated"
        add(ANEW, threads or "torch's default", made[["seconds", "processor"]].mean().to_numpy() * CELLS, done, made)
    return pd.DataFrame(rows), pd.concat(scores, ignore_index=True)


def compared(scores):
    """W2 of each way at the cells that all ways have, means over seeds, with what the harness' spread allows.

    One row a cell and way: `difference` from the harness and `allowed`, a t interval with the spread of the harness'
    seeds pooled over paths and clocks, at a level that makes a false alarm of the whole race as rare as ALPHA.
    """
    ours = scores[scores["way"] == 0]
    spread = ours.groupby(CELL)["wasserstein"].agg(["var", "size"]).reset_index()
    by_solver = spread.groupby(["dataset", "solver"]).agg(var=("var", "mean"), df=("size", lambda n: (n - 1).sum()))
    means = scores.groupby([*CELL, "way"])["wasserstein"].agg(["mean", "size"]).reset_index()
    means = means[means.groupby(CELL)["way"].transform("nunique") == scores["way"].nunique()]
    found = means[means["way"] > 0].merge(means[means["way"] == 0], on=CELL, suffixes=("", "_ours"))
    found = found.join(by_solver, on=["dataset", "solver"])
    level = student.ppf(1 - ALPHA / (2 * max(1, len(found))), found["df"])
    return found.assign(
        difference=found["mean"] - found["mean_ours"],
        allowed=level * np.sqrt(found["var"] * (1 / found["size"] + 1 / found["size_ours"])),
    )


def refuse_other_work(found):
    """Raise SystemExit where a way scores otherwise than the harness, beyond what seeds explain, or none can tell."""
    apart = found[found["difference"].abs() > found["allowed"]]
    shown = apart[[*CELL, "way", "mean", "mean_ours", "allowed"]].to_string(index=False)
    if found.empty or not apart.empty:
        raise SystemExit(
            "no table: " + ("the ways have no cell in common" if found.empty else
            f"the ways do not do the same work, W2 differs:\n{shown}")
        )  # fmt: skip


def race_text(rows, scores):
    """The page of a race. Raises SystemExit where its ways do not agree."""
    found = compared(scores)
    refuse_other_work(found)
    w2 = found.groupby("way")["mean"].mean()
    w2[0] = found.drop_duplicates(CELL)["mean_ours"].mean()
    shown = pd.DataFrame({
        "quick's grid": rows["way"],
        "threads": rows["threads"],
        "seconds": rows["seconds"].map("{:,.0f}".format),
        "ratio": (rows["seconds"] / rows["seconds"][0]).map("{:,.1f}".format),
        "processor seconds": rows["processor"].map("{:,.0f}".format),
        "measured": rows["done"],
        "W2": w2.sort_index().map("{:.3f}".format),
    })  # fmt: skip
    cells = "; ".join(", ".join(map(str, cell)) for cell in found[CELL].drop_duplicates().to_numpy())
    return (
        f"{markdown(shown)}\n\n"
        f"W2, which shows that all do the same work, is the mean of {len(found.drop_duplicates(CELL))} cells (those "
        f"trained anew, picked at random): {cells}. No way differs there from the harness by more than "
        f"{found['difference'].abs().max():.3f} (seeds allow {found['allowed'].min():.3f} or more)."
    )


def micro_text(measured):
    """The page of a pytest-benchmark file: median times, each over that of the bare version of its group."""
    tests = pd.DataFrame(
        [(b["group"], b["name"].removeprefix("test_"), b["stats"]["median"], b["stats"]["rounds"])
         for b in measured["benchmarks"]],
        columns=["work", "way", "median", "rounds"],
    )  # fmt: skip
    bare = tests[tests["way"].str.startswith("bare")].set_index("work")["median"]
    tests = tests.assign(ratio=tests["median"] / tests["work"].map(bare))
    shown = pd.DataFrame({
        "work": tests["work"].where(~tests["work"].duplicated(), ""),
        "way": tests["way"].str.replace("_", " ").str.replace("[", ", ").str.rstrip("]"),
        "milliseconds": (1e3 * tests["median"]).map(lambda x: f"{x:,.0f}" if x >= 100 else f"{x:.3g}"),
        "ratio": tests["ratio"].map("{:.2f}".format, na_action="ignore").fillna("–"),
        "rounds": tests["rounds"],
    })  # fmt: skip
    return f"{markdown(shown)}\n\nMedians; the ratio is to the bare version of the same work, on one thread."


def markdown(table):
    """A table of Markdown, numbers to the right."""
    numbers = {"seconds", "ratio", "processor seconds", "W2", "milliseconds", "rounds"}
    align = ["right" if column in numbers else "left" for column in table.columns]
    return table.to_markdown(index=False, disable_numparse=True, colalign=align)


def machine(load):
    """Where and when: processor, cores, load as it is said, versions, commit, date."""
    here = provenance_here()
    versions = here["versions"]
    dirty = ", with changes" if here["dirty"] else ""
    return (
        f"{here['cpu']}, {here['cores']} cores, load {load}; torch {versions['torch']}, Python "
        f"{versions['python']}; {datetime.now(UTC):%Y-%m-%d}, commit {str(here['commit'])[:12]}{dirty}."
    )


def main():
    """Measure or read, print, and write."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("what", choices=["race", "micro"])
    options.add_argument("file", nargs="?", type=Path, help="micro: the file of --benchmark-json")
    options.add_argument("--share", type=float, default=1.0, help="race: of the seeds; two at least")
    options.add_argument("--anew", type=int, default=4, help="race: cells that are trained anew")
    options.add_argument("--into", type=Path, default=Path("results"), help="folder of race.md or micro.md")
    asked, load = options.parse_args(), f"{os.getloadavg()[0]:.1f}"
    if asked.what == "race":
        if not tree.LINUX:
            raise SystemExit("a race needs Linux, where the processor time of workers can be told")
        tree.adopt_orphans()
        text = race_text(*race(asked.share, asked.anew))
    elif asked.file is None:
        options.error("micro needs the file that pytest --benchmark-json wrote")
    else:
        text = micro_text(json.loads(asked.file.read_text()))
    when = "at the start" if asked.what == "race" else "at the end, its own included"
    text = f"{text} {machine(f'{load} {when}')}\n"
    asked.into.mkdir(parents=True, exist_ok=True)
    (asked.into / f"{asked.what}.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
