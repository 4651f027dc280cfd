"""When Python may look for cycles of objects that nobody holds any more."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Without looking for cycles: among a million new objects, or those of libraries that load, there are hardly any,
    and looking takes as long as the rest.
    """
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def collect_no_more() -> None:
    """For a process that is about to end, which would look through all that it holds before it lets go of it."""
    gc.disable()
    gc.freeze()
