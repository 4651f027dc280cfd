"""Curves on the plane with isotropic Gaussian noise around them: roll, s, spirals, rings; and scikit-learn's laws."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt, Le
from scipy.special import i0e, ndtri

from bench.datasets.finite import FinitePoints

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.interfaces import Floats


class _NoisyCurve(FinitePoints):
    """x = curve(mode, w) + noise z with w ~ U(0, 1), z ~ N(0, I).

    Only rings override `density`: along the other curves the convolution has no closed form.
    """

    noise: float

    @abstractmethod
    def curve(self, mode: NDArray[np.int64], w: Floats) -> Floats:
        """Points on the curve. mode, w: (B,); returns (B, 2)."""

    @property
    @abstractmethod
    def reach(self) -> tuple[float, float]:
        """Largest |x| and |y| of the curve itself."""

    @property
    def inner(self) -> int:
        """One coordinate along the curve, two for the noise."""
        return 3

    def place(self, mode: NDArray[np.int64], u: Floats) -> Floats:
        """The curve at u[:, 0] plus noise Phi^-1(u[:, 1:])."""
        points: Floats = self.curve(mode, u[:, 0]) + self.noise * ndtri(u[:, 1:])
        return points

    @property
    def limits(self) -> tuple[float, float, float, float]:
        """The curve's reach and 3.5 standard deviations of the noise."""
        x, y = (edge + 3.5 * self.noise for edge in self.reach)
        return -x, x, -y, y


@dataclass(frozen=True)
class SwissRoll(_NoisyCurve):
    """Swiss roll seen from its end: (a cos a, a sin a) with a ~ U(1.5 pi, 4.5 pi), scaled to radius 4.

    The first and third axis of scikit-learn's `make_swiss_roll` (Marsland, Machine Learning, 2009), times
    4 / (4.5 pi), so that the curve reaches from radius 4/3 to 4. `noise`: standard deviation per axis, data
    units, after scaling.
    """

    noise: Annotated[float, Ge(0)] = 0.1

    def curve(self, mode: NDArray[np.int64], w: Floats) -> Floats:
        """Turning angle 1.5 pi (1 + 2 w)."""
        angle = 1.5 * np.pi * (1 + 2 * w)
        return _polar(angle * 4 / (4.5 * np.pi), angle)

    @property
    def reach(self) -> tuple[float, float]:
        """The outer radius, both ways."""
        return 4.0, 4.0


@dataclass(frozen=True)
class SCurve(_NoisyCurve):
    """An S: 2 (sin a, sign(a) (cos a - 1)) with a ~ U(-1.5 pi, 1.5 pi).

    The first and third axis of scikit-learn's `make_s_curve`, doubled: x in [-2, 2], y in [-4, 4] before
    noise. `noise`: standard deviation per axis, data units.
    """

    noise: Annotated[float, Ge(0)] = 0.1

    def curve(self, mode: NDArray[np.int64], w: Floats) -> Floats:
        """Angle 3 pi (w - 1/2)."""
        angle = 3 * np.pi * (w - 0.5)
        points: Floats = 2 * np.stack([np.sin(angle), np.sign(angle) * (np.cos(angle) - 1)], axis=1)
        return points

    @property
    def reach(self) -> tuple[float, float]:
        """2 across, 4 up."""
        return 2.0, 4.0


@dataclass(frozen=True)
class Spirals(_NoisyCurve):
    """Spiral arms that start at the centre and turn outwards: r = radius sqrt(w), w ~ U(0, 1).

    Arm k of K at radius r has the angle 2 pi (turns r / radius + k / K). The root spreads points nearly
    evenly along an arm. Two arms of 1.5 turns are the "2spirals" of Grathwohl et al. 2018, arXiv:1810.01367,
    up to scale. A mode is an arm. `radius`: where arms end, data units; `noise`: standard deviation per axis.
    """

    arms: Annotated[int, Ge(1), Le(16)] = 2
    turns: Annotated[float, Gt(0), Le(8)] = 1.5
    radius: Annotated[float, Gt(0)] = 4.0
    noise: Annotated[float, Ge(0)] = 0.1

    @property
    def modes(self) -> tuple[float, ...]:
        """Equal shares, one for each arm."""
        return (1 / self.arms,) * self.arms

    def curve(self, mode: NDArray[np.int64], w: Floats) -> Floats:
        """Arm `mode` at radius sqrt(w) of the whole."""
        part = np.sqrt(w)
        return _polar(self.radius * part, 2 * np.pi * (self.turns * part + mode / self.arms))

    @property
    def reach(self) -> tuple[float, float]:
        """The outer radius, both ways."""
        return self.radius, self.radius


@dataclass(frozen=True)
class Rings(_NoisyCurve):
    """Concentric circles of radius R_k = radius k / rings, k = 1 ... rings, equally likely.

    x = R_k (cos a, sin a) + noise z with a ~ U(0, 2 pi), z ~ N(0, I): the distance from the centre has
    Rice's law. Four rings are the "rings" of Grathwohl et al. 2018, arXiv:1810.01367. A mode is a ring.
    `radius`: the outer circle, data units; `noise`: standard deviation per axis.
    """

    rings: Annotated[int, Ge(1), Le(16)] = 4
    radius: Annotated[float, Gt(0)] = 3.0
    noise: Annotated[float, Gt(0)] = 0.08

    @property
    def modes(self) -> tuple[float, ...]:
        """Equal shares, one for each ring, from the inside out."""
        return (1 / self.rings,) * self.rings

    def curve(self, mode: NDArray[np.int64], w: Floats) -> Floats:
        """Angle 2 pi w on circle `mode`."""
        return _polar(self.radius * (mode + 1) / self.rings, 2 * np.pi * w)

    def density(self, x: Floats) -> Floats:
        """Mean over k of exp(-(r^2 + R_k^2) / 2 s^2) I_0(r R_k / s^2) / (2 pi s^2), r = |x|, s = noise.

        x: (B, 2). The scaled Bessel function (i0e) keeps both factors finite.
        """
        r = np.linalg.norm(x, axis=1)[:, None]
        radii = self.radius * np.arange(1, self.rings + 1) / self.rings
        variance = self.noise**2
        terms = np.exp(-((r - radii) ** 2) / (2 * variance)) * i0e(r * radii / variance)
        value: Floats = terms.mean(1) / (2 * np.pi * variance)
        return value

    @property
    def reach(self) -> tuple[float, float]:
        """The outer radius, both ways."""
        return self.radius, self.radius


