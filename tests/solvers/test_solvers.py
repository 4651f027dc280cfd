"""Solvers keep their stated order, count, grid and range, on fields whose solution is known."""

import math

import pytest
import torch
from torchdiffeq import odeint

from bench.components import Config, Tables
from bench.datasets import DATASETS
from bench.errors import NotConverged
from bench.nets.oracle import OracleField
from bench.paths import Linear
from bench.sample import CountCalls
from bench.solvers import SOLVERS, adaptive
from bench.solvers.adaptive import Dopri5, Dopri8
from bench.solvers.fixed import RK4, Euler, Heun, Midpoint
from bench.solvers.tableau import EULER, HEUN, KUTTA_3_8, MIDPOINT

ENDS = torch.tensor([0.0, 1.0], dtype=torch.float64)
FIXED = [Euler, Midpoint, Heun, RK4]
ADAPTIVE = [cls for cls in SOLVERS.values() if cls.adaptive]
SPACINGS = [{"spacing": "uniform"}, {"spacing": "cosine"}, {"spacing": "power"}]
PEERS = {Euler: "euler", Midpoint: "midpoint", Heun: "heun2", RK4: "rk4"}


def swirl(t, x):
    """dx/dt = cos(3t) x rotated: solution known in closed form."""
    turned = torch.stack([-x[:, 1], x[:, 0]], dim=1)
    return torch.cos(3 * t) * x + (1 + t) * turned


def exact(x):
    """exp of the integrals: growth sin(3)/3, angle 1.5."""
    growth, angle = math.exp(math.sin(3) / 3), 1.5
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]], dtype=x.dtype)
    return growth * x @ turn.T


