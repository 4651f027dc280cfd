"""Every factor and metric that a suite may name, in one place, and how its parameters are validated.

A factor is a component (a name out of a room's table, with parameters), settings (parameters without a
name) or a choice (one word or number). A plugin file adds classes to the tables of one suite; it does so by
a visible table of its own, spelled as the package's are (`PATHS = {"mine": Mine}`).
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from bench import interfaces, settings
from bench.automatic import reserved
from bench.couplings import COUPLINGS
from bench.datafiles import named, parameters_of
from bench.datasets import DATASETS, SOURCES
from bench.distribution import ENTRY_POINTS
from bench.errors import ComponentError
from bench.inputs import INPUTS
from bench.metrics import METRICS
from bench.nets import NETS
from bench.paths import PATHS
from bench.plugins import Bundle, claim, load_plugin, read_plugin
from bench.solvers import SOLVERS

Plain = str | int | float | bool | None | list[Any] | dict[str, Any]


@dataclass(frozen=True)
class Room:
    """One kind of component: where it is listed, what it must be, its table and its factor's default."""

    title: str
    table_name: str
    base: type
    table: Mapping[str, type]
    default: str | None = None


@dataclass(frozen=True)
class Choice:
    """A factor that is one word out of `allowed`, or (allowed empty) a whole number from 0."""

    allowed: tuple[str, ...]
    default: str | int
    meaning: str


ROOMS: dict[str, Room] = {
    "dataset": Room("datasets", "DATASETS", interfaces.Dataset, DATASETS, "gaussian_mixture"),
    "source": Room("sources", "SOURCES", interfaces.Dataset, SOURCES, "gaussian"),
    "coupling": Room("couplings", "COUPLINGS", interfaces.Coupling, COUPLINGS, "independent"),
    "path": Room("paths", "PATHS", interfaces.Path, PATHS, "linear"),
    "net": Room("nets", "NETS", interfaces.Net, NETS, "mlp"),
    "solver": Room("solvers", "SOLVERS", interfaces.Solver, SOLVERS, "euler"),
    "metric": Room("metrics", "METRICS", interfaces.Metric, METRICS),
}

SETTINGS: dict[str, type] = {"training": settings.Training, "sampling": settings.Sampling}

CHOICES: dict[str, Choice] = {
    "target": Choice(
        ("exact", "displacement"),
        "exact",
        "what the net regresses on: u_t, or d_t without the noise's velocity",
    ),
    "prediction": Choice(
        ("velocity", "noise", "data"),
        "velocity",
        "what the net's output stands for: the velocity, all noise at unit scale, or the data point",
    ),
    "clock": Choice(("noise_at_0", "data_at_0"), "noise_at_0", "the time that the net sees: t, or 1 - t"),
    "direction": Choice(
        ("forward", "reversed_field"),
        "forward",
        "sampling; reversed_field asks the field at 1 - t, a known slip",
    ),
    "replica": Choice((), 0, "salts the random streams: equal cells under other randomness"),
}

FACTORS: tuple[str, ...] = (
    "dataset", "source", "coupling", "path", "target", "prediction", "clock", "net", "training",
    "direction", "solver", "sampling", "replica",
)  # fmt: skip
"""Every factor, in the order in which tables show them."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a component: name, type as text, default, and the constraints as text."""

    name: str
    kind: str
    default: Any
    required: bool


@dataclass(frozen=True)
class Config:
    """One resolved value of one factor: a component's name (none for settings) and all its parameters.

    `plain` is what keys hash and records show; equal configurations are equal in `digest`.
    """

    factor: str
    name: str | None
    plain: str
    """Canonical JSON: {"name": ..., parameters...}; a choice is {"value": ...}."""

    @functools.cached_property
    def values(self) -> dict[str, Any]:
        """The canonical JSON as a dictionary."""
        parsed: dict[str, Any] = json.loads(self.plain)
        return parsed

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of factor and canonical JSON."""
        return hashlib.sha256(f"{self.factor}:{self.plain}".encode()).hexdigest()


@dataclass(frozen=True)
class Problem:
    """A fault in a component's parameters: which parameter (none: the whole) and what is wrong."""

    parameter: str | None
    message: str


