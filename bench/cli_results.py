"""Commands about finished runs: what two of them differ in, and which of them the project stands for."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from bench.cli_suites import AllowOption, ProfileOption, ResultsDir, Suites
from bench.console import FAILED, err, out
from bench.errors import StoreError, UsageError
from bench.words import unknown

app = typer.Typer()


FOLDER = "published"


@app.command()
def compare(
    run: Annotated[str, typer.Argument(metavar="A", help="a suite that has run, its folder, or an archive of it")],
    other: Annotated[
        str | None, typer.Argument(metavar="[B]", help="what to hold it against; none: what is published of it")
    ] = None,
    profile: ProfileOption = None,
    results: ResultsDir = Path("results"),
) -> None:
    """Tell in Markdown what moved beyond noise and which verdicts changed.

    Exit status 1 where a verdict changed, a value got worse or one is missing.
    """
    from bench.report.compare import compare as set_side_by_side
    from bench.report.compare import text
    from bench.report.results import load_results

    name = _name(run, profile)
    published = results / FOLDER / name
    if other is None and not published.is_dir():
        out.print(
            f"{name}: no results of it are published in {results / FOLDER}, so that there is nothing to compare with; "
            f"name another run of it: bench compare {run} OTHER"
        )
        return
    with _opened(run, name, results) as now, _opened(other or str(published), name, results) as before:
        found = set_side_by_side(load_results(now), load_results(before))
    out.print(text(found, "the published results" if other is None else other).rstrip())
    if found.regressed:
        raise typer.Exit(FAILED)


@app.command()
def publish(
    suites: Suites,
    profile: ProfileOption = None,
    results: ResultsDir = Path("results"),
    allow: AllowOption = None,
) -> None:
    """Copy whole runs of present, committed code into results/published, and renew the index there."""
    from bench.cli_suites import load
    from bench.execute.driver import look_up
    from bench.report.settled import publish as publish_run
    from bench.store import disk
    from bench.work import device_named, lay_out, provenance_here, store_of

    provenance, device, refused = provenance_here(), device_named("auto"), 0
    for name in suites:
        suite = load(name, profile, None, allow)
        folder = results / "-".join(filter(None, (suite.name, suite.profile)))
        try:
            laid, store = lay_out(suite, provenance, device), store_of(results)
            missing = len(laid.jobs) - len(look_up(laid, store))
            if missing:
                raise StoreError(
                    f"{folder}: not published: {missing} of {len(laid.jobs)} results are not in the store, or are of "
                    f"other code than the present one; run the suite again"
                )
            with disk(folder, "publish"):
                target = publish_run(folder.absolute(), (results / FOLDER).absolute(), store.root)
        except StoreError as error:
            err.print(str(error))
            refused += 1
            continue
        out.print(f"published: {target}")
    if refused:
        raise typer.Exit(FAILED)


def _name(run: str, profile: str | None) -> str:
    """The name of a run's folder, by a suite's file or name, a folder or an archive."""
    path = Path(run)
    stem = path.name if path.is_dir() else path.stem
    return f"{stem}-{profile}" if profile else stem


@contextmanager
def _opened(run: str, name: str, results: Path) -> Iterator[Path]:
    """The folder of a run: itself, one of that name inside, out of an archive, or among the results."""
    from bench.report import seal

    path = Path(run)
    if zipfile.is_zipfile(path):
        with tempfile.TemporaryDirectory() as unpacked:
            yield _unpacked(path, Path(unpacked), name)
        return
    places = [path, path / name, results / name]
    found = next((place for place in places if seal.is_there(place)), None)
    if found is None:
        known = [place.parent.name for place in results.glob(f"*/{seal.SUITE}")]
        raise UsageError(f"{results / name}: {unknown('results of a suite', name, sorted(known))}")
    yield found


def _unpacked(file: Path, folder: Path, name: str) -> Path:
    """The run in an archive: of that name, or the only one there is."""
    from bench.report import seal
    from bench.store import archive

    archive.unpack(file.absolute(), folder)
    held = {place.parent.name: place.parent for place in folder.glob(f"*/{seal.SUITE}")}
    if name not in held and len(held) != 1:
        raise UsageError(f"{file}: {unknown('results of a suite', name, sorted(held))}")
    return held.get(name) or next(iter(held.values()))
