"""What a path promises: x_t = alpha_t x1 + sigma_t x0 + gamma_t xi, and exact derivatives of it."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from bench.contracts.require import Law, close, form, holds, no_cuda, significant, unchanged
from bench.interfaces import Path
from bench.seeds import stream

SHAPES = ((2,), (1, 8, 8))
"""Points of the plane, and images."""

INSIDE = (0.02, 0.98)
"""Times away from the ends, where gamma' or sigma' may diverge."""

COEFFICIENTS = (("alpha", "d_alpha"), ("sigma", "d_sigma"), ("gamma", "d_gamma"))


def keeps_shape_and_dtype(path: Path) -> str | None:
    """Coefficients map (B,) to (B,); position, velocity and displacement keep the points' shape and dtype."""
    for dtype in (torch.float32, torch.float64):
        for shape in SHAPES:
            t, x0, x1, xi = _inputs(shape, dtype)
            for name in [name for pair in COEFFICIENTS for name in pair] + ["sigma_d_sigma", "gamma_d_gamma"]:
                form(getattr(path, name)(t), (len(t),), dtype, f"{name}(t)")
            form(path.position(t, x0, x1, xi), tuple(x1.shape), dtype, "position")
            form(path.velocity(t, x0, x1, xi), tuple(x1.shape), dtype, "velocity")
            form(path.displacement(t, x0, x1), tuple(x1.shape), dtype, "displacement")
    return None


def coefficients_have_their_derivatives(path: Path) -> str | None:
    """Derivatives d_alpha, d_sigma, d_gamma are those of alpha, sigma, gamma by time (autodiff, float64)."""
    t = torch.linspace(*INSIDE, 97, dtype=torch.float64)
    for name, derivative in COEFFICIENTS:
        due = _derivative(getattr(path, name), t)
        mend = f"derive {name} by t again: the sign, the factor and the chain rule"
        close(getattr(path, derivative)(t), due, 1e-9, f"{derivative}(t)", mend, t)
    return None


def velocity_is_the_time_derivative(path: Path) -> str | None:
    """Velocity is d position / dt at fixed x0, x1, xi (autodiff, float64, times inside)."""
    for shape in SHAPES:
        t, x0, x1, xi = _inputs(shape, torch.float64)
        due = _derivative(functools.partial(_moved, path, x0, x1, xi), t)
        mend = "let velocity be alpha' x1 + sigma' x0 + gamma' xi, each with the sign of its derivative"
        close(path.velocity(t, x0, x1, xi), due, 1e-9, "velocity", mend, t)
    return None


def displacement_is_the_velocity_without_its_noise(path: Path) -> str | None:
    """Displacement is velocity at xi = 0, and differs from it otherwise just where has_noise_velocity says so."""
    t, x0, x1, xi = _inputs((2,), torch.float64)
    mend = "let displacement be alpha' x1 + sigma' x0"
    close(path.displacement(t, x0, x1), path.velocity(t, x0, x1, torch.zeros_like(xi)), 1e-12, "displacement", mend, t)
    differs = not torch.allclose(path.displacement(t, x0, x1), path.velocity(t, x0, x1, xi))
    holds(
        differs == path.has_noise_velocity,
        f"has_noise_velocity is {path.has_noise_velocity}, yet the velocity "
        f"{'depends' if differs else 'does not depend'} on xi",
        "override d_gamma just where gamma' is not 0 everywhere",
    )
    return None


def says_whether_it_is_noisy(path: Path) -> str | None:
    """Gamma is not 0 everywhere just where `noisy` says so; only then is xi drawn."""
    t = torch.linspace(0, 1, 33, dtype=torch.float64)
    has_noise = bool((path.gamma(t) != 0).any())
    holds(
        has_noise == path.noisy,
        f"noisy is {path.noisy}, yet gamma is {'not ' if has_noise else ''}0 everywhere",
        "override gamma just where the path has a noise of its own",
    )
    return None


def products_equal_their_factors(path: Path) -> str | None:
    """Sigma_d_sigma and gamma_d_gamma equal sigma d_sigma and gamma d_gamma inside, and are finite at the ends."""
    t = torch.linspace(*INSIDE, 97, dtype=torch.float64)
    for name in ("sigma", "gamma"):
        product = f"{name}_d_{name}"
        due = getattr(path, name)(t) * getattr(path, f"d_{name}")(t)
        close(
            getattr(path, product)(t), due, 1e-9, f"{product}(t)", f"derive {name} {name}' = ({name}^2)' / 2 again", t
        )
        for dtype in (torch.float32, torch.float64):
            ends = torch.tensor([0.0, 1.0], dtype=dtype)
            at_ends = getattr(path, product)(ends)
            holds(
                bool(at_ends.isfinite().all()),
                f"{product} at t = 0 and 1 is {at_ends.tolist()} in {dtype}",
                f"override {product} with ({name}^2)' / 2 written out, which needs no division",
            )
    return None


