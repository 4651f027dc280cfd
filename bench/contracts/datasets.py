"""What a data set or source promises: one law, drawn at random and placed from uniforms alike."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import stats

from bench.contracts.require import Law, close, form, holds, significant, unchanged
from bench.errors import ContractBroken
from bench.interfaces import Dataset
from bench.seeds import numpy_stream, stream, uniforms

if TYPE_CHECKING:
    from bench.interfaces import Floats

BINS, NODES = 12, 1250
"""Cells along each side of the window in which points are counted, and points at which a cell's density is taken."""

TIE = 1e-5
"""Difference of two values, as a part of the largest, up to which they may be one value rounded twice."""

UNSURE = 0.02
"""Share of the mass by which two rules of integration may differ and still say something of its sum."""

FEW = 64
"""Points of a finite set."""


def draws_finite_float32_points(law: Dataset) -> str | None:
    """`draw` returns (n, *S) float32 points on the CPU, all finite."""
    for n in (1, 257):
        form(law.draw(n, 3, stream(3, "data")), (n, *law.shape), torch.float32, f"draw({n})")
    return None


def draws_follow_their_stream(law: Dataset) -> str | None:
    """The same seed and stream give the same points, another block of the stream others, unless there is but one."""
    first, again = (law.draw(256, 3, stream(3, "data")) for _ in range(2))
    other = law.draw(256, 3, stream(3, "data", block=1))
    holds(torch.equal(first, again), "the same stream draws other points", "take all randomness from the generator")
    single = len(np.unique(law.from_uniform(_even(law, 256)).reshape(256, -1), axis=0)) == 1
    differs = single or not torch.equal(first, other)
    holds(differs, "every block draws the same points", "take the randomness from the generator")
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
    """Along 4 directions, up to 4 axes and in radius, draws and placed uniforms pass a Kolmogorov-Smirnov test.

    Values that differ by float32's rounding count as equal, so that laws on lines and spheres, and atoms, are laws too.
    """
    n = 4096
    even = law.from_uniform(_even(law, n)).reshape(n, -1)
    drawn = law.draw(n, 5, stream(5, "data")).double().numpy().reshape(n, -1)
    _agree(
        even, drawn, "draw and from_uniform differ in law", "let draw place uniforms by from_uniform, as the base does"
    )
    return None


def labels_are_the_classes_of_the_points(law: Dataset) -> str | None:
    """`draw_labelled` draws what `draw` does, and labels (n,) int64 in [0, classes).

    Where each mode is a class, its share of the labels is the mode's (chi-square), and its points follow the law of
    what `place` puts into that mode.
    """
    n = 4096
    points, labels = law.draw_labelled(n, 5, stream(5, "data"))
    mend = "leave draw to the base class, which is draw_labelled without its labels"
    holds(torch.equal(points, law.draw(n, 5, stream(5, "data"))), "draw_labelled draws other points than draw", mend)
    holds(
        labels.shape == (n,)
        and labels.dtype == torch.int64
        and 0 <= int(labels.min()) <= int(labels.max()) < law.classes,
        f"labels are {labels.dtype} of shape {tuple(labels.shape)} from {int(labels.min())} to {int(labels.max())}, "
        f"with {law.classes} classes",
        "return one class in [0, classes) as int64 for each point",
    )
    if law.classes != len(law.modes) or law.classes == 1:
        return None if law.classes == 1 else "has other classes than modes"
    due = n * np.array(law.modes)
    counts = np.bincount(labels.numpy(), minlength=law.classes)
    statistic = float(((counts - due) ** 2 / due).sum())
    holds(
        float(stats.chi2.sf(statistic, law.classes - 1)) > 1e-6,
        f"the classes occur {counts.tolist()} times where {due.round(1).tolist()} are due",
        "let a point's class be the mode that it was placed in",
    )
    rest = _even(law, n)[:, law.coordinates - law.inner :]
    for k in range(law.classes):
        of_class = points[labels == k].double().numpy()
        if len(of_class) < 50:
            continue
        placed = law.place(np.full(n, k, dtype=np.int64), rest)
        _agree(
            placed.reshape(n, -1),
            of_class.reshape(len(of_class), -1),
            f"points of class {k} and those that place puts into mode {k} differ in law",
            "let a point's class be the mode that it was placed in",
        )
    return None


