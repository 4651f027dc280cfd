"""What the documentation says of tests is so."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAMED = re.compile(r"`([\w/]+\.py)(?: -k (\w+))?`(?:, `-k (\w+)`)?")


def rows():
    """(file, part of a test's name) of every row of the table; none for a file that is one test throughout."""
    lines = [line.split(" | ") for line in (ROOT / "docs" / "failures.md").read_text().splitlines() if " | " in line]
    found = [match for cells in lines for match in NAMED.findall(cells[1])]
    return [(file, word) for file, *words in found for word in [each for each in words if each] or [""]]


@pytest.mark.parametrize(("file", "word"), rows())
def test_each_fault_in_the_table_is_tried_by_a_test_that_exists(file, word):
    names = re.findall(r"^def (test_\w+)", (ROOT / "tests" / file).read_text(), re.MULTILINE)
    assert [name for name in names if word in name]


def test_the_table_is_read():
    assert len(rows()) > 25


def test_the_code_of_the_guide_to_python_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "python.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 3
    names = {"__name__": "guide"}
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)
    assert names["x"].shape == (1, 256, 2)
    assert "RK4" in capsys.readouterr().out
    assert set(names["found"].cells["status"]) == {"ok"}
