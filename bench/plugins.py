"""Components of a user's own: a plugin file, and the modules beside it that it imports, directly or through others.

A plugin and its neighbours are one bundle, read once and loaded from what was read, so that what runs is what the
code hash is of. Beside the plugin's module `bench_plugin_my_paths_1f2e3d` the neighbours have private names of their
own, `bench_plugin_my_paths_1f2e3d_beside.helper`, and an import of `helper` is rewritten to that. So nothing goes on
sys.path, two folders may each have a `helper.py`, and a file `random.py` is nobody else's. The standard library, this
package and installed distributions come first: a neighbour of the same name is not imported. What lies elsewhere on
sys.path without being installed (PYTHONPATH, an editable install) is imported as usual, and counts as well.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.abc
import importlib.util
import re
import sys
import traceback
import types
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from weakref import WeakKeyDictionary

from bench.errors import ComponentError
from bench.files import checksum
from bench.foreign import open_foreign, read_foreign
from bench.neighbours import MOST_BYTES, Found, Search, mapped
from bench.syntax import plain_text

PLUGIN = "bench_plugin_"
"""How the names of plugin modules begin; they end in a hash of the files."""


@dataclass(frozen=True)
class Bundle:
    """A component's files: by their names from the plugin on ("" itself), and others that it imports as usual."""

    name: str
    """The name of the plugin's module."""
    spelled: str
    """The same without the hash, which any comment and a move of the folder would change."""
    content: str
    """Hash of what all its files hold, wherever they lie."""
    search: Search
    private: dict[str, Found]
    data: dict[Path, str]
    """Files that it reads, by its own word (`files = ("points.npy",)`), with the SHA-256 of each."""

    @property
    def beside(self) -> str:
        """The package of its neighbours; not the plugin itself, whose names an import of one would overwrite."""
        return f"{self.name}_beside"

    @property
    def sha256(self) -> str:
        """What these files hold: of a plugin alone that file's own hash, else of a list of all, as sha256sum has it."""
        lines = [f"{hashlib.sha256(found.source).hexdigest()}  {name}" for name, found in sorted(self._all.items())]
        lines += [f"{held}  {path.name}" for path, held in sorted(self.data.items())]
        return lines[0][:64] if len(lines) == 1 else hashlib.sha256("\n".join(lines).encode()).hexdigest()

    @property
    def file(self) -> str:
        """The plugin's own file."""
        return str(self.private[""].path)

    @property
    def files(self) -> list[Path]:
        """The plugin, its neighbours and the data that it reads, links followed."""
        return [found.path.resolve() for found in self.private.values() if found.path] + list(self.data)

    @functools.cached_property
    def _all(self) -> dict[str, Found]:
        """With what is found on sys.path, which the plugin may have changed since it was read."""
        return {**self.private, **self.search.elsewhere(self.private)}

    @functools.cached_property
    def code(self) -> str:
        """Hash of all files without comments and docstrings; where they lie does not matter."""
        lines = [f"{self.spelled}:{name}:{_plain(found)}" for name, found in sorted(self._all.items())]
        lines += [f"{self.spelled}:{path.name}:{held}" for path, held in sorted(self.data.items())]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    @property
    def python(self) -> list[bytes]:
        """The sources that can be parsed."""
        return [found.source for found in self._all.values() if found.tree is not None]


_BUNDLES: dict[str, Bundle] = {}
_MADE: WeakKeyDictionary[type, str] = WeakKeyDictionary()


def read_plugin(file: str) -> Bundle:
    """A plugin file and its neighbours as they are now; nothing of them is run."""
    path = Path(file)
    try:
        source = read_foreign(path, MOST_BYTES)
    except (OSError, ValueError) as error:
        raise ComponentError(f"{file}: the plugin cannot be read: {getattr(error, 'strerror', error)}") from error
    if path.suffix != ".py":
        raise ComponentError(f"{file}: a plugin is a Python file, its name ending in .py")
    path = path.resolve()
    search = Search(path.parent, path.stem)
    try:
        private = search.beside(Found(path, source))
        content = [f"{name}:{hashlib.sha256(found.source).hexdigest()}" for name, found in sorted(private.items())]
        content += [f"{name}:{_plain(found)}" for name, found in sorted(search.elsewhere(private).items())]
        data = _data(file, private)
        content += [f"{path.name}:{held}" for path, held in sorted(data.items())]
    except OSError as error:
        raise ComponentError(f"{file}: what it imports cannot be read: {error.filename}: {error.strerror}") from error
    except (RecursionError, MemoryError) as error:
        raise ComponentError(f"{file}: nested too deeply to be read as Python") from error
    held = hashlib.sha256("\n".join(content).encode()).hexdigest()
    digest = hashlib.sha256(f"{path}\n{held}".encode()).hexdigest()[:12]
    spelled = PLUGIN + re.sub(r"\W", "_", path.stem)
    return Bundle(f"{spelled}_{digest}", spelled, held, search, private, data)


def load_plugin(plugin: str | Bundle, shown: str = "") -> types.ModuleType:
    """Import a plugin, by its file or as it was read, once per path and content, its neighbours' included."""
    bundle = read_plugin(plugin) if isinstance(plugin, str) else plugin
    if bundle.name in sys.modules:
        return sys.modules[bundle.name]
    _BUNDLES.update({bundle.name: bundle, bundle.beside: bundle})
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
    try:
        return importlib.import_module(bundle.name)
    except (Exception, SystemExit) as error:
        said = _words(error, bundle)
        raise ComponentError(f"{shown or bundle.file}: the plugin fails on import: {said}") from error


