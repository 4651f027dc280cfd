"""What every command prints with, and how it answers to a name that there is not."""

from __future__ import annotations

from rich.console import Console

OK, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130
"""Exit statuses: all well, something failed, the suite or the command line is wrong, interrupted."""

out = Console(soft_wrap=True, markup=False, highlight=False)
err = Console(stderr=True, soft_wrap=True, markup=False, highlight=False)


def nearest(name: str, known: list[str], what: str) -> str:
    """There is no such name; the one that was meant, perhaps, and all that are known."""
    from difflib import get_close_matches

    close = get_close_matches(name, known, 1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"no {what} named {name!r}.{hint} Known: {', '.join(known) or 'none yet'}."
