"""What a suite may not contain as YAML, and that no text raises anything but SuiteError."""

from __future__ import annotations

import copy
import functools
import json
import os
import re
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.errors import SuiteError, UsageError
from bench.suite import Suite, load_suite
from bench.suite.faults import Faults
from bench.suite.reader import read_yaml

VALID = """\
suite: noisy
question: Does noise on the path help?
seeds: [0, 3]
base:
  path: {name: linear}
  training: {steps: 50, learning_rate: 1e-3}
  solver: heun
grid:
  path: {straight: linear, noisy: {name: noisy_bridge, s: 0.5}}
  target: [exact, displacement]
  solver.steps: [10, 20]
zip: [{net.width: [8, 16], net.depth: [1, 2]}]
include:
  - {path: linear, solver: {name: euler, steps: 7}, label: {path: own}}
exclude:
  - where: {path: straight, target: displacement}
    because: "the same number"
metrics: [wasserstein, {name: mmd, bandwidths: 3}]
claims:
  - {claim: c, metric: wasserstein, better: {target: exact}, than: {target: displacement}, by: 10%, at: nfe <= 20}
profiles:
  smoke: {seeds: 1, base.training.steps: 20, grid.target: [exact, displacement]}
"""


def plain(text: str) -> Any:
    node = read_yaml(text, Faults("s.yaml"))
    assert node is not None
    return node.plain


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        (".5", 0.5),
        ("010", 10),
        ("0o17", 15),
        ("0xff", 255),
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("1_000", "1_000"),
        ("12:30:45", "12:30:45"),
        ("'10'", "10"),
        ('"true"', "true"),
        ("true", True),
        ("~", None),
        ("", None),
        ("10%", "10%"),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    read = plain(f"a: {text}\n")
    assert read == {"a": value}
    assert type(read["a"]) is type(value)


@pytest.mark.parametrize(
    ("text", "line", "column", "word"),
    [
        ("a: &x 1\n", 1, 4, "anchor"),
        ("a: 1\nb: *x\n", 2, 4, "alias"),
        ("a: !!str 10\n", 1, 4, "tag"),
        ("a: [1, 2024-01-31]\n", 1, 8, "date"),
        ("a: 1\nb: 2\na: 3\n", 3, 1, "the first is in line 1"),
        ("1: x\n", 1, 1, '"1"'),
        ("? [a, b]\n: x\n", 1, 3, "keys are printable text"),
        ("a: .inf\n", 1, 4, "finite"),
        ("a: 1e999\n", 1, 4, "finite"),
        (f"a: {10**30}\n", 1, 4, "2^63"),
        ("%YAML 1.1\n---\na: 1\n", 1, 1, "directive"),
        ("a: 1\n---\nb: 2\n", 2, 1, "second document"),
        ('a: "\\ud800"\n', 1, 4, "surrogate"),
        ("a: " + "[" * 40 + "]" * 40, 1, 19, "nested"),
    ],
)
def test_what_suites_have_no_use_for_is_refused_where_it_stands(text: str, line: int, column: int, word: str) -> None:
    faults = Faults("s.yaml")
    try:
        read_yaml(text, faults)
        found = faults.error().faults
    except SuiteError as error:  # an alias without its anchor may be a syntax error
        found = error.faults
    assert [(fault.line, fault.column) for fault in found] == [(line, column)]
    assert word in found[0].message


@pytest.mark.parametrize(
    ("content", "place", "word"),
    [
        (b"a: [1, 2\n", ":2:1 ", "not valid YAML"),
        (b"a: b: c\n", ":1:5 ", "not valid YAML"),
        (b"a: 1\nb: x\x07\n", ":2:5 ", "not valid YAML"),
        (b"a: 1\nb: \xff\n", ":2:4 ", "UTF-8"),
        (b"", ":1:1 ", "a mapping"),
        (b"# nothing\n", ":1:1 ", "a mapping"),
        (b"[1]\n", ":1:1 ", "a mapping"),
        (b'a: "\\U99999999"\n', ":1:1 ", "not valid YAML"),
    ],
)
def test_files_that_are_no_suite(tmp_path: Path, content: bytes, place: str, word: str) -> None:
    file = tmp_path / "s.yaml"
    file.write_bytes(content)
    with pytest.raises(SuiteError) as caught:
        load_suite(file)
    assert str(caught.value).startswith(f"{file}{place}")
    assert word in str(caught.value)
    assert len(caught.value.faults) == 1


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "order.yaml").write_text(VALID)
    with pytest.raises(UsageError, match=r"ordr\.yaml: No such file.*Did you mean '.*order\.yaml'"):
        load_suite(tmp_path / "ordr.yaml")
    with pytest.raises(UsageError, match="directory"):
        load_suite(tmp_path)