@functools.cache
def bundle_of(module: str) -> Bundle:
    """The files of a component that is not the package's: of a plugin, or of an installed module and its package."""
    top = module.partition(".")[0]
    if top in _BUNDLES:
        return _BUNDLES[top]
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None or top in sys.stdlib_module_names:
        raise ComponentError(
            f"{module}: the code of a component made there cannot be read; write its class down in a file"
        )
    path = Path(file)
    found = Found(path, path.read_bytes(), package=path.stem == "__init__")
    return Bundle(module, module, "", Search(None, top), {module: found}, {})


def claim(cls: type, module: types.ModuleType) -> None:
    """Note that a class was made by this module, where it is not to be found at its own name."""
    if getattr(sys.modules.get(cls.__module__), cls.__qualname__, None) is not cls:
        _MADE[cls] = module.__name__


def home(cls: type) -> str:
    """The module whose code made a class."""
    return _MADE.get(cls, cls.__module__)


def _data(file: str, private: dict[str, Found]) -> dict[Path, str]:
    """The data files that a plugin or a neighbour names, `files = ("points.npy",)` in it or in a class of it."""
    found: dict[Path, str] = {}
    for each in private.values():
        for name in _named(each.tree) if each.tree and each.path else ():
            assert each.path is not None
            path = each.path.parent / name
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise ComponentError(
                    f"{file}: files names {name!r}; data lie below the plugin's folder, named from there"
                )
            try:
                with open_foreign(path) as opened:
                    found[path.resolve()] = checksum(opened)
            except OSError as error:
                said = error.strerror or error
                raise ComponentError(f"{path}: named by the plugin's `files`, and cannot be read: {said}") from error
    return found


def _named(tree: ast.Module) -> list[str]:
    """What a module or its classes assign to `files`, where it is written out."""
    names: list[str] = []
    for body in (tree.body, *(each.body for each in tree.body if isinstance(each, ast.ClassDef))):
        for each in body:
            targets = (
                each.targets
                if isinstance(each, ast.Assign)
                else [each.target]
                if isinstance(each, ast.AnnAssign)
                else []
            )
            if _texts(each) and any(isinstance(target, ast.Name) and target.id == "files" for target in targets):
                names += _texts(each)
    return names


def _texts(statement: ast.stmt) -> list[str]:
    """The texts that an assignment gives, as one, a tuple or a list of them; none where it computes them."""
    value = getattr(statement, "value", None)
    items = value.elts if isinstance(value, ast.Tuple | ast.List) else [value]
    texts = [item.value for item in items if isinstance(item, ast.Constant) and isinstance(item.value, str)]
    return texts if len(texts) == len(items) else []


def _plain(found: Found) -> str:
    text = found.source if found.tree is None else plain_text(ast.parse(found.source)).encode()
    return hashlib.sha256(text).hexdigest()


def _words(error: BaseException, bundle: Bundle) -> str:
    """An error of an import, where in a neighbour it arose, and what to do about a module that is not there."""
    said = f"{type(error).__name__}: {error}".replace(f"{bundle.beside}.", "")
    inside = {str(found.path): found.path for name, found in bundle.private.items() if name and found.path}
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in inside]
    if frames:
        said += f" ({inside[frames[-1].filename].name}:{frames[-1].lineno})"
    if isinstance(error, ModuleNotFoundError) and error.name:
        name = error.name.removeprefix(f"{bundle.beside}.").partition(".")[0]
        said += f"; install {name}, or put {name}.py beside the plugin"
    return said


class _Loader(importlib.abc.InspectLoader):
    """Runs a file of a bundle as it was read, its imports of neighbours mapped to their private names."""

    def __init__(self, bundle: Bundle, found: Found) -> None:
        self.bundle, self.found = bundle, found

    def is_package(self, fullname: str) -> bool:
        """Whether it is a folder's __init__.py."""
        return self.found.package

    def get_source(self, fullname: str) -> str:
        """The text, for tracebacks of a file that has changed since."""
        return importlib.util.decode_source(self.found.source)

    def get_code(self, fullname: str) -> types.CodeType:
        """Compiled from what was read."""
        tree = ast.parse(self.found.source, str(self.found.path))
        private = self.bundle.beside
        names = {name: f"{private}.{name}" for name in self.bundle.search.tops}
        names |= {self.bundle.search.stem: self.bundle.name} if self.bundle.search.stem in names else {}
        mapped(tree, names, private if fullname == self.bundle.name else None)
        code: types.CodeType = compile(tree, str(self.found.path), "exec", dont_inherit=True)
        return code


class _Finder(importlib.abc.MetaPathFinder):
    """Finds plugins and their neighbours, under their private names alone."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        """The specification of a module of a bundle; None for every other name."""
        top, _, rest = fullname.partition(".")
        bundle = _BUNDLES.get(top)
        if bundle is None:
            return None
        found = Found(None, package=True) if fullname == bundle.beside else bundle.private.get(rest)
        if found is None:
            return None
        if found.path is None:  # a folder without __init__.py
            return ModuleSpec(fullname, None, is_package=True)
        if found.path.suffix != ".py":
            return importlib.util.spec_from_file_location(fullname, found.path)
        loader = _Loader(bundle, found)
        spec = ModuleSpec(fullname, loader, origin=str(found.path), is_package=loader.is_package(fullname))
        spec.has_location = True
        return spec


_FINDER = _Finder()
