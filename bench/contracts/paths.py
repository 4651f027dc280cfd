"""What a path promises: x_t = alpha_t x1 + sigma_t x0 + gamma_t xi, and exact derivatives of it."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from bench.contracts.calculus import Function, derivative, mismatch, times
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
    """Derivatives d_alpha, d_sigma, d_gamma are those of alpha, sigma, gamma by time (autodiff, all training times)."""
    for name, slope in COEFFICIENTS:
        _is_derivative(path, slope, name, f"derive {name} by t again: the sign, the factor and the chain rule")
    return None


def derivatives_integrate_to_their_coefficients(path: Path) -> str | None:
    """Over every part of the training times the integral of each derivative is its coefficient's change."""
    for name, slope in COEFFICIENTS:
        _integrates(path, slope, name, path.margin)
    return None


def products_integrate_to_their_squares(path: Path) -> str | None:
    """Over every part of [0, 1] sigma_d_sigma, gamma_d_gamma and s_d_s integrate to half the squares' change."""

    def half_square(name: str, t: Tensor) -> Tensor:
        """Half the square of a coefficient."""
        value: Tensor = getattr(path, name)(t)
        return value**2 / 2

    for name in ("sigma", "gamma"):
        _integrates(path, f"{name}_d_{name}", f"{name}^2 / 2", 0.0, functools.partial(half_square, name))
    _integrates(path, "s_d_s", "noise_variance / 2", 0.0, lambda t: path.noise_variance(t) / 2)
    return None


def velocity_is_the_time_derivative(path: Path) -> str | None:
    """Velocity is d position / dt at fixed x0, x1, xi (autodiff, float64, all training times)."""
    for shape in SHAPES:
        t, x0, x1, xi = _at(_training_times(path)[:: 1 if shape == SHAPES[0] else 64], shape)
        due = derivative(functools.partial(_moved, path, x0, x1, xi), t)
        mend = "let velocity be alpha' x1 + sigma' x0 + gamma' xi, each with the sign of its derivative"
        if due is not None:
            close(path.velocity(t, x0, x1, xi), due, 1e-9, "velocity", mend, t)
    return None


def position_and_velocity_are_those_of_the_coefficients(path: Path) -> str | None:
    """Position is alpha x1 + sigma x0 + gamma xi, velocity and displacement are so of derivatives; s^2 and s s' too."""
    t, x0, x1, xi = _at(_training_times(path), (2,))
    coefficients, slopes = ([getattr(path, pair[k])(t) for pair in COEFFICIENTS] for k in (0, 1))
    mend = "leave it to the base class, or let it agree with the coefficients, which the exact velocity is made of"
    for what, got, (of_data, of_source, of_noise) in (
        ("position", path.position(t, x0, x1, xi), coefficients),
        ("velocity", path.velocity(t, x0, x1, xi), slopes),
        ("displacement", path.displacement(t, x0, x1), [*slopes[:2], torch.zeros_like(t)]),
    ):
        close(got, of_data[:, None] * x1 + of_source[:, None] * x0 + of_noise[:, None] * xi, 1e-9, what, mend, t)
    _, sigma, gamma = coefficients
    close(path.noise_variance(t), sigma**2 + gamma**2, 1e-9, "noise_variance(t)", mend, t)
    exact, dropped = path.sigma_d_sigma(t) + path.gamma_d_gamma(t), path.sigma_d_sigma(t)
    close(path.s_d_s(t), exact, 1e-9, "s_d_s(t)", mend, t)
    close(path.s_d_s(t, "displacement"), dropped, 1e-9, "s_d_s(t, 'displacement')", mend, t)
    return None


def displacement_is_the_velocity_without_its_noise(path: Path) -> str | None:
    """Displacement is velocity at xi = 0, and differs from it otherwise just where has_noise_velocity says so."""
    t, x0, x1, xi = _at(_training_times(path), (2,))
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


def treats_each_time_by_itself(path: Path) -> str | None:
    """A coefficient at one time does not depend on the other times of the batch, nor on their order."""
    t = _training_times(path)[::512]
    for name in (*sum(COEFFICIENTS, ()), "sigma_d_sigma", "gamma_d_gamma"):
        coefficient = getattr(path, name)
        alone = torch.cat([coefficient(one) for one in t.split(1)])
        mend = "compute row b from t[b] alone: no mean, no sorting, no length of the batch"
        close(coefficient(t), alone, 1e-12, f"{name}(t) in a batch", mend, t)
        close(coefficient(t.flip(0)).flip(0), alone, 1e-12, f"{name}(t) in a batch turned round", mend, t)
    return None


