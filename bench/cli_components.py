"""Commands about components: what there is, whether it keeps its promises, and the extractor's training."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.console import FAILED, OK, out
from bench.errors import UsageError
from bench.words import unknown

if TYPE_CHECKING:
    from bench.components import Tables
    from bench.contracts import Subject

app = typer.Typer()
extractor = typer.Typer(no_args_is_help=True, help="The classifier lenet64, whose features FID and its kin compare.")
app.add_typer(extractor, name="extractor")

STEPS_SHOWN = 100
"""Steps of a training between two lines about it."""


@app.command("ls")
def list_components(
    rooms: Annotated[
        list[str] | None, typer.Argument(metavar="[ROOM]...", help="datasets, paths, nets, ..., suites; none: all")
    ] = None,
    plugin: Annotated[list[str] | None, typer.Option("--plugin", help="a plugin file to list too")] = None,
) -> None:
    """List components with their parameters, defaults and one line each; settings, choices and suites too."""
    from bench.components import CHOICES, ROOMS, SETTINGS, Tables, first_line, parameters
    from bench.shipped import HERE, question_of, suites_by_name

    tables = Tables(tuple(plugin or ()))
    titles = {room.title: kind for kind, room in ROOMS.items()}
    known = [*titles, "settings", "choices", "suites"]
    for wanted in rooms or known:
        if wanted not in known:
            raise UsageError(unknown("room", wanted, known))
        out.print(wanted, style="bold")
        listed: dict[str, type] = {}
        if wanted in titles:
            listed = {name: tables.cls(titles[wanted], name) for name in tables.names(titles[wanted])}
        elif wanted == "settings":
            listed = SETTINGS
        for name, cls in listed.items():
            out.print(f"  {name:<18} {first_line(cls)}")
            for parameter in parameters(cls):
                default = "required" if parameter.required else f"default {_yaml(parameter.default)}"
                out.print(f"      {parameter.name}: {parameter.kind}; {default}")
        if wanted == "choices":
            for name, choice in CHOICES.items():
                words = " | ".join(choice.allowed) or "whole number from 0"
                out.print(f"  {name:<18} {choice.meaning}")
                out.print(f"      {words}; default {choice.default}")
        if wanted == "suites":
            files = suites_by_name()
            width = max(18, *map(len, files))
            for name, file in files.items():
                out.print(f"  {name:<{width}} {question_of(file)}" + (f"  [{file}]" if file.parent == HERE else ""))


@app.command()
def check(
    files: Annotated[
        list[str] | None, typer.Argument(metavar="[FILE]...", help="plugin files; none: every built-in component")
    ] = None,
    given: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            metavar="'NAME: {PARAMETER: VALUE}'",
            help="parameters that a component is tried at, as YAML: for one whose parameter has no default",
        ),
    ] = None,
) -> None:
    """Hold components to their contracts: a line for each law, with what is wrong and how to mend it.

    Laws are tried at the defaults, at other choices and ends of ranges, and at parameters drawn around them.
    """
    from collections import Counter

    from bench.components import Tables
    from bench.contracts import check, subjects

    tables = Tables(tuple(files or ()))
    found = subjects(tables, _given(given or [], tables))
    counts: Counter[str] = Counter()
    for outcome in check(found):
        counts[outcome.status] += 1
        words = f": {outcome.words}" if outcome.words else ""
        line = f"{outcome.status:<8} {outcome.subject.room} {outcome.subject.name}  {outcome.law}{words}"
        out.print(line)
    out.print(f"{counts['ok']} laws hold, {counts['FAILED']} are broken, {counts['skipped']} skipped")
    raise typer.Exit(FAILED if counts["FAILED"] else OK)


def _given(texts: list[str], tables: Tables) -> dict[str, dict[str, Any]]:
    """Parameters by a component's name, each checked against its component. Raises UsageError."""
    from bench.components import Config, parameter_names
    from bench.contracts import subjects
    from bench.suite.faults import Faults
    from bench.suite.reader import read_yaml

    known: dict[str, list[Subject]] = {}
    for subject in subjects(tables):
        known.setdefault(subject.name, []).append(subject)
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        faults = Faults("--with")
        node = read_yaml(text, faults)
        if len(faults):
            raise faults.error()
        for name, parameters in (_mapping(node.plain if node else None, text)).items():
            if name not in known:
                raise UsageError(f"--with: {unknown('component', name, sorted(known))}")
            for subject in known[name]:
                names = list(parameter_names(subject.cls))
                where = f"--with: {subject.room} {name}"
                for parameter in _mapping(parameters, text):
                    if parameter not in names:
                        raise UsageError(f"{where}: {unknown('parameter', parameter, names)}")
                resolved = tables.resolve(subject.room, name, parameters)
                if not isinstance(resolved, Config):
                    said = "; ".join(": ".join(filter(None, [p.parameter, p.message])) for p in resolved)
                    raise UsageError(f"{where}: {said}")
            found.setdefault(name, {}).update(parameters)
    return found


def _mapping(value: Any, text: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"--with {text!r}: write a name and its parameters, such as 'my_path: {{p: 2}}'")
    return value


@app.command()
def schema(
    plugin: Annotated[
        list[str] | None, typer.Option("--plugin", help="a plugin file whose components count too")
    ] = None,
) -> None:
    """Print the JSON Schema of a suite file, for editors."""
    from bench.components import Tables
    from bench.suite import suite_schema

    out.print(json.dumps(suite_schema(Tables(tuple(plugin or ()))), indent=2))


@extractor.command()
def train(
    file: Annotated[Path, typer.Option("--out", metavar="FILE", help="where its weights go, as safetensors")] = Path(
        "lenet64.safetensors"
    ),
    seed: Annotated[int, typer.Option("--seed", min=0, help="of its weights and the order of images")] = 0,
) -> None:
    """Train lenet64 anew on MNIST: two epochs, a minute or two on two cores.

    The shipped weights were made by this command with seed 0. Others are used by
    `metrics: [{name: fid, weights: FILE}]`.
    """
    import torch
    from safetensors.torch import save

    from bench.datasets.images import Mnist
    from bench.metrics.extractor import tag, train_extractor
    from bench.store import disk

    if file.exists():
        raise UsageError(f"{file}: there is such a file already; give another with --out")
    if not file.absolute().parent.is_dir():
        raise UsageError(f"{file}: there is no folder {file.parent}; make it, or give another place with --out")
    began = time.monotonic()

    def progress(step: int, steps: int, loss: float) -> None:
        """A line now and then."""
        if step % STEPS_SHOWN == 0 or step == steps:
            out.print(f"{step} of {steps} steps, loss {loss:.3f}, {time.monotonic() - began:.0f} s")

    state, accuracy = train_extractor(*Mnist().pictures("train"), *Mnist().pictures("test"), seed, progress)
    with disk(file, "write the weights"):
        file.write_bytes(save(state))
    right, threads = f"{accuracy:.2%} of the test images right", torch.get_num_threads()
    out.print(f"{file}: {tag('lenet64', str(file))}, {right}, {time.monotonic() - began:.0f} s on {threads} threads")


def _yaml(value: Any) -> str:
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)
