r"""Tables as CSV text and back, with no cell that a spreadsheet would take for a formula.

A text that begins as a formula does (`=`, `+`, `-`, `@`, a tab, a line's end, or the wide forms of the signs) gets an
apostrophe in front, and so does one that begins with an apostrophe; reading takes one apostrophe off. A text that is a
number, such as the label `-0.3`, is no formula and stays, as numbers do. Line ends inside a text become `\n`: a lone
`\r` would end the row, since it is not put in quotes.
"""

from __future__ import annotations

import io
import re

import pandas as pd

MARK = "'"
BEGINS = frozenset("=+-@\t\n＝＋－＠" + MARK)
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)


def csv_text(table: pd.DataFrame, float_format: str | None = None) -> str:
    """The table as CSV, without its index."""
    texts = table.select_dtypes(exclude="number").columns
    safe = table.assign(**{name: table[name].map(_marked, na_action="ignore") for name in map(str, texts)})
    safe.columns = pd.Index([_marked(str(name)) for name in table.columns])
    return safe.to_csv(index=False, lineterminator="\n", float_format=float_format)


def read_csv(content: bytes) -> pd.DataFrame:
    """All columns as text: a label may be `none`, `nan` or `007` and stays what it is."""
    table = pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False, encoding="utf-8")
    for name in table.columns:
        marked = table[name].str.startswith(MARK)
        if marked.any():
            table[name] = table[name].str.removeprefix(MARK)
    return table.rename(columns=lambda name: str(name).removeprefix(MARK))


def _marked(value: object) -> object:
    """The value, with a mark in front where it is a text that begins as a formula does."""
    if not isinstance(value, str):
        return value
    text = value.replace("\r\n", "\n").replace("\r", "\n") if "\r" in value else value
    return MARK + text if text[:1] in BEGINS and not _NUMBER.fullmatch(text) else text
