"""What commands about suites share: a suite by its name, its plan, its store, the machine and the device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.console import err
from bench.errors import UsageError
from bench.words import unknown

if TYPE_CHECKING:
    from bench.plan import Plan
    from bench.store import Store
    from bench.suite import Suite

Suites = Annotated[list[str], typer.Argument(metavar="SUITE...", help="suite files, or names under suites/")]
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


def suite_file(name: str) -> Path:
    """A suite by file, or by name under suites/. Raises UsageError where there is neither."""
    file = Path(name)
    if file.suffix or file.exists():
        return file
    file = Path("suites") / f"{name}.yaml"
    if not file.exists():
        raise UsageError(unknown("suite", name, sorted(path.stem for path in Path("suites").glob("*.yaml"))))
    return file


def load(name: str, profile: str | None, only: list[str] | None, allow: list[Path] | None) -> Suite:
    """A suite in a profile, with its plugins named before they run. Raises SuiteError with every mistake in it."""
    from bench.suite import load_suite

    return load_suite(suite_file(name), profile, tuple(only or ()), tuple(allow or ()), err.print)


def lay_out(suite: Suite, provenance: dict[str, Any], device: str, machine: str = "") -> Plan:
    """The jobs of a suite; times are of the machine so named, by default this one, and the device."""
    from bench.plan import plan

    where = machine or f"{provenance['cpu']}/{provenance['cores']}"
    return plan(suite, f"{where}/{device}/{gpu_name(device)}")


def store_of(results: Path, reading: bool = False) -> Store:
    """The store in a results folder; UsageError where it is only to be read and is not there."""
    from bench.store import Store, fault

    if reading and not (results / "store").is_dir():
        raise UsageError(f"{results}: no store here; give --results the folder that holds one")
    return Store(results / "store", fault, reading)


def say_notices(store: Store) -> None:
    """Print what the store noticed."""
    for text in store.notices:
        err.print(f"note: {text}")


def provenance_here() -> dict[str, Any]:
    """Commit, versions and machine."""
    from bench.store import provenance

    return provenance(Path(__file__).parent.parent)


def device_named(name: str, there: bool | None = None) -> str:
    """The device that jobs get; `there`: whether who does them has a GPU, by default this machine.

    Raises UsageError where it is not there.
    """
    import torch

    there = torch.cuda.is_available() if there is None else there
    if name == "auto":
        return "cuda" if there else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"--device: no device {name!r}; use auto, cpu, cuda or cuda:0") from error
    if device.type == "cuda" and not there:
        raise UsageError(f"--device {name}: torch sees no CUDA device here; use --device cpu")
    return name


def gpu_name(device: str) -> str:
    """The GPU's own name; empty for the CPU."""
    import torch

    return torch.cuda.get_device_name(device) if device.startswith("cuda") and torch.cuda.is_available() else ""
