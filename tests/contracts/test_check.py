"""`bench check` passes a good plugin, and names the fault of a wrong one, its place and its remedy."""

import subprocess
import sys
from textwrap import dedent

import pytest

from bench.cli import main
from bench.contracts import CONTRACTS

GOOD = '''
    """A path, a solver and a coupling of a user's own, all as they should be."""

    from dataclasses import dataclass
    from typing import Annotated, ClassVar

    import torch
    from annotated_types import Ge, Gt

    from bench.interfaces import Coupling, Path, Solution, Solver, checked_times


    @dataclass(frozen=True)
    class Power(Path):
        """x_t = t^p x1 + (1 - t^p) x0."""

        p: Annotated[float, Gt(1)] = 2.0

        def alpha(self, t):
            return t**self.p

        def sigma(self, t):
            return 1 - t**self.p

        def d_alpha(self, t):
            return self.p * t ** (self.p - 1)

        def d_sigma(self, t):
            return -self.p * t ** (self.p - 1)


    @dataclass(frozen=True)
    class Steps(Solver):
        """x + h v(x, t)."""

        order: ClassVar[int] = 1
        steps: Annotated[int, Ge(1)] = 50

        def solve(self, velocity, x, times):
            grid = [k / self.steps for k in range(self.steps + 1)]
            states = [x]
            with torch.no_grad():
                for t in grid[:-1]:
                    states.append(states[-1] + velocity(torch.tensor(t, dtype=torch.float64), states[-1]) / self.steps)
            frames = []
            for t in checked_times(times).tolist():
                k = min(int(t * self.steps), self.steps - 1)
                part = t * self.steps - k
                frames.append((1 - part) * states[k] + part * states[k + 1])
            return Solution(torch.stack(frames), 0)

        def evaluations(self):
            return self.steps


    @dataclass(frozen=True)
    class Sorted(Coupling):
        """Both batches in the order of their first coordinate: optimal transport on the line."""

        def pair(self, x0, x1, generator):
            return tuple(x[x.flatten(1)[:, 0].argsort()] for x in (x0, x1))


    PATHS = {"power": Power}
    SOLVERS = {"steps": Steps}
    COUPLINGS = {"sorted": Sorted}
'''

WRONG = '''
    """Wrong in ways that are easily made: a sign, an order, an input written into, time turned round, a slip."""

    from dataclasses import dataclass
    from typing import ClassVar

    import numpy as np
    import torch

    from bench.interfaces import Measured, Metric
    from bench.paths import Linear
    from bench.solvers import SOLVERS as KNOWN


    @dataclass(frozen=True)
    class Sign(Linear):
        """The straight line whose source is taken to move towards the data."""

        def d_sigma(self, t):
            return torch.ones_like(t)


    @dataclass(frozen=True)
    class Turned(Linear):
        """The straight line with data at time 0, as half of the papers write it."""

        def alpha(self, t):
            return 1 - t

        def sigma(self, t):
            return t

        def d_alpha(self, t):
            return -torch.ones_like(t)

        def d_sigma(self, t):
            return torch.ones_like(t)


    @dataclass(frozen=True)
    class Misspelt(Linear):
        """The straight line with a name that is not there."""

        def velocity(self, t, x0, x1, xi):
            return x1 - xO


    @dataclass(frozen=True)
    class Promoted(KNOWN["euler"]):
        """Euler's method, called a method of order 2."""


    Promoted.order = 2


    @dataclass(frozen=True)
    class Writes(Metric):
        """Distance of the means, found by centring the samples where they lie."""

        values: ClassVar = {"means": Measured("data units", "lower")}

        def measure(self, given):
            x = given.samples
            x -= given.reference.mean(0)
            return {"means": float(np.linalg.norm(x.mean(0)))}


    PATHS = {"sign": Sign, "turned": Turned, "misspelt": Misspelt}
    SOLVERS = {"promoted": Promoted}
    METRICS = {"writes": Writes}
'''


SLIP = next(number for number, line in enumerate(WRONG.splitlines(), 1) if "x1 - xO" in line)


def plugin(folder, text):
    (folder / "mine.py").write_text(dedent(text))
    return str(folder / "mine.py")


