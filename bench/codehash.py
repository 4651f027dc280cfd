"""What code an entry was made by: a hash of what a component or a stage can reach, without comments and docstrings.

In the package the walk goes from definition to definition (see `definitions`), through every form of import, so
adding a new path makes nothing stale while changing a formula does. What happens on import and is in no definition
counts for whoever reaches the module. The whole module counts where its syntax does not tell what it reaches:
`globals()`, `eval`, `exec`, `sys.modules`, `import_module` of a name worked out, a star import from elsewhere, a
module used as a value. Of a component from outside the package whole files count (see `plugins`).
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.definitions import ALL, Module
from bench.plugins import PLUGIN, bundle_of, home
from bench.statements import Chain, Import, Statement

ROOT = Path(__file__).parent
"""Where the package's source stands."""

_SOURCES = [ROOT]
"""Where it is read: the last of these."""

PACKAGE = "bench"

Place = tuple[str, str]
"""(module name, top-level name); a name of "" stands for what the module does on import, or for all of a plugin."""


def code_hash(
    modules: Iterable[str] = (),
    classes: Iterable[type] = (),
    upstream: Iterable[str] = (),
    definitions: Iterable[Place] = (),
) -> str:
    """12 hex digits for whole stage modules, component classes, definitions and upstream code hashes together."""
    return _code_hash(tuple(modules), tuple(classes), tuple(upstream), tuple(definitions))


@functools.cache
def _code_hash(
    modules: tuple[str, ...], classes: tuple[type, ...], upstream: tuple[str, ...], definitions: tuple[Place, ...]
) -> str:
    start = [_from_module(name) for name in modules]
    start += [_from_class(cls) for cls in classes]
    start += [frozenset(reachable([_definition(place)])) for place in definitions]
    held: dict[str, set[str]] = {}
    for module_name, name in frozenset().union(*start):
        held.setdefault(module_name, set()).add(name)
    texts = []
    for name, names in held.items():
        module = _module(name)
        text = module.text(frozenset(names)) if module else bundle_of(name).code
        texts += [f"{name if module else ''}:\n{text}"] if text else []  # the code of a plugin holds its name
    return hashlib.sha256("\n".join([*sorted(texts), *upstream]).encode()).hexdigest()[:12]


@functools.cache
def _from_module(name: str) -> frozenset[Place]:
    if _module(name) is None:
        raise ValueError(f"the package has no module {name}, so its code cannot be hashed")
    return frozenset(reachable(_whole(name)))


@functools.cache
def _from_class(cls: type) -> frozenset[Place]:
    return frozenset(reachable(_class(cls)))


def reachable(start: Iterable[Place]) -> set[Place]:
    """All definitions that these definitions use, themselves included."""
    seen: set[Place] = set()
    todo = list(start)
    while todo:
        place = todo.pop()
        if place not in seen:
            seen.add(place)
            todo += _next(place)
    return seen


def forget() -> None:
    """Read the package's source anew: a file of it has changed."""
    for cached in (_code_hash, _from_module, _from_class, _next, _module, _path):
        cached.cache_clear()


@contextmanager
def source_in(root: Path) -> Iterator[None]:
    """Meanwhile hash the source of the package that stands in this folder: how tests see an edit without making it."""
    _SOURCES.append(root)
    forget()
    try:
        yield
    finally:
        _SOURCES.pop()
        forget()


def _definition(place: Place) -> Place:
    module = _module(place[0])
    name = place[1].partition(".")[0]
    if module is None or name not in module.definitions:
        raise ValueError(f"{place[0]} has no definition {place[1]}, so its code cannot be hashed")
    return place[0], name


def _class(cls: type) -> Iterator[Place]:
    """Where a class and those of the package and of plugins that it derives from are written down."""
    for number, each in enumerate(cls.__mro__):
        name, top = home(each), each.__qualname__.partition(".")[0]
        module = _module(name)
        if module:
            yield from [(name, top)] if top in module.definitions else _whole(name)
        elif number == 0 or name.startswith(PLUGIN):
            yield bundle_of(name).name, ALL


@functools.cache
def _path(name: str) -> Path | None:
    """The file of a module of the package."""
    first, *rest = name.split(".")
    if first != PACKAGE:
        return None
    base = _SOURCES[-1].joinpath(*rest)
    found = (base / "__init__.py", base.with_name(f"{base.name}.py")) if rest else (base / "__init__.py",)
    return next((path for path in found if path.is_file()), None)


@functools.cache
def _module(name: str) -> Module | None:
    """A module of the package; None for any other."""
    path = _path(name)
    if path is None:
        return None
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    return _parsed(path.read_bytes(), name, package)


