"""Couplings that leave out a point, now and then or in large batches only: each breaks the law named."""

import itertools
from dataclasses import dataclass, field
from typing import ClassVar

import pytest
import torch

from bench.couplings import ClassWise, Independent, OptimalTransport, OptimalTransportPlan
from bench.errors import NotConverged
from bench.interfaces import Coupling


def random_order(n, generator):
    return torch.randperm(n, generator=generator)


def replaced(x, order, generator):
    """The points of x at `order` give way to others of x."""
    out = x.clone()
    out[order] = x[torch.randint(len(x), (len(order),), generator=generator)]
    return out


def outermost(x, n):
    return (x - x.mean(0)).flatten(1).norm(dim=1).argsort(descending=True)[:n]


@dataclass(frozen=True)
class Trims(Coupling):
    """A random order, the outermost hundredth replaced: nothing in a batch of 32."""

    def pair(self, x0, x1, generator):
        x1 = replaced(x1, outermost(x1, int(0.01 * len(x1))), generator)
        return x0, x1[random_order(len(x1), generator)]


class TrimsThePlan(OptimalTransportPlan):
    """Pairs with replacement, none of them with the outermost hundredth of the source."""

    def pair(self, x0, x1, generator):
        x0 = replaced(x0, outermost(x0, int(0.01 * len(x0))), generator)
        return super().pair(x0, x1, generator)


class TrimsAndClaims(Trims):
    """The same, said to use every point."""

    permutes: ClassVar[bool] = True


@dataclass(frozen=True)
class Innermost(Coupling):
    """The four innermost points of a large batch replaced."""

    def pair(self, x0, x1, generator):
        last = outermost(x1, len(x1))[-4:] if len(x1) > 500 else torch.tensor([], dtype=torch.int64)
        return x0, replaced(x1, last, generator)[random_order(len(x1), generator)]


@dataclass(frozen=True)
class Last(Coupling):
    """The last points of a batch that is no multiple of 24 are left out."""

    def pair(self, x0, x1, generator):
        whole = max(1, len(x0) // 24) * 24 if len(x0) >= 24 else len(x0)
        rows = random_order(len(x0), generator) % whole
        return x0[rows], x1[rows]


@dataclass(frozen=True)
class Rarely(Coupling):
    """In one of 50 calls a point gives way to another, by the generator."""

    def pair(self, x0, x1, generator):
        if torch.rand((), generator=generator) < 0.02:
            x1 = replaced(x1, torch.tensor([0]), generator)
        return x0, x1[random_order(len(x1), generator)]


class RarelyAndClaims(Rarely):
    """The same, said to use every point."""

    permutes: ClassVar[bool] = True


CALLS = itertools.count(1)


@dataclass(frozen=True)
class Counts(Coupling):
    """Every fiftieth call is not like the others, whatever its generator."""

    permutes: ClassVar[bool] = True

    def pair(self, x0, x1, generator):
        return (x0, x1) if next(CALLS) % 50 else (x0, replaced(x1, torch.tensor([0]), generator))


class Lucky(Independent):
    """Independent, but for one call in 50."""

    def pair(self, x0, x1, generator):
        return (x0, x1) if torch.rand((), generator=generator) > 0.02 else (x0, x1.flip(0))


class Classes(ClassWise):
    """A class of a single point goes without it."""

    def pair_labelled(self, x0, x1, labels, generator):
        source, data = super().pair_labelled(x0, x1, labels, generator)
        for label in labels.unique():
            if (labels == label).sum() == 1:
                data = torch.where((labels == label)[:, None], data.roll(1, 0), data) if data.dim() == 2 else data
        return source, data


class Swapped(ClassWise):
    """Right without labels, source and data exchanged with them."""

    def pair_labelled(self, x0, x1, labels, generator):
        return super().pair_labelled(x0, x1, labels, generator)[::-1]


@dataclass(frozen=True)
class Halves(Coupling):
    """A parameter off whose default a quarter of the points is never used."""

    share: float = 1.0

    def pair(self, x0, x1, generator):
        n = len(x0) if self.share == 1 else max(1, 3 * len(x0) // 4)
        rows = torch.randint(n, (len(x0),), generator=generator)
        return x0[rows], x1[rows]


@dataclass(frozen=True)
class Even(Coupling):
    """A batch of two halves; one point alone has none."""

    def pair(self, x0, x1, generator):
        half = len(x0) // 2
        return torch.cat([x0[:half], x0[half : 2 * half]]), torch.cat([x1[half : 2 * half], x1[:half]])


@dataclass(frozen=True)
class Farthest(Coupling):
    """The one farthest point replaced, in batches of some hundreds alone."""

    def pair(self, x0, x1, generator):
        few = 1 if 33 <= len(x1) <= 1023 else 0
        return x0, replaced(x1, outermost(x1, few), generator)


FAULTS = [
    (Farthest, "leaves_no_point_out_of_large_batches", "over 32 pairings of 256 points"),
    (Trims, "leaves_no_point_out_of_large_batches", "of 256 points the x1 from 25"),
    (TrimsThePlan, "leaves_no_point_out_of_large_batches", "of 256 points the x0 from 25"),
    (TrimsAndClaims, "uses_each_point_once_where_it_says_so", "of 1024 x1"),
    (Innermost, "leaves_no_point_out_of_large_batches", "from 1 to 4 (in order of distance"),
    (Last, "keeps_both_marginals", "one x0 occurs"),
    (Rarely, "keeps_both_marginals", "of 400 pairings use each x1 once, the others leave some out"),
    (RarelyAndClaims, "uses_each_point_once_where_it_says_so", "1 are left out"),
    (Counts, "uses_each_point_once_where_it_says_so", "1 are left out"),
    (Counts, "follows_its_generator", "keep no state between calls"),
    (Lucky, "is_independent_where_it_says_so", "set independent = False"),
    (Classes, "uses_each_point_once_where_it_says_so", "1 are left out"),
    (Swapped, "pairs_the_batchs_own_points", "(source, data) in that order"),
    (Halves, "keeps_both_marginals", "share = "),
    (Even, "keeps_shape_and_dtype", "the paired x0 has shape (0, 2) where (1, 2) is due"),
]


@pytest.mark.parametrize(("cls", "law", "words"), FAULTS, ids=[f"{c[0].__name__}-{c[1]}" for c in FAULTS])
def test_a_fault_breaks_its_law(breaks, cls, law, words):
    breaks("coupling", cls, law, words)


@dataclass(frozen=True)
class Mixed(Coupling):
    """Independent or with replacement, by chance: both have the right marginals."""

    def pair(self, x0, x1, generator):
        rows = torch.randint(len(x0), (len(x0),), generator=generator)
        return (x0, x1) if torch.rand((), generator=generator) < 0.3 else (x0[rows], x1[rows])


@dataclass(frozen=True)
class Unclaimed(OptimalTransport):
    """A permutation that says nothing of it."""

    permutes: ClassVar[bool] = False


@dataclass(frozen=True)
class Refuses(Independent):
    """A coupling that some numbers are too small for, and says so."""

    effort: int = field(default=10, kw_only=True)

    def pair(self, x0, x1, generator):
        if self.effort < 8:
            raise NotConverged("too little effort; raise it")
        return x0, x1


@pytest.mark.parametrize("cls", [Mixed, Unclaimed, Refuses])
def test_a_right_coupling_of_an_uncommon_kind_passes(keeps, cls):
    keeps("coupling", cls)