def a_finite_set_is_fixed_by_its_seed(law: Dataset) -> str | None:
    """With `points` = 64 draws are out of `training_set(seed)`, all of it in time; a seed alone fixes the set."""
    if "points" not in {field.name for field in dataclasses.fields(law)}:  # type: ignore[arg-type]
        return "has no parameter `points`"
    few: Dataset = dataclasses.replace(law, points=FEW)  # type: ignore[type-var]
    held = few.training_set(3)
    mend = "derive from bench.datasets.finite.FinitePoints, or draw the set once per seed and then from it alone"
    if held is None:
        raise ContractBroken(f"points is {FEW}, yet training_set(3) is None; mend: {mend}")
    form(held, (FEW, *law.shape), torch.float32, "training_set(3)")
    again, other = few.training_set(3), few.training_set(4)
    holds(again is not None and torch.equal(held, again), "training_set(3) differs from call to call", mend)
    rows = {row.tobytes() for row in held.numpy()}
    drawn = [few.draw(1024, 3, stream(3, "data", block)) for block in range(2)]
    seen = {row.tobytes() for part in drawn for row in part.numpy()}
    holds(seen == rows, f"2048 draws show {len(seen)} points, {len(seen - rows)} of them not in the set", mend)
    single = len(np.unique(law.from_uniform(_even(law, 256)).reshape(256, -1), axis=0)) < FEW
    holds(single or (other is not None and not torch.equal(held, other)), "every seed has the same finite set", mend)
    same = np.array_equal(few.from_uniform(_even(few, FEW)), law.from_uniform(_even(law, FEW)))
    holds(
        same, "points changes what from_uniform places", "score a finite set's net against the law, not against the set"
    )
    return None


def window_holds_the_law(law: Dataset) -> str | None:
    """At least 99 % of the points lie inside `limits`."""
    if law.shape != (2,):
        return "is not on the plane"
    x = law.from_uniform(_even(law, 4096))
    inside = _inside(law, x)
    holds(
        float(inside.mean()) >= 0.99,
        f"limits {law.limits} hold {100 * inside.mean():.1f} % of the points",
        f"99 % lie in x {_range(x[:, 0])} and y {_range(x[:, 1])}: widen limits (x_min, x_max, y_min, y_max)",
    )
    return None


def window_is_no_wider_than_the_law(law: Dataset) -> str | None:
    """The points inside `limits` take up half of it either way, at the defaults."""
    if law.shape != (2,):
        return "is not on the plane"
    x = law.from_uniform(_even(law, 4096))
    x_min, x_max, y_min, y_max = law.limits
    extent, window = np.ptp(x[_inside(law, x)], axis=0), np.array([x_max - x_min, y_max - y_min])
    # A law on a line has no extent across it: there a window as wide as along it will do.
    flat = extent <= 1e-6 * np.abs(x).max()
    enough = np.where(flat, flat.all() or bool((window <= window[~flat].max(initial=0)).all()), extent >= 0.5 * window)
    holds(
        bool(enough.all()),
        f"limits {law.limits} are more than twice as wide as the law",
        "narrow limits, so that figures show the law",
    )
    return None


def density_integrates_to_one(law: Dataset) -> str | None:
    """Over the window the density sums to the share of points that lie inside it, up to .01 (360,000 points)."""
    found = _density(law)
    if isinstance(found, str):
        return found
    mass, share = float(found.sum()) / 2, float(_inside(law, law.from_uniform(_even(law, 2**14))).mean())
    unsure = float(np.abs(found[0] - found[1]).sum()) / 2
    if unsure > UNSURE:
        return f"grows too steeply to be integrated: two rules differ by {significant(unsure)} over all cells"
    close(mass, share, 0.005, "the integral of the density over the window", "check the density's constant")
    return None


def density_is_that_of_the_draws(law: Dataset) -> str | None:
    """Counts of 20,000 draws in 12 x 12 cells fit the density (chi-square, p > 1e-5).

    What two rules of integration differ by in a cell, where the density has edges or grows without bound, is no fault.
    """
    found = _density(law)
    if isinstance(found, str):
        return found
    n = 20_000
    expected, unsure = n * found.mean(0), n * np.abs(found[0] - found[1])
    x = law.draw(n, 2, stream(2, "data")).double().numpy()
    x_min, x_max, y_min, y_max = law.limits
    observed = np.histogram2d(x[:, 0], x[:, 1], bins=BINS, range=[[x_min, x_max], [y_min, y_max]])[0].ravel()
    stray = int(observed[expected < 1e-9].sum())
    holds(stray <= 1e-3 * n, f"{stray} of {n} draws lie where the density is 0", "check where the density is positive")
    full = expected >= 10
    off = (observed - expected) ** 2 / np.maximum(expected + unsure**2, 1)
    statistic, worst = float(off[full].sum()), int(np.argmax(np.where(full, off, 0)))
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
    off = x - mean
    variance = (off**2).T @ off**2 / n - (off.T @ off / n) ** 2  # of each product of two axes
    error = 5 * np.sqrt(variance.max() / n)
    _within(np.atleast_2d(np.cov(x.T)), covariance, error, "the covariance of the points", mend)
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
    labels_are_the_classes_of_the_points,
    a_finite_set_is_fixed_by_its_seed,
    window_holds_the_law,
    window_is_no_wider_than_the_law,
    density_integrates_to_one,
    density_is_that_of_the_draws,
    mixture_is_that_of_the_draws,
    is_standard_normal_where_it_says_so,
)