@pytest.fixture
def start():
    return torch.randn(16, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture(scope="module")
def flow():
    """The exact velocity of the Gaussian mixture, starts, and where its flow takes them."""
    field = OracleField(DATASETS["gaussian_mixture"]().mixture(), Linear())

    def velocity(t, x):
        return field(x, t.expand(len(x)))

    z = torch.randn(64, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return velocity, z, Dopri8(1e-12, 1e-12).solve(velocity, z, ENDS).states[-1]


def error(solver, flow):
    """Root mean square distance from the exact flow of the same starts, in data units."""
    velocity, z, end = flow
    return float((solver.solve(velocity, z, ENDS).states[-1] - end).square().sum(1).mean().sqrt())


@pytest.mark.parametrize("tableau", [EULER, MIDPOINT, HEUN, KUTTA_3_8], ids=lambda t: f"{t.order}-{t.c}")
def test_a_tableau_satisfies_the_conditions_of_its_order(tableau):
    a = torch.tensor([[*row, *[0.0] * (tableau.stages - len(row))] for row in tableau.a], dtype=torch.float64)
    b, c = (torch.tensor(v, dtype=torch.float64) for v in (tableau.b, tableau.c))
    one = torch.ones_like(c)
    trees = [[(one, 1)], [(c, 1 / 2)], [(c**2, 1 / 3), (a @ c, 1 / 6)]]
    trees += [[(c**3, 1 / 4), (c * (a @ c), 1 / 8), (a @ c**2, 1 / 12), (a @ a @ c, 1 / 24)]]
    torch.testing.assert_close(a @ one, c)
    for conditions in trees[: tableau.order]:
        for weight, value in conditions:
            assert float(b @ weight) == pytest.approx(value, abs=1e-14)


@pytest.mark.parametrize("spacing", SPACINGS, ids=str)
@pytest.mark.parametrize("cls", FIXED, ids=lambda c: c.__name__)
def test_fixed_step_solvers_show_their_stated_order_on_the_exact_velocity(cls, spacing, flow):
    finest = 300 if cls is Euler else 80
    errors = [error(cls(steps, **spacing), flow) for steps in (finest, 2 * finest)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(cls.order, abs=0.15)


@pytest.mark.parametrize("spacing", SPACINGS, ids=str)
@pytest.mark.parametrize("cls", FIXED, ids=lambda c: c.__name__)
def test_fixed_steps_agree_with_torchdiffeq_on_the_same_grid(cls, spacing, start):
    times = torch.linspace(0, 1, 41, dtype=torch.float64)
    solver = cls(9, **spacing)
    theirs = odeint(
        swirl, start, times, method=PEERS[cls], options={"grid_constructor": lambda func, y0, t: solver.knots()}
    )
    torch.testing.assert_close(solver.solve(swirl, start, times).states, theirs, rtol=0, atol=1e-14)


def test_knots_follow_their_formulas():
    def knots(**spacing):
        return Euler(4, **spacing).knots().tolist()

    assert knots() == [0, 0.25, 0.5, 0.75, 1]
    assert knots(spacing="cosine") == pytest.approx([0, (1 - 0.5**0.5) / 2, 0.5, (1 + 0.5**0.5) / 2, 1])
    assert knots(spacing="power", rho=3) == pytest.approx([0, 1 - 0.75**3, 1 - 0.5**3, 1 - 0.25**3, 1])
    assert knots(spacing="power", rho=1) == knots()
    for spacing in SPACINGS:
        ends = RK4(1000, **spacing).knots()
        assert ends[0] == 0
        assert ends[-1] == 1
        assert bool((ends.diff() > 0).all())


EXACT_COUNTS = [cls(7, **spacing) for cls in FIXED for spacing in SPACINGS] + [Euler(7, "inclusive")]


@pytest.mark.parametrize("solver", EXACT_COUNTS, ids=str)
def test_evaluations_equal_the_formula_whatever_frames_are_asked(solver, start):
    for times in (ENDS, torch.linspace(0, 1, 13, dtype=torch.float64)):
        counted = CountCalls(swirl)
        solver.solve(counted, start, times)
        assert counted.calls == solver.evaluations() == solver.stages * 7 == solver.nfe


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    "solver",
    [
        *(cls(rtol=1e-3, atol=1e-3) if cls.adaptive else cls(33) for cls in SOLVERS.values()),
        *(RK4(33, **spacing) for spacing in SPACINGS),
    ],
    ids=lambda solver: str(solver)[:40],
)
def test_no_solver_asks_outside_the_unit_interval(solver, dtype, start):
    asked = []

    def field(t, x):
        asked.append(float(t))
        return 20 * torch.cos(40 * t) * x

    states = solver.solve(field, start.to(dtype), ENDS).states
    assert min(asked) >= 0
    assert max(asked) <= 1
    assert states.dtype == dtype


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("cls", ADAPTIVE, ids=lambda c: c.__name__)
def test_adaptive_steps_end_at_1_by_themselves_and_only_the_first_trial_is_clamped(cls, dtype, start, monkeypatch):
    """The clamp of times hides nothing: what torchdiffeq itself asks for, before the clamp."""
    raw = []

    class Seen(adaptive._Counted):
        def forward(self, t, x):
            raw.append(float(t))
            return super().forward(t, x)

    monkeypatch.setattr(adaptive, "_Counted", Seen)
    fields = [swirl, lambda t, x: 20 * torch.cos(40 * t) * x, lambda t, x: 1e-3 * x, lambda t, x: -200 * (x - t)]
    for field in fields:
        for tolerance in (1e-2, 1e-4):
            raw.clear()
            cls(tolerance, tolerance).solve(field, start.to(dtype), ENDS)
            first, trial, *steps = raw
            assert first == 0
            assert trial > 0
            assert min(steps) >= 0
            assert 0 <= 1 - max(steps) <= torch.finfo(dtype).eps  # asked just before 1, never a rounding beyond
            assert (trial > 1) == (field is fields[2])  # a slow field: its first guess is .01 |x| / |v| = 10


def test_left_grid_asks_at_the_left_ends_and_inclusive_at_spread_times(start):
    for grid, expected in (("left", [0, 0.25, 0.5, 0.75]), ("inclusive", [0, 1 / 3, 2 / 3, 1])):
        asked = []
        Euler(4, grid).solve(lambda t, x, asked=asked: asked.append(float(t)) or x, start, ENDS)
        assert asked == pytest.approx(expected)


def resolved(name, **given):
    return Tables().resolve("solver", name, given)


@pytest.mark.parametrize(("name", "steps"), [("euler", 20), ("midpoint", 10), ("heun", 10), ("rk4", 5)])
def test_a_budget_of_evaluations_is_the_same_work_as_its_steps(name, steps):
    budget, plain = resolved(name, nfe=20), resolved(name, steps=steps)
    assert isinstance(budget, Config)
    assert budget.digest == plain.digest
    assert Tables().build(budget) == SOLVERS[name](steps) == SOLVERS[name](nfe=20)
    assert resolved(name).values["steps"] == 100


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("rk4", {"nfe": 22}, "nfe 22 is no multiple of the 4 evaluations of a step; the nearest is 20"),
        ("rk4", {"nfe": 23}, "nearest is 24"),
        ("rk4", {"nfe": 1}, "nearest is 4"),
        ("euler", {"steps": 100, "nfe": 20}, "contradict"),
        ("heun", {"rho": 2.0}, "rho belongs to spacing: power"),
        ("euler", {"grid": "inclusive", "spacing": "cosine"}, "slip of uniform grids"),
        ("euler", {"grid": "inclusive", "nfe": 1}, "steps of 2 or more"),
    ],
)
def test_parameters_that_do_not_go_together_are_refused_with_a_remedy(name, given, words):
    problems = resolved(name, **given)
    assert isinstance(problems, list)
    assert words in problems[0].message


