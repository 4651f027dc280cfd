"""The plugins that a suite names: found, held to their place, and read; nothing of them is run here.

A suite's plugin, and every file beside it that it imports, lies below the suite's folder, links followed. What lies
elsewhere is another's code, which a stranger's suite must not start: the user allows it by name.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import ComponentError
from bench.plugins import Bundle, read_plugin
from bench.suite.faults import Faults, Place
from bench.suite.reader import Node, as_list, as_text
from bench.words import quoted


@dataclass(frozen=True)
class Named:
    """A plugin that may be run: as the suite spells it, where that stands, and what was read."""

    file: str
    place: Place
    bundle: Bundle

    def said(self, folder: Path) -> str:
        """What is told before it runs."""
        home = Path(self.bundle.file).parent
        beside = [_shown(os.path.relpath(file, home)) for file in self.bundle.files if str(file) != self.bundle.file]
        more = f" with {', '.join(sorted(beside))}" if beside else ""
        return f"plugin: {folder / self.file}{more} (sha256 {self.bundle.sha256[:12]}) is run"


def read_plugins(node: Node | None, folder: Path, allowed: Sequence[str | Path], faults: Faults) -> list[Named]:
    """The plugins of a suite in this folder; a fault for each that is not to be had or not to be run."""
    roots = [Path(os.path.realpath(root)) for root in (folder, *allowed)]
    found: list[Named] = []
    for item in as_list(node, faults, "Python files beside the suite") if node else []:
        name = as_text(item, faults)
        if name is None:
            continue
        path = os.path.realpath(folder / name)
        if not _below(Path(path), roots):
            faults.add(item.place, _outside(quoted(name), path))
            continue
        try:
            bundle = read_plugin(path)
        except ComponentError as error:
            faults.add(item.place, str(error).replace(path, name))
            continue
        strays = [file for file in bundle.files if not _below(file, roots)]
        if strays:
            faults.add(item.place, _outside(f"{quoted(name)} imports a file that", str(strays[0])))
        elif any(bundle.file == other.bundle.file for other in found):
            faults.add(item.place, f"{quoted(name)} is listed twice")
        else:
            found.append(Named(name, item.place, bundle))
    return found


def _below(path: Path, roots: Sequence[Path]) -> bool:
    return any(root == path or root in path.parents for root in roots)


def _outside(what: str, path: str) -> str:
    where = _shown(path)
    return (
        f"{what} lies outside the suite's folder, at {where}, and is not run; put it below that folder, or allow it by "
        f"--allow-plugin {where}"
    )


def _shown(path: str) -> str:
    return path if path.isprintable() else repr(path)
