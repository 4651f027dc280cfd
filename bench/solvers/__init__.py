"""ODE solvers, through torchdiffeq with explicit time grids."""

from __future__ import annotations

from bench.interfaces import Solver
from bench.solvers.adaptive import Dopri5
from bench.solvers.fixed import RK4, Euler, Heun, Midpoint

SOLVERS: dict[str, type[Solver]] = {
    "euler": Euler,
    "midpoint": Midpoint,
    "heun": Heun,
    "rk4": RK4,
    "dopri5": Dopri5,
}
