"""What every component promises, whatever its room: to be data that a suite can name and a key can hash."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from typing import Any

from pydantic import TypeAdapter

from bench.contracts.require import Law, holds
from bench.errors import ContractBroken


def says_what_it_is(component: Any) -> str | None:
    """The class has a docstring of its own, whose first line is shown by `bench ls`."""
    text = type(component).__dict__.get("__doc__") or ""
    generated = text.startswith(f"{type(component).__name__}(")  # what dataclass writes where there is none
    holds(
        bool(text.strip()) and not generated,
        f"class {type(component).__name__} has no docstring",
        "say in one line what it is, with its formula, its units and its source",
    )
    return None


def is_frozen_data(component: Any) -> str | None:
    """The component is a frozen dataclass, so that it cannot change after its key was made."""
    name = next((field.name for field in dataclasses.fields(component)), "anything")
    try:
        setattr(component, name, None)
    except dataclasses.FrozenInstanceError:
        return None
    raise ContractBroken(
        f"{type(component).__name__} can be changed once it is made; mend: write @dataclass(frozen=True) above it"
    )


def has_annotated_parameters(component: Any) -> str | None:
    """Every annotation of the class is a parameter with a type, a ClassVar, or inherited."""
    cls = type(component)
    hints = typing.get_type_hints(cls, include_extras=True)
    names = {field.name for field in dataclasses.fields(cls)}
    # Bare ClassVar, without a type in brackets, has no origin.
    shared = {name for name, hint in hints.items() if typing.ClassVar in (hint, typing.get_origin(hint))}
    loose = [name for name in inspect.get_annotations(cls) if name not in names | shared]
    holds(
        not loose,
        f"{', '.join(loose)} is annotated but is no parameter",
        f"write @dataclass(frozen=True) above {cls.__name__} itself, or annotate it as ClassVar",
    )
    return None


def survives_json(component: Any) -> str | None:
    """Its parameters written as JSON and read again give an equal component: keys are hashes of that JSON."""
    adapter: TypeAdapter[Any] = TypeAdapter(type(component))
    again = adapter.validate_json(adapter.dump_json(component), strict=True)
    holds(
        again == component and hash(again) == hash(component),
        f"{component} comes back from JSON as {again}",
        "let parameters be numbers, texts, true or false, none, or tuples of these",
    )
    return None


LAWS: tuple[Law, ...] = (says_what_it_is, is_frozen_data, has_annotated_parameters, survives_json)
