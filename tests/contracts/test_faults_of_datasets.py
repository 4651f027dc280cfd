"""Laws that are wrong in their labels, finite sets or off their defaults; laws on lines, spheres and atoms pass."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import pytest
import torch
from annotated_types import Ge, Gt

from bench.datasets.checkerboard import Checkerboard
from bench.datasets.curves import Rings
from bench.datasets.mixtures import GaussianMixture, TwoGaussians
from bench.interfaces import Dataset


class Mislabelled(GaussianMixture):
    """Labels that belong to other points."""

    def draw_labelled(self, n, seed, generator):
        points, labels = super().draw_labelled(n, seed, generator)
        return points, labels.flip(0)


class Renamed(GaussianMixture):
    """Labels in another order than the modes."""

    def draw_labelled(self, n, seed, generator):
        points, labels = super().draw_labelled(n, seed, generator)
        return points, (labels + 1) % 3


class FromOne(GaussianMixture):
    """Labels that count from 1."""

    def draw_labelled(self, n, seed, generator):
        points, labels = super().draw_labelled(n, seed, generator)
        return points, labels + 1


class Another(GaussianMixture):
    """Labelled points that are not those of draw."""

    def draw_labelled(self, n, seed, generator):
        return super().draw_labelled(n, seed + 1, torch.Generator().manual_seed(seed))

    def draw(self, n, seed, generator):
        return super().draw_labelled(n, seed, generator)[0]


class Fresh(Checkerboard):
    """A finite set that training does not draw from."""

    def uniforms(self, n, seed, generator):
        return Dataset.uniforms(self, n, seed, generator)


class FirstHalf(Checkerboard):
    """A finite set of which half is never drawn."""

    def uniforms(self, n, seed, generator):
        u = super().uniforms(n, seed, generator)
        if self.points is None:
            return u
        return self._fixed(seed)[torch.randint(max(1, self.points // 2), (n,), generator=generator)]


class OneSet(Checkerboard):
    """The same finite set for every seed."""

    def _fixed(self, seed):
        return super()._fixed(0)


class Scored(Checkerboard):
    """A law that a finite set changes."""

    def place(self, mode, u):
        return super().place(mode, u) * (1.0 if self.points is None else 0.5)


class Apart(TwoGaussians):
    """A density that is right at the default distance only."""

    def density(self, x):
        return TwoGaussians(4.0).density(x)


@dataclass(frozen=True)
class Thin(Rings):
    """Without noise, at the end of its range, it divides by 0."""

    noise: Annotated[float, Ge(0)] = 0.08


class SecondAxis(Checkerboard):
    """Draws whose second coordinate alone is another one."""

    def draw_labelled(self, n, seed, generator):
        points, labels = super().draw_labelled(n, seed, generator)
        return points * torch.tensor([1.0, 0.9]), labels


FAULTS = [
    (Mislabelled, "labels_are_the_classes_of_the_points", "points of class 0 and those that place puts into mode 0"),
    (Renamed, "labels_are_the_classes_of_the_points", "the classes occur"),
    (FromOne, "labels_are_the_classes_of_the_points", "from 1 to 3, with 3 classes"),
    (Another, "labels_are_the_classes_of_the_points", "draw_labelled draws other points than draw"),
    (Fresh, "a_finite_set_is_fixed_by_its_seed", "of them not in the set"),
    (FirstHalf, "a_finite_set_is_fixed_by_its_seed", "2048 draws show 32 points"),
    (OneSet, "a_finite_set_is_fixed_by_its_seed", "every seed has the same finite set"),
    (Scored, "a_finite_set_is_fixed_by_its_seed", "points changes what from_uniform places"),
    (Apart, "density_is_that_of_the_draws", "with distance = "),
    (Thin, "density_integrates_to_one", "with noise = 0.0"),
    (SecondAxis, "draws_and_placed_uniforms_agree_in_law", "differ in law"),
]


@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
@pytest.mark.parametrize(("cls", "law", "words"), FAULTS, ids=[f"{c[0].__name__}-{c[1]}" for c in FAULTS])
def test_a_fault_breaks_its_law(breaks, cls, law, words):
    breaks("dataset", cls, law, words)


@dataclass(frozen=True)
class Placed(Dataset):
    """A law of one mode, placed by one uniform."""

    shape: ClassVar[tuple[int, ...]] = (2,)

    @property
    def inner(self) -> int:
        return 1

    @property
    def limits(self) -> Any:
        return -2.0, 2.0, -2.0, 2.0


@dataclass(frozen=True)
class Circle(Placed):
    """Uniform on a circle, drawn in float32: its radius is constant but for rounding."""

    radius: Annotated[float, Gt(0)] = 1.3

    def place(self, mode, u):
        angle = 2 * np.pi * u[:, 0]
        return self.radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)

    def draw_labelled(self, n, seed, generator):
        points = torch.randn(n, 2, generator=generator)
        points = self.radius * points / points.norm(dim=1, keepdim=True)
        return points, torch.zeros(n, dtype=torch.int64)

    @property
    def limits(self) -> Any:
        return -self.radius, self.radius, -self.radius, self.radius


@dataclass(frozen=True)
class Line(Placed):
    """Uniform on a vertical line."""

    def place(self, mode, u):
        return np.stack([np.full(len(u), 0.3), 4 * u[:, 0] - 2], axis=1)


@dataclass(frozen=True)
class Atoms(Placed):
    """Three atoms."""

    def place(self, mode, u):
        return np.array([[-1.5, -1.4], [0.1, 1.7], [1.6, 0.2]])[np.minimum((3 * u[:, 0]).astype(int), 2)]


@dataclass(frozen=True)
class Point(Placed):
    """A single point."""

    def place(self, mode, u):
        return np.tile([[0.1, 0.7]], (len(u), 1))


@dataclass(frozen=True)
class Shell(Circle):
    """Uniform on a sphere in 20 dimensions."""

    shape: ClassVar[tuple[int, ...]] = (20,)

    @property
    def inner(self) -> int:
        return 20

    def place(self, mode, u):
        from scipy.special import ndtri

        z = ndtri(u)
        return self.radius * z / np.linalg.norm(z, axis=1, keepdims=True)

    def draw_labelled(self, n, seed, generator):
        points = torch.randn(n, 20, generator=generator)
        return self.radius * points / points.norm(dim=1, keepdim=True), torch.zeros(n, dtype=torch.int64)


@pytest.mark.parametrize("cls", [Circle, Line, Atoms, Point, Shell])
def test_a_right_law_of_an_uncommon_kind_passes(keeps, cls):
    keeps("dataset", cls)
