"""What every room of tests may use."""

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from bench import cli

MNIST_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data" / "mnist"
if MNIST_BESIDE.is_dir():  # spares a fetch, for the workers too
    os.environ.setdefault("BENCH_DATA", str(MNIST_BESIDE))


@pytest.fixture(scope="session")
def bench():
    """The command line inside this process, which spares each call the seconds that loading torch takes.

    Workers are real processes all the same. Returns what subprocess.run would: returncode, stdout, stderr.
    """

    def run(*arguments):
        out, err, before = io.StringIO(), io.StringIO(), sys.argv
        sys.argv = ["bench", *map(str, arguments)]
        try:
            with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
                cli.main()
        finally:
            sys.argv = before
        return subprocess.CompletedProcess(sys.argv, ended.value.code, out.getvalue(), err.getvalue())

    return run
