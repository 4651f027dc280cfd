"""What a data set or source promises: one law, drawn at random and placed from uniforms alike."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import stats

from bench.contracts.require import Law, close, form, holds, significant, unchanged
from bench.interfaces import Dataset
from bench.seeds import numpy_stream, stream, uniforms

if TYPE_CHECKING:
    from bench.interfaces import Floats

BINS, FINE = 12, 50
"""Cells along each side of the window in which points are counted, and grid points along each side of a cell."""


def draws_finite_float32_points(law: Dataset) -> str | None:
    """`draw` returns (n, *S) float32 points on the CPU, all finite."""
    for n in (1, 257):
        form(law.draw(n, 3, stream(3, "data")), (n, *law.shape), torch.float32, f"draw({n})")
    return None


def draws_follow_their_stream(law: Dataset) -> str | None:
    """The same seed and stream give the same points, another block of the stream gives others."""
    first, again = (law.draw(256, 3, stream(3, "data")) for _ in range(2))
    other = law.draw(256, 3, stream(3, "data", block=1))
    holds(torch.equal(first, again), "the same stream draws other points", "take all randomness from the generator")
    holds(not torch.equal(first, other), "every block draws the same points", "take the randomness from the generator")
    return None


def places_uniforms_purely(law: Dataset) -> str | None:
    """from_uniform maps u (n, coordinates) to (n, *S) float64, the same each time, and leaves u as it was."""
    u = _even(law, 256)
    before = u.copy()
    x, again = law.from_uniform(u), law.from_uniform(u)
    unchanged(before, u, "u")
    holds(
        x.shape == (256, *law.shape) and x.dtype == np.float64,
        f"from_uniform returns {x.shape} {x.dtype}",
        "return (n, *S) float64",
    )
    holds(bool(np.array_equal(x, again)), "from_uniform differs from call to call", "use no randomness but u")
    return None


def extreme_uniforms_give_finite_points(law: Dataset) -> str | None:
    """Uniforms of 1e-12 and 1 - 1e-12 in any combination still give finite points."""
    ends = (1e-12, 1 - 1e-12)
    corners = list(itertools.islice(itertools.product(ends, repeat=law.coordinates), 4096))
    x = law.from_uniform(np.array(corners))
    worst = corners[int((~np.isfinite(x)).reshape(len(x), -1).any(1).argmax())]
    holds(
        bool(np.isfinite(x).all()), f"u = {worst} gives a point that is not finite", "clamp before logs and quantiles"
    )
    return None


def modes_are_probabilities_chosen_by_the_first_coordinate(law: Dataset) -> str | None:
    """Modes are positive and sum to 1; u_0 picks mode k on an interval of length modes[k]."""
    modes = np.array(law.modes)
    holds(
        bool((modes > 0).all()) and abs(float(modes.sum()) - 1) <= 1e-9,
        f"the modes {law.modes} sum to {modes.sum():.9g}",
        "let modes be positive and sum to 1",
    )
    rest = _even(law, 64)[:, -law.inner :] if law.inner else np.zeros((64, 0))
    due = law.place(np.zeros(64, dtype=np.int64), rest)
    low = 0.0
    for k, weight in enumerate(modes):
        due = law.place(np.full(64, k, dtype=np.int64), rest)
        for part in (0.02, 0.98):
            u = rest if len(modes) == 1 else np.column_stack([np.full(64, low + part * weight), rest])
            mend = "let the first coordinate choose the mode in the order of `modes`, the rest place the point"
            close(law.from_uniform(u), due, 1e-9, f"a point of mode {k}", mend)
        low += weight
    return None


def draws_and_placed_uniforms_agree_in_law(law: Dataset) -> str | None:
    """Along 4 fixed directions and in radius, draws and placed uniforms pass a Kolmogorov-Smirnov test."""
    n = 4096
    even = law.from_uniform(_even(law, n)).reshape(n, -1)
    drawn = law.draw(n, 5, stream(5, "data")).double().numpy().reshape(n, -1)
    directions = numpy_stream(0, "contract/directions").normal(size=(even.shape[1], 4))
    pairs = [(even @ axis, drawn @ axis) for axis in directions.T]
    pairs.append((np.linalg.norm(even, axis=1), np.linalg.norm(drawn, axis=1)))
    for number, (a, b) in enumerate(pairs):
        p = float(stats.ks_2samp(a, b).pvalue)
        where = f"along direction {number + 1}" if number < 4 else "in radius"
        holds(
            p > 1e-5,
            f"draw and from_uniform differ in law {where} (p = {p:.1e}; medians {significant(float(np.median(b)))} "
            f"and {significant(float(np.median(a)))})",
            "let draw place uniforms by from_uniform, as the base class does",
        )
    return None


def window_holds_the_law(law: Dataset) -> str | None:
    """At least 99 % of the points lie inside `limits`, and they take up half of it either way."""
    if law.shape != (2,):
        return "is not on the plane"
    x = law.from_uniform(_even(law, 4096))
    inside = _inside(law, x)
    holds(
        float(inside.mean()) >= 0.99,
        f"limits {law.limits} hold {100 * inside.mean():.1f} % of the points",
        f"99 % lie in x {_range(x[:, 0])} and y {_range(x[:, 1])}: widen limits (x_min, x_max, y_min, y_max)",
    )
    x_min, x_max, y_min, y_max = law.limits
    extent = np.ptp(x[inside], axis=0)
    holds(
        bool((extent >= [0.5 * (x_max - x_min), 0.5 * (y_max - y_min)]).all()),
        f"limits {law.limits} are more than twice as wide as the law",
        "narrow limits, so that figures show the law",
    )
    return None


def density_integrates_to_one(law: Dataset) -> str | None:
    """Over the window the density sums to the share of points that lie inside it, up to .01 (600 x 600 grid)."""
    found = _density(law)
    if isinstance(found, str):
        return found
    mass, share = float(found.sum()), float(_inside(law, law.from_uniform(_even(law, 2**14))).mean())
    holds(bool((found >= 0).all()), "the density is negative somewhere", "a density is at least 0")
    close(mass, share, 0.005, "the integral of the density over the window", "check the density's constant")
    return None


def density_is_that_of_the_draws(law: Dataset) -> str | None:
    """Counts of 20,000 draws in 12 x 12 cells fit the density (chi-square, p > 1e-5)."""
    found = _density(law)
    if isinstance(found, str):
        return found
    n = 20_000
    expected = n * found.reshape(BINS, FINE, BINS, FINE).sum((1, 3)).ravel()
    x = law.draw(n, 2, stream(2, "data")).double().numpy()
    x_min, x_max, y_min, y_max = law.limits
    observed = np.histogram2d(x[:, 0], x[:, 1], bins=BINS, range=[[x_min, x_max], [y_min, y_max]])[0].ravel()
    stray = int(observed[expected < 1e-9].sum())
    holds(stray <= 1e-3 * n, f"{stray} of {n} draws lie where the density is 0", "check where the density is positive")
    full = expected >= 10
    statistic = float(((observed[full] - expected[full]) ** 2 / expected[full]).sum())
    worst = int(np.argmax(np.where(full, np.abs(observed - expected) / np.sqrt(np.maximum(expected, 1)), 0)))
    column, row = divmod(worst, BINS)
    at = (x_min + (column + 0.5) * (x_max - x_min) / BINS, y_min + (row + 0.5) * (y_max - y_min) / BINS)
    holds(
        float(stats.chi2.sf(statistic, full.sum())) > 1e-5,
        f"around ({at[0]:.3g}, {at[1]:.3g}) lie {observed[worst]:.0f} draws, by the density {expected[worst]:.0f}",
        "make density and place describe the same law",
    )
    return None


def mixture_is_that_of_the_draws(law: Dataset) -> str | None:
    """Where a mixture is given, its weights are `modes`, and mean and covariance are those of the points."""
    mixture = law.mixture()
    if mixture is None:
        return "is not said to be a Gaussian mixture"
    weights, means, covariances = mixture
    close(weights, np.array(law.modes), 1e-9, "the mixture's weights", "let weights be `modes`, in the same order")
    spread = np.linalg.eigvalsh(covariances)
    holds(
        bool(np.allclose(covariances, covariances.swapaxes(1, 2)) and (spread > 0).all()),
        "a covariance of the mixture is not symmetric and positive",
        "give each component a symmetric positive definite covariance",
    )
    n = 2**14
    x = law.from_uniform(_even(law, n))
    mean = weights @ means
    centred = means - mean
    covariance = np.einsum("k,kij->ij", weights, covariances + centred[:, :, None] * centred[:, None, :])
    # Five standard errors of independent points; these are more even than that.
    slack = 5 * np.sqrt(np.diag(covariance).max() / n)
    mend = "make mixture and place describe the same law (place needs a Cholesky factor, not the covariance)"
    _within(x.mean(0), mean, slack, "the mean of the points", mend)
    error = 5 * np.sqrt(np.einsum("bi,bj->bij", x - mean, x - mean).var(0).max() / n)
    _within(np.cov(x.T), covariance, error, "the covariance of the points", mend)
    return None


def is_standard_normal_where_it_says_so(law: Dataset) -> str | None:
    """A law with `standard_normal = True` is N(0, I): each axis passes a Kolmogorov-Smirnov test."""
    if not law.standard_normal:
        return "is not said to be standard normal"
    x = law.from_uniform(_even(law, 4096)).reshape(4096, -1)
    for axis in range(x.shape[1]):
        p = float(stats.kstest(x[:, axis], "norm").pvalue)
        holds(p > 1e-5, f"axis {axis} is not N(0, 1) (p = {p:.1e})", "set standard_normal = False")
    return None


LAWS: tuple[Law, ...] = (
    draws_finite_float32_points,
    draws_follow_their_stream,
    places_uniforms_purely,
    extreme_uniforms_give_finite_points,
    modes_are_probabilities_chosen_by_the_first_coordinate,
    draws_and_placed_uniforms_agree_in_law,
    window_holds_the_law,
    density_integrates_to_one,
    density_is_that_of_the_draws,
    mixture_is_that_of_the_draws,
    is_standard_normal_where_it_says_so,
)


def _even(law: Dataset, n: int) -> Floats:
    """Scrambled Sobol uniforms for n points of a law."""
    return uniforms(0, "contract/law", 0, n, law.coordinates, quasi=True)


def _inside(law: Dataset, x: Floats) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    x_min, x_max, y_min, y_max = law.limits
    inside: np.ndarray[tuple[int, ...], np.dtype[np.bool_]] = (
        (x[:, 0] >= x_min) & (x[:, 0] <= x_max) & (x[:, 1] >= y_min) & (x[:, 1] <= y_max)
    )
    return inside


def _range(values: Floats) -> str:
    low, high = np.quantile(values, (0.005, 0.995))
    return f"[{low:.3g}, {high:.3g}]"


def _density(law: Dataset) -> Floats | str:
    """Probability (side, side) in each cell of a grid over the window, x first; or why there is none."""
    if law.shape != (2,):
        return "is not on the plane"
    x_min, x_max, y_min, y_max = law.limits
    side = BINS * FINE
    steps = (np.arange(side) + 0.5) / side
    x, y = x_min + (x_max - x_min) * steps, y_min + (y_max - y_min) * steps
    points = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2)
    before = points.copy()
    density = law.density(points)
    unchanged(before, points, "the points x of the density")
    if density is None:
        return "gives no density"
    probability: Floats = density.reshape(side, side) * ((x_max - x_min) * (y_max - y_min) / side**2)
    return probability


def _within(got: Floats, due: Floats, slack: float, what: str, mend: str) -> None:
    gap = float(np.abs(got - due).max())
    holds(gap <= slack, f"{what} is {np.round(got, 4).tolist()} where {np.round(due, 4).tolist()} is due", mend)
