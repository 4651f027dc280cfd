"""What every command prints with, and the statuses that it exits with."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from bench.words import printable

OK, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130
"""Exit statuses: all well, something failed, the suite or the command line is wrong, interrupted."""


class Plain(Console):
    """A console that prints what is said as it is, but for control characters: texts come from plugins and files."""

    def __init__(self, **options: Any) -> None:
        super().__init__(soft_wrap=True, markup=False, highlight=False, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as rich does, texts made printable."""
        super().print(*(printable(each) if isinstance(each, str) else each for each in objects), **options)


out, err = Plain(), Plain(stderr=True)
