"""Which files a plugin imports, directly or through others, that are no installed distribution; by syntax alone."""

from __future__ import annotations

import ast
import functools
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.machinery import EXTENSION_SUFFIXES, PathFinder, all_suffixes
from pathlib import Path

from bench.foreign import MIB, read_foreign
from bench.syntax import OPAQUE, absolute, literal_import

PACKAGE = "bench"
MOST_BYTES = MIB
"""The largest plugin, and the largest Python file beside it: ten of it take Python 1 GiB and more to parse."""

LOADERS = {"importlib", "runpy", "imp", "pkgutil", "zipimport"}
"""Modules whose functions import or run files; one that is imported by its own name may be called in any way."""

HIDDEN_MOST = 1000
"""Files below a plugin's folder that count at most where it does not tell what it imports."""

INSTALLED = {"site-packages", "dist-packages"}
"""Folders of installed distributions are called so."""


@dataclass(frozen=True)
class Found:
    """A module's file and what it held when it was read; no file for a folder without __init__.py."""

    path: Path | None
    source: bytes = b""
    package: bool = False

    @functools.cached_property
    def tree(self) -> ast.Module | None:
        """Its syntax; None where it has none, because it is compiled or faulty."""
        if self.path is None or self.path.suffix != ".py":
            return None
        try:
            return ast.parse(self.source)
        except (SyntaxError, ValueError, MemoryError, RecursionError):  # the last two: nested too deeply
            return None


@dataclass
class Search:
    """Follows imports from a plugin called `stem` in a folder, or (no folder) from a module of the package `stem`."""

    folder: Path | None
    stem: str
    tops: set[str] = field(default_factory=set)
    """The names that neighbours are imported by, so far."""

    def beside(self, plugin: Found) -> dict[str, Found]:
        """The plugin as "", and every neighbour in its folder by its name from there."""
        assert self.folder is not None
        if self._follows(self.stem):
            self.tops.add(self.stem)
        found = {"": plugin}
        todo = [""]
        while todo:
            name = todo.pop()
            for wanted in self._wanted(found[name], name):
                located = None if wanted in found else _located(wanted, [self.folder])
                if located:
                    found[wanted] = located
                    todo.append(wanted)
        return found

    def elsewhere(self, found: dict[str, Found]) -> dict[str, Found]:
        """What these files import from sys.path, by its full name after a slash."""
        more: dict[str, Found] = {}
        todo = list(found.items())
        while todo:
            importer, each = todo.pop()
            package = importer.removeprefix("/")
            package = package if each.package else package.rpartition(".")[0]
            outside = self.folder is None or importer.startswith("/")
            above = ((0, name) for name in _upwards(importer.removeprefix("/"))) if outside else ()
            for level, name in (*above, *_names(each, package if outside else "")):
                top = name.partition(".")[0]
                if (level and not outside) or f"/{name}" in more or not self._follows(top):
                    continue
                if not outside and top in self.tops:
                    continue
                roots = _roots(top)
                starred = [held for root in roots for held in _below(root, name)] if name.endswith("*") else [name]
                for wanted in starred:
                    located = None if f"/{wanted}" in more else _located(wanted, roots)
                    if located and located.path != each.path:
                        more[f"/{wanted}"] = located
                        todo.append((f"/{wanted}", located))
        return more

    def _wanted(self, importer: Found, name: str) -> Iterator[str]:
        """Names in the folder that a neighbour may mean; every name above comes before those below."""
        assert self.folder is not None
        package = name if importer.package else name.rpartition(".")[0]
        for level, wanted in _names(importer, package):
            top = wanted.partition(".")[0]
            if not level:
                if wanted == self.stem or not self._follows(top) or not _located(top, [self.folder]):
                    continue
                self.tops.add(top)
            if wanted.endswith("*"):
                yield from _below(self.folder, wanted)
            elif wanted:
                yield wanted
        if importer.tree is not None and _hides(importer.tree):
            below = (path.relative_to(self.folder).with_suffix("") for path in self.folder.rglob("*.py"))
            named = (".".join(each.parts).removesuffix(".__init__") for each in below)
            yield from sorted(each for each in named if each != self.stem)[:HIDDEN_MOST]

    def _follows(self, top: str) -> bool:
        """Whether a module of this name is neither the standard library's, nor ours, nor installed."""
        if not top or top == PACKAGE or top in sys.stdlib_module_names or top in sys.builtin_module_names:
            return False
        if self.folder is None and top == self.stem:
            return True
        return PathFinder.find_spec(top, [each for each in sys.path if _installation(each)]) is None


