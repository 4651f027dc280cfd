"""What commands about suites share: their options, a suite by its name, and the command as it was typed."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.api import load_asked
from bench.console import err

if TYPE_CHECKING:
    from bench.suite import Suite

Suites = Annotated[list[str], typer.Argument(metavar="SUITE...", help="suite files, or names (bench ls suites)")]
ResultsDir = Annotated[Path, typer.Option("--results", metavar="DIR", help="where results go")]
ProfileOption = Annotated[str | None, typer.Option("--profile", help="a profile of the suite, such as smoke")]
DeviceOption = Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1; auto takes a GPU if there is one")]
WorkersOption = Annotated[int | None, typer.Option("--workers", min=1, help="processes at once; one a core")]
OnlyOption = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="FACTOR=VALUE", help="run these cells only; may be repeated"),
]

AllowOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--allow-plugin",
        metavar="PATH",
        help="run plugins that lie here, outside the suite's folder; may be repeated",
    ),
]


def load(name: str, profile: str | None, only: list[str] | None, allow: list[Path] | None) -> Suite:
    """A suite in a profile, with its plugins named before they run. Raises SuiteError with every mistake in it."""
    return load_asked(name, profile, only or (), allow or (), err)


def command_line() -> str:
    """The command as it was typed, for a shell."""
    return shlex.join(["bench", *sys.argv[1:]])