def _even(law: Dataset, n: int) -> Floats:
    """Scrambled Sobol uniforms for n points of a law."""
    return uniforms(0, "contract/law", 0, n, law.coordinates, quasi=True)


def _agree(even: Floats, drawn: Floats, fault: str, mend: str) -> None:
    """Two sets of points (n, d), (m, d) pass a Kolmogorov-Smirnov test in each of several numbers of a point."""
    directions = numpy_stream(0, "contract/directions").normal(size=(even.shape[1], 4))
    pairs = {f"along direction {k + 1}": (even @ axis, drawn @ axis) for k, axis in enumerate(directions.T)}
    # Of many coordinates the first, the last and some between.
    for axis in sorted({round(part * (even.shape[1] - 1) / 3) for part in range(4)}):
        pairs[f"along axis {axis}"] = (even[:, axis], drawn[:, axis])
    pairs["in radius"] = (np.linalg.norm(even, axis=1), np.linalg.norm(drawn, axis=1))
    for where, (a, b) in pairs.items():
        p = _same_law(a, b)
        medians = f"medians {significant(float(np.median(b)))} and {significant(float(np.median(a)))}"
        holds(p > 1e-5, f"{fault} {where} (p = {p:.1e}; {medians})", mend)


def _same_law(a: Floats, b: Floats) -> float:
    """P-value of a two-sample Kolmogorov-Smirnov test in which values nearer than float32's rounding are ties."""
    a, b = np.sort(a), np.sort(b)
    slack = TIE * max(1e-30, float(np.abs(a).max()), float(np.abs(b).max()))
    gap = 0.0
    for low, high in ((a, b), (b, a)):
        # Largest share of `low` at or below a value less the share of `high` at or just above it.
        above = np.searchsorted(high, low + slack, side="right") / len(high)
        gap = max(gap, float((np.arange(1, len(low) + 1) / len(low) - above).max()))
    size = len(a) * len(b) / (len(a) + len(b))
    return float(stats.kstwobign.sf(math.sqrt(size) * gap))


def _inside(law: Dataset, x: Floats) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    x_min, x_max, y_min, y_max = law.limits
    inside: np.ndarray[tuple[int, ...], np.dtype[np.bool_]] = (
        (x[:, 0] >= x_min) & (x[:, 0] <= x_max) & (x[:, 1] >= y_min) & (x[:, 1] <= y_max)
    )
    return inside


def _range(values: Floats) -> str:
    low, high = np.quantile(values, (0.005, 0.995))
    return f"[{low:.3g}, {high:.3g}]"


@functools.lru_cache(maxsize=16)
def _density(law: Dataset) -> Floats | str:
    """Probability of each cell of the window, (2, BINS^2), x first, by two rules; or why there is none.

    A rule takes 1250 points of an irregular lattice (the two-dimensional golden ratio's), the same in each cell: a
    square grid keeps step with a law that runs along a diagonal.
    """
    if law.shape != (2,):
        return "is not on the plane"
    x_min, x_max, y_min, y_max = law.limits
    ratio = 1.32471795724474602596
    inner = np.arange(1, 2 * NODES + 1)[:, None] * np.array([1 / ratio, 1 / ratio**2]) % 1
    corners = np.stack(np.meshgrid(np.arange(BINS), np.arange(BINS), indexing="ij"), axis=-1).reshape(-1, 1, 2)
    low, size = np.array([x_min, y_min]), np.array([x_max - x_min, y_max - y_min]) / BINS
    points = (low + size * (corners + inner)).reshape(-1, 2)
    before = points.copy()
    density = law.density(points)
    unchanged(before, points, "the points x of the density")
    if density is None:
        return "gives no density"
    probability: Floats = density.reshape(BINS**2, 2, NODES).mean(2).T * float(size.prod())
    holds(bool((density >= 0).all()), "the density is negative somewhere", "a density is at least 0")
    return probability


def _within(got: Floats, due: Floats, slack: float, what: str, mend: str) -> None:
    gap = float(np.abs(got - due).max())
    holds(gap <= slack, f"{what} is {np.round(got, 4).tolist()} where {np.round(due, 4).tolist()} is due", mend)
