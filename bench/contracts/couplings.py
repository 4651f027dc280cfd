"""What a coupling promises: it pairs the batch's own points and leaves both marginals as they are."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import chi2, poisson
from torch import Tensor

from bench.contracts.require import Law, form, holds, no_cuda, unchanged
from bench.interfaces import Coupling
from bench.seeds import stream

BATCH, CALLS = 32, 400
"""Points of a small batch, and pairings of such batches: what happens in one of 50 calls happens in these."""

MIDDLE, MIDDLE_CALLS = 256, 32
LARGE, LARGE_CALLS = 1024, 8
"""Points of a large batch, and pairings of such batches: a hundredth of it is more than nothing."""

GROUPS = (1, 4, 10)
"""Neighbours in rank whose counts are added up, so that a few points that never occur stand out."""

REPEATS = 60
"""Calls with the same batch and generator."""

SIZES = (1, 7, BATCH)


class Pairing(NamedTuple):
    """One call: both batches as they were drawn, and as they were paired; x0 first."""

    given: tuple[Tensor, Tensor]
    made: tuple[Tensor, Tensor]


def keeps_shape_and_dtype(coupling: Coupling) -> str | None:
    """Pairs have the shape and dtype of the batch, for points of the plane and for images, be they few or many."""
    for dtype in (torch.float32, torch.float64):
        for shape in ((2,), (1, 8, 8)):
            for n in SIZES:
                for name, part in zip(("x0", "x1"), _paired(coupling, *_batch(shape, dtype, n)), strict=True):
                    form(part, (n, *shape), dtype, f"the paired {name}")
    return None


def pairs_the_batchs_own_points(coupling: Coupling) -> str | None:
    """Every point that comes out went in on the same side: source with source, data with data."""
    for n in (*SIZES, LARGE):
        batch = _batch((2,), torch.float32, n)
        pairs = _paired(coupling, *batch)
        for name, given, made in zip(("x0", "x1"), batch, pairs, strict=True):
            strange = int((_places(given, made) < 0).sum())
            holds(
                not strange,
                f"{strange} of {n} paired {name} are no {name} of the batch",
                "choose by index (x0[i], x1[j]) and return (source, data) in that order",
            )
    return None


def uses_each_point_once_where_it_says_so(coupling: Coupling) -> str | None:
    """A coupling with `permutes` uses each point of both batches once, at every of 400 calls and in large batches."""
    if not coupling.permutes:
        return "does not say that it permutes"
    for pairing in (*_pairings(coupling, BATCH, CALLS), *_pairings(coupling, LARGE, LARGE_CALLS)):
        for side, name in enumerate(("x0", "x1")):
            count = _counts(pairing, side)
            once = int((count == 1).sum())
            holds(
                once == len(count),
                f"permutes is True, yet of {len(count)} {name} {int((count == 0).sum())} are left out and "
                f"{int((count > 1).sum())} used twice or more",
                "use each point once, or set permutes = False",
            )
    return None


def keeps_both_marginals(coupling: Coupling) -> str | None:
    """Over 400 pairings of 32 points each place and rank occurs equally often (chi-square, p > 1e-6).

    One that uses each point once in most calls does so in all: what it leaves out now and then is no chance.
    """
    pairings = _pairings(coupling, BATCH, CALLS)
    for side, name in enumerate(("x0", "x1")):
        counts = np.stack([_counts(pairing, side) for pairing in pairings])
        whole = int((counts == 1).all(1).sum())
        for order, ranks in _orders(pairings, side):
            count = np.take_along_axis(counts, ranks, 1).sum(0)
            statistic = float(((count - CALLS) ** 2 / CALLS).sum())
            holds(
                float(chi2.sf(statistic, BATCH - 1)) > 1e-6,
                f"over {CALLS} pairings of {BATCH} points one {name} occurs {int(count.min())} times, another "
                f"{int(count.max())} times ({order})",
                "draw pairs from a plan whose rows and columns have equal sums, or use each point once",
            )
        holds(
            not CALLS / 2 < whole < CALLS,
            f"{whole} of {CALLS} pairings use each {name} once, the others leave some out",
            "use each point once in every call (and say permutes = True), or draw pairs with replacement in all",
        )
    return None


def leaves_no_point_out_of_large_batches(coupling: Coupling) -> str | None:
    """Over many pairings of 256 and of 1024 points no few neighbours in place or rank occur too often or too seldom.

    p > 1e-6 in each group, of all that are looked at.
    """
    for points, calls in ((MIDDLE, MIDDLE_CALLS), (LARGE, LARGE_CALLS)):
        pairings = _pairings(coupling, points, calls)
        for side, name in enumerate(("x0", "x1")):
            counts = np.stack([_counts(pairing, side) for pairing in pairings])
            for order, ranks in _orders(pairings, side):
                _even(np.take_along_axis(counts, ranks, 1).sum(0), calls, name, order)
    return None


def _even(counts: NDArray[np.int64], calls: int, name: str, order: str) -> None:
    """No group of neighbours occurs too often or too seldom. counts: (points,), in this order."""
    points = len(counts)
    for size in GROUPS:
        # From both ends, so that the outermost of either form one group.
        for turned in (counts, counts[::-1]):
            groups = turned[: points // size * size].reshape(-1, size).sum(1)
            due = size * calls
            p = 2 * np.minimum(poisson.cdf(groups, due), poisson.sf(groups - 1, due)) * len(groups)
            worst = int(p.argmin())
            first = worst * size if turned is counts else points - (worst + 1) * size
            holds(
                float(p[worst]) > 1e-6,
                f"over {calls} pairings of {points} points the {name} from {first + 1} to {first + size} "
                f"({order}) occur {int(groups[worst])} times where {due} are due",
                "leave no point of a large batch out, be it far out or last",
            )


def follows_its_generator(coupling: Coupling) -> str | None:
    """The same batch and stream give the same pairs, however often; nothing else is random, and nothing is kept."""
    batch = _batch((2,), torch.float32)
    first = _paired(coupling, *batch)
    for _ in range(REPEATS):
        torch.rand(3)  # a global draw in between must not matter
        same = all(torch.equal(a, b) for a, b in zip(first, _paired(coupling, *batch), strict=True))
        mend = "take every random number from the generator given to pair, and keep no state between calls"
        holds(same, "the same generator gives other pairs", mend)
    return None


def leaves_its_inputs_alone(coupling: Coupling) -> str | None:
    """Both batches stay as they were."""
    batch = _batch((2,), torch.float32)
    before = [part.clone() for part in batch]
    _paired(coupling, *batch)
    for name, a, b in zip(("x0", "x1"), before, batch, strict=True):
        unchanged(a, b, name)
    return None


def is_independent_where_it_says_so(coupling: Coupling) -> str | None:
    """A coupling with `independent = True` returns both batches as they were drawn."""
    if not coupling.independent:
        return "is not said to be independent"
    for pairing in (*_pairings(coupling, BATCH, CALLS), *_pairings(coupling, LARGE, LARGE_CALLS)):
        same = all(torch.equal(a, b) for a, b in zip(pairing.given, pairing.made, strict=True))
        holds(same, "independent is True, yet the pairs differ from the draws", "set independent = False")
    return None


def agrees_on_a_gpu(coupling: Coupling) -> str | None:
    """A batch on a GPU is paired there, in the same way."""
    if reason := no_cuda():
        return reason
    batch = _batch((2,), torch.float32)
    here, there = _paired(coupling, *batch), _paired(coupling, batch[0].cuda(), batch[1].cuda())
    for name, a, b in zip(("x0", "x1"), here, there, strict=True):
        holds(b.is_cuda, f"the paired {name} is on {b.device}", "move indices to the batch's device, not the batch")
        holds(torch.equal(a, b.cpu()), f"the paired {name} differs on a GPU", "compute the plan on the CPU")
    return None


LAWS: tuple[Law, ...] = (
    keeps_shape_and_dtype,
    pairs_the_batchs_own_points,
    uses_each_point_once_where_it_says_so,
    keeps_both_marginals,
    leaves_no_point_out_of_large_batches,
    follows_its_generator,
    leaves_its_inputs_alone,
    is_independent_where_it_says_so,
    agrees_on_a_gpu,
)


def _batch(
    shape: tuple[int, ...], dtype: torch.dtype = torch.float32, n: int = BATCH, block: int = 0
) -> tuple[Tensor, Tensor]:
    """A source batch N(0, I) and a data batch N(1, 4 I)."""
    generator = stream(0, "contract/coupling", block)
    x0, x1 = (torch.randn(n, *shape, generator=generator, dtype=torch.float64).to(dtype) for _ in range(2))
    return x0, 2 * x1 + 1


def _paired(coupling: Coupling, x0: Tensor, x1: Tensor, block: int = 0) -> tuple[Tensor, Tensor]:
    """As a training asks: with the classes of the data, four and one of them rare, where it wants them."""
    generator = stream(0, "contract/pair", block)
    if not coupling.labelled:
        return coupling.pair(x0, x1, generator)
    weights = torch.tensor([0.5, 0.3, 0.19, 0.01])
    labels = torch.multinomial(weights, len(x1), True, generator=stream(0, "contract/labels", block))
    return coupling.pair_labelled(x0, x1, labels.to(x1.device), generator)


@functools.lru_cache(maxsize=2)
def _pairings(coupling: Coupling, n: int, calls: int) -> tuple[Pairing, ...]:
    """Calls with another batch and another stream each; several laws look at the same ones."""
    batches = [_batch((2,), n=n, block=block) for block in range(calls)]
    return tuple(Pairing(batch, _paired(coupling, *batch, block=k)) for k, batch in enumerate(batches))


def _places(given: Tensor, made: Tensor) -> NDArray[np.int64]:
    """Row of `given` (n, ...) that each row of `made` is, -1 where it is none; (n,)."""
    rows = {row.tobytes(): place for place, row in enumerate(given.flatten(1).numpy())}
    return np.array([rows.get(row.tobytes(), -1) for row in made.flatten(1).numpy()])


def _counts(pairing: Pairing, side: int) -> NDArray[np.int64]:
    """How often each row of one side's batch occurs in the pairs, (n,)."""
    places = _places(pairing.given[side], pairing.made[side])
    return np.bincount(places[places >= 0], minlength=len(pairing.given[side]))


def _orders(pairings: Sequence[Pairing], side: int) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Orders of the points of each pairing's batch by name, as row numbers (calls, n)."""
    points = np.stack([pairing.given[side].numpy() for pairing in pairings])
    distance = np.linalg.norm(points - points.mean(1, keepdims=True), axis=-1)
    yield "in the order of the batch", np.tile(np.arange(points.shape[1]), (len(points), 1))
    yield "in order of distance from the centre", distance.argsort(1)
    yield "in order of the first coordinate", points[..., 0].argsort(1)
