"""Commands about the store: whether it is whole, what may go, and how it travels."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.console import FAILED, err, out
from bench.errors import Corrupt, StoreError, UsageError

if TYPE_CHECKING:
    from bench.store import Store

app = typer.Typer(no_args_is_help=True, help="See whether the store is whole, tidy it, and carry it elsewhere.")

ResultsDir = Annotated[Path, typer.Option("--results", metavar="DIR", help="the folder that holds the store")]
ArchiveFile = Annotated[Path, typer.Argument(metavar="FILE", help="a ZIP archive")]


@app.command()
def verify(results: ResultsDir = Path("results")) -> None:
    """Read every entry and every report's files, and say what is not as it was written."""
    from bench.report import seal
    from bench.store.entries import FORMS

    store = _store(results)
    faults, counts = list[str](), dict.fromkeys(FORMS, 0)
    for kind, key, code in store.entries():
        try:
            counts[kind] += store.look(kind, key, code) is not None
        except Corrupt as error:
            faults.append(f"{error}; the next run sets it aside and makes it again")
    unsealed, suites = 0, 0
    for folder in _suites(results):
        try:
            unsealed += not seal.verify(folder)
            suites += 1
        except StoreError as error:
            faults.append(str(error))
    for kind, count in counts.items():
        if count:
            out.print(f"{count:>6} {kind}")
    words = f", {unsealed} of them without checksums, by an older version" if unsealed else ""
    out.print(f"{sum(counts.values())} entries and {suites} reports are whole{words}")
    if faults:
        for text in faults:
            err.print(text)
        err.print(f"{len(faults)} damaged")
        raise typer.Exit(FAILED)


@app.command()
def gc(
    results: ResultsDir = Path("results"),
    delete: Annotated[bool, typer.Option("--delete", help="remove it; otherwise it is only listed")] = False,
) -> None:
    """List what no run will look for: left-over work, what was set aside a month ago, results of older code.

    Let no run be under way while it deletes.
    """
    from bench.report import seal

    store = _store(results)
    waste = [(path, "left behind by a process that is gone") for path in store.left_behind()]
    waste += [(path, "older than a month") for path in store.forgotten("partial", "failed", "aside")]
    shown = {place for folder in _suites(results) for place in seal.entries_of(folder)}
    for path in store.outdated():
        place = str(path.relative_to(store.root))
        if place in shown:
            out.print(f"{place}: of older code, and kept: a report here shows it")
        else:
            waste.append((path, "of older code; a newer result of the same job is there"))
    for path, why in waste:
        out.print(f"{path.relative_to(store.root)}: {why}")
        if delete:
            store.throw_away(path)
    if delete:
        store.rebuild()
    count = f"{len(waste)} file{'' if len(waste) == 1 else 's'} or folders"
    out.print(f"{count} removed" if delete else f"{count}; nothing was removed, --delete does" if waste else "nothing")


@app.command("export")
def export_(file: ArchiveFile, results: ResultsDir = Path("results")) -> None:
    """Write whole entries and verified reports into one archive."""
    from bench.report import seal
    from bench.store import archive

    store = _store(results)
    names, faults = archive.entry_files(store)
    for folder in _suites(results):
        try:
            if seal.verify(folder):
                names += [f"{folder.name}/{name}" for name in seal.held(folder)]
            else:
                faults.append(f"{folder}: without checksums, by an older version; run its suite again to export it")
        except StoreError as error:
            faults.append(str(error))
    refused = [name for name in names if not (archive.ENTRY.fullmatch(name) or archive.REPORT.fullmatch(name))]
    faults += [f"{name}: a name that an archive cannot hold" for name in refused]
    count = archive.pack(file.absolute(), results.absolute(), [name for name in names if name not in refused])
    for text in faults:
        err.print(f"left out: {text}")
    out.print(f"{file}: {count} files")
    if faults:
        raise typer.Exit(FAILED)


@app.command("import")
def import_(
    file: ArchiveFile,
    results: ResultsDir = Path("results"),
    limit: Annotated[float, typer.Option("--limit", metavar="GIB", min=0, help="GiB that it may unpack to")] = 64.0,
) -> None:
    """Take in an archive, checked as a whole first; what stands here already stays as it is.

    Reports are written anew from the records and the store that came with them.
    """
    from bench.report import seal, write_report
    from bench.store import Store, archive, fault

    def check(folder: Path) -> None:
        """A report that comes in carries checksums, and every file is one of them."""
        if not seal.verify(folder):
            raise Corrupt(f"{folder}: without checksums; run its suite again before it is exported")
        there = {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}
        if more := there - set(seal.held(folder)):
            raise Corrupt(f"{folder}: holds {min(more)}, which its report did not write")

    if not math.isfinite(limit):
        raise UsageError(f"--limit {limit}: must be a number of GiB")
    file = file.absolute()
    if not file.is_file():
        raise UsageError(f"{file}: no such file")
    new, stood, laid, kept = archive.take_in(Store(results / "store", fault), file, int(limit * 2**30), check)
    out.print(f"{new} entries taken in, {stood} stood here already")
    for suite in laid:  # pages and figures are made here, from tables and arrays: nobody else's page is laid out
        folder = (results / suite).absolute()
        for name in set(seal.held(folder)) - {seal.SUITE, *seal.TABLES}:
            (folder / name).unlink()
        for text in write_report(folder, results.absolute() / "store", traced=True).warnings:
            err.print(f"warning: {text}")
        out.print(f"report: {results / suite}")
    for suite in kept:
        out.print(f"{results / suite}: stands here already and stays as it is")


def _store(results: Path) -> Store:
    from bench.files import refuse_other_than_folder
    from bench.store import Store, fault

    refuse_other_than_folder(results / "store")
    if not (results / "store").is_dir():
        raise UsageError(f"{results}: no store here; give --results the folder that holds one")
    return Store(results / "store", fault)


def _suites(results: Path) -> list[Path]:
    from bench.report import seal

    return sorted(folder.absolute() for folder in results.glob("*") if seal.is_there(folder))