@functools.cache
def _installation(place: str) -> bool:
    """Whether a folder of sys.path is one that distributions are installed into."""
    return bool(INSTALLED & set(Path(place).parts)) or any(Path(place or ".").glob("*.dist-info"))


def mapped(tree: ast.Module, names: Mapping[str, str], folder: str | None) -> None:
    """Let a module import its neighbours by their private names, in place; `folder`: what "." is to a plugin."""
    _Mapped(names, folder).visit(tree)
    ast.fix_missing_locations(tree)


class _Mapped(ast.NodeTransformer):
    def __init__(self, names: Mapping[str, str], folder: str | None) -> None:
        self.names, self.folder = names, folder

    def _name(self, name: str) -> str:
        top, dot, rest = name.partition(".")
        return f"{self.names.get(top, top)}{dot}{rest}"

    def visit_Import(self, node: ast.Import) -> ast.Import:
        """`import a.b` becomes `import private.a.b, private.a as a`."""
        names: list[ast.alias] = []
        for alias in node.names:
            top = alias.name.partition(".")[0]
            if top not in self.names:
                names.append(alias)
            elif alias.asname or top == alias.name:
                names.append(ast.alias(self._name(alias.name), alias.asname or alias.name))
            else:
                names += [ast.alias(self._name(alias.name)), ast.alias(self._name(top), top)]
        node.names = names
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom:
        """`from a import b` becomes `from private.a import b`."""
        if not node.level and node.module:
            node.module = self._name(node.module)
        elif node.level == 1 and self.folder:
            node.module, node.level = ".".join(filter(None, (self.folder, node.module))), 0
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """`import_module("a")` becomes `import_module("private.a")`."""
        name = literal_import(node)
        if name:
            node.args = [ast.Constant(self._name(name))]
        return self.generic_visit(node)


def _names(importer: Found, package: str) -> Iterator[tuple[int, str]]:
    """Every module that a file may import, with those above it, and the level of the import; a star as `name.*`."""
    for node in ast.walk(importer.tree) if importer.tree else ():
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from ((0, name) for name in _upwards(alias.name))
        elif isinstance(node, ast.ImportFrom):
            # From a file at the top of the folder, `from . import b` is one level up from nowhere: the folder itself.
            base = absolute(node, f".{package}" if node.level else "").lstrip(".") if node.level else node.module or ""
            yield from ((node.level, name) for name in _upwards(base))
            yield from ((node.level, f"{base}.{alias.name}".lstrip(".")) for alias in node.names)
        elif isinstance(node, ast.Call):
            yield from ((0, name) for name in _upwards(literal_import(node) or ""))


def _upwards(name: str) -> list[str]:
    parts = name.split(".") if name else []
    return [".".join(parts[: count + 1]) for count in range(len(parts))]


def _located(name: str, roots: Iterable[Path]) -> Found | None:
    """The file of a module below one of these folders."""
    if "*" in name:
        return None
    for root in roots:
        base = root.joinpath(*name.split("."))
        init = base / "__init__.py"
        if init.is_file():
            return Found(init, read_foreign(init, MOST_BYTES), package=True)
        for suffix in all_suffixes():
            path = base.with_name(base.name + suffix)
            if path.is_file():
                return Found(
                    path, path.read_bytes() if suffix in EXTENSION_SUFFIXES else read_foreign(path, MOST_BYTES)
                )
        if base.is_dir():
            return Found(None, package=True)
    return None


def _below(folder: Path, star: str) -> list[str]:
    """What `from package import *` may load: each module in it."""
    package = star.removesuffix("*").removesuffix(".")
    held = folder.joinpath(*package.split(".")) if package else folder
    names = [path.stem for path in sorted(held.glob("*.py")) if path.stem != "__init__"] if package else []
    return [f"{package}.{name}" for name in names]


def _roots(top: str) -> list[Path]:
    """The folders of sys.path, or of an editable install, in which a module is found."""
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError, AttributeError):
        return []
    if spec is None:
        return []
    if spec.submodule_search_locations is not None:
        return [Path(place).parent for place in spec.submodule_search_locations]
    return [Path(spec.origin).parent] if spec.origin and spec.has_location else []


def _hides(tree: ast.Module) -> bool:
    """Whether a file imports in a way that its syntax does not tell."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and literal_import(node) == "":
            return True
        if isinstance(node, ast.Name) and node.id in OPAQUE:
            return True
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in LOADERS:
            return True
        if isinstance(node, ast.Attribute) and node.attr in ("run_path", "run_module", "spec_from_file_location"):
            return True
    return False
