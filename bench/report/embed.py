"""Put generated tables into a Markdown page, so that no number in it is typed by hand.

A page marks the place with `<!-- table: results/quick/tables/wasserstein.md -->` and `<!-- end -->`, each on
a line of its own; paths are relative to the page. Links in a table are relative to the table's file, and lead to the
same place from the page.
"""

from __future__ import annotations

import re
from pathlib import Path

from bench.errors import Corrupt, UsageError
from bench.files import PAGE_LIMIT, read_regular, write_beside

LINK = re.compile(r"\]\((?![a-z]+:|[/#])")
"""Where a link of Markdown to a file begins."""

BLOCK = re.compile(r"(<!-- table: (?P<file>\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def embed(page: Path) -> int:
    """Replace every marked block by its table; the number of blocks. Raises UsageError where a table is missing."""

    def table(block: re.Match[str]) -> str:
        """A marked block with its table as it is now."""
        file = page.parent / block["file"]
        try:
            text = read_regular(file.parent, file.name, PAGE_LIMIT).decode().strip()
        except (OSError, Corrupt, ValueError) as error:
            raise UsageError(f"{page}: the table {block['file']} cannot be read ({error}); run its suite") from None
        folder = Path(block["file"]).parent.as_posix()
        text = LINK.sub(f"]({folder}/", text)
        return f"{block[1]}\n{text}\n\n{block[3]}"

    try:
        before = read_regular(page.parent, page.name, PAGE_LIMIT).decode()
    except (OSError, Corrupt, ValueError) as error:
        raise UsageError(f"{page}: cannot be read ({error})") from None
    after, count = BLOCK.subn(table, before)
    if not count:
        raise UsageError(f"{page}: no block to fill; mark one with <!-- table: FILE --> and <!-- end -->")
    if after != before:
        write_beside(page.parent, page.name, after.encode())
    return count
