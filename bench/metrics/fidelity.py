"""Distances between images in the features of a trained net, computed by torch-fidelity's own functions.

Samples are compared with the test images of the data. Images are taken to 256 grey levels first, since
that is what the real ones have. Nothing is fetched, cached on disk or left to worker processes: features come from
`extractor`, and torch-fidelity gets these.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
import torch
from annotated_types import Gt

from bench.errors import Diverged, Undefined
from bench.interfaces import Dataset, Given, Measured, Metric, Preparation
from bench.metrics.extractor import ExtractorName, Features, Weights, extractor, pictures, refuse_points, tag
from bench.seeds import numpy_stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.interfaces import Floats
    from bench.metrics.extractor import Bytes

    Seen = NDArray[Any]

DRAWS = 10
"""Random draws of training images that a floor is the mean of."""

PARTS = 5
"""FID at n, n/2, ... n/PARTS samples gives the line that is extrapolated to infinitely many."""

PRC_ROWS = 1000
"""Rows of a distance matrix that torch-fidelity holds at a time: 40 MB against 10,000 test images."""


def as_bytes(samples: Floats) -> Bytes:
    """Grey levels 0 to 255 of images on the scale from -1 to 1; what lies outside is clipped. (n, *S) uint8."""
    if not np.isfinite(samples).all():
        raise Diverged("the samples are not finite")
    return np.clip(np.rint((samples + 1) * 127.5), 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class ImageMetric(Metric):
    """Samples against all test images, in what an extractor sees in both.

    extractor: lenet64 (28x28 grey images; its weights are shipped), pixels (small images as they are), or
    inception-v3-compat, which needs `weights`, a file. A value's full name holds both: fid[lenet64@1a2b3c].
    The floor is the score of random training images, as many as there are samples.
    """

    inputs: ClassVar[tuple[str, ...]] = ("samples", "law")
    excess: ClassVar[bool] = False

    extractor: ExtractorName = "lenet64"
    weights: Weights = None

    def label(self, value: str) -> str:
        """A value's name with the extractor and its weights, without which numbers cannot be compared."""
        return f"{value}[{tag(self.extractor, self.weights)}]"

    def measure(self, given: Given) -> Mapping[str, float]:
        """Compare samples (n, *S) with the law's test images. Raises Undefined where these are no such images."""
        assert given.samples is not None
        assert given.law is not None
        refuse_points(given.law)
        seen = self.seen(as_bytes(given.samples))
        real = self.prepares().make(given.law) if given.prepared is None else given.prepared
        return self.compare(seen, real, numpy_stream(given.seed, "images", given.repeat))

    def floors(self, law: Dataset, n: int, seed: int, prepared: Seen | None = None) -> dict[str, list[float]]:
        """What n training images score, drawn at random without replacement; a list of ten draws for each value."""
        refuse_points(law)
        train, real = pictures(law, "train"), self.prepares().make(law) if prepared is None else prepared
        if n > len(train):
            raise Undefined(f"no floor for {n:,} samples: the data have {len(train):,} training images; ask for fewer")
        drawn = [numpy_stream(seed, "floor/images", d).choice(len(train), n, replace=False) for d in range(DRAWS)]
        used, place = np.unique(np.stack(drawn), return_inverse=True)
        seen = self.seen(train[used])
        measured = [
            self.compare(seen[rows], real, numpy_stream(seed, "floor/compared", draw))
            for draw, rows in enumerate(place.reshape(DRAWS, n))
        ]
        return {name: [row[name] for row in measured] for name in self.values}

    def seen(self, images: Bytes) -> Seen:
        """What is compared: a row for each image, its features unless said otherwise."""
        return extractor(self.extractor, self.weights).features(images)

    def prepares(self) -> Preparation:
        """The same of all test images."""
        return Features(self.extractor, self.weights)

    @abstractmethod
    def compare(self, seen: Seen, real: Seen, generator: np.random.Generator) -> Mapping[str, float]:
        """The metric's values for rows of samples (n, F) and of test images (N, F)."""