def float32_is_float64_rounded(path: Path) -> str | None:
    """In float32 coefficients, position and targets are what they are in float64, up to 1e-3, at all training times."""
    t = _training_times(path)[::4].float()
    # Rounded inwards: a time just past the margin is not asked for.
    t = t[(t > path.margin) & (t < 1 - path.margin)]
    for name in (*sum(COEFFICIENTS, ()), "sigma_d_sigma", "gamma_d_gamma"):
        mend = "avoid differences of nearly equal numbers: expm1 for 1 - exp, sin(pi (1 - t) / 2) for cos"
        close(getattr(path, name)(t), getattr(path, name)(t.double()), 1e-3, f"{name}(t) in float32", mend, t)
    generator = stream(0, "contract/float32")
    x0, x1, xi = (torch.randn(len(t), 2, generator=generator) for _ in range(3))
    for name, given in (("position", (x0, x1, xi)), ("velocity", (x0, x1, xi)), ("displacement", (x0, x1))):
        found = getattr(path, name)(t, *given)
        due = getattr(path, name)(t.double(), *(part.double() for part in given))
        mend = "make it of the coefficients and their derivatives, not of differences of nearly equal positions"
        close(found, due, 1e-3, f"{name} in float32", mend, t)
    return None


def says_whether_it_is_noisy(path: Path) -> str | None:
    """Gamma is not 0 everywhere just where `noisy` says so; only then is xi drawn."""
    t = times(0.0, 1.0)
    has_noise = bool((path.gamma(t) != 0).any())
    holds(
        has_noise == path.noisy,
        f"noisy is {path.noisy}, yet gamma is {'not ' if has_noise else ''}0 everywhere",
        "override gamma just where the path has a noise of its own",
    )
    return None


def products_equal_their_factors(path: Path) -> str | None:
    """Sigma_d_sigma and gamma_d_gamma equal sigma d_sigma and gamma d_gamma inside, and are finite at the ends."""
    t = _training_times(path)
    for name in ("sigma", "gamma"):
        product, mend = f"{name}_d_{name}", f"derive {name} {name}' = ({name}^2)' / 2 again"
        due = getattr(path, name)(t) * getattr(path, f"d_{name}")(t)
        close(getattr(path, product)(t), due, 1e-9, f"{product}(t)", mend, t)
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
    t = torch.linspace(0, 1, 4097, dtype=torch.float64)
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
    derivatives_integrate_to_their_coefficients,
    velocity_is_the_time_derivative,
    position_and_velocity_are_those_of_the_coefficients,
    displacement_is_the_velocity_without_its_noise,
    says_whether_it_is_noisy,
    products_equal_their_factors,
    products_integrate_to_their_squares,
    treats_each_time_by_itself,
    float32_is_float64_rounded,
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


def _training_times(path: Path) -> Tensor:
    return times(path.margin, 1 - path.margin)


def _at(t: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(t, x0, x1, xi) with a standard normal point of each kind for every time, float64."""
    generator = stream(0, "contract/path")
    x0, x1, xi = (torch.randn(len(t), *shape, generator=generator, dtype=torch.float64) for _ in range(3))
    return t, x0, x1, xi


def _is_derivative(path: Path, slope: str, name: str, mend: str) -> None:
    """Pointwise, where autodiff can follow the coefficient; at the very ends a limit will do as well."""
    t, coefficient = _training_times(path), getattr(path, name)
    due = derivative(coefficient, t)
    if due is None:
        return
    close(getattr(path, slope)(t), due, 1e-9, f"{slope}(t)", mend, t)
    ends = torch.tensor([path.margin, 1 - path.margin], dtype=torch.float64)
    near = torch.tensor([path.margin + 1e-12, 1 - path.margin - 1e-12], dtype=torch.float64)
    got, due, limit = getattr(path, slope)(ends), derivative(coefficient, ends), getattr(path, slope)(near)
    if due is not None and not torch.allclose(got, limit, rtol=1e-6, atol=1e-6):
        close(got, due, 1e-9, f"{slope}(t)", mend, ends)


def _integrates(path: Path, slope: str, name: str, margin: float, coefficient: Function | None = None) -> None:
    found = mismatch(getattr(path, slope), coefficient or getattr(path, name), margin, 1 - margin)
    if found is None:
        return
    low, high, integral, change = found
    holds(
        False,
        f"{slope} integrates to {integral:.6g} over [{low:.6g}, {high:.6g}], where {name} changes by {change:.6g}",
        f"derive {name} by t again, for all t in [{margin:g}, {1 - margin:g}]",
    )
