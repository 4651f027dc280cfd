"""Solvers that overstate what they do under whatever names: each breaks the law named."""

import dataclasses
from dataclasses import dataclass
from typing import Annotated, ClassVar

import pytest
import torch
from annotated_types import Ge, Gt

from bench.contracts import Subject, check
from bench.interfaces import Solution, Solver
from bench.solvers.adaptive import Dopri5
from bench.solvers.fixed import RK4, Euler, Heun, Midpoint
from bench.solvers.stochastic import DDIM, EulerMaruyama


@dataclass(frozen=True)
class Named(Solver):
    """Euler's method whose steps are called n, said to be of order 4."""

    order: ClassVar[int] = 4
    n: Annotated[int, Ge(1)] = 50

    def solve(self, velocity, x, times):
        return Euler(self.n).solve(velocity, x, times)

    def evaluations(self):
        return self.n


class Refinable(Named):
    """The same, and it says how it is refined."""

    def refined(self, times):
        return dataclasses.replace(self, n=times * self.n)


class Right(Refinable):
    """The same at its true order."""

    order: ClassVar[int] = 1


class Stepwise(Refinable):
    """Refined by so many steps that its error falls as that of a method of order 4 does."""

    def refined(self, times):
        return dataclasses.replace(self, n=times**4 * self.n)


class Substitute(Refinable):
    """Another method where it is refined."""

    def refined(self, times):
        return RK4(times * self.n)


@dataclass(frozen=True)
class Switches(Heun):
    """Order 2 on even grids, 1 on others."""

    def solve(self, velocity, x, times):
        return (super() if self.spacing == "uniform" else Euler(2 * self.steps)).solve(velocity, x, times)


@dataclass(frozen=True)
class OffDefault(Midpoint):
    """Euler where a weight is not at its default."""

    theta: Annotated[float, Ge(0)] = dataclasses.field(default=0.5, kw_only=True)

    def solve(self, velocity, x, times):
        return (super() if self.theta == 0.5 else Euler(2 * self.steps)).solve(velocity, x, times)


@dataclass(frozen=True)
class Linearised(RK4):
    """A step by the stage slopes of a frozen time: order 4 for fields that do not depend on it."""

    def solve(self, velocity, x, times):
        knots = self.knots().tolist()
        frozen = [k / self.steps for k in range(self.steps)]

        def held(t, y):
            step = min(int(float(t) * self.steps), self.steps - 1) if knots else 0
            return velocity(torch.tensor(frozen[step], dtype=torch.float64), y)

        return super().solve(held, x, times)


@dataclass(frozen=True)
class Tolerant(Solver):
    """An adaptive solver whose tolerance is called tol and does not matter."""

    order: ClassVar[int] = 5
    adaptive: ClassVar[bool] = True
    tol: Annotated[float, Gt(0)] = 1e-5

    def solve(self, velocity, x, times):
        return Dopri5(1e-1, 1e-1).solve(velocity, x, times)


class Careless(Tolerant):
    """The same, and it says how it is tightened."""

    def tightened(self, tolerance):
        return dataclasses.replace(self, tol=tolerance)


class Tight(Careless):
    """One that follows its tolerance."""

    def solve(self, velocity, x, times):
        return Dopri5(self.tol, self.tol).solve(velocity, x, times)


class Drifts(EulerMaruyama):
    """The score alone: a standing law stands, and no other goes anywhere."""

    def simulate(self, velocity, process, noise, x, times):
        return super().simulate(lambda t, x: torch.zeros_like(x), process, noise, x, times)


class Half(EulerMaruyama):
    """Noise of half the variance that its drift asks for, at another schedule than its default."""

    def simulate(self, velocity, process, noise, x, times):
        scale = 0.5**0.5 if self.schedule == "constant" else 1.0
        return super().simulate(velocity, process, lambda step: scale * noise(step), x, times)


class Frozen(DDIM):
    """Ends that are taken for the data at once."""

    def simulate(self, velocity, process, noise, x, times):
        end = super().simulate(velocity, process, noise, x, times).states
        return Solution(torch.cat([end[:1], 0.9 * end[1:]]), 0)


class Lying(Euler):
    """Euler, which says that it is refined into something better."""

    order: ClassVar[int] = 4

    def refined(self, times):
        finer = Lying(steps=times * self.steps)
        object.__setattr__(finer, "better", True)
        return finer

    def solve(self, velocity, x, times):
        return (RK4(self.steps) if getattr(self, "better", False) else Euler(self.steps)).solve(velocity, x, times)

    def evaluations(self):
        return None


FAULTS = [
    (Lying, "can_be_refined", "the end of refined(1)"),
    (Named, "can_be_refined", "refined(times): return dataclasses.replace(self, n=times * self.n)"),
    (Named, "has_its_stated_order", "its order cannot be measured"),
    (Refinable, "has_its_stated_order", "that is order 1.0"),
    (Stepwise, "can_be_refined", "twice refined it asks"),
    (Substitute, "can_be_refined", "refined returns a RK4"),
    (Switches, "has_its_stated_order", "with spacing = cosine"),
    (OffDefault, "has_its_stated_order", "theta = "),
    (Linearised, "has_its_stated_order", "that is order 1.0"),
    (Tolerant, "meets_its_tolerance", "tightened(tolerance): return"),
    (Careless, "meets_its_tolerance", "the error is 0.03"),
    (Drifts, "simulation_takes_noise_to_data", "standard deviations from the law's"),
    (Half, "simulation_takes_noise_to_data", "schedule = constant"),
    (Frozen, "simulation_takes_noise_to_data", "let the drift gain"),
]


@pytest.mark.parametrize(("cls", "law", "words"), FAULTS, ids=[f"{c[0].__name__}-{c[1]}" for c in FAULTS])
def test_a_fault_breaks_its_law(breaks, cls, law, words):
    breaks("solver", cls, law, words)


@pytest.mark.parametrize("cls", [Right, Tight])
def test_a_solver_with_names_of_its_own_passes(keeps, cls):
    keeps("solver", cls)


def test_only_the_order_is_wrong_where_only_the_order_is_wrong():
    broken = [each.law for each in check([Subject("solver", "refinable", Refinable)]) if each.status == "FAILED"]
    assert broken == ["has_its_stated_order"]
