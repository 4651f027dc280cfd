"""The command line: arguments, progress and messages only."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench import __version__, cli_components, cli_results, cli_runs, cli_settle, cli_store
from bench.cli_suites import (
    AllowOption,
    DeviceOption,
    OnlyOption,
    ProfileOption,
    ResultsDir,
    Suites,
    WorkersOption,
    device_named,
    gpu_name,
    lay_out,
    load,
    provenance_here,
    say_notices,
    store_of,
    suite_file,
)
from bench.cli_work import command_line, folder_of, publish_report, say_lost, terminated_as_interrupted, verdict_of
from bench.console import FAILED, INTERRUPTED, OK, WRONG, err, out
from bench.errors import BenchError, ComponentError, StoreError, SuiteError, UsageError
from bench.words import duration, unknown

if TYPE_CHECKING:
    from bench.execute import Engine
    from bench.limits import Limits
    from bench.suite import Suite

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
app.add_typer(cli_components.app)
app.add_typer(cli_runs.app)
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
    limits = _limits(minutes=minutes, still=still, memory=memory, disk=disk)
    for name in suites:
        suite_file(name)  # a misspelt name is told at once
    from bench.execute.engines import engine_named

    place = engine_named(engine, workers, address, slurm or [], results)
    place.warm_up()  # loads torch in the fork server while this process loads it too
    status = OK
    for suite in [load(name, profile, only, allow) for name in suites]:
        status = max(status, _run(suite, place, device, results, stale == "keep", fail_fast, bool(only), limits))
        if status == INTERRUPTED:
            break
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
    from bench.execute import Estimator, LocalEngine
    from bench.execute.driver import look_up
    from bench.kinds import KINDS

    for suite in [load(name, profile, only, allow) for name in suites]:
        store, provenance = store_of(results), provenance_here()
        laid = lay_out(suite, provenance, device_named("auto"))
        found = look_up(laid, store)
        excluded = sum(exclusion.count for exclusion in suite.exclusions)
        out.print(f"{suite.name}: {suite.question}")
        out.print(
            f"  {len(suite.cells)} cells, {len(suite.seeds)} seeds, {excluded} excluded, {len(laid.refused)} refused"
        )
        for kind in KINDS:
            stored = sum(1 for job in found if job[0] == kind)
            if laid.count(kind):
                out.print(f"  {laid.count(kind):>6} {kind:<11} {stored} stored, {laid.count(kind) - stored} to do")
        missing = [job for job in laid.jobs.values() if job.id not in found]
        stale = sum(1 for job in missing if store.other_code(job.kind, job.key, job.code))
        if stale:
            out.print(f"  {stale} of them are stored by older code and will be done again (--stale=keep uses them)")
        seconds, unmeasured = Estimator(store).left(missing, workers or LocalEngine().slots)
        known = len(missing) - unmeasured
        if missing and known:
            rest = f"; nothing is known of the other {unmeasured}" if unmeasured else ""
            out.print(f"  about {duration(seconds)} for {known} of {len(missing)} jobs, from past records{rest}")
        elif missing:
            out.print("  no past records to estimate the time from")
        else:
            out.print("  nothing to do")
        say_notices(store)
        for reason in sorted(set(laid.refused.values())):
            count = sum(1 for r in laid.refused.values() if r == reason)
            out.print(f"  refused: {count} cells: {reason}")


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
    from bench.store import disk

    known = sorted(path for path in results.glob("*") if seal.is_there(path))
    names = [Path(name).stem for name in folders] if folders else [path.name for path in known]
    if not names:
        raise UsageError(f"{results}: no suite has run here yet; run one with: bench run suites/quick.yaml")
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
    for page in embed or []:
        out.print(f"{page}: {renew(page)} tables renewed")
    if status:
        raise typer.Exit(status)


def _run(
    suite: Suite,
    engine: Engine,
    device: str,
    results: Path,
    keep_stale: bool,
    fail_fast: bool,
    partial: bool,
    limits: Limits,
) -> int:
    from bench import records
    from bench.execute import Estimator, execute
    from bench.progress import watcher

    began = time.monotonic()
    place = device_named(device, engine.has_gpu)
    folder = folder_of(results, suite, "only" if partial else None)
    store, provenance = store_of(results), provenance_here()
    if gpu := gpu_name(place):
        provenance["gpu"] = gpu
    store.sweep()
    laid = lay_out(suite, provenance, place, engine.machine)
    out.print(f"{suite.name}: {len(suite.cells)} cells on {place}")
    with watcher(out, laid, Estimator(store), engine.slots) as watching, terminated_as_interrupted():
        done = execute(
            laid, store, engine, watching, device=place, plugins=suite.tables.loaded, provenance=provenance,
            keep_stale=keep_stale, fail_fast=fail_fast, limits={**suite.limits, **limits},
        )  # fmt: skip
    if done.error:
        err.print(done.error)
    if done.shared:
        out.print(f"{done.shared} jobs were done meanwhile by other processes on this store")
    cells = records.cells_table(suite, laid, done)
    table = records.records_table(suite, laid, done, cells)
    about = records.page(suite, done, provenance, command_line(), time.monotonic() - began)
    try:
        publish_report(folder, store, cells, table, about)
    except StoreError as error:
        if not done.error:
            raise
        err.print(f"no report was written either: {error}")
        return FAILED
    say_lost(table, cells)
    return verdict_of(done, cells, table)


def _limits(**texts: str | None) -> Limits:
    """What the options say of limits. Raises UsageError for text that is none."""
    from bench.limits import Limit, option, read_limit

    limits = {}
    for key, text in texts.items():
        try:
            if text is not None:
                limits[key] = Limit(read_limit(key, text), f"{option(key)} {text}")
        except ValueError as error:
            raise UsageError(f"{option(key)}: {error}") from error
    return limits


def main() -> None:
    """Run the command line; every error of ours is a message, never a traceback."""
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
    raise SystemExit(status or OK)
