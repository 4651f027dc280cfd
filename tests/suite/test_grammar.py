"""What the blocks of a suite mean."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.components import CHOICES, FACTORS, SETTINGS, Config, Tables
from bench.suite import Suite

Load = Callable[..., Suite]


def rows(suite: Suite, *columns: str) -> list[tuple[object, ...]]:
    """Labels and resolved values of each cell."""
    frame = suite.cells.resolved().assign(**{f"label {axis}": suite.cells.labels[axis] for axis in suite.axes})
    return list(frame[list(columns)].itertuples(index=False, name=None))


def test_left_out_means_the_documented_default(load: Load) -> None:
    suite = load("")
    tables = Tables()
    assert (suite.name, suite.seeds, suite.axes, len(suite.cells)) == ("s", (0,), (), 1)
    assert [metric.name for metric in suite.metrics] == ["wasserstein"]
    assert set(suite.cells.configs) == set(FACTORS)
    row = suite.cells.resolved().iloc[0]
    assert row["target"] == CHOICES["target"].default
    assert row["solver.name"] == "euler"
    assert row["training.steps"] == SETTINGS["training"]().steps
    assert suite.cells.configs["training"][0] == tables.resolve("training", None, {})


def test_a_name_replaces_and_parameters_alone_update(load: Load) -> None:
    suite = load(
        "base: {path: {name: noisy_bridge, s: 2}, training: {batch: 8}}\n"
        "grid: {path: [{s: 3}, {name: noisy_bridge}, linear], training: [{steps: 7}]}\n"
    )
    assert rows(suite, "label path", "path.name", "path.s", "label training", "training.steps", "training.batch") == [
        ("noisy_bridge(s=3)", "noisy_bridge", 3.0, "steps=7", 7, 8),
        ("noisy_bridge", "noisy_bridge", 0.5, "steps=7", 7, 8),
        ("linear", "linear", None, "steps=7", 7, 8),
    ]


def test_dotted_keys_apply_after_whole_factors_in_any_order(load: Load) -> None:
    one = load("grid: {solver.steps: [10, 20], solver: {a: euler, b: {name: heun, spacing: cosine}}}\n")
    assert rows(one, "label solver.steps", "label solver", "solver.name", "solver.steps") == [
        ("10", "a", "euler", 10),
        ("10", "b", "heun", 10),
        ("20", "a", "euler", 20),
        ("20", "b", "heun", 20),
    ]


def test_zip_runs_in_step_and_repeats_labels(load: Load) -> None:
    suite = load(
        "zip: [{path: [linear, linear], net.width: [8, 16]}, {target: [exact], replica: [4]}]\nseeds: [5, 2]\n"
    )
    assert suite.axes == ("path", "net.width", "target", "replica")
    assert rows(suite, "label path", "net.width", "label replica") == [("linear", w, "4") for w in (8, 8, 16, 16)]
    assert suite.cells.seed.tolist() == [5, 2, 5, 2]


ABLATE = "{target: displacement, net: {wide: {width: 512}}, path: {name: noisy_bridge}, solver.steps: 7}"


def test_one_at_a_time(load: Load) -> None:
    suite = load(f"ablate: {{baseline: {{net: {{depth: 1}}}}, factors: {ABLATE}}}\n")
    assert rows(suite, "label ablation", "target", "net.width", "path.name", "solver.steps", "net.depth") == [
        ("baseline", "exact", 128, "linear", 100, 1),
        ("target", "displacement", 128, "linear", 100, 1),
        ("wide", "exact", 512, "linear", 100, 1),
        ("path", "exact", 128, "noisy_bridge", 100, 1),
        ("solver.steps", "exact", 128, "linear", 7, 1),
    ]


def test_leave_one_out(load: Load) -> None:
    suite = load(f"ablate: {{mode: leave_one_out, factors: {ABLATE}}}\n")
    assert rows(suite, "label ablation", "target", "net.width", "path.name", "solver.steps") == [
        ("all", "displacement", 512, "noisy_bridge", 7),
        ("without target", "exact", 512, "noisy_bridge", 7),
        ("without wide", "displacement", 128, "noisy_bridge", 7),
        ("without path", "displacement", 512, "linear", 7),
        ("without solver.steps", "displacement", 512, "noisy_bridge", 100),
    ]


def test_included_cells_take_the_labels_of_what_they_equal(load: Load) -> None:
    suite = load(
        "grid: {solver: {slow: euler}, solver.steps: {few: 5}, path: {bent: {name: noisy_bridge, s: 1}}}\n"
        "include:\n"
        "- {solver: {name: euler, steps: 9}, path: {name: noisy_bridge, s: 1.0}}\n"
        "- {solver: dopri5, label: {path: mine}}\n"
        "- {solver: {name: euler, steps: 5}, path: {name: noisy_bridge, s: 1}}\n"
    )
    assert rows(suite, "label solver", "label solver.steps", "label path", "path.name") == [
        ("slow", "few", "bent", "noisy_bridge"),
        ("slow", "9", "bent", "noisy_bridge"),
        ("dopri5", "none", "mine", "linear"),
    ]  # the third equals the grid's own cell and merges with it


def test_no_label_of_an_included_cell_says_what_another_axis_says(load: Load) -> None:
    suite = load(
        "grid: {solver: [euler], solver.steps: [5]}\n"
        "include:\n"
        "- {solver: {name: heun, steps: 9, spacing: cosine}}\n"
        "- {solver: {name: heun, nfe: 4, spacing: cosine}}\n"
    )
    assert rows(suite, "label solver", "label solver.steps", "solver.steps") == [
        ("euler", "5", 5),
        ("heun(spacing=cosine)", "9", 9),
        ("heun(spacing=cosine)", "2", 2),
    ]


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("grid: {solver: [{name: euler, steps: 5}], solver.steps: [3, 4]}", ["grid.solver[0].steps"]),
        ("grid: {solver: {a: {name: euler, steps: 5}, b: heun}, solver.steps: [3]}", ["grid.solver.a.steps"]),
        ("grid: {training.steps: [3], training: [{steps: 9}, {batch: 9}]}", ["grid.training[0].steps"]),
        ("zip: {solver: [{name: euler, steps: 5}], solver.steps: [3]}", ["zip.solver[0].steps"]),
        (
            "ablate: {baseline: {net: {name: mlp, width: 5}, net.width: 6}, factors: {net.width: 7}}",
            ["ablate.baseline.net.width"],
        ),
        ("include: [{solver: {name: euler, steps: 5}, solver.steps: 6, label: {}}]", ["include[0].solver.steps"]),
        (
            "grid: {path: [linear]}\nablate: {factors: {solver: {h: {name: heun, steps: 2}}, solver.steps: 7}, "
            "baseline: {solver.steps: 6}}",
            ["ablate.factors.solver.h.steps"],
        ),
    ],
)
def test_a_value_that_a_key_of_its_own_decides_everywhere_is_a_fault(
    faults: Callable[[str], dict[str, str]], text: str, places: list[str]
) -> None:
    found = faults(f"{text}\n")
    for place in places:
        assert "is given by a key of its own, so that this has no effect; take it out" in found[place]


@pytest.mark.parametrize(
    "text",
    [
        "base: {solver: {name: euler, steps: 9}}\ngrid: {solver.steps: [3]}",
        "base: {solver: {name: euler, steps: 9}}\ngrid: {solver: [heun, {spacing: cosine}]}",
        "ablate: {mode: leave_one_out, factors: {solver: {name: heun, steps: 2}, solver.steps: 7}}",
    ],
)
def test_a_value_that_holds_in_some_cell_or_in_the_base_is_none(load: Load, text: str) -> None:
    assert len(load(f"{text}\n").cells)


def test_exclusions_count_what_they_take(load: Load) -> None:
    suite = load(
        "seeds: 2\n"
        "grid: {path: {s: linear, n: noisy_bridge}, target: [exact, displacement]}\n"
        "exclude:\n"
        "- {where: {path: s, target: displacement}, because: the same}\n"
        "- {where: {target: displacement, seed: 1}, because: short}\n"
    )
    assert [(e.where, e.because, e.count) for e in suite.exclusions] == [
        ("path=s, target=displacement", "the same", 2),
        ("target=displacement, seed=1", "short", 1),
    ]
    assert len(suite.cells) == 8 - 3
    assert list(suite.cells.labels["target"].cat.categories) == ["exact", "displacement"]


def test_profiles_replace_at_their_path(load: Load) -> None:
    text = (
        "base: {solver: heun}\ngrid: {solver.steps: [1, 2], path: [linear]}\n"
        "claims: [{claim: c, metric: nfe, better: {solver.steps: 1}, than: {solver.steps: 2}}]\n"
        "profiles:\n"
        "  smoke: {seeds: 1, base.training.steps: 20, grid.solver.steps: [3], metrics: [mmd], claims: []}\n"
        "  full: {seeds: 8, base.solver: euler, base.training: {batch: 4}}\n"
    )
    for asked in (None, "quick"):
        assert (load(text, profile=asked).profile, len(load(text, profile=asked).cells)) == (None, 2)
    smoke, full = load(text, profile="smoke"), load(text, profile="full")
    assert rows(smoke, "solver.steps", "training.steps", "solver.name") == [(3, 20, "heun")]
    assert ([metric.name for metric in smoke.metrics], smoke.claims) == (["mmd"], ())
    assert rows(full, "solver.steps", "solver.name", "training.batch")[::8] == [(1, "euler", 4), (2, "euler", 4)]
    assert (full.profile, len(full.seeds), len(full.claims[0].pairs)) == ("full", 8, 8)


def test_a_profile_may_set_beside_what_an_axis_sets(load: Load) -> None:
    text = "grid: {training: [{steps: 10}, {steps: 20}]}\nablate: {factors: {net: {activation: gelu}}}\n"
    suite = load(text + "profiles: {p: {base.training.batch: 3, base.net.width: 9}}\n", profile="p")
    assert set(rows(suite, "training.batch", "net.width")) == {(3, 9)}


def test_plugins_lie_beside_the_suite(load: Load, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from dataclasses import dataclass\nfrom bench.paths import Linear\n"
        "@dataclass(frozen=True)\nclass Mine(Linear):\n    'Mine.'\n    k: int = 3\nPATHS = {'mine': Mine}\n"
    )
    suite = load("plugins: [mine.py]\nbase: {path: {name: mine, k: 4}}\n")
    assert suite.tables.plugins == (str(tmp_path / "mine.py"),)
    assert rows(suite, "path.name", "path.k") == [("mine", 4)]


AXES = {
    "path": ["linear", "noisy_bridge", "noisy_constant"],
    "target": ["exact", "displacement"],
    "clock": ["noise_at_0", "data_at_0"],
    "solver": ["euler", "heun", "midpoint"],
    "solver.steps": ["1", "2", "3"],
    "net.width": ["8", "16"],
    "replica": ["0", "1", "2"],
}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_cells_are_the_product_less_the_excluded_in_whatever_order(load: Load, data: st.DataObject) -> None:
    keys = data.draw(st.lists(st.sampled_from(sorted(AXES)), min_size=1, max_size=4, unique=True))
    axes = {key: data.draw(st.lists(st.sampled_from(AXES[key]), min_size=1, unique=True)) for key in keys}
    seeds = data.draw(st.integers(1, 3))
    where = data.draw(st.lists(st.sampled_from(keys), max_size=2, unique=True))
    chosen = {key: data.draw(st.sampled_from(axes[key])) for key in where}
    cells = [dict(zip(keys, values, strict=True)) for values in product(*axes.values())]
    left = [cell for cell in cells if not chosen or any(cell[key] != value for key, value in chosen.items())]
    if not left:
        return
    exclude = f"exclude: [{{where: {_flow(chosen)}, because: x}}]\n" if chosen else ""
    tables = []
    for order in (keys, keys[::-1]):
        body = ", ".join(f"{key}: [{', '.join(axes[key])}]" for key in order)
        suite = load(f"seeds: {seeds}\ngrid: {{{body}}}\n{exclude}")
        assert len(suite.cells) == len(left) * seeds == len(cells) * seeds - sum(e.count for e in suite.exclusions)
        tables.append(suite.cells.labels.astype(str)[keys].assign(seed=suite.cells.seed))
    wanted = pd.DataFrame([{**cell, "seed": seed} for cell in left for seed in range(seeds)])[[*keys, "seed"]]
    ordered = [table.sort_values([*keys, "seed"]).reset_index(drop=True) for table in (*tables, wanted)]
    for table in ordered[:2]:
        assert table.to_dict() == ordered[2].to_dict()
    for label in {tuple(cell.items()) for cell in left}:  # labels select what they name
        only = [f"{key}={value}" for key, value in label]
        assert len(load(f"seeds: {seeds}\ngrid: {{{body}}}\n{exclude}", only=only).cells) == seeds
        break


def _flow(mapping: dict[str, str]) -> str:
    return "{" + ", ".join(f"{key}: {value}" for key, value in mapping.items()) + "}"


def test_100_000_cells_need_no_object_each(load: Load) -> None:
    made = 0

    class Counted(Tables):
        def resolve(self, *given: Any) -> Any:
            nonlocal made
            made += 1
            return super().resolve(*given)

    steps, widths = (", ".join(map(str, range(1, n + 1))) for n in (50, 100))
    with patch("bench.suite.load.Tables", Counted):
        suite = load(
            f"seeds: 10\ngrid: {{solver.steps: [{steps}], net.width: [{widths}], target: [exact, displacement]}}\n"
        )
    assert len(suite.cells) == 100_000
    configs = [config for held in suite.cells.configs.values() for config in held]
    assert all(isinstance(config, Config) for config in configs)
    assert len(configs) == 50 + 100 + 2 + (len(FACTORS) - 3)
    assert made <= len(configs) + 5
    resolved = suite.cells.resolved()
    assert resolved["net.width"].nunique() == 100
    assert (resolved["solver.steps"].astype(str) == suite.cells.labels["solver.steps"].astype(str)).all()
