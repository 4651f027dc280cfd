"""A run's folder made from known numbers, small enough to check by hand."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.automatic import AUTOMATIC
from bench.report import seal
from bench.store.entries import seal_folder

FAMILIES = {"euler": 1, "heun": 2, "rk4": 4}
NUMERIC = {"train_seconds": 12.0, "parameters": 33538.0, "train_loss": 0.81, "rejected_steps": 0.0}


def suite(axes: Sequence[str], seeds: Sequence[int], **changes: Any) -> dict[str, Any]:
    """suite.json of a run with one floored metric and one without excess."""
    about = {
        "suite": "demo",
        "question": "Does noise on the straight path help?",
        "profile": "quick",
        "seeds": list(seeds),
        "axes": list(axes),
        "fixed": {
            "training.steps": 5000,
            "training.batch": 256,
            "net.name": "mlp",
            "dataset.name": "mixture",
        },
        "claims": [],
        "exclusions": [],
        "metrics": ["wasserstein", "mmd"],
        "values": {
            "wasserstein": {"unit": "data units", "direction": "lower", "floored": True},
            "mmd": {"unit": "", "direction": "lower", "floored": True},
        },
        "provenance": {
            "python": "3.11.7",
            "torch": "2.6.0",
            "cpu": "Example CPU",
            "commit": "1a2b3c4d5e6f",
            "dirty": False,
        },
        "notices": [],
        "command": "python -m bench run suites/demo.yaml",
        "seconds": 83.0,
        "jobs": {
            "train": {"done": 6, "stored": 0, "failed": 0},
            "score": {"done": 54, "stored": 12, "failed": 0},
        },
    }
    return {**about, **changes}


def grid(axes: Mapping[str, Sequence[str]], seeds: Sequence[int]) -> list[dict[str, Any]]:
    """One cell per combination and seed, with its resolved columns and the entries of a shared training."""
    cells = [
        (labels, dict(zip(axes, labels, strict=True)), seed)
        for labels in itertools.product(*axes.values())
        for seed in seeds
    ]
    return [_cell(number, labels, at, seed) for number, (labels, at, seed) in enumerate(cells)]


def _cell(number: int, labels: Sequence[str], at: Mapping[str, str], seed: int) -> dict[str, Any]:
    trained = "-".join(label for axis, label in at.items() if not axis.startswith("solver"))
    dataset = at.get("dataset", "mixture")
    return {
        "cell": number,
        "seed": seed,
        **at,
        "dataset.name": dataset,
        "path.name": at.get("path", "straight"),
        "solver.name": at.get("solver", "euler").split("(")[0],
        "net.name": "mlp",
        "solver.steps": at.get("solver.steps", "10"),
        "status": "ok",
        "reason": "",
        "train_entry": f"train/{_key(trained or 'all')}-{seed}",
        "sample_entry": f"sample/{_key('-'.join(labels) or 'all')}-{seed}",
        "reference_entry": f"reference/{_key(dataset)}-{seed}",
    }


def numbers(cell: Mapping[str, Any]) -> dict[str, float]:
    """Plausible numbers: error falls with the NFE down to what the path leaves, above a floor of about .1."""
    steps = int(cell["solver.steps"])
    family = str(cell["solver.name"])
    nfe = steps * FAMILIES.get(family, 1)
    order = {"euler": 1.0, "heun": 2.0, "rk4": 4.0}.get(family, 1.0)
    wobble = 1 + 0.04 * np.sin(7.0 * int(cell["seed"]) + len(str(cell.get("path", ""))))
    left = {"noisy": 0.16, "trigonometric": 0.09}.get(str(cell.get("path", "")), 0.06)
    scale = {"checkerboard": 1.6, "moons": 0.5}.get(str(cell["dataset.name"]), 1.0)
    floor = 0.11 * scale * (1 + 0.02 * np.cos(int(cell["seed"])))
    over = scale * (left + 2.5 * steps**-order) * wobble
    score = float(np.hypot(floor, over))
    seconds = 0.002 * nfe * (1 + 0.05 * int(cell["seed"]))
    return {
        "wasserstein": score,
        "wasserstein_floor": floor,
        "wasserstein_excess": over,
        "mmd": 0.02 * score**2,
        "mmd_floor": 0.02 * floor**2,
        "nfe": float(nfe),
        "sample_seconds": seconds,
        "sample_seconds_q25": 0.95 * seconds,
        "sample_seconds_q75": 1.1 * seconds,
        "first_call_seconds": seconds + 0.1,
        "score_seconds": 0.4,
        **NUMERIC,
    }


def rows(
    cells: Sequence[Mapping[str, Any]],
    axes: Sequence[str],
    measure: Callable[[Mapping[str, Any]], Mapping[str, float]] = numbers,
) -> list[dict[str, Any]]:
    """records.csv: a row per cell and value; a cell that is not ok has rows without a value."""
    unit = {
        "wasserstein": "data units",
        "wasserstein_floor": "data units",
        "wasserstein_excess": "data units",
    }
    records = []
    for cell in cells:
        for metric, value in measure(cell).items():
            records.append(
                {
                    "cell": cell["cell"],
                    "seed": cell["seed"],
                    **{axis: cell[axis] for axis in axes},
                    "metric": metric,
                    "value": value if cell["status"] == "ok" else "",
                    "unit": AUTOMATIC[metric].unit if metric in AUTOMATIC else unit.get(metric, ""),
                    "better": "none" if metric in NUMERIC else "lower",
                    "n": cell.get("sampling.n", 1024),
                    "repeats": 2,
                    "status": cell["status"],
                    "reason": cell["reason"],
                    "seconds": 0.1,
                    "device": cell.get("device", "cpu"),
                    "threads": 1,
                    "started": "2025-01-01T00:00:00",
                    "peak_mb": 100,
                    "commit": "1a2b3c4d5e6f",
                    "dirty": False,
                    "code": "0123456789ab",
                    "note": "",
                }
            )
    return records


def _key(labels: str) -> str:
    """Entries are named by keys, whatever the labels are."""
    return hashlib.sha256(labels.encode()).hexdigest()[:32]


def write_run(
    folder: Path,
    about: Mapping[str, Any],
    cells: Sequence[Mapping[str, Any]],
    records: Sequence[Mapping[str, Any]],
) -> Path:
    """Lay a run's files out as the runner does; returns the folder."""
    (folder / "tables").mkdir(parents=True, exist_ok=True)
    (folder / "suite.json").write_text(json.dumps(about), encoding="utf-8")
    pd.DataFrame(cells).to_csv(folder / "tables" / "cells.csv", index=False)
    pd.DataFrame(records).to_csv(folder / "tables" / "records.csv", index=False)
    return folder