@dataclass(frozen=True)
class _AsScikitLearn(FinitePoints):
    """scale (X + noise z) + shift with X on scikit-learn's curve or surface, z ~ N(0, I): its units before scaling.

    `noise`: standard deviation per axis, as scikit-learn takes it, before scaling. `scale`: data units per unit of
    scikit-learn's. `shift`: added to every axis, data units.
    """

    noise: Annotated[float, Ge(0)] = 0.1
    scale: Annotated[float, Gt(0)] = 1.0
    shift: float = 0.0

    @abstractmethod
    def surface(self, mode: NDArray[np.int64], w: Floats) -> Floats:
        """Points without noise. mode: (B,); w: (B, 2) in (0, 1); returns (B, d)."""

    @property
    def inner(self) -> int:
        """Two coordinates on the surface, one of noise for each axis."""
        return 2 + self.shape[0]

    def place(self, mode: NDArray[np.int64], u: Floats) -> Floats:
        """The surface at u[:, :2] plus noise Phi^-1(u[:, 2:]), scaled and shifted."""
        points: Floats = self.scale * (self.surface(mode, u[:, :2]) + self.noise * ndtri(u[:, 2:])) + self.shift
        return points

    @property
    def limits(self) -> tuple[float, float, float, float]:
        """The surface's reach along the first two axes and 3.5 standard deviations of the noise."""
        grid = np.stack([axis.ravel() for axis in np.meshgrid(np.linspace(0, 1, 2001), [0.0, 1.0])], axis=1)
        points = np.concatenate([self.surface(np.full(len(grid), k), grid) for k in range(len(self.modes))])
        low, high = points.min(0) - 3.5 * self.noise, points.max(0) + 3.5 * self.noise
        x, y = ((self.scale * low[k] + self.shift, self.scale * high[k] + self.shift) for k in (0, 1))
        return float(x[0]), float(x[1]), float(y[0]), float(y[1])


@dataclass(frozen=True)
class SklearnMoons(_AsScikitLearn):
    """scikit-learn's `make_moons`: half circles (cos a, sin a) and (1 - cos a, 1/2 - sin a), Gaussian noise.

    Here a ~ U(0, pi), independent; there the angles lie on an even grid. A mode is a moon. torchcfm's moons, whose
    noise is uniform along the diagonal, are `two_moons`.
    """

    @property
    def modes(self) -> tuple[float, ...]:
        """One half for each moon."""
        return 0.5, 0.5

    def surface(self, mode: NDArray[np.int64], w: Floats) -> Floats:
        """Angle pi w[:, 0] on the moon."""
        arc = np.stack([np.cos(np.pi * w[:, 0]), np.sin(np.pi * w[:, 0])], axis=1)
        return np.where(mode[:, None] == 0, arc, np.array([1.0, 0.5]) - arc)


@dataclass(frozen=True)
class _Rolled(_AsScikitLearn):
    """A curve in the first and third axis, drawn out along the second; on the plane it is seen from its end."""

    axes: Literal[2, 3] = 3

    @property
    def shape(self) -> tuple[int, ...]:
        """(3,), or (2,) without the second axis."""
        return (self.axes,)

    def _drawn_out(self, x: Floats, along: Floats, z: Floats) -> Floats:
        columns = (x, along, z) if self.axes == 3 else (x, z)
        return np.stack(columns, axis=1)


@dataclass(frozen=True)
class SklearnSCurve(_Rolled):
    """scikit-learn's `make_s_curve`: (sin a, 2 w, sign(a) (cos a - 1)), a ~ U(-1.5 pi, 1.5 pi), w ~ U(0, 1).

    `axes: 2` leaves out the second axis, as papers on the plane do; `s_curve` is that, doubled.
    """

    def surface(self, mode: NDArray[np.int64], w: Floats) -> Floats:
        """Angle 3 pi (w[:, 0] - 1/2), height 2 w[:, 1]."""
        a = 3 * np.pi * (w[:, 0] - 0.5)
        return self._drawn_out(np.sin(a), 2 * w[:, 1], np.sign(a) * (np.cos(a) - 1))


@dataclass(frozen=True)
class SklearnSwissRoll(_Rolled):
    """scikit-learn's `make_swiss_roll`: (a cos a, 21 w, a sin a), a = 1.5 pi (1 + 2 v), v and w ~ U(0, 1).

    Marsland, Machine Learning, 2009. `axes: 2` leaves out the second axis, as papers on the plane do; `swiss_roll`
    is that, at radius 4.
    """

    def surface(self, mode: NDArray[np.int64], w: Floats) -> Floats:
        """Angle 1.5 pi (1 + 2 w[:, 0]), height 21 w[:, 1]."""
        a = 1.5 * np.pi * (1 + 2 * w[:, 0])
        return self._drawn_out(a * np.cos(a), 21 * w[:, 1], a * np.sin(a))


def _polar(radius: Floats, angle: Floats) -> Floats:
    """Points from radius and angle, (B,) each; returns (B, 2)."""
    points: Floats = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return points
