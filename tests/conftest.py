"""What every room of tests may use."""

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from bench import cli
from bench.execute import Ended, Progressed, Started, child, execute
from bench.execute.together import do_together
from bench.kinds import KINDS
from bench.store import Store

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


class Inline:
    """An engine that does each batch at once in this process, by the worker's own code: quick, and can be watched."""

    slots, free = 1, 1

    def __init__(self):
        self.sent = []

    def submit(self, batch):
        if KINDS[batch[0].kind].together == "as one":
            do_together(batch, self.sent.append)
        else:
            for work in batch:
                self.sent.append(child.attempt(work, self.sent.append))

    def events(self, timeout):
        made = {"started": Started, "progressed": Progressed, "ended": Ended}
        taken, self.sent = self.sent, []
        return [made[one.pop("event")](one.pop("job"), **one) for one in map(dict, taken)]

    def stop(self):
        self.sent = []


class Unwatched:
    """Nobody looks on."""

    def looked_up(self, stored):
        pass

    def started(self, job):
        pass

    def progressed(self, job, event):
        pass

    def returned(self, job):
        pass

    def waiting(self):
        pass

    def ended(self, job, outcome):
        pass

    def notice(self, text):
        raise AssertionError(text)


@pytest.fixture(scope="session")
def run_inline():
    """Outcomes by job of a plan that runs in this process, into a store of its own."""

    def run(plan, root, watched=lambda engine: engine, **options):
        return execute(plan, Store(root), watched(Inline()), Unwatched(), **options).outcomes

    return run
