"""Two interleaved half circles, with the noise that torchdyn and torchcfm give them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from annotated_types import Ge, Gt

from bench.datasets.finite import FinitePoints

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.interfaces import Floats


@dataclass(frozen=True)
class TwoMoons(FinitePoints):
    """Two half circles as torchcfm draws them: noise e ~ U(0, noise) that both axes share.

    With a ~ U(0, pi), before x -> scale x + shift:

        moon 0: (cos a, sin a) + e (1, 1)        moon 1: (1 - cos a, 1/2 - sin a) + e (1, 1)

    So the noise smears each moon along the diagonal, from 0 to noise, and is not Gaussian. The defaults are
    `torchcfm.utils.sample_moons`: x in [-4, 5.6], y in [-2.5, 2.6]; there the angles lie on an even grid and
    the points come ordered by moon, here they are independent. A mode is a moon.

    `noise`: before scaling. `scale`: data units per radius. `shift`: added to both axes, data units.
    """

    noise: Annotated[float, Ge(0)] = 0.2
    scale: Annotated[float, Gt(0)] = 3.0
    shift: float = -1.0

    @property
    def modes(self) -> tuple[float, ...]:
        """One half for each moon."""
        return 0.5, 0.5

    @property
    def inner(self) -> int:
        """One coordinate along the arc, one for the noise."""
        return 2

    def place(self, mode: NDArray[np.int64], u: Floats) -> Floats:
        """Angle pi u[:, 0] on the moon, noise times u[:, 1] along the diagonal."""
        arc = np.stack([np.cos(np.pi * u[:, 0]), np.sin(np.pi * u[:, 0])], axis=1)
        moon = np.where(mode[:, None] == 0, arc, np.array([1.0, 0.5]) - arc)
        points: Floats = self.scale * (moon + self.noise * u[:, 1:]) + self.shift
        return points

    def density(self, x: Floats) -> Floats | None:
        """Sum over the (moon, angle) pairs that reach x: (B, 2) of 1 / (2 pi noise |cos a + sin a| scale^2).

        It grows without bound, but integrably, towards a = 3 pi / 4, where the arc runs along the diagonal.
        None without noise: the law then lives on two curves.
        """
        if self.noise == 0:
            return None
        p = (x - self.shift) / self.scale
        value = self._arc_density(p, 1.0) + self._arc_density(np.array([1.0, 0.5]) - p, -1.0)
        moons: Floats = value / (2 * self.scale**2)
        return moons

    def _arc_density(self, v: Floats, sign: float) -> Floats:
        """Density of (cos a, sin a) + sign e (1, 1) at v: (B, 2), before scaling.

        v_x - v_y = sqrt(2) cos(a + pi / 4) leaves two angles; e follows from either.
        """
        across = v[:, 0] - v[:, 1]
        jacobian = np.sqrt(np.maximum(2 - across**2, 0))
        half_turn = np.arccos(np.clip(across / np.sqrt(2), -1, 1))
        reached = np.zeros(len(v))
        for angle in (half_turn - np.pi / 4, 7 * np.pi / 4 - half_turn):
            e = sign * (v[:, 0] - np.cos(angle))
            reached += (angle >= 0) & (angle <= np.pi) & (e >= 0) & (e <= self.noise)
        return np.divide(reached, np.pi * self.noise * jacobian, out=np.zeros(len(v)), where=jacobian > 0)

    @property
    def limits(self) -> tuple[float, float, float, float]:
        """The exact range of the law."""
        x_min, x_max, y_min, y_max = (
            self.scale * edge + self.shift for edge in (-1.0, 2.0 + self.noise, -0.5, 1.0 + self.noise)
        )
        return x_min, x_max, y_min, y_max
