"""What the job of an entry must hold to become records: a right checksum says nothing of what was sealed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from bench.automatic import AUTOMATIC
from bench.store.entries import Entry

Test = Callable[[Any], bool]

MOST_SECONDS = 1e11
"""Of a time since 1970: what a calendar can show."""


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _time(value: Any) -> bool:
    return _number(value) and 0 <= value < MOST_SECONDS


def _texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(one, str | None) for one in value.values())


def _values(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(numbers, list) and all(map(_number, numbers)) for numbers in value.values()
    )


ALWAYS: dict[str, Test] = {"seconds": _number, "started": _time, "threads": _number, "versions": _texts}
"""What every job holds, whatever its kind."""

BY_KIND: dict[str, dict[str, Test]] = {
    "score": {"values": _values, "score_seconds": _number, "repeats": _number},
    "floor": {"values": _values, "score_seconds": _number, "repeats": _number},
    "reference": {"floor": _text},
}

OPTIONAL: dict[str, Test] = {
    **dict.fromkeys(AUTOMATIC, _number),
    "undefined": _text, "device": _text, "code": _text, "commit": _text, "group": _text, "floor": _text,
    "peak_mb": _number, "repeats": _number,
}  # fmt: skip
"""What may be missing or none."""


def fault(entry: Entry) -> str:
    """What keeps an entry's job from being recorded, in words; empty where nothing does."""
    job: Mapping[str, Any] = entry.job
    for name, test in (ALWAYS | BY_KIND.get(entry.kind, {})).items():
        if name not in job or not test(job[name]):
            return f"its job does not say {name} as a {entry.kind} job does"
    for name, test in OPTIONAL.items():
        if job.get(name) is not None and not test(job[name]):
            return f"its job has {name} of a wrong kind"
    return ""
