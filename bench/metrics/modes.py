"""Whether each part of the law gets its share of the samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bench.errors import Undefined
from bench.interfaces import Dataset, Given, Measured, Metric, Mixture, in_data_units
from bench.seeds import uniforms

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.interfaces import Floats

POINTS = 512
"""Labelled draws of each part of a law that is no mixture; a sample belongs to the nearest."""


@dataclass(frozen=True)
class ModeWeightTV(Metric):
    """Total variation between the samples' mode frequencies and the law's weights, 1/2 sum_k |f_k - w_k|.

    0: every mode has its share; 1: no sample lies in a mode with weight. A sample belongs to the component of
    largest responsibility w_k N(x; m_k, S_k) of a Gaussian mixture, or else to the part of the law out of which
    the nearest of 512 quasi-random draws a part comes. Not 0 for a perfect sampler (overlap and finite n), whose floor
    stands beside it without an excess: neither an L1 distance nor its square takes up noise by addition.
    """

    values: ClassVar[Mapping[str, Measured]] = {"mode_weight_tv": Measured("1", "lower")}
    inputs: ClassVar[tuple[str, ...]] = ("samples", "law")
    excess: ClassVar[bool] = False

    def measure(self, given: Given) -> Mapping[str, float]:
        """Total variation of samples (n, *S). Raises Undefined for a law of one part."""
        assert given.samples is not None
        assert given.law is not None
        weights = np.asarray(given.law.modes)
        if len(weights) < 2:
            raise Undefined("the data's law has one part, so there are no mode weights to compare")
        x = given.samples.reshape(len(given.samples), -1)
        mixture = given.law.mixture()
        mode = _by_draws(x, given.law) if mixture is None else _by_responsibility(x, mixture)
        frequencies = np.bincount(mode, minlength=len(weights)) / len(x)
        return {"mode_weight_tv": 0.5 * float(np.abs(frequencies - weights).sum())}


def _by_responsibility(x: Floats, law: Mixture) -> NDArray[np.int64]:
    """Component of largest responsibility at each x: (n, d); (n,)."""
    whiten = np.linalg.inv(np.linalg.cholesky(law.covariances))
    z = np.einsum("kij,nkj->nki", whiten, x[:, None] - law.means)
    log_r = np.log(law.weights) - 0.5 * ((z**2).sum(-1) + np.linalg.slogdet(law.covariances)[1])
    chosen: NDArray[np.int64] = log_r.argmax(axis=1)
    return chosen


def _by_draws(x: Floats, law: Dataset) -> NDArray[np.int64]:
    """Part of the law of the nearest labelled draw at each x: (n, d); (n,)."""
    from scipy.spatial import KDTree

    modes = np.repeat(np.arange(len(law.modes)), POINTS)
    draws = np.concatenate(
        [
            law.place(np.full(POINTS, mode), uniforms(0, f"labelled/{mode}", 0, POINTS, law.inner, quasi=True))
            for mode in range(len(law.modes))
        ]
    )
    draws = in_data_units(law.units, draws)
    _, nearest = KDTree(draws.reshape(len(draws), -1)).query(x)
    chosen: NDArray[np.int64] = modes[nearest]
    return chosen
