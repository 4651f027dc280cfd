"""Reference draws, what a perfect sampler would score against them, and the density for figures.

One entry serves all cells of a data law, seed and number of samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from scipy.special import ndtri

from bench.errors import Undefined
from bench.flow import exact_ends
from bench.interfaces import Dataset, in_data_units
from bench.seeds import global_stream, stream, uniforms
from bench.task import Made, Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.interfaces import Floats

FloorKind = Literal["flow", "scramble", "independent"]

GRID = 160
"""Points along each side of the density grid."""


@dataclass(frozen=True)
class ReferenceJob:
    """What a reference depends on. `law` has its training-only parameters at their defaults."""

    law: Dataset
    n: int
    repeats: int
    floor: FloorKind
    seed: int
    drawn: Literal["proportional", "independent"] = "proportional"
    replica: int = 0


class Reference(NamedTuple):
    """reference, floor: (R, n, *S) float64. density: (G, G) over density_y by density_x, or None."""

    reference: Floats
    floor: Floats
    density: tuple[Floats, Floats, Floats] | None


def run(task: Task) -> Made:
    """The reference stage."""
    settings, floor = task.component("sampling"), task.options["floor"]
    law = task.component("law")
    job = ReferenceJob(law, settings.n, settings.repeats, floor, task.seed, settings.reference, task.replica)
    with global_stream(task.seed, "reference", replica=task.replica):
        made = reference(job)
    arrays = {name: narrow(in_data_units(law.units, getattr(made, name))) for name in ("reference", "floor")}
    if made.density is not None:
        names = ("density_x", "density_y", "density")
        arrays |= {name: array.astype(np.float32) for name, array in zip(names, made.density, strict=True)}
    return Made({"floor": floor, "n": settings.n, "repeats": settings.repeats}, arrays)


def narrow(points: Floats) -> NDArray[np.floating[Any]]:
    """The same numbers, of any shape, in float32 where it holds them all, as those of pictures and of torch's draws."""
    with np.errstate(over="ignore"):  # what it does not hold is kept as it is
        half = points.astype(np.float32)
    return half if np.array_equal(half, points) else points


def prepare(task: Task) -> Made:
    """The stage of what metrics work out of a law once; of a law that has no such thing there is no array."""
    try:
        with global_stream(task.seed, "preparing", replica=task.replica):
            made = task.component("metric").prepares().make(task.component("law"))
    except Undefined as error:  # the metric says so of each cell
        return Made({"undefined": str(error)})
    return Made({"undefined": ""}, {"prepared": made})


def reference(job: ReferenceJob) -> Reference:
    """Draw the reference and the floor's samples.

    flow: the exact linear-path flow of the very noise that every cell starts from. scramble: a second
    quasi-random draw of the law, only approximately what a perfect sampler would give. independent: an
    independent draw, for samplers that start from independent noise.
    """
    draw = _proportional if job.drawn == "proportional" else _independent
    drawn = np.stack([draw(job, repeat) for repeat in range(job.repeats)])
    floor = np.stack([_floor(job, repeat) for repeat in range(job.repeats)])
    return Reference(drawn, floor, _density(job.law))


def floor_kind(law: Dataset, source: Dataset, start: str) -> FloorKind:
    """The best floor that a law and a source admit."""
    if start == "independent":
        return "independent"
    return "flow" if source.standard_normal and law.mixture() is not None else "scramble"


def start_noise(seed: int, repeat: int, n: int, d: int, *, quasi: bool, replica: int = 0) -> Floats:
    """Z ~ N(0, I_d), (n, d) float64: the noise of a repeat, the same for every cell that starts from it."""
    noise: Floats = ndtri(uniforms(seed, "start", repeat, n, d, quasi=quasi, replica=replica))
    return noise


def _proportional(job: ReferenceJob, repeat: int) -> Floats:
    """Modes in proportion, independent scrambled Sobol inside each."""
    law = job.law.judge
    parts = []
    for mode, count in enumerate(proportions(law.modes, job.n)):
        u = uniforms(job.seed, f"reference/{mode}", repeat, count, law.inner, quasi=True, replica=job.replica)
        parts.append(law.place(np.full(count, mode, dtype=np.int64), u))
    return np.concatenate(parts)


def _independent(job: ReferenceJob, repeat: int) -> Floats:
    """A random draw of the law, as a paper's test set would be."""
    generator = stream(job.seed, "reference", repeat, job.replica)
    return job.law.judge.draw(job.n, job.seed, generator).double().numpy()


def proportions(weights: tuple[float, ...], n: int) -> list[int]:
    """N split by weights, largest remainders rounded up."""
    exact = np.asarray(weights) / np.sum(weights) * n
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: n - counts.sum()]] += 1
    return [int(count) for count in counts]


def _floor(job: ReferenceJob, repeat: int) -> Floats:
    law, mixture = job.law, job.law.mixture()
    if job.floor == "independent":
        generator = stream(job.seed, "floor", repeat, job.replica)
        return law.draw(job.n, job.seed, generator).double().numpy()
    if job.floor == "scramble" or mixture is None:
        return law.from_uniform(
            uniforms(job.seed, "floor", repeat, job.n, law.coordinates, quasi=True, replica=job.replica)
        )
    z = start_noise(job.seed, repeat, job.n, law.shape[0], quasi=True, replica=job.replica)
    ends: Floats = exact_ends(mixture, torch.from_numpy(z)).numpy()
    return ends


def _density(law: Dataset) -> tuple[Floats, Floats, Floats] | None:
    if law.shape != (2,):
        return None
    x_min, x_max, y_min, y_max = law.limits
    xs, ys = np.linspace(x_min, x_max, GRID), np.linspace(y_min, y_max, GRID)
    points = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)
    values = law.density(points)
    return None if values is None else (xs, ys, values.reshape(GRID, GRID))