def seal_run(folder: Path) -> None:
    """Have a run's files as the runner writes them now, with checksums; without, they are an older version's."""
    about = json.loads((folder / "suite.json").read_text())
    seal.write_run(folder, {name: (folder / name).read_bytes() for name in seal.TABLES}, about)


def write_store(root: Path, cells: Sequence[Mapping[str, Any]], n: int = 512) -> Path:
    """Arrays of every cell's entries: two Gaussians as the data, blurred samples, a falling loss."""
    for cell in cells:
        rng = np.random.default_rng(int(cell["cell"]))
        side = rng.choice([-2.0, 2.0], size=(2, n, 1))
        reference = np.concatenate([side, np.zeros_like(side)], axis=2) + 0.5 * rng.standard_normal((2, n, 2))
        noise = rng.standard_normal((2, n, 2))
        samples = reference[:, ::-1] + 0.3 * noise
        times = np.linspace(0, 1, 21)
        ways = np.stack([(1 - t) * noise[0] + t * samples[0] for t in times])
        x = np.linspace(-4, 4, 60)
        y = np.linspace(-3, 3, 60)
        bumps = [np.exp(-((x[None] - m) ** 2 + y[:, None] ** 2) / 0.5) / (np.pi * 0.5) for m in (-2, 2)]
        losses = 1 + 3 * np.exp(-np.arange(2000) / 200) + 0.2 * rng.standard_normal(2000)
        arrays = {
            "train_entry": {"losses": losses.astype(np.float32)},
            "sample_entry": {"samples": samples, "frames": ways, "times": times},
            "reference_entry": {
                "reference": reference, "density_x": x, "density_y": y, "density": sum(bumps) / 2,
            },
        }  # fmt: skip
        for entry, named in arrays.items():
            place = root / str(cell[entry])
            place.mkdir(parents=True, exist_ok=True)
            for name, array in named.items():
                np.save(place / f"{name}.npy", array)
    for place in {root / str(cell[entry]) for cell in cells for entry in arrays}:
        seal_folder(place, place.parent.name, "00", "00", {})
    return root


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Writes a run over the given axes; `change` may alter each cell in place before it is recorded."""
    return maker(tmp_path)


@pytest.fixture(scope="module")
def make_shared_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The same for a run that all tests of a module look at."""
    return maker(tmp_path_factory.mktemp("shared"))


def maker(root: Path) -> Callable[..., Path]:
    """A function that writes runs below a folder."""

    def make(
        axes: Mapping[str, Sequence[str]],
        seeds: Sequence[int] = (0, 1, 2),
        change: Callable[[dict[str, Any]], None] | None = None,
        measure: Callable[[Mapping[str, Any]], Mapping[str, float]] = numbers,
        store: bool = False,
        sealed: bool = False,
        name: str = "demo",
        **about: Any,
    ) -> Path:
        cells = grid(axes, seeds)
        for cell in cells:
            if change:
                change(cell)
        folder = write_run(root / name, suite(list(axes), seeds, **about), cells, rows(cells, list(axes), measure))
        if sealed:
            seal_run(folder)
        if store:
            write_store(root / "store", cells, n=300)
        return folder

    return make
