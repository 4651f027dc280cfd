"""What suite.json may hold: a body that is whole and sealed can still be none of ours."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Annotated, Any

from annotated_types import Len
from pydantic import ConfigDict, TypeAdapter, ValidationError
from typing_extensions import TypedDict

Plain = str | int | float | bool | None


class File(TypedDict):
    """A plugin or a file of data, and its hash."""

    file: str
    sha256: str


class Exclusion(TypedDict):
    """Cells left out, and why."""

    where: Any
    because: str
    cells: int


class Claim(TypedDict, total=False):
    """What the report needs of a claim, whose other keys are texts and numbers."""

    claim: str
    metric: str
    pairs: list[Annotated[list[int], Len(2, 2)]]


class Published(TypedDict):
    """A number from a paper, and the cells that it is held against."""

    where: Any
    metric: str
    mean: float
    sd: float
    n: int
    source: str
    cells: list[int]


class Value(TypedDict, total=False):
    """Unit and direction of a value."""

    unit: str
    direction: str
    floored: bool


class About(TypedDict, total=False):
    """The body of suite.json; older versions lack some of it, newer ones may hold more."""

    __pydantic_config__ = ConfigDict(strict=True)  # type: ignore[misc]

    suite: str
    question: str
    profile: str | None
    seeds: list[int]
    axes: list[str]
    fixed: dict[str, Plain | list[Plain]]
    claims: list[Claim]
    published: list[Published]
    exclusions: list[Exclusion]
    plugins: list[File]
    data: list[File]
    metrics: list[str]
    values: dict[str, Value]
    terms: dict[str, str]
    provenance: dict[str, Plain | dict[str, Plain]]
    notices: list[str]
    command: str
    seconds: float | None
    jobs: dict[str, dict[str, int]]
    inputs: dict[str, str]
    written: dict[str, str]


NEEDED = ("suite", "question", "seeds", "axes", "values", "provenance", "claims")


def lacking(about: Mapping[str, Any]) -> str:
    """What a report cannot do without and is not there; empty where all is."""
    return next((f"holds no {name}" for name in NEEDED if name not in about), "")


def misshapen(about: Mapping[str, Any]) -> str:
    """The first thing that is not as it should be, with its place; empty where all is."""
    try:
        _adapter().validate_python(dict(about))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"[:300]
    return ""


@functools.cache
def _adapter() -> TypeAdapter[About]:
    return TypeAdapter(About)