@pytest.mark.parametrize("tolerance", [1e-3, 1e-6])
@pytest.mark.parametrize("cls", ADAPTIVE, ids=lambda c: c.__name__)
def test_adaptive_solvers_meet_their_tolerance(cls, tolerance, start):
    states = cls(rtol=tolerance, atol=tolerance).solve(swirl, start, ENDS).states
    assert float((states[-1] - exact(start)).abs().max()) < 10 * tolerance


@pytest.mark.parametrize("cls", ADAPTIVE, ids=lambda c: c.__name__)
def test_adaptive_solvers_meet_their_tolerance_on_the_exact_velocity(cls, flow):
    assert error(cls(rtol=1e-5, atol=1e-5), flow) < 1e-3
    assert error(cls(rtol=1e-3, atol=1e-3), flow) > error(cls(rtol=1e-5, atol=1e-5), flow)


@pytest.mark.parametrize("cls", ADAPTIVE, ids=lambda c: c.__name__)
def test_adaptive_solvers_count_rejected_steps(cls, start):
    kink = cls(1e-7, 1e-7).solve(lambda t, x: torch.where(t < 0.37, 0.0, 50.0) * torch.ones_like(x), start, ENDS)
    smooth = cls(1e-3, 1e-3).solve(lambda t, x: torch.ones_like(x), start, ENDS)
    assert kink.rejected > 0
    assert smooth.rejected == 0


@pytest.mark.parametrize("frames", [2, 41])
@pytest.mark.parametrize("cls", ADAPTIVE, ids=lambda c: c.__name__)
def test_adaptive_solvers_that_run_out_of_steps_say_so(cls, frames, start):
    times = torch.linspace(0, 1, frames, dtype=torch.float64)
    with pytest.raises(NotConverged, match="after 3 steps; loosen rtol and atol or raise max_steps"):
        cls(1e-9, 1e-9, max_steps=3).solve(lambda t, x: 50 * torch.cos(60 * t) * x, start, times)


def test_frames_do_not_change_the_end(start):
    many = torch.linspace(0, 1, 41, dtype=torch.float64)
    for solver in (Euler(10), RK4(10, spacing="cosine"), Dopri5()):
        torch.testing.assert_close(
            solver.solve(swirl, start, many).states[-1], solver.solve(swirl, start, ENDS).states[-1], rtol=0, atol=1e-12
        )