def test_what_is_no_regular_file_of_bounded_size_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.yaml")
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    with (tmp_path / "large.yaml").open("wb") as opened:
        opened.truncate(2**40)
    said = {"/dev/zero": "regular", "fifo.yaml": "regular", "loop.yaml": "levels", "large.yaml": "larger than 1 MiB"}
    for name, word in said.items():
        with pytest.raises(UsageError, match=word):
            load_suite(tmp_path / name)
    with pytest.raises(UsageError, match="null"):
        load_suite("a\0b.yaml")


STEPS = ", ".join(map(str, range(1, 1001)))
CELLS = f"seeds: 100\ngrid: {{solver.steps: [{STEPS}]}}\n"
CLAIM = "{claim: c, metric: wasserstein, better: {solver.steps: 1}, than: {solver.steps: 2}}"
LARGE = {
    "brackets": ("base: " + "[" * 100_000, "nested deeper"),
    "seeds": (f"seeds: [{', '.join(map(str, range(100_000)))}]", "30,000 keys and values"),
    "values": (f"base: [{'1,' * 500_000}]", "30,000 keys and values"),
    "keys": ("".join(f"k{i}: 1\n" for i in range(14_000)), "no key of a suite"),
    "a word": (f"base: {{solver: {'e' * 1_000_000}}}", "no solver named"),
    "a number": ("seeds: " + "9" * 500_000, "finite"),
    "aliases": ("a: &a [1]\n" + "".join(f"b{i}: &b{i} [{'*a, ' * 9}]\n" for i in range(99)), "alias"),
    "cells": (f"seeds: 10000\ngrid: {{solver.steps: [{STEPS}]}}", "10,000,000 cells .* at most 1,000,000"),
    "axes": (f"grid: {{{', '.join(f'net.p{i}: [1]' for i in range(70))}}}", "70 axes; .* at most 32"),
    "profiles": (CELLS + f"profiles: {{{', '.join(f'p{i}: {{base.net.width: 9}}' for i in range(99))}}}", "in all"),
    "claims": (CELLS + f"claims: [{', '.join([CLAIM] * 900)}]", "claims .* over 100,000 cells"),
    "includes": (f"include: [{', '.join(f'{{solver.steps: {i}}}' for i in range(1, 5000))}]", "different cells"),
}


@functools.cache
def of_an_ordinary_suite() -> float:
    """Processor seconds that this machine takes for 10,000 cells, to which others are held: machines differ."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "s.yaml"
        file.write_text(f"question: what?\nseeds: 10\ngrid: {{solver.steps: [{STEPS}]}}\n")
        began = time.process_time()
        assert len(load_suite(file).cells) == 10_000
        return time.process_time() - began


@pytest.mark.parametrize("what", LARGE)
def test_what_is_beyond_measure_is_refused_within_seconds(tmp_path: Path, what: str) -> None:
    text, word = LARGE[what]
    (tmp_path / "s.yaml").write_text(f"question: what?\n{text}")
    began, held = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(SuiteError) as caught:
        load_suite(tmp_path / "s.yaml")
    assert re.search(word, str(caught.value))
    assert all(len(fault.message) < 2000 for fault in caught.value.faults)
    assert time.process_time() - began < 80 * of_an_ordinary_suite()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held < 2**20  # KiB


@pytest.mark.parametrize(("name", "words"), [('"a\\0b"', "embedded null byte"), ("/dev/zero", "not a regular file")])
def test_a_name_that_no_file_can_have_is_a_mistake_where_it_stands(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "s.yaml").write_text(f"question: what?\nmetrics: [{{name: fid, weights: {name}}}]\n")
    with pytest.raises(SuiteError, match=rf"s.yaml:2:\d+ metrics\[0\].weights: .*{words}"):
        load_suite(tmp_path / "s.yaml")


def test_the_valid_file_is_valid_with_a_byte_order_mark_and_any_line_ends(tmp_path: Path) -> None:
    sizes = set()
    for content in (VALID.encode(), b"\xef\xbb\xbf" + VALID.encode(), VALID.replace("\n", "\r\n").encode()):
        (tmp_path / "s.yaml").write_bytes(content)
        sizes.add(len(load_suite(tmp_path / "s.yaml").cells))
    assert sizes == {2 * ((2 * 2 * 2 * 2) - 4 + 1)}


PIECES = (
    r"""
{} | [] | [[]] | null | true | -1 | 1e400 | 0 | {name: x} | {a: {b: {c: 1}}} | x | '\' | &a 1 | path | solver
solver.steps | name | label | [x, y] | {x: 1} | "\0" | {name: fid, weights: "a\0b"} | é | # | - | ? | a: | !!x
""".strip()
    .replace("\n", " | ")
    .split(" | ")
)


MANY = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
"""10,000 in the long run."""


@MANY
@given(data=st.data())
def test_no_text_raises_anything_but_suite_error(tmp_path: Path, data: st.DataObject) -> None:
    """A valid file with tokens dropped, replaced, doubled or strewn with odd pieces."""
    tokens = [token for line in VALID.splitlines() for token in (*_split(line), "\n")]
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(tokens) - 1))
        change = data.draw(st.sampled_from(["drop", "replace", "insert", "swap", "text"]))
        if change == "drop":
            del tokens[at]
        elif change == "swap":
            other = data.draw(st.integers(0, len(tokens) - 1))
            tokens[at], tokens[other] = tokens[other], tokens[at]
        else:
            piece = data.draw(st.text(max_size=5) if change == "text" else st.sampled_from(PIECES))
            tokens[at : at + (change == "replace")] = [piece]
    (tmp_path / "s.yaml").write_bytes("".join(tokens).encode("utf-8", "surrogatepass"))
    check(tmp_path / "s.yaml")


ODD = [
    plain(f"a: {text}")["a"]
    for text in """
