"""Profiles: variants of one suite, each a mapping of dotted path: value laid over the file.

    profiles:
      smoke: {seeds: 1, base.training.steps: 200, grid.solver: [euler], metrics: [wasserstein]}

A path is `seeds`, `metrics`, `claims`, `published`, `include`, `exclude`, `limits`, a factor or parameter of the
base, or an axis that the file has (`grid.solver`, `zip.path`, `ablate.factors.net`); an empty list drops the claims,
included cells or exclusions. The plain file is called `quick`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from bench.components import CHOICES, FACTORS, SETTINGS
from bench.suite.axes import labelled
from bench.suite.faults import Faults
from bench.suite.reader import Entry, Node, as_mapping
from bench.suite.values import PARAMETER, Key
from bench.words import shown, unknown

PLAIN = "quick"
"""The name by which the file without any profile can be asked for."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
NAMES = "letters, digits, _ . and -"
"""What suites and profiles may be called: folders of results bear their names."""

WHOLE = ("seeds", "metrics", "claims", "published", "include", "exclude", "limits")


def read_profiles(root: Node, faults: Faults) -> dict[str, Node]:
    """Each profile's version of the whole file."""
    node = root.get("profiles")
    versions = {}
    for name, entry in as_mapping(node, faults, "profile: changes").items() if node else []:
        version = root
        if not NAME.fullmatch(name):
            faults.add(entry.key, f"a profile's name names a folder too, so it is {NAMES}, got {shown(name)}")
        if name == PLAIN:
            faults.add(entry.key, f"the plain file is called {PLAIN!r}; give the profile another name")
        changes = as_mapping(entry.node, faults, "path: value, such as base.training.steps: 200")
        for path, change in sorted(changes.items(), key=lambda item: item[0].count(".")):
            version = _laid(version, path, change, root, faults)
        versions[name] = version
    return versions


def _laid(version: Node, path: str, change: Entry, root: Node, faults: Faults) -> Node:
    """The file with one path replaced; unchanged (and a fault) where the path does not fit."""
    head, _, rest = path.partition(".")
    if path in WHOLE:
        return version.replaced(path, change)
    if head == "base" and _is_base_path(rest):
        taken = _taken(rest, change, root)
        if taken:
            faults.add(change.key, f"{taken} sets this too, so that the profile would change nothing; change it there")
            return version
        base = version.get("base") or Node(change.key, {})
        return version.replaced("base", Entry(base.place, _laid_base(base, rest, change)))
    axes = _axis_paths(root)
    if path in axes:
        return _laid_deep(version, axes[path], change)
    bases = [f"base.{factor}" for factor in FACTORS]
    more = "; paths are dotted, such as base.training.steps" if head in (*axes, "base") and not rest else ""
    faults.add(change.key, unknown("path", path, [*WHOLE, *axes, *bases]) + more)
    return version


def _is_base_path(rest: str) -> bool:
    factor, dot, parameter = rest.partition(".")
    return factor in FACTORS and (not dot or (factor not in CHOICES and bool(PARAMETER.fullmatch(parameter))))


def _laid_base(base: Node, rest: str, change: Entry) -> Node:
    factor, dot, parameter = rest.partition(".")
    if not dot:
        return base.replaced(factor, change)
    held = base.get(factor) or Node(change.key, {})
    if isinstance(held.value, str) and factor not in SETTINGS:  # `solver: heun` means {name: heun}
        held = Node(held.place, {"name": Entry(held.place, held)})
    return base.replaced(factor, Entry(held.place, held.replaced(parameter, change)))


def _laid_deep(node: Node, keys: Sequence[str], change: Entry) -> Node:
    first, *rest = keys
    if not rest:
        return node.replaced(first, change)
    held = node.get(first) or Node(change.key, {})
    return node.replaced(first, Entry(held.place, _laid_deep(held, rest, change)))


def _axis_paths(root: Node) -> dict[str, tuple[str, ...]]:
    """Paths of the axes that the file has, and the keys that lead there."""
    blocks = [("grid",), ("zip",), ("ablate", "baseline"), ("ablate", "factors")]
    paths: dict[str, tuple[str, ...]] = {}
    for block in blocks:
        for key in _held(root, block):
            paths[".".join((*block, key))] = (*block, key)
    if root.get("ablate"):
        paths["ablate.mode"] = ("ablate", "mode")
    return paths


def _held(root: Node, block: Sequence[str]) -> Mapping[str, Entry]:
    node: Node | None = root
    for key in block:
        node = node.get(key) if node else None
    return node.value if node and isinstance(node.value, dict) else {}


def _taken(rest: str, change: Entry, root: Node) -> str:
    """The block that sets what a profile wants to set in the base; empty where none does."""
    factor, _, parameter = rest.partition(".")
    asked = {parameter} if parameter else _parameters(change.node)
    for block, text, node in _varied(root):
        varied, _, own = text.partition(".")
        if varied != factor:
            continue
        values = [] if own else _values(block, Key(varied, None), node)
        if own in asked or any(_replaces(factor, value) or asked & _parameters(value) for value in values):
            return block
    return ""


def _varied(root: Node) -> Iterator[tuple[str, str, Node]]:
    """Each block's name, key and values."""
    zips = root.get("zip")
    zipped = zips.value if zips and isinstance(zips.value, list) else [zips] if zips else []
    blocks = [("grid", _held(root, ["grid"]))]
    blocks += [("zip", node.value) for node in zipped if isinstance(node.value, dict)]
    blocks += [("ablate", _held(root, ["ablate", part])) for part in ("baseline", "factors")]
    for block, entries in blocks:
        for text, entry in entries.items():
            yield block, text, entry.node


def _values(block: str, key: Key, node: Node) -> list[Node]:
    """The single values under one key of a block."""
    if isinstance(node.value, list):
        return node.value
    if isinstance(node.value, dict) and (block != "ablate" or labelled(key, node)):
        return [entry.node for entry in node.value.values()]
    return [node]


def _replaces(factor: str, node: Node) -> bool:
    return factor in CHOICES or isinstance(node.value, str) or (factor not in SETTINGS and bool(node.get("name")))


def _parameters(node: Node) -> set[str]:
    return set(node.value) - {"name"} if isinstance(node.value, dict) else set()
