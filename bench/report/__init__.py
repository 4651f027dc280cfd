"""Tables, figures and the page of a run, made from the files in its folder; no torch is needed.

    report = write_report(Path("results/quick"), store_root=Path("results/store"))
    print(headline_text(report, width=100))

Drawing libraries load when the first figure is drawn, pandas when the first table is made.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.report.page import Report
    from bench.report.results import Results

__all__ = ["headline_text", "write_report"]


def write_report(folder: Path, store_root: Path | None = None, traced: bool = False) -> Report:
    """Write tables/, figures/ and report.md of the run in `folder`; see `bench.report.page`."""
    from bench.report import page

    return page.write_report(folder, store_root, traced)


def headline_text(run: Report | Results | Path, width: int = 100) -> str:
    """A run's headline, given its report or its folder, as a plain table for a terminal of `width` columns."""
    from bench.report import page

    return page.headline_plain(run, width)
