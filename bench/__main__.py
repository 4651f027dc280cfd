"""`python -m bench`; `bench` on the PATH is the same thing."""

from __future__ import annotations

import signal
import sys
from types import FrameType


def main() -> None:
    """Run the command line. SIGTERM ends it as Ctrl-C does, in a sentence, while it loads too."""
    try:
        signal.signal(signal.SIGTERM, _interrupt)
        from bench import cli

        cli.main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(130) from None


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