def check(monkeypatch, capsys, *arguments):
    """Exit status, output and messages of `bench check` in this process."""
    monkeypatch.setattr(sys, "argv", ["bench", "check", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code, *capsys.readouterr()


def test_a_good_plugin_passes_and_every_law_of_it_is_listed(tmp_path, monkeypatch, capsys):
    status, listed, _ = check(monkeypatch, capsys, plugin(tmp_path, GOOD))
    assert status == 0, listed
    lines = listed.splitlines()
    for room, name in (("path", "power"), ("solver", "steps"), ("coupling", "sorted")):
        for law in CONTRACTS[room]:
            (line,) = [line for line in lines if f" {room} {name}  {law.__name__}" in line]
            assert line.startswith("ok ") or (line.startswith("skipped ") and ": " in line)
    assert "0 are broken" in lines[-1]
    assert len(lines) == 1 + sum(len(CONTRACTS[room]) for room in ("path", "solver", "coupling"))


@pytest.fixture(scope="module")
def wrong(tmp_path_factory):
    return subprocess.run(
        [sys.executable, "-m", "bench", "check", plugin(tmp_path_factory.mktemp("wrong"), WRONG)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("component", "law", "words"),
    [
        ("sign", "coefficients_have_their_derivatives", ["d_sigma(t) at t = 1e-06 is 1 where -1 is due", "the sign"]),
        ("sign", "velocity_is_the_time_derivative", ["velocity at t = ", "alpha' x1 + sigma' x0"]),
        ("promoted", "has_its_stated_order", ["from 200 to 400 evaluations", "order 1.0", "not 2", "state the order"]),
        ("writes", "leaves_its_inputs_alone", ["samples was written into", "work on a copy of samples"]),
        ("turned", "runs_from_noise_to_data", ["alpha runs from 1 to 0", "exchange t and 1 - t"]),
        ("misspelt", "velocity_is_the_time_derivative", ["raises NameError", "'xO'", f"mine.py:{SLIP}"]),
    ],
)
def test_a_wrong_component_is_caught_with_words(wrong, component, law, words):
    assert wrong.returncode == 1, wrong.stdout + wrong.stderr
    assert "Traceback" not in wrong.stderr
    failures = [line for line in wrong.stdout.splitlines() if line.startswith("FAILED")]
    (line,) = [line for line in failures if f" {component}  {law}: " in line]
    for word in words:
        assert word in line
    assert line.count("mend: ") == (0 if component == "misspelt" else 1)


def test_what_is_right_in_a_wrong_component_is_said_to_be_right(wrong):
    for component, law in (
        ("sign", "keeps_shape_and_dtype"),
        ("promoted", "counts_its_evaluations"),
        ("writes", "has_annotated_parameters"),  # values: ClassVar = ..., without brackets
    ):
        assert any(line.startswith("ok ") and f" {component}  {law}" in line for line in wrong.stdout.splitlines())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import nonsense_that_is_not_there", "nonsense_that_is_not_there"),
        ("PATHS = {'mine': int}", "bench.interfaces.Path"),
        ("PATHS = {}", "no table found"),
    ],
)
def test_a_file_that_cannot_be_loaded_gives_status_2(tmp_path, monkeypatch, capsys, text, said):
    status, listed, message = check(monkeypatch, capsys, plugin(tmp_path, text))
    assert (status, listed) == (2, "")
    assert said in message


def test_a_missing_file_gives_status_2(tmp_path, monkeypatch, capsys):
    status, _, message = check(monkeypatch, capsys, str(tmp_path / "nothing.py"))
    assert status == 2
    assert "nothing.py" in message


NEEDS = '''
    from dataclasses import dataclass
    from typing import Annotated

    from annotated_types import Gt

    from bench.paths import Trigonometric


    @dataclass(frozen=True)
    class Stretched(Trigonometric):
        """The quarter circle, which a parameter without default leaves as it is."""

        a: Annotated[float, Gt(0)]


    @dataclass(frozen=True)
    class Bent(Trigonometric):
        """The quarter circle, wrong unless a is 1."""

        a: Annotated[float, Gt(0)]

        def d_alpha(self, t):
            return self.a * super().d_alpha(t)


    PATHS = {"stretched": Stretched, "bent": Bent}
'''


def test_a_parameter_without_default_is_asked_for(tmp_path, monkeypatch, capsys):
    status, listed, _ = check(monkeypatch, capsys, plugin(tmp_path, NEEDS))
    assert status == 1
    for name in ("stretched", "bent"):
        (line,) = [line for line in listed.splitlines() if f" path {name}  " in line]
        assert line.startswith("FAILED")
        assert f"no law could be tried: a has no default; give a value by --with '{name}: {{a: ...}}'" in line


def test_a_component_is_tried_at_the_parameters_given_and_around_them(tmp_path, monkeypatch, capsys):
    file = plugin(tmp_path, NEEDS)
    status, listed, _ = check(monkeypatch, capsys, file, "--with", "stretched: {a: 2}", "--with", "bent: {a: 1}")
    assert status == 1
    failures = [line for line in listed.splitlines() if line.startswith("FAILED")]
    assert failures
    assert all(" path bent  " in line and "with a = " in line for line in failures)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("streched: {a: 1}", "no component named 'streched'. Did you mean 'stretched'?"),
        ("stretched: {aa: 1}", "no parameter named 'aa'. Did you mean 'a'?"),
        ("stretched: {a: -1}", "a: Input should be greater than 0, got -1"),
        ("stretched: 3", "write a name and its parameters"),
        ("stretched", "write a name and its parameters"),
        ("stretched: {a: &x 1}", "anchor"),
        ("stretched: {a: [", "not valid YAML"),
    ],
)
def test_what_with_cannot_mean_gives_status_2(tmp_path, monkeypatch, capsys, text, said):
    status, listed, message = check(monkeypatch, capsys, plugin(tmp_path, NEEDS), "--with", text)
    assert (status, listed) == (2, "")
    assert said.lower() in message.lower()
    assert "Traceback" not in message
