"""Commit and dirty flag speak of the code alone; versions are read without loading the libraries."""

import json
import os
import platform
import subprocess
from importlib.metadata import version

import numpy as np
import pytest

from bench.distribution import DISTRIBUTION
from bench.store import provenance


def git(root, *arguments):
    settings = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", "-C", root, *who, *arguments], env=settings, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path):
    for name in ("bench/paths.py", "suites/quick.yaml", "pyproject.toml", "README.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("as committed\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


def test_a_clean_checkout_is_its_commit(checkout):
    found = provenance(checkout)
    assert found["commit"] == git(checkout, "rev-parse", "HEAD")
    assert found["dirty"] is False


def test_a_checkout_lies_in_a_folder_of_any_name(checkout):
    moved = checkout.rename(checkout.with_name(os.fsdecode(b"caf\xe9")))
    assert provenance(moved)["commit"] == git(moved, "rev-parse", "HEAD")


@pytest.mark.parametrize(
    ("name", "dirty"),
    [
        ("bench/paths.py", True), ("bench/new.py", True), ("suites/quick.yaml", True),
        ("pyproject.toml", True), ("README.md", False), ("results.txt", False),
    ],
)  # fmt: skip
def test_an_edit_makes_it_dirty_only_where_it_can_change_a_result(checkout, name, dirty):
    (checkout / name).write_text("edited\n")
    assert provenance(checkout)["dirty"] is dirty


def test_outside_a_checkout_there_is_no_commit(checkout, tmp_path_factory):
    outside = tmp_path_factory.mktemp("plain")
    for root in (outside, outside / "missing", checkout / "bench"):  # a repository around it is not its own
        found = provenance(root)
        assert found["commit"] is None
        assert found["dirty"] is None


def test_the_environment_of_a_hook_does_not_lead_elsewhere(checkout, tmp_path_factory, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(tmp_path_factory.mktemp("elsewhere")))
    assert provenance(checkout)["commit"] == git(checkout, "rev-parse", "HEAD")


def test_versions_and_machine_are_plain_json(tmp_path):
    found = provenance(tmp_path)
    assert json.loads(json.dumps(found)) == found
    assert set(found["versions"]) == {"python", DISTRIBUTION, "torch", "numpy", "pot", "torchdiffeq", "torch-fidelity"}
    assert found["versions"]["numpy"] == np.__version__ == version("numpy")
    assert found["versions"]["python"] == platform.python_version()
    assert found["cores"] >= 1
    assert found["cpu"]
