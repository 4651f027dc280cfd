"""A code hash follows the code that a component can reach, and nothing else."""

import importlib
import sys
from textwrap import dedent

import pytest

from bench import codehash
from bench.nets.mlp import MLP, ResidualMLP
from bench.paths import Linear, NoisyBridge

SOURCE = '''
"""A module."""
SCALE = 2.0

def used(x):
    """Doc."""
    return SCALE * x

def unused(x):
    return x

class Thing:
    """A thing."""
    def go(self, x):
        # a comment
        return used(x)
'''


@pytest.fixture
def digest(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)

    def of(source, number=[0]):  # noqa: B006 - counts the modules made
        number[0] += 1
        name = "made_module"
        (tmp_path / f"{name}.py").write_text(dedent(source))
        sys.modules.pop(name, None)
        importlib.invalidate_caches()
        codehash._module.cache_clear()
        codehash._code_hash.cache_clear()
        sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
        cls = importlib.import_module(name).Thing
        sys.dont_write_bytecode = before
        return codehash.code_hash(classes=[cls])

    yield of
    sys.modules.pop("made_module", None)
    codehash._module.cache_clear()
    codehash._code_hash.cache_clear()


@pytest.mark.parametrize(
    ("before", "after"),
    [("# a comment", "# another"), ('"""A thing."""', '"""Other words."""'), ("    return x\n", "    return -x\n")],
)
def test_comments_docstrings_and_code_out_of_reach_do_not_count(digest, before, after):
    assert before in SOURCE
    assert digest(SOURCE) == digest(SOURCE.replace(before, after))


@pytest.mark.parametrize(
    ("before", "after"), [("SCALE = 2.0", "SCALE = 3.0"), ("SCALE * x", "x"), ("return used(x)", "return -used(x)")]
)
def test_code_within_reach_counts(digest, before, after):
    assert digest(SOURCE) != digest(SOURCE.replace(before, after))


def test_neighbours_in_a_room_do_not_share_a_code_hash():
    assert codehash.code_hash(classes=[Linear]) != codehash.code_hash(classes=[NoisyBridge])
    assert ("bench.nets.mlp", "ResidualMLP") not in codehash.reachable([("bench.nets.mlp", "MLP")])
    assert codehash.code_hash(classes=[MLP]) != codehash.code_hash(classes=[ResidualMLP])


def test_reach_goes_through_imports_of_the_package():
    assert ("bench.nets.embeddings", "TimeEmbedding") in codehash.reachable([("bench.nets.mlp", "MLP")])
    assert ("bench.interfaces", "Path") in codehash.reachable([("bench.paths", "Linear")])
