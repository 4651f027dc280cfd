"""`bench explain`: what stands behind a cell's numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.api import explain as found
from bench.cli_suites import AllowOption, ProfileOption, ResultsDir
from bench.console import err, out

app = typer.Typer()


@app.command()
def explain(
    suite: Annotated[str, typer.Argument(metavar="SUITE", help="a suite file, or a name (bench ls suites)")],
    cell: Annotated[
        list[str],
        typer.Argument(metavar="CELL...", help="a cell's number in the tables, or FACTOR=VALUE terms as of --only"),
    ],
    profile: ProfileOption = None,
    results: ResultsDir = Path("results"),
    allow: AllowOption = None,
) -> None:
    """Tell all that stands behind a cell's numbers, from the store alone; times are those of this machine.

    That is its configuration, the jobs that it stands on with their entries, its values with their floors, and the
    command that runs it alone. Terms that leave several seeds tell of each of them shortly.
    """
    told = found(suite, cell, profile=profile, results=results, allow_plugins=allow or ())
    out.print(str(told))
    for text in told.notices:
        err.print(f"note: {text}")
