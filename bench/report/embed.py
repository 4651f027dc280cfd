"""Put generated tables and sentences into a Markdown page, so that no number in it is typed by hand.

A page marks the place with `<!-- table: results/quick/tables/wasserstein.md -->`, or for a report's question and
answer with `<!-- answer: results/quick/report.md -->`, and `<!-- end -->`, each on a line of its own; paths are
relative to the page. Links in a table are relative to the table's file, and lead to the same place from the page.
"""

from __future__ import annotations

import re
from pathlib import Path

from bench.errors import Corrupt, UsageError
from bench.files import PAGE_LIMIT, read_regular, write_beside

LINK = re.compile(r"\]\((?![a-z]+:|[/#])")
"""Where a link of Markdown to a file begins."""

BLOCK = re.compile(r"(<!-- (?P<what>table|answer): (?P<file>\S+) -->\n).*?(?P<end><!-- end -->)", re.DOTALL)


def embed(page: Path) -> int:
    """Replace every marked block by what it names; the number of blocks. Raises UsageError where a file is missing."""

    def filled(block: re.Match[str]) -> str:
        """A marked block with its table or answer as it is now."""
        file = page.parent / block["file"]
        try:
            text = read_regular(file.parent, file.name, PAGE_LIMIT).decode().strip()
        except (OSError, Corrupt, ValueError) as error:
            raise UsageError(
                f"{page}: the {block['what']} {block['file']} cannot be read ({error}); run its suite"
            ) from None
        if block["what"] == "answer":
            text = _answer(text)
        folder = Path(block["file"]).parent.as_posix()
        text = LINK.sub(f"]({folder}/", text)
        return f"{block[1]}\n{text}\n\n{block['end']}"

    try:
        before = read_regular(page.parent, page.name, PAGE_LIMIT).decode()
    except (OSError, Corrupt, ValueError) as error:
        raise UsageError(f"{page}: cannot be read ({error})") from None
    after, count = BLOCK.subn(filled, before)
    if not count:
        raise UsageError(f"{page}: no block to fill; mark one with <!-- table: FILE --> and <!-- end -->")
    if after != before:
        write_beside(page.parent, page.name, after.encode())
    return count


def _answer(report: str) -> str:
    """The question and the answer with which a report begins."""
    _, question, answer, *_ = [part.strip() for part in report.split("\n\n") if part.strip()]
    return f"*{question}* {answer}"
