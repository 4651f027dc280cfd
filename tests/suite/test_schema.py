"""The JSON Schema accepts what loads and refuses what an editor should underline."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from bench.components import Tables
from bench.suite import load_suite, suite_schema
from bench.suite.faults import Faults
from bench.suite.reader import read_yaml

EXAMPLES = [
    """\
suite: noisy_paths
question: Does noise help?
seeds: 3
base:
  dataset: {name: gaussian_mixture}
  path: linear
  net: {width: 64}
  training: {steps: 50, learning_rate: 1e-3, ema: null}
  replica: 2
grid:
  path: {straight: {name: linear}, noisy: {name: noisy_bridge, s: 0.5}}
  target: [exact, displacement]
  solver.steps: {few: 3}
exclude:
  - {where: {path: straight, target: [displacement]}, because: the same number}
metrics: [wasserstein, {name: mmd, bandwidths: 3}]
claims:
  - claim: c
    metric: wasserstein
    better: {path: noisy, target: exact}
    than: {path: noisy, target: displacement}
    by: 10%
    at: nfe <= 20
  - {claim: d, metric: nfe, better: {path: noisy}, than: {path: straight}, margin: 0.1}
  - {claim: e, metric: wasserstein, where: {path: noisy}, reaches: 1.5 x floor at nfe <= 20, topic: paths}
profiles: {smoke: {seeds: 1, base.training.steps: 20}}
""",
    """\
question: What matters?
seeds: [4, 7]
zip: [{dataset: [two_gaussians], replica: [1]}, {solver: [{name: heun, steps: 3}]}]
ablate:
  baseline: {clock: data_at_0}
  factors: {target: displacement, net: {wide: {width: 9}, deep: {depth: 4}}, training.steps: 9}
include: [{path: noisy_bridge, label: {ablation: bent}}]
""",
]
SCHEMA = suite_schema(Tables())


def parsed(text: str) -> Any:
    node = read_yaml(text, Faults("s.yaml"))
    assert node is not None
    return node.plain


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("text", EXAMPLES)
def test_what_loads_fits(text: str, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(text)
    assert len(load_suite(tmp_path / "s.yaml").cells) > 1
    jsonschema.validate(parsed(text), SCHEMA)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["sedes"], 3),
        (["seeds"], 0),
        (["base", "solver"], "huen"),
        (["base", "path"], {"name": "linear", "s": 1}),
        (["base", "net"], {"widht": 1}),
        (["base", "training", "steps"], -1),
        (["base", "target"], "exakt"),
        (["grid", "slover"], ["euler"]),
        (["grid", "target.x"], ["exact"]),
        (["grid", "solver"], "euler"),
        (["claims", 0, "by"], 0.1),
        (["claims", 0, "at"], "nfe <= 12345678901"),
        (["claims", 0, "topic"], "path"),
        (["claims", 2, "reaches"], "1.5"),
        (["claims", 2, "margin"], 0.1),
        (["suite"], "s" * 101),
        (["seeds"], 1_000_000),
        (["profiles"], {"a/b": {"seeds": 1}}),
        (["exclude", 0], {"where": {"path": "straight"}}),
        (["metrics"], ["wasserstien"]),
        (["profiles", "quick"], {"seeds": 1}),
    ],
)
def test_slips_are_underlined(path: list[Any], value: Any) -> None:
    suite = copy.deepcopy(parsed(EXAMPLES[0]))
    place = suite
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(suite, SCHEMA)
