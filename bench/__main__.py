"""`python -m bench`; `bench` on the PATH is the same thing."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from bench import cli

    cli.main()


if __name__ == "__main__":
    main()
