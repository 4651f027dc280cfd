"""Maximum mean discrepancy with a multi-bandwidth Gaussian kernel."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Gt

from bench.errors import Undefined
from bench.interfaces import Given, Measured, Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class MMD(Metric):
    """sqrt of the V-statistic mean k(x, x') + mean k(y, y') - 2 mean k(x, y), all pairs included.

    k is the mean of Gaussians exp(-|x - y|^2 / (2 h^2)) at h = largest, largest / 2, ... (`bandwidths` of
    them, in data units, fixed so that scores compare across cells). `largest: reference` takes twice the median
    distance between reference points instead, which suits any scale and dimension and compares cells of one law. The
    V-statistic is used because the unbiased form is invalid on quasi-random samples. Gretton et al. 2012, JMLR 13.
    """

    values: ClassVar[Mapping[str, Measured]] = {"mmd": Measured("1", "lower")}

    largest: Annotated[float, Gt(0)] | Literal["reference"] = 4.0
    bandwidths: Annotated[int, Gt(0)] = 5

    @property
    def symmetric(self) -> bool:
        """Not where one of the two chooses the kernel."""
        return self.largest != "reference"

    def measure(self, given: Given) -> Mapping[str, float]:
        """MMD of samples (n, *S) against reference (m, *S)."""
        from scipy.spatial.distance import cdist, pdist

        assert given.samples is not None
        assert given.reference is not None
        x = given.samples.reshape(len(given.samples), -1)
        y = given.reference.reshape(len(given.reference), -1)
        between = pdist(y, "sqeuclidean")
        largest = self.largest if self.largest != "reference" else 2 * math.sqrt(np.median(between))
        if not largest > 0:
            raise Undefined("most reference points are one and the same, so they give no bandwidth; give `largest`")
        own = [self._within(len(z), within, largest) for z, within in ((x, pdist(x, "sqeuclidean")), (y, between))]
        squared = sum(own) - 2 * self._mean(cdist(x, y, "sqeuclidean").ravel(), largest)
        return {"mmd": math.sqrt(max(squared, 0.0))}

    def _within(self, n: int, squared: NDArray[np.float64], largest: float) -> float:
        """Mean over all n^2 pairs; the diagonal is 1 and each other pair counts twice."""
        return (n + n * (n - 1) * self._mean(squared, largest)) / n**2

    def _mean(self, squared: NDArray[np.float64], largest: float) -> float:
        """Mean kernel over squared distances: one exponential, then h halves as k is raised to the 4th."""
        kernel = np.exp(squared / (-2 * largest**2))
        total = kernel.mean()
        for _ in range(self.bandwidths - 1):
            np.square(kernel, out=kernel)
            np.square(kernel, out=kernel)
            total += kernel.mean()
        return float(total / self.bandwidths)
