"""What a flow's ways from noise to data cost: straightness and path energy.

A way is the polygon through the kept frames, so its speed between frames k and k + 1 is
(x_{k+1} - x_k) / (t_{k+1} - t_k): exact for Euler steps that end on frames, and short of the smooth way's energy
by about h^2 / 12 E|x''|^2 otherwise (h: the time between frames).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bench.errors import Undefined
from bench.interfaces import Given, Measured, Metric
from bench.metrics.wasserstein import squared_wasserstein

if TYPE_CHECKING:
    from bench.interfaces import Floats

SQUARED = "data units²"

ABOVE_FLOOR = 10.0
"""W2^2 must be this many times its floor squared: sampling then moves the ratio by a tenth at most."""


@dataclass(frozen=True)
class Straightness(Metric):
    """S = E integral |(x_1 - x_0) - v_t|^2 dt over the ways taken, in squared data units.

    0 where every way is straight and at constant speed; one Euler step then gives the same samples. It is
    the path energy less E|x_1 - x_0|^2. Liu et al. 2022, arXiv:2209.03003.
    """

    values: ClassVar[Mapping[str, Measured]] = {"straightness": Measured(SQUARED, "lower")}
    inputs: ClassVar[tuple[str, ...]] = ("trajectory",)
    floored: ClassVar[bool] = False

    def measure(self, given: Given) -> Mapping[str, float]:
        """Straightness of the trajectory (F, m, *S)."""
        speeds, spans = _speeds(given)
        whole = np.einsum("k,kmd->md", spans, speeds)
        return {"straightness": float((spans @ ((speeds - whole) ** 2).sum(-1)).mean())}


@dataclass(frozen=True)
class PathEnergy(Metric):
    """E integral |v_t|^2 dt over the ways taken, in squared data units.

    Never below W2^2 between the start law and the end law (Benamou and Brenier 2000), which only the optimal
    transport map attains. Tong et al. 2023, arXiv:2302.00482.
    """

    values: ClassVar[Mapping[str, Measured]] = {"path_energy": Measured(SQUARED, "lower")}
    inputs: ClassVar[tuple[str, ...]] = ("trajectory",)
    floored: ClassVar[bool] = False

    def measure(self, given: Given) -> Mapping[str, float]:
        """Path energy of the trajectory (F, m, *S)."""
        return {"path_energy": _energy(given)}


@dataclass(frozen=True)
class NormalisedPathEnergy(Metric):
    """|PE - W2^2| / W2^2 with PE the path energy and W2 the distance from the start law to the data.

    W2 is measured between the starts and the reference. Refused where W2^2 is less than 10 times the floor
    squared (W2^2 of a perfect sampler's draws against the reference): start and data are then too close for
    this many samples. Tong et al. 2023, arXiv:2302.00482.
    """

    values: ClassVar[Mapping[str, Measured]] = {"normalised_path_energy": Measured("1", "lower")}
    inputs: ClassVar[tuple[str, ...]] = ("trajectory", "start", "reference", "floor")
    floored: ClassVar[bool] = False

    def measure(self, given: Given) -> Mapping[str, float]:
        """Normalised energy of the trajectory (F, m, *S); start, reference, floor: (n, *S). Raises Undefined."""
        assert given.start is not None
        assert given.reference is not None
        assert given.floor is not None
        squared = squared_wasserstein(given.start, given.reference)
        floor = squared_wasserstein(given.floor, given.reference)
        if squared < ABOVE_FLOOR * floor:
            raise Undefined(
                f"W2² from start to data is {squared:.3g}, less than {ABOVE_FLOOR:g} times its floor of {floor:.3g} at "
                f"n = {len(given.start)}, so a ratio to it means nothing; raise sampling.n"
            )
        return {"normalised_path_energy": abs(_energy(given) - squared) / squared}


def _energy(given: Given) -> float:
    speeds, spans = _speeds(given)
    return float((spans @ (speeds**2).sum(-1)).mean())


def _speeds(given: Given) -> tuple[Floats, Floats]:
    """Velocity of each leg, (F - 1, m, d), and its time, (F - 1,)."""
    assert given.trajectory is not None
    assert given.times is not None
    frames = given.trajectory.reshape(*given.trajectory.shape[:2], -1)
    spans = np.diff(given.times)
    return np.diff(frames, axis=0) / spans[:, None, None], spans
