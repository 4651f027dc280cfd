"""CSV that no spreadsheet takes for formulas, and that comes back as it was."""

import io

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.csv_text import csv_text, read_csv

BEGINS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝")
TEXTS = [
    "=1+1",
    "+x",
    "-x",
    "-0.3",
    "+1e3",
    "-inf",
    "@a",
    "\ta",
    "\na",
    "'",
    "'=1",
    "''",
    "a",
    "",
    "nan",
    "007",
    "a,b",
    '"=1"',
]


def is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return "inf" not in text


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(TEXTS) | st.text(st.characters(codec="utf-8", exclude_characters="\r\0"))))
def test_texts_come_back_and_none_begins_a_formula(tmp_path_factory, texts):
    table = pd.DataFrame({"=a": pd.Series(texts, dtype=object), "-b": pd.Series(-0.3, index=range(len(texts)))})
    written = csv_text(table)
    raw = pd.read_csv(io.StringIO(written), dtype=str, keep_default_na=False)
    assert not [text for text in (*raw["'=a"], *raw) if text.startswith(BEGINS) and not is_number(text)]
    assert set(raw["'-b"]) <= {"-0.3"}
    file = tmp_path_factory.getbasetemp() / "t.csv"
    file.write_text(written, encoding="utf-8", newline="\n")
    back = read_csv(file.read_bytes())
    assert (list(back), list(back["=a"])) == (["=a", "-b"], texts)


@pytest.mark.parametrize(("text", "comes_back"), [("\r=1", "\n=1"), ("50 %\r100 %\r\n", "50 %\n100 %\n")])
def test_a_line_end_of_any_kind_stays_inside_its_cell(tmp_path, text, comes_back):
    (tmp_path / "t.csv").write_text(csv_text(pd.DataFrame({"a": [text], "b": [1]})), newline="\n")
    assert read_csv((tmp_path / "t.csv").read_bytes()).to_numpy().tolist() == [[comes_back, "1"]]
