"""New files to begin from, copied from `bench.templates` under another name: a suite, or a plugin of one component."""

from __future__ import annotations

import importlib.util
import keyword
import re
from importlib.resources import files
from pathlib import Path

from bench.automatic import reserved
from bench.components import ROOMS, Tables
from bench.errors import UsageError
from bench.files import disk
from bench.interfaces import Metric
from bench.shipped import shipped
from bench.suite.load import RESERVED
from bench.suite.reader import scalar

SUITE = "suite"
KINDS = (SUITE, "path", "solver", "net", "dataset", "metric", "coupling")
"""What there is a template of."""


def new(kind: str, name: str, folder: Path = Path()) -> Path:
    """Write a file of this kind (`KINDS`) and name, which runs as it is; returns where it stands.

    That is `folder`, or `suites` in it where there is such a folder: a plugin lies beside the suites that name it.
    Raises UsageError for a name that cannot be, a folder that is not there and a file that is; StoreError where the
    disk refuses.
    """
    if why := _refused(kind, name):
        raise UsageError(why)
    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such folder; make it, or give another with --folder")
    place = folder / "suites" if (folder / "suites").is_dir() else folder
    file = place / f"{name}.{'yaml' if kind == SUITE else 'py'}"
    text = _text(kind, name)
    with disk(file, "write the file"):
        try:
            with file.open("x", encoding="utf-8") as opened:
                opened.write(text)
        except FileExistsError:
            raise UsageError(f"{file}: is there already, and is left as it is; choose another name") from None
    return file


def _text(kind: str, name: str) -> str:
    """The template under another name; `two_words` names the class TwoWords."""
    text = files("bench.templates").joinpath(f"{kind}.{'yaml' if kind == SUITE else 'py'}").read_text(encoding="utf-8")
    if kind == SUITE:
        return text
    words = "".join(word[:1].upper() + word[1:] for word in name.split("_"))
    taken = re.search(rf"\b{words}\b", text) or keyword.iskeyword(words)
    text = re.sub(r"\bExample\b", f"My{words}" if taken else words, text)
    return re.sub(r"\bexample\b", name, text)


def _refused(kind: str, name: str) -> str:
    """Why nothing of this kind can have this name, and what to do; empty where it can."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        return f"{name!r} cannot be a name; take letters, digits and _, beginning with a letter, such as my_{kind}"
    another = f"choose another, such as my_{name.lower()}"
    if keyword.iskeyword(name) or not isinstance(scalar(name), str):
        return f"{name!r} is a word of Python or of YAML, which suites could not name; {another}"
    if kind == SUITE:
        if name in RESERVED:
            return f"{name!r} is the folder that results are stored in; {another}"
        return f"a suite {name!r} comes with the package; {another}" if (shipped() / f"{name}.yaml").is_file() else ""
    rooms, tables = {"dataset": ("dataset", "source")}.get(kind, (kind,)), Tables()
    if any(name in tables.names(room) for room in rooms):
        return f"there is a {kind} {name!r} already (bench ls {ROOMS[kind].title} shows it); {another}"
    if kind == "metric":
        if why := reserved(name):
            return f"{why}; {another}"
        classes: dict[str, type[Metric]] = tables.rooms[kind]
        for other, cls in classes.items():
            if name in cls.values:
                return f"the metric {other} reports a value {name!r} already; {another}"
    if importlib.util.find_spec(name) is not None:  # beside a script it would be imported in place of that module
        return f"a file {name}.py would hide the module {name!r} from scripts beside it; {another}"
    return ""
