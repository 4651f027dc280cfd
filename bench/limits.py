"""What one job may take: minutes in all, minutes without a sign of progress, memory above its start, disk.

Limits are no part of any key: a job that keeps within them gives the same numbers whatever they are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from bench.errors import UsageError
from bench.words import shown, unknown

MEANINGS = {
    "minutes": "minutes that one job may take",
    "still": "minutes that one job may go without a sign of progress",
    "memory": "memory that one job may take: a number of MiB, or text such as 4 GB",
    "disk": "disk that one job may fill: a number of MiB, or text such as 4 GB",
}
"""The keys of `limits` in a suite; on the command line they are --max-minutes and so on."""

SIZE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?) ?(MB|MiB|GB|GiB)")
UNITS = {"MB": 1e6 / 2**20, "MiB": 1.0, "GB": 1e9 / 2**20, "GiB": 1024.0}
MOST = 1e9
"""The largest number of minutes or MiB that is read; `none` says that there is no limit."""


class Limit(NamedTuple):
    """An amount (minutes, or MiB; infinite where a default is lifted) and who set it."""

    amount: float
    by: str


Limits = Mapping[str, Limit]
"""By key of MEANINGS; what nobody set is missing."""


def read_limit(key: str, value: Any) -> float:
    """The amount that a suite's value or the text of a command line means. Raises ValueError in words."""
    if value is None or value == "none":
        return math.inf
    number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    if isinstance(value, str):
        size = SIZE.fullmatch(value) if key in ("memory", "disk") else None
        plain = re.fullmatch(r"[0-9]{0,12}\.?[0-9]{1,12}", value)
        number = float(size[1]) * UNITS[size[2]] if size else float(value) if plain else None
    if number is None or not 0 < number <= MOST:
        raise ValueError(f"must be {MEANINGS[key]}; none lifts the limit; got {shown(value)}")
    return number


def option(key: str) -> str:
    """The option of the command line."""
    return f"--max-{key}"


def limits_asked(asked: Mapping[str, object], named: Callable[[str], str]) -> Limits:
    """Limits that somebody asks for beside a suite's; `named`: what they call each. Raises UsageError."""
    limits = {}
    for key, value in asked.items():
        if key not in MEANINGS:
            raise UsageError(f"{named(key)}: {unknown('limit', key, MEANINGS)}")
        try:
            limits[key] = Limit(read_limit(key, value), f"{named(key)} {value}")
        except ValueError as error:
            raise UsageError(f"{named(key)}: {error}") from error
    return limits
