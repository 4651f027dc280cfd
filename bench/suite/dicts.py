"""A suite that is a dict, as a notebook has it, in place of a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.words import shown

DICT = "<dict>"
"""Where its mistakes are said to be; plugins are sought from the working directory."""

UNNAMED = "unnamed"
"""What it is called where it does not say so by `suite`."""


def dumped(suite: Mapping[str, Any]) -> bytes:
    """A dict as the text of a suite: JSON, which is YAML. Raises UsageError for what no file could say."""

    def plain(value: object) -> object:
        """What is no JSON of itself: a number of NumPy's or torch's, a path."""
        if isinstance(value, Path):
            return str(value)
        if callable(item := getattr(value, "item", None)):
            return item()
        raise TypeError(f"{shown(value)} is a {type(value).__name__}; a suite holds text, numbers, lists and dicts")

    try:
        text = json.dumps(suite, indent=1, default=plain, allow_nan=False)
        _check_keys(suite)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"{DICT}: {error}") from error
    return text.encode()


def _check_keys(value: object) -> None:
    if isinstance(value, Mapping):
        if wrong := [key for key in value if not isinstance(key, str)]:
            raise TypeError(f"keys are text, and {shown(wrong[0])} is a {type(wrong[0]).__name__}")
        value = list(value.values())
    for part in value if isinstance(value, list | tuple) else ():
        _check_keys(part)