~ | true | -1 | 0 | 1e300 | "" | " " | x | heun | path | 10% | [] | {} | [[]] | [~] | [a, a] | {name: x}
9e99 | {"": 1} | {name: [x]} | {a: {b: {}}} | {a.b.c: 1} | {path: linear}
{solver.steps: 3} | [{name: euler}] | {seed: 0} | [1, 2, 3]
""".strip()
    .replace("\n", " | ")
    .split(" | ")
]
TREE = plain(VALID)
KEYS = ["x", "path", "solver.steps", "name", "net.width.x", ".", "seed", "label", "zip"]


@MANY
@given(data=st.data())
def test_no_tree_raises_anything_but_suite_error(tmp_path: Path, data: st.DataObject) -> None:
    """A valid file's tree with values and keys exchanged; JSON is YAML, so that all of it parses."""
    tree = copy.deepcopy(TREE)
    for _ in range(data.draw(st.integers(1, 3))):
        place, key = data.draw(st.sampled_from(_places(tree)))
        if isinstance(place, dict) and data.draw(st.booleans()):
            place[data.draw(st.sampled_from(KEYS))] = place.pop(key)
        else:
            place[key] = copy.deepcopy(data.draw(st.sampled_from(ODD)))
    (tmp_path / "s.yaml").write_text(json.dumps(tree))
    check(tmp_path / "s.yaml")


@pytest.mark.long
@pytest.mark.parametrize(
    "test", [test_no_text_raises_anything_but_suite_error, test_no_tree_raises_anything_but_suite_error]
)
def test_ten_thousand_files(tmp_path: Path, test: Any) -> None:
    inner = test.hypothesis.inner_test
    settings(MANY, max_examples=5000)(given(data=st.data())(inner))(tmp_path=tmp_path)


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) of a tree."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [place for key, value in items for place in ((tree, key), *_places(value))]


def check(file: Path) -> None:
    """The file gives cells, or faults with places, one a line."""
    began = time.process_time()
    try:
        outcome: SuiteError | Suite = load_suite(file)
    except SuiteError as error:
        outcome = error
    assert time.process_time() - began < 80 * of_an_ordinary_suite()
    if isinstance(outcome, Suite):
        assert len(outcome.cells) > 0
    else:
        assert outcome.faults
        assert all(fault.line >= 1 and fault.column >= 1 and fault.message for fault in outcome.faults)
        assert str(outcome).count("\n") == len(outcome.faults) - 1


def _split(line: str) -> list[str]:
    parts = [""]
    for char in line:
        if char in " {}[],:'\"":
            parts += [char, ""]
        else:
            parts[-1] += char
    return [part for part in parts if part]
