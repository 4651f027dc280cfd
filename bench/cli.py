"""The command line: arguments, progress and messages only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench import __version__, cli_components, cli_explain, cli_new, cli_results, cli_runs, cli_settle, cli_store
from bench.api import planned
from bench.cli_suites import (
    AllowOption,
    DeviceOption,
    OnlyOption,
    ProfileOption,
    ResultsDir,
    Suites,
    WorkersOption,
    command_line,
    load,
)
from bench.console import FAILED, INTERRUPTED, OK, WRONG, err, out, spelt_streams, written
from bench.errors import BenchError, ComponentError, StoreError, SuiteError, UsageError
from bench.shipped import suite_file
from bench.words import unknown

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
app.add_typer(cli_components.app)
app.add_typer(cli_new.app)
app.add_typer(cli_runs.app)
app.add_typer(cli_explain.app)
app.add_typer(cli_results.app)
app.add_typer(cli_settle.app)
app.add_typer(cli_store.app, name="store")


@app.callback(invoke_without_command=True)
def _main(
    version: Annotated[bool, typer.Option("--version", help="print the version and stop")] = False,
) -> None:
    """Settle questions about flow matching: paths, conventions, networks and solvers, by measurement."""
    if version:
        out.print(__version__)
        raise typer.Exit(OK)


@app.command()
def run(
    suites: Suites,
    profile: ProfileOption = None,
    device: DeviceOption = "auto",
    only: OnlyOption = None,
    results: ResultsDir = Path("results"),
    workers: WorkersOption = None,
    stale: Annotated[str, typer.Option("--stale", help="results of older code: redo, or keep")] = "redo",
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="stop at the first failure")] = False,
    minutes: Annotated[
        str | None, typer.Option("--max-minutes", metavar="N", help="stop a job that takes longer; none: no limit")
    ] = None,
    still: Annotated[
        str | None, typer.Option("--max-still", metavar="N", help="stop a job without progress for so many minutes")
    ] = None,
    memory: Annotated[
        str | None, typer.Option("--max-memory", metavar="MIB", help="stop a job that takes more; or such as 4GB")
    ] = None,
    disk: Annotated[
        str | None, typer.Option("--max-disk", metavar="MIB", help="stop a job that writes more; or such as 4GB")
    ] = None,
    engine: Annotated[str, typer.Option("--engine", help="who does the work: local, ray or slurm")] = "local",
    address: Annotated[
        str | None, typer.Option("--address", metavar="HOST:PORT", help="the Ray cluster; none: one on this machine")
    ] = None,
    slurm: Annotated[
        list[str] | None, typer.Option("--slurm", metavar="KEY=VALUE", help="what to ask Slurm for; may be repeated")
    ] = None,
    allow: AllowOption = None,
) -> None:
    """Run suites: do what is missing, then write tables, figures and the report."""
    if stale not in {"redo", "keep"}:
        raise UsageError(f"--stale: no choice {stale!r}; known: redo, keep")
    from bench.limits import limits_asked, option

    texts = {"minutes": minutes, "still": still, "memory": memory, "disk": disk}
    limits = limits_asked({key: text for key, text in texts.items() if text is not None}, option)
    for name in suites:
        suite_file(name)  # a misspelt name is told at once
    from bench.execute.engines import engine_named
    from bench.work import work

    place = engine_named(engine, workers, address, slurm or [], results)
    place.warm_up()  # loads torch in the fork server while this process loads it too
    status = OK
    try:
        for suite in [load(name, profile, only, allow) for name in suites]:
            did = work(
                suite, place, device, results, out, err, command=command_line(), keep_stale=stale == "keep",
                fail_fast=fail_fast, partial=bool(only), limits=limits,
            )  # fmt: skip
            status = max(status, did.status)
            if status == INTERRUPTED:
                break
    finally:
        place.stop()
    raise typer.Exit(status)


@app.command()
def plan(
    suites: Suites,
    profile: ProfileOption = None,
    only: OnlyOption = None,
    results: ResultsDir = Path("results"),
    workers: WorkersOption = None,
    allow: AllowOption = None,
) -> None:
    """Show what a run would do: cells, distinct jobs, what is stored already, how long the rest will take."""
    for suite in [load(name, profile, only, allow) for name in suites]:
        found = planned(suite, results, workers)
        out.print(str(found))
        for text in found.notices:
            err.print(f"note: {text}")


@app.command()
def report(
    folders: Annotated[
        list[str] | None, typer.Argument(metavar="[SUITE]...", help="suites that have run; none: all")
    ] = None,
    results: ResultsDir = Path("results"),
    embed: Annotated[
        list[Path] | None, typer.Option("--embed", metavar="PAGE", help="a Markdown page whose marked tables to renew")
    ] = None,
) -> None:
    """Write tables, figures and report.md again from stored records. Needs neither a GPU nor torch."""
    from bench.report import seal, write_report
    from bench.report.embed import embed as renew
    from bench.report.settled import BEST, write_index
    from bench.store import disk

    known = sorted(path for path in results.glob("*") if seal.is_there(path))
    names = [Path(name).stem for name in folders] if folders else [path.name for path in known]
    if not names:
        raise UsageError(f"{results}: no suite has run here yet; run one with: bench run quick")
    unsealed, status = [], OK
    for name in names:
        folder = results / name
        if not seal.is_there(folder):
            raise UsageError(f"{folder}: {unknown('results of a suite', name, [path.name for path in known])}")
        try:
            with disk(folder, "write the report"):
                written = write_report(folder, results / "store", traced=True)
        except StoreError as error:  # one folder's damage does not keep the others from their reports
            err.print(str(error))
            status = FAILED
            continue
        unsealed += [] if written.verified else [name]
        for text in written.warnings:
            err.print(f"warning: {text}")
        out.print(f"report: {folder / written.page.name} and report.html")
    if unsealed:
        err.print(
            f"warning: {', '.join(unsealed)}: written by an older version, without checksums, so that nobody can tell "
            "whether the tables are what the run wrote; run a suite again to have them"
        )
    if (results / BEST).is_file():  # the folder of what is published
        write_index(results)
    for page in embed or []:
        out.print(f"{page}: {renew(page)} tables renewed")
    if status:
        raise typer.Exit(status)


def main() -> None:
    """Run the command line; every error of ours is a message, never a traceback."""
    try:
        with spelt_streams():
            status = _status()
    except (OSError, SystemExit) as error:
        if written(error) and isinstance(error, OSError):
            raise
        status = FAILED
    else:
        status = status if written() else max(status, FAILED)
    raise SystemExit(status)


def _status() -> int:
    """Run the command line, say what is wrong, and tell the status."""
    try:
        status = app(standalone_mode=False)
    except SuiteError as error:
        for fault in error.faults:
            err.print(str(fault))
        count = len(error.faults)
        err.print(f"{count} mistake{'s' if count > 1 else ''}; nothing was run")
        status = WRONG
    except BenchError as error:
        err.print(str(error))
        status = WRONG if isinstance(error, UsageError | ComponentError) else FAILED
    except (KeyboardInterrupt, typer.Abort) as error:
        if isinstance(error.__cause__, EOFError):  # which the parser of options takes for an interruption
            raise error.__cause__ from None
        status = INTERRUPTED
    except Exception as error:
        if not hasattr(error, "show"):  # typer's own usage errors, whichever click it carries
            raise
        error.show()
        status = WRONG
    if status == INTERRUPTED:
        err.print("interrupted; what was finished is stored, and the same command goes on from there")
    return status or OK
