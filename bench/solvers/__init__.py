"""Solvers: fixed steps by Butcher tableaus, adaptive steps through torchdiffeq, and those of diffusion models."""

from __future__ import annotations

from bench.interfaces import Solver
from bench.solvers.adaptive import AdaptiveHeun, Bosh3, Dopri5, Dopri8
from bench.solvers.fixed import RK4, Euler, Heun, Midpoint
from bench.solvers.stochastic import DDIM, DDPM, EulerMaruyama

SOLVERS: dict[str, type[Solver]] = {
    "euler": Euler,
    "midpoint": Midpoint,
    "heun": Heun,
    "rk4": RK4,
    "adaptive_heun": AdaptiveHeun,
    "bosh3": Bosh3,
    "dopri5": Dopri5,
    "dopri8": Dopri8,
    "euler_maruyama": EulerMaruyama,
    "ddim": DDIM,
    "ddpm": DDPM,
}
