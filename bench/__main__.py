"""`python -m bench`; `bench` on the PATH is the same thing."""

import os
import sys


def main() -> None:
    """Run the command line. SIGTERM ends it as Ctrl-C does, in a sentence, while it loads too."""
    leave_the_working_directory()
    import signal

    try:
        signal.signal(signal.SIGTERM, _interrupt)
        from bench import cli

        try:
            cli.main()
        finally:
            from bench.collecting import collect_no_more

            collect_no_more()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(130) from None


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def leave_the_working_directory() -> None:
    """Take off sys.path what Python itself puts in front, before anything else is imported.

    That is the working directory (`python -m bench`) or the script's folder: a `random.py` lying there would be run in
    place of the library's. Folders that the user's PYTHONPATH names stay; an empty part of it, which means the working
    directory and is mostly an accident (`PYTHONPATH=$PYTHONPATH:more`), does not.
    """
    ours = not sys.flags.safe_path
    if ours and sys.flags.ignore_environment:  # PYTHONSAFEPATH would not reach the fork server
        os.execv(sys.executable, [sys.executable, "-P", *sys.orig_argv[1:]])
    try:
        here = os.getcwd()
    except FileNotFoundError:
        here = ""
    if ours and sys.path[:1] and sys.path[0] in ("", here, os.path.dirname(os.path.realpath(sys.argv[0]))):
        del sys.path[0]
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    parts = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    named = [part for part in parts if part]
    if 0 < len(named) < len(parts) and here != package and here not in map(os.path.abspath, named):
        os.environ["PYTHONPATH"] = os.pathsep.join(named)
        sys.path[:] = [place for place in sys.path if os.path.abspath(place) != here]
    if here == package and not any(finder.find_spec("bench", None) for finder in sys.meta_path):
        raise SystemExit(
            "bench: the package is found in the working directory alone, from which nothing is imported; install it "
            f"(pip install -e .), or set PYTHONPATH={here}"
        )


if __name__ == "__main__":
    main()
