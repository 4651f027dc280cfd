"""Solvers keep their stated order, count and range, on a field whose solution is known."""

import math

import pytest
import torch

from bench.errors import NotConverged
from bench.sample import CountCalls
from bench.solvers import SOLVERS
from bench.solvers.adaptive import Dopri5
from bench.solvers.fixed import RK4, Euler, Heun, Midpoint

ENDS = torch.tensor([0.0, 1.0], dtype=torch.float64)


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


@pytest.mark.parametrize("cls", [Euler, Midpoint, Heun, RK4], ids=lambda c: c.__name__)
def test_fixed_step_solvers_converge_at_their_stated_order(cls, start):
    errors = [float((cls(n).solve(swirl, start, ENDS).states[-1] - exact(start)).norm()) for n in (40, 80)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(cls.order, abs=0.15)


@pytest.mark.parametrize("solver", [Euler(7), Euler(7, "inclusive"), Midpoint(7), Heun(7), RK4(7)], ids=str)
def test_evaluations_equal_the_formula_whatever_frames_are_asked(solver, start):
    for times in (ENDS, torch.linspace(0, 1, 13, dtype=torch.float64)):
        counted = CountCalls(swirl)
        solver.solve(counted, start, times)
        assert counted.calls == solver.evaluations()


@pytest.mark.parametrize("name", sorted(SOLVERS))
def test_no_solver_asks_outside_the_unit_interval(name, start):
    asked = []

    def field(t, x):
        asked.append(float(t))
        return 20 * torch.cos(40 * t) * x

    SOLVERS[name]().solve(field, start, ENDS)
    assert min(asked) >= 0
    assert max(asked) <= 1


def test_left_grid_asks_at_the_left_ends_and_inclusive_at_spread_times(start):
    for grid, expected in (("left", [0, 0.25, 0.5, 0.75]), ("inclusive", [0, 1 / 3, 2 / 3, 1])):
        asked = []
        Euler(4, grid).solve(lambda t, x, asked=asked: asked.append(float(t)) or x, start, ENDS)
        assert asked == pytest.approx(expected)


@pytest.mark.parametrize("tolerance", [1e-3, 1e-5, 1e-7])
def test_dopri5_meets_its_tolerance(tolerance, start):
    states = Dopri5(rtol=tolerance, atol=tolerance).solve(swirl, start, ENDS).states
    assert float((states[-1] - exact(start)).abs().max()) < 10 * tolerance


def test_dopri5_counts_rejected_steps(start):
    kink = Dopri5(1e-7, 1e-7).solve(lambda t, x: torch.where(t < 0.37, 0.0, 50.0) * torch.ones_like(x), start, ENDS)
    smooth = Dopri5(1e-3, 1e-3).solve(lambda t, x: torch.ones_like(x), start, ENDS)
    assert kink.rejected > 0
    assert smooth.rejected == 0


def test_dopri5_that_runs_out_of_steps_says_so(start):
    with pytest.raises(NotConverged, match="max_steps"):
        Dopri5(1e-9, 1e-9, max_steps=3).solve(lambda t, x: 50 * torch.cos(60 * t) * x, start, ENDS)


def test_frames_do_not_change_the_end(start):
    many = torch.linspace(0, 1, 41, dtype=torch.float64)
    for solver in (Euler(10), RK4(10), Dopri5()):
        torch.testing.assert_close(
            solver.solve(swirl, start, many).states[-1], solver.solve(swirl, start, ENDS).states[-1], rtol=0, atol=1e-12
        )