@dataclass(frozen=True)
class FID(ImageMetric):
    """Frechet distance |m - m'|^2 + tr(S + S' - 2 (S S')^(1/2)) of features' means and covariances, samples and test.

    fid grows as n shrinks, by nearly c/n: compare at equal n alone. fid_infinity is the value at 1/n = 0 of a line
    through FID against 1/n at n, n/2, ... n/5 samples, each the mean over all disjoint parts of that size; what the
    finite number of test images adds is left in, chance may take it below 0, and where n/5 is less than the number of
    features it means little. Heusel et al. 2017,
    arXiv:1706.08500; Chong and Forsyth 2020, arXiv:1911.07023.
    """

    values: ClassVar[Mapping[str, Measured]] = {
        "fid": Measured("1", "lower"),
        "fid_infinity": Measured("1", "lower"),
    }

    def compare(self, seen: Seen, real: Seen, generator: np.random.Generator) -> Mapping[str, float]:
        """Plain and extrapolated; the parts are drawn by the generator."""
        if len(seen) < 2 * PARTS:
            raise Undefined(f"FID needs {2 * PARTS} samples or more, and there are {len(seen)}; raise sampling.n")
        against = _statistics(real)
        plain = _frechet(seen, against)
        mixed, inverse, distances = generator.permutation(seen), [1 / len(seen)], [plain]
        for parts in range(2, PARTS + 1):
            size = len(seen) // parts
            inverse.append(1 / size)
            distances.append(
                float(np.mean([_frechet(mixed[part * size : (part + 1) * size], against) for part in range(parts)]))
            )
        return {"fid": plain, "fid_infinity": float(np.polyfit(inverse, distances, 1)[1])}


@dataclass(frozen=True)
class KID(ImageMetric):
    """Unbiased squared MMD of features under the kernel (x y / F + 1)^3, as the mean over random subsets.

    Each of the `subsets` draws `subset` samples and as many test images (as many as there are, where there are
    fewer: all samples are then in every subset). kid_sd is the standard deviation over subsets, not the error of
    their mean. Around 0, also below it, for a perfect sampler. Binkowski et al. 2018, arXiv:1801.01401.
    """

    values: ClassVar[Mapping[str, Measured]] = {"kid": Measured("1", "lower"), "kid_sd": Measured("1", "none")}

    subsets: Annotated[int, Gt(0)] = 100
    subset: Annotated[int, Gt(1)] = 1000

    def compare(self, seen: Seen, real: Seen, generator: np.random.Generator) -> Mapping[str, float]:
        """Mean and standard deviation; torch-fidelity draws the subsets, the same ones each time."""
        from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric

        size = min(self.subset, len(seen), len(real))
        if size < 2:
            raise Undefined(f"KID needs two samples or more, and there are {len(seen)}; raise sampling.n")
        made = kid_features_to_metric(
            torch.tensor(seen), torch.tensor(real), kid_subsets=self.subsets, kid_subset_size=size, verbose=False
        )
        return {"kid": made[KEY_METRIC_KID_MEAN], "kid_sd": made[KEY_METRIC_KID_STD]}


@dataclass(frozen=True)
class PrecisionRecall(ImageMetric):
    """Share of samples inside the test images' manifold (precision), and of test images inside the samples' (recall).

    A manifold is the union of balls around its points, each as large as the distance to the `neighbours`-th
    nearest other point. Not 1 for a perfect sampler. Kynkaanniemi et al. 2019, arXiv:1904.06991.
    """

    values: ClassVar[Mapping[str, Measured]] = {
        "precision": Measured("1", "higher"),
        "recall": Measured("1", "higher"),
    }

    neighbours: Annotated[int, Gt(0)] = 3

    def compare(self, seen: Seen, real: Seen, generator: np.random.Generator) -> Mapping[str, float]:
        """Both shares; torch-fidelity wants the generated features first."""
        from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

        if min(len(seen), len(real)) <= self.neighbours:
            raise Undefined(f"precision and recall need more than {self.neighbours} samples, and there are {len(seen)}")
        made = prc_features_to_metric(
            torch.tensor(seen),
            torch.tensor(real),
            prc_neighborhood=self.neighbours,
            prc_batch_size=PRC_ROWS,
            save_cpu_ram=True,
            verbose=False,
        )
        return {"precision": made[KEY_METRIC_PRECISION], "recall": made[KEY_METRIC_RECALL]}


def _statistics(features: Seen) -> dict[str, Floats]:
    """Mean and covariance of features (n, F), as torch-fidelity holds them."""
    from torch_fidelity.metric_fid import fid_features_to_statistics

    statistics: dict[str, Floats] = fid_features_to_statistics(torch.tensor(features))
    return statistics


def _frechet(features: Seen, against: Mapping[str, Floats]) -> float:
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric

    return float(fid_statistics_to_metric(_statistics(features), against, verbose=False)[KEY_METRIC_FID])
