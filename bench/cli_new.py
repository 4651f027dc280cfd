"""`bench new`: a suite or a component to begin from."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from bench.console import out
from bench.errors import UsageError
from bench.words import unknown

app = typer.Typer()


@app.command()
def new(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="suite, path, solver, net, dataset, metric or coupling")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="what it is called, in suites too")],
    folder: Annotated[Path, typer.Option("--folder", metavar="DIR", help="where it goes")] = Path(),
) -> None:
    """Write a commented file that runs as it is: a suite, or a plugin with one component.

    Where the folder has one called suites, it goes there: plugins lie beside the suites that name them.
    """
    from bench.scaffold import KINDS, SUITE
    from bench.scaffold import new as write

    if kind not in KINDS:
        raise UsageError(unknown("kind", kind, KINDS))
    file = write(kind, name, folder)
    typed = shlex.quote(str(file))
    out.print(f"{file}: written; next")
    if kind == SUITE:
        out.print(f"  bench plan {typed}")
        out.print(f"  bench run {typed} --profile smoke")
        return
    where = "among the metrics" if kind == "metric" else "under base, or as a value in the grid"
    line = f"metrics: [wasserstein, {name}]" if kind == "metric" else f"{kind}: {name}"
    out.print(f"  bench check {typed}")
    out.print("  bench run SUITE, of a suite beside it (`bench new suite NAME` writes one) that holds")
    out.print(f"    plugins: [{file.name}]")
    out.print(f"    {line}    # {where}")
