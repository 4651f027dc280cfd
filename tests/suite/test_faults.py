"""Every mistake of a file is reported at once, where it stands, with what would be right."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.components import Tables
from bench.errors import SuiteError
from bench.suite import load_suite

Faults = Callable[[str], dict[str, str]]

FIVE = """\
suite: order
question: Which order?
sedes: 3
base:
  training: {steps: -5, batch: true}
  net: {name: mlp, widht: 128}
grid:
  solver: [euler, {name: huen}]
claims:
  - claim: c
    metric: wasserstein
    better: {solver: euler}
    than: {solver: huen, path.name: vpp}
"""


def test_five_mistakes_are_five_messages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkdir("suites")
    Path("suites/order.yaml").write_text(FIVE)
    with pytest.raises(SuiteError) as caught:
        load_suite("suites/order.yaml")
    solvers, nets = ", ".join(Tables().names("solver")), "width, depth, activation"
    lines = str(caught.value).splitlines()
    wanted = [
        "suites/order.yaml:3:1 sedes: no key of a suite named 'sedes'. Did you mean 'seeds'?",
        "suites/order.yaml:5:21 base.training.steps: must be whole number > 0, got -5",
        "suites/order.yaml:5:32 base.training.batch: must be whole number > 0, got true",
        "suites/order.yaml:6:20 base.net.widht: net 'mlp' has no parameter named 'widht'. Did you mean 'width'? "
        f"Known: {nets}",
        f"suites/order.yaml:8:26 grid.solver[1].name: no solver named 'huen'. Did you mean 'heun'? Known: {solvers}.",
        "suites/order.yaml:13:37 claims[0].than.path.name: no cell has path.name 'vpp'. Known: linear.",
    ]
    assert len(lines) == len(wanted)
    for line, start in zip(lines, wanted, strict=True):
        assert line.startswith(start)


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ("seeds: 0\n", "seeds", "must be a number of seeds from 1"),
        ("seeds: true\n", "seeds", "must be a number of seeds"),
        ("seeds: '3'\n", "seeds", 'got "3"'),
        ("seeds: [1, 1]\n", "seeds[1]", "listed twice"),
        ("seeds: [1, -1]\n", "seeds[1]", "from 0"),
        ("suite: a/b\n", "suite", "folder"),
        ("base: {solver.steps: 3}\n", "base.solver.steps", "write `solver: {steps: ...}`"),
        ("base: {training: 3}\n", "base.training", "must be parameters"),
        ("base: {training: {warmup: 9000}}\n", "base.training", "must be shorter than steps (5000)"),
        ("base: {training: {optimizer: adma}}\n", "base.training.optimizer", "Did you mean 'adam'?"),
        ("base: {training: {steps: '10'}}\n", "base.training.steps", 'got "10"'),
        ("base: {training: {steps: 1.0}}\n", "base.training.steps", "got 1.0"),
        ("base: {replica: true}\n", "base.replica", "whole number from 0"),
        ("base: {target: exakt}\n", "base.target", "Did you mean 'exact'?"),
        ("base: {target: 3}\n", "base.target", "must be one of exact, displacement"),
        ("grid: {slover: [euler]}\n", "grid.slover", "Did you mean 'solver'?"),
        ("grid: {solver: euler}\n", "grid.solver", "must be a list of values or a mapping"),
        ("grid: {solver: []}\n", "grid.solver", "must be a list of values"),
        ("grid: {solver: {name: euler, steps: 3}}\n", "grid.solver", "write [{name: euler, ...}]"),
        ("grid: {solver: [euler, euler]}\n", "grid.solver[1]", "two values are called 'euler'"),
        ("grid: {target.x: [1]}\n", "grid.target.x", "has no parameters"),
        ("grid: {solver.name: [euler]}\n", "grid.solver.name", "write `solver: ...`"),
        (
            "grid: {solver: [heun, dopri5], solver.steps: [3]}\n",
            "grid.solver.steps",
            "solver 'dopri5' has no parameter",
        ),
        ("grid: {net: [mlp]}\nzip: {net.width: [1]}\n", "zip", "net is varied in grid too"),
        ("zip: {path: [linear], target: [exact, exact]}\n", "zip.target", "path has 1 and target has 2"),
        ("zip: [{path: [linear]}, {path: [linear]}]\n", "zip[1]", "path is an axis already"),
        ("ablate: {baseline: {path: linear}}\n", "ablate", "needs `factors`"),
        ("ablate: {mode: leave_out, factors: {target: exact}}\n", "ablate.mode", "no mode named 'leave_out'"),
        ("include: [{pth: linear}]\n", "include[0].pth", "Did you mean 'path'?"),
        ("include: [{path: linear, label: {path: x}}]\n", "include[0].label.path", "no axis named 'path'"),
        ("include: [{solver: heun}]\n", "include[0]", "solver.name is euler and heun"),
        ("exclude: [{where: {seed: 0}}]\n", "exclude[0]", "lacks `because`"),
        ("exclude: [{where: {seed: 0}, because: x}]\n", "exclude[0]", "every cell"),
        ("metrics: [wasserstein, wasserstein]\n", "metrics[1]", "reported by metrics[0] already"),
        ("metrics: [wasserstien]\n", "metrics[0]", "Did you mean 'wasserstein'?"),
        ("metrics: [{name: mmd, bandwidths: 0}]\n", "metrics[0].bandwidths", "whole number > 0"),
        ("plugins: [gone.py]\n", "plugins[0]", "gone.py: the plugin cannot be read"),
        ("profiles: {quick: {seeds: 1}}\n", "profiles.quick", "another name"),
    ],
)
def test_message(faults: Faults, text: str, key: str, message: str) -> None:
    found = faults(text)
    assert list(found) == [key]
    assert message in found[key]


def test_a_question_is_needed(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("seeds: 1\n")
    with pytest.raises(SuiteError, match="question"):
        load_suite(tmp_path / "s.yaml")


def test_cells_beyond_measure_are_refused_before_they_are_made(faults: Faults) -> None:
    axis = f"[{', '.join(map(str, range(1, 200)))}]"
    found = faults(f"grid: {{net.width: {axis}, net.depth: {axis}, solver.steps: {axis}, replica: {axis}}}\n")
    assert "a suite has at most 1,000,000" in next(iter(found.values()))


def test_a_mistake_in_any_profile_is_reported_whichever_is_asked_for(faults: Faults) -> None:
    found = faults(
        "grid: {solver: [euler, heun], path: [linear]}\n"
        "profiles:\n"
        "  a: {base.training.stps: 3, grid.target: [exact]}\n"
        "  b: {seeds: -1, base.solver.steps: 3, base: {path: linear}}\n"
        "  c: {grid.solver: [huen], metrics: [mdd]}\n"
    )
    assert {key: message.partition(".")[0] for key, message in found.items()} == {
        "profiles.a.base.training.stps": "training has no parameter named 'stps'",
        "profiles.a.grid.target": "no path named 'grid",
        "profiles.b.seeds": "must be a number of seeds from 1 to 100,000, or a list of seeds, got -1",
        "profiles.b.base.solver.steps": "grid sets this too, so that the profile would change nothing; change it there",
        "profiles.b.base": "no path named 'base'",
        "profiles.c.grid.solver[0]": "no solver named 'huen'",
        "profiles.c.metrics[0]": "no metric named 'mdd'",
    }
