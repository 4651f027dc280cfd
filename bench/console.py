"""What every command prints with, and the statuses that it exits with."""

from __future__ import annotations

from rich.console import Console

OK, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130
"""Exit statuses: all well, something failed, the suite or the command line is wrong, interrupted."""

out = Console(soft_wrap=True, markup=False, highlight=False)
err = Console(stderr=True, soft_wrap=True, markup=False, highlight=False)