@functools.lru_cache(maxsize=4)
def _installed(path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """Components of packages installed on this sys.path, looked for once: it takes 20 ms, a tenth of a small plan."""
    return tuple(entry_points(group=ENTRY_POINTS))


class Tables:
    """The components that one suite may name: the package's, installed entry points' and its plugins'."""

    def __init__(self, plugins: Sequence[str | Bundle] = (), folder: Path = Path()) -> None:
        self.folder = folder
        """From where on parameters name files of data: the suite's."""
        self.data: dict[str, str] = {}
        """Files of data that were named, by their content."""
        self._built: dict[Config, Any] = {}
        self.rooms: dict[str, dict[str, type]] = {kind: dict(room.table) for kind, room in ROOMS.items()}
        for entry in _installed(tuple(sys.path)):
            self._add(entry.load(), f"entry point {entry.name}")
        self.loaded: dict[str, str] = {}
        """What each plugin file and its neighbours held: a worker must find the same."""
        for plugin in plugins:
            bundle = read_plugin(plugin) if isinstance(plugin, str) else plugin
            file = plugin if isinstance(plugin, str) else plugin.file
            module = load_plugin(bundle, file)
            self.loaded[file] = bundle.content
            self._add(module, file)

    @property
    def plugins(self) -> tuple[str, ...]:
        """The plugin files."""
        return tuple(self.loaded)

    def _add(self, module: types.ModuleType, origin: str) -> None:
        found = 0
        for kind, room in ROOMS.items():
            table = getattr(module, room.table_name, {})
            if not isinstance(table, Mapping):
                raise ComponentError(f'{origin}: {room.table_name} must map names to classes, e.g. {{"mine": Mine}}')
            for name, cls in table.items():
                if not (isinstance(cls, type) and issubclass(cls, room.base) and dataclasses.is_dataclass(cls)):
                    raise ComponentError(
                        f"{origin}: {room.table_name}[{name!r}] must be a frozen dataclass derived from "
                        f"bench.interfaces.{room.base.__name__}"
                    )
                _usable(name, cls, f"{origin}: {room.table_name}[{name!r}]")
                if name in room.table:
                    raise ComponentError(
                        f"{origin}: {room.table_name}[{name!r}] is the name of a built-in; choose another name"
                    )
                claim(cls, module)
                self.rooms[kind][name] = cls
                if kind == "dataset":
                    self.rooms["source"].setdefault(name, cls)
                found += 1
        if not found:
            names = ", ".join(room.table_name for room in ROOMS.values())
            raise ComponentError(f'{origin}: no table found; end it in one of {names}, e.g. PATHS = {{"mine": Mine}}')

    def names(self, kind: str) -> list[str]:
        """Names that this kind of component knows, sorted."""
        return sorted(self.rooms[kind])

    def cls(self, kind: str, name: str | None) -> type:
        """The class behind a component's name, or a settings factor's class."""
        return SETTINGS[kind] if name is None else self.rooms[kind][name]

    def resolve(self, kind: str, name: str | None, given: Mapping[str, Any]) -> Config | list[Problem]:
        """Validate parameters and fill in defaults; problems instead of a Config where there are any."""
        cls = self.cls(kind, name)
        unknown = [Problem(key, "unknown") for key in given if key not in parameter_names(cls)]
        known = {key: value for key, value in given.items() if key in parameter_names(cls)}
        lost = []
        for key, mark in parameters_of(cls).items():
            if isinstance(path := known.get(key), str) and path not in self.data:  # a content's own name stays
                try:
                    known[key] = named(self.folder / path, folder=mark.folder)
                    self.data[known[key]] = path
                except (OSError, ValueError) as error:  # ValueError: a NUL
                    said = getattr(error, "strerror", None) or error
                    lost.append(Problem(key, f"{path}: {said}; paths begin in the folder of the suite"))
        if lost:
            return unknown + lost
        try:
            instance = _adapter(cls).validate_json(json.dumps(known), strict=True)
        except ValidationError as error:
            return unknown + [
                Problem(str(e["loc"][0]) if e["loc"] else None, _phrase(e["msg"], e["input"], bool(e["loc"])))
                for e in error.errors()
            ]
        except ValueError as error:  # json: nan and such
            return [*unknown, Problem(None, str(error))]
        if unknown:
            return unknown
        head = {} if name is None else {"name": name}
        return Config(kind, name, _canonical({**head, **dataclasses.asdict(instance)}))

    def build(self, config: Config) -> Any:
        """The component or settings instance of a resolved configuration; a choice's plain value. Each is made once."""
        if config not in self._built:
            values = dict(config.values)
            values.pop("name", None)
            self._built[config] = (
                values["value"]
                if config.factor in CHOICES
                else _adapter(self.cls(config.factor, config.name)).validate_json(json.dumps(values), strict=True)
            )
        return self._built[config]


def _usable(name: str, cls: type, where: str) -> None:
    """Raise ComponentError where a plugin's class lacks what the harness asks of it before any job runs."""
    try:
        parameters(cls)
        _adapter(cls)
    except Exception as error:
        raise ComponentError(f"{where}: its parameters cannot be read: {type(error).__name__}: {error}") from error
    if issubclass(cls, interfaces.Metric):
        _usable_metric(name, cls, where)
    missing = sorted(getattr(cls, "__abstractmethods__", ()))
    if missing:
        raise ComponentError(f"{where}: {cls.__name__} does not define {', '.join(missing)}")


def _usable_metric(name: str, cls: type[interfaces.Metric], where: str) -> None:
    """Raise ComponentError where a metric says nothing, takes names of the harness, or asks for what is not there."""
    if not getattr(cls, "values", None):
        example = f'values = {{"{cls.__name__.lower()}": Measured(unit, direction)}}'
        raise ComponentError(f"{where}: a metric says what it returns; add {example}")
    for value in (name, *cls.values):
        why = f"{value!r} is a factor, and so a column of the records" if value in FACTORS else reserved(value)
        if why:
            raise ComponentError(f"{where}: {why}; choose another name than {value!r}")
    for asked in cls.inputs:
        if asked not in INPUTS:
            raise ComponentError(f"{where}: no input named {asked!r} among `inputs`. Known: {', '.join(INPUTS)}.")


def choice(factor: str, value: str | int) -> Config:
    """The resolved configuration of a choice factor."""
    return Config(factor, None, _canonical({"value": value}))


def parameter_names(cls: type) -> tuple[str, ...]:
    """Names of a component's parameters, in order."""
    return tuple(field.name for field in dataclasses.fields(cls))


def parameters(cls: type) -> list[Parameter]:
    """A component's parameters with types and defaults, for listings and messages."""
    hints = typing.get_type_hints(cls, include_extras=True)
    rows = []
    for field in dataclasses.fields(cls):
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        required = default is dataclasses.MISSING
        rows.append(Parameter(field.name, type_text(hints[field.name]), None if required else default, required))
    return rows


def first_line(cls: type) -> str:
    """First line of the class's docstring."""
    return (cls.__doc__ or "").strip().splitlines()[0] if cls.__doc__ else ""


def json_schema(cls: type) -> dict[str, Any]:
    """JSON Schema of a component's parameters, unknown names refused."""
    schema = _adapter(cls).json_schema()
    schema["additionalProperties"] = False
    return schema


def type_text(hint: Any) -> str:
    """A type as a suite's author reads it: `whole number > 0`, `number`, `adam | adamw`, `none`."""
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        base, *notes = typing.get_args(hint)
        bounds = [text for note in notes for text in _bounds(note)]
        return " ".join([type_text(base), ", ".join(bounds)]).strip()
    if origin is Literal:
        return " | ".join(str(arg) for arg in typing.get_args(hint))
    if origin in (typing.Union, types.UnionType):
        return " | ".join(type_text(arg) for arg in typing.get_args(hint))
    if origin in (tuple, list):
        return f"list of {type_text(typing.get_args(hint)[0])}"
    plain = {int: "whole number", float: "number", str: "text", bool: "true | false", type(None): "none"}
    return plain.get(hint, getattr(hint, "__name__", str(hint)))


@functools.cache
def _adapter(cls: type) -> TypeAdapter[Any]:
    return TypeAdapter(cls)


def _canonical(values: Mapping[str, Any]) -> str:
    return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _bounds(note: Any) -> list[str]:
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "multiple_of": "multiple of"}
    return [f"{sign} {getattr(note, name)}" for name, sign in signs.items() if hasattr(note, name)]


def _phrase(message: str, value: Any, show: bool) -> str:
    text = message.removeprefix("Value error, ")
    text = text[0].lower() + text[1:] if text.startswith("Input") else text
    return f"{text}, got {json.dumps(value, default=str)}" if show else text
