"""What code an entry was made by: a hash of the syntax trees that a component or a stage can reach.

Comments, docstrings and layout do not count. From a class or a module the walk follows the names that it
uses, inside its own module and through `from bench.x import y`, so adding a new path makes nothing stale
while changing a formula does.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

PLUGIN = "bench_plugin_"
"""How the names of plugin modules begin; they end in a hash of the file."""

Place = tuple[str, str]
"""(module name, top-level name)."""


def code_hash(modules: Iterable[str] = (), classes: Iterable[type] = (), upstream: Iterable[str] = ()) -> str:
    """12 hex digits for stage modules, component classes and upstream code hashes together."""
    return _code_hash(tuple(modules), tuple(classes), tuple(upstream))


@functools.cache
def _code_hash(modules: tuple[str, ...], classes: tuple[type, ...], upstream: tuple[str, ...]) -> str:
    start: list[Place] = [(name, definition) for name in modules for definition in _module(name).definitions]
    start += [(cls.__module__, cls.__qualname__.partition(".")[0]) for cls in classes]
    digests = sorted(f"{_spelled(module)}:{name}:{_module(module).digest(name)}" for module, name in reachable(start))
    return hashlib.sha256("\n".join([*digests, *upstream]).encode()).hexdigest()[:12]


def _spelled(module: str) -> str:
    """A module's name; a plugin's without the hash of its file, which any comment would change."""
    return module.rpartition("_")[0] if module.startswith(PLUGIN) else module


def reachable(start: Iterable[Place]) -> set[Place]:
    """All definitions that these definitions use, themselves included."""
    seen: set[Place] = set()
    todo = list(start)
    while todo:
        place = todo.pop()
        if place in seen:
            continue
        module = _module(place[0])
        if place[1] not in module.definitions:
            continue
        seen.add(place)
        for name in module.names(place[1]):
            if name in module.definitions:
                todo.append((place[0], name))
            elif name in module.imports:
                todo.append(module.imports[name])
    return seen


class _Module:
    """Top-level definitions of one module and the names that it imports from this package."""

    def __init__(self, name: str) -> None:
        module = sys.modules.get(name) or import_module(name)
        assert module.__file__ is not None
        tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
        package = name.partition(".")[0]
        self.definitions: dict[str, list[ast.stmt]] = {}
        self.imports: dict[str, Place] = {}
        self._names: dict[str, set[str]] = {}
        self._digests: dict[str, str] = {}
        for node in tree.body:
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in {package, "bench"}:
                for alias in node.names:
                    self.imports[alias.asname or alias.name] = (node.module, alias.name)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                self.definitions.setdefault(node.name, []).append(node)
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    if isinstance(target, ast.Name):
                        self.definitions.setdefault(target.id, []).append(node)

    def names(self, definition: str) -> set[str]:
        """Every plain name used inside a definition."""
        if definition not in self._names:
            nodes = (inner for node in self.definitions[definition] for inner in ast.walk(node))
            self._names[definition] = {node.id for node in nodes if isinstance(node, ast.Name)}
        return self._names[definition]

    def digest(self, definition: str) -> str:
        """Hash of a definition's code without docstrings, comments and layout."""
        if definition not in self._digests:  # what is stripped in place holds no name
            text = "\n".join(ast.unparse(_Strip().visit(node)) for node in self.definitions[definition])
            self._digests[definition] = hashlib.sha256(text.encode()).hexdigest()
        return self._digests[definition]


@functools.cache
def _module(name: str) -> _Module:
    return _Module(name)


class _Strip(ast.NodeTransformer):
    """Drops every string that stands as a statement of its own; `pass` holds the place of a lone one."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        """The node without its docstring, and likewise what is below it."""
        super().generic_visit(node)
        body = getattr(node, "body", None)
        if isinstance(body, list):
            kept = [inner for inner in body if not _is_text(inner)]
            node.body = kept or [ast.Pass()]  # type: ignore[attr-defined]
        return node


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