def runs_from_noise_to_data(path: Path) -> str | None:
    """Alpha rises from at most .05 to 1; sigma falls from 1: time 0 is noise and time 1 is data."""
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    alpha, sigma = path.alpha(t), path.sigma(t)
    a0, a1, s0, s1 = (float(c[i]) for c in (alpha, sigma) for i in (0, -1))
    turned = a0 > a1
    mend = (
        "time runs from 0 (noise) to 1 (data) here: exchange t and 1 - t"
        if turned
        else "the path must begin at the source and end at the data, up to a documented rest of noise"
    )
    ends = f"alpha runs from {significant(a0)} to {significant(a1)}, sigma from {significant(s0)} to {significant(s1)}"
    holds(abs(a1 - 1) <= 1e-6 and 0 <= a0 <= 0.05, ends, mend)
    holds(abs(s0 - 1) <= 0.05 and abs(s1) < abs(s0), ends, mend)
    falls = alpha.diff() <= 0
    where = significant(float(t[int(falls.int().argmax())]))
    holds(not bool(falls.any()), f"alpha does not rise at t = {where}", "let alpha increase from 0 to 1")
    noise = float((path.alpha(t[:1]) ** 2 + path.sigma(t[:1]) ** 2 + path.gamma(t[:1]) ** 2).sqrt())
    holds(
        abs(path.start_scale - noise) <= 1e-9,
        f"start_scale is {significant(path.start_scale)} where {significant(noise)} is due",
        "start_scale is sqrt(alpha_0^2 + sigma_0^2 + gamma_0^2)",
    )
    return None


def is_finite_at_all_training_times(path: Path) -> str | None:
    """In float32 the position is finite on [0, 1] and both targets on [margin, 1 - margin]."""
    holds(0 <= path.margin < 0.5, f"margin is {path.margin}", "let margin be 0, or about 1e-3 where a target diverges")
    for offset in (0.0, 1e-6, 1e-3):
        low = max(path.margin, offset)
        t, x0, x1, xi = _inputs((2,), torch.float32, low, 1 - low)
        targets = {"velocity": path.velocity(t, x0, x1, xi), "displacement": path.displacement(t, x0, x1)}
        for name, target in targets.items():
            holds(
                bool(target.isfinite().all()),
                f"{name} is not finite somewhere in [{low:g}, {1 - low:g}] (margin = {path.margin:g})",
                "set the class's margin to 1e-3, which keeps training times off the ends",
            )
        t = torch.linspace(offset, 1 - offset, len(t))
        holds(
            bool(path.position(t, x0, x1, xi).isfinite().all()),
            f"position is not finite somewhere in [{offset:g}, {1 - offset:g}]",
            "clamp what stands under a root at 0: float32 rounding makes it negative at an end",
        )
    return None


def is_pure(path: Path) -> str | None:
    """Equal inputs give equal outputs, and the inputs stay as they were."""
    inputs = _inputs((2,), torch.float32)
    before = [part.clone() for part in inputs]
    t, x0, x1, xi = inputs
    first = path.position(t, x0, x1, xi), path.velocity(t, x0, x1, xi), path.displacement(t, x0, x1)
    again = path.position(t, x0, x1, xi), path.velocity(t, x0, x1, xi), path.displacement(t, x0, x1)
    for name, a, b in zip(("t", "x0", "x1", "xi"), before, inputs, strict=True):
        unchanged(a, b, name)
    for name, a, b in zip(("position", "velocity", "displacement"), first, again, strict=True):
        holds(torch.equal(a, b), f"{name} differs from call to call", "take all randomness from xi")
    return None


def agrees_on_a_gpu(path: Path) -> str | None:
    """On a GPU the same inputs give the same outputs, up to rounding."""
    if reason := no_cuda():
        return reason
    t, x0, x1, xi = _inputs((2,), torch.float32)
    there = [part.cuda() for part in (t, x0, x1, xi)]
    mend = "make new tensors on the input's device: torch.ones_like(t), not torch.ones(len(t))"
    close(path.position(*there), path.position(t, x0, x1, xi), 1e-4, "position on a GPU", mend, t)
    close(path.velocity(*there), path.velocity(t, x0, x1, xi), 1e-4, "velocity on a GPU", mend, t)
    return None


LAWS: tuple[Law, ...] = (
    keeps_shape_and_dtype,
    coefficients_have_their_derivatives,
    velocity_is_the_time_derivative,
    displacement_is_the_velocity_without_its_noise,
    says_whether_it_is_noisy,
    products_equal_their_factors,
    runs_from_noise_to_data,
    is_finite_at_all_training_times,
    is_pure,
    agrees_on_a_gpu,
)


def _inputs(
    shape: tuple[int, ...], dtype: torch.dtype, low: float = INSIDE[0], high: float = INSIDE[1], n: int = 64
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(t, x0, x1, xi) for n points: times evenly over [low, high], points standard normal."""
    generator = stream(0, "contract/path")
    x0, x1, xi = (torch.randn(n, *shape, generator=generator, dtype=torch.float64).to(dtype) for _ in range(3))
    return torch.linspace(low, high, n, dtype=dtype), x0, x1, xi


def _moved(path: Path, x0: Tensor, x1: Tensor, xi: Tensor, t: Tensor) -> Tensor:
    """Position as a function of time alone."""
    return path.position(t, x0, x1, xi)


def _derivative(of: Callable[[Tensor], Tensor], t: Tensor) -> Tensor:
    """Derivative at t: (B,) of a function whose row b depends on t_b alone, by forward-mode autodiff."""
    _, derivative = torch.autograd.functional.jvp(of, t, torch.ones_like(t))
    due: Tensor = derivative
    return due