@functools.lru_cache(300)
def _parsed(source: bytes, name: str, package: str) -> Module:
    return Module(ast.parse(source), name, package)


@functools.cache
def _next(place: Place) -> tuple[Place, ...]:
    """What a definition reaches at once."""
    name, definition = place
    module = _module(name)
    if module is None:
        sources = [_parsed(source, "", "") for source in bundle_of(name).python]
        held = {found for each in sources for found in _used(each, each.statements)}
        return tuple(held.union(*(_hidden(each) for each in sources if each.opaque)))
    if definition == ALL:
        found = set(_used(module, module.of(ALL)))
        found |= {(above, ALL) for above in _above(name)}
        every = [each for imports in module.imports.values() for each in imports]
        found |= {(loaded, ALL) for each in every for loaded in _loaded(each)}
        found |= {(star, ALL) for star in module.stars if _path(star)}
    else:
        found = {(name, ALL), *_used(module, module.of(definition))}
    if module.opaque:
        found |= {*_whole(name), *_hidden(module)}
    return tuple(found)


def _hidden(module: Module) -> Iterator[Place]:
    """What a module may reach in ways that its syntax hides: all of those that it imports as modules or with a star."""
    for statement in module.statements:
        for each in (*statement.imports, *statement.inner):
            below = f"{each.module}.{each.name}"
            yield from _whole(below if _path(below) else each.module if each.name in ("", "*") else "")
            yield from _whole(each.loaded)


def _above(name: str) -> Iterator[str]:
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def _loaded(each: Import) -> Iterator[str]:
    """The modules of the package that an import runs."""
    for name in (each.loaded or each.module, f"{each.module}.{each.name}" if each.name else ""):
        if name and _path(name):
            yield name


def _used(module: Module, statements: Iterable[Statement]) -> Iterator[Place]:
    """What some statements of a module reach outside it, and inside it."""
    for statement in statements:
        for each in (*statement.imports, *statement.inner):
            yield from _imported(each)
        for first, *rest in statement.uses:
            if first in module.definitions and module.name:
                yield module.name, first
            for star in _stars(module, first):
                yield from _asked(star, (first, *rest))
            for each in (*module.imports.get(first, ()), *(each for each in statement.inner if each.bound == first)):
                yield from _stands(each, tuple(rest))


def _imported(each: Import) -> Iterator[Place]:
    """What an import runs and binds. What is asked of a module is told where it is asked."""
    yield from ((loaded, ALL) for loaded in _loaded(each))
    source = _module(each.module)
    if source is None or not each.name:
        return
    if each.name == "*":  # what it binds is told where it is asked
        yield from ((each.module, "__all__") for _ in source.definitions & {"__all__"})
    elif each.name in source.definitions:
        yield each.module, each.name
    elif not _path(f"{each.module}.{each.name}"):
        yield from _asked(each.module, (each.name,))


def _stands(each: Import, rest: Chain, seen: frozenset[tuple[str, Chain]] = frozenset()) -> Iterator[Place]:
    """What an imported name, and what is asked of it, stands for."""
    yield from _asked(each.module, (each.name, *rest) if each.name else rest, seen)
    if each.loaded and not rest:
        yield from _whole(each.loaded)


def _asked(name: str, chain: Chain, seen: frozenset[tuple[str, Chain]] = frozenset()) -> Iterator[Place]:
    """What a chain of attributes reaches in a module of the package; all of it where the chain is empty or unknown."""
    module = _module(name)
    if module is None or (name, chain) in seen:
        return
    seen |= {(name, chain)}
    if not chain:
        yield from _whole(name)
        return
    first, rest = chain[0], chain[1:]
    below, stars = f"{name}.{first}", _stars(module, first)
    if first in module.definitions:
        yield name, first
        for each in module.imports.get(first, ()):
            yield from _stands(each, rest, seen)
    if _path(below):
        yield below, ALL
        yield from _asked(below, rest, seen)
    for star in stars:
        yield from _asked(star, chain, seen)
    if first not in module.definitions and not _path(below) and not stars:
        yield from _whole(name)


def _whole(name: str) -> Iterator[Place]:
    """Every definition of a module of the package, and what it does on import."""
    module = _module(name)
    if module:
        yield name, ALL
        yield from ((name, definition) for definition in module.definitions)
        for star in module.stars:
            yield from ((star, definition) for definition in _names(star))


def _stars(module: Module, name: str) -> list[str]:
    """The modules whose star import may bind this name."""
    return [star for star in module.stars if name in _names(star)]


def _names(name: str, seen: frozenset[str] = frozenset()) -> set[str]:
    """What a star import of a module binds."""
    module = _module(name)
    if module is None or name in seen:
        return set()
    return module.definitions.union(*(_names(star, seen | {name}) for star in module.stars))
