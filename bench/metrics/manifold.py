"""Whether samples cover the test images, and whether they repeat the training images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
import torch
from annotated_types import Gt

from bench.errors import Undefined
from bench.interfaces import Dataset, Given, Measured, Metric, Preparation
from bench.metrics.extractor import pictures, refuse_points
from bench.metrics.fidelity import ImageMetric, as_bytes
from bench.seeds import numpy_stream

if TYPE_CHECKING:
    from torch import Tensor

    from bench.interfaces import Floats
    from bench.metrics.extractor import Bytes
    from bench.metrics.fidelity import Seen

ROWS = 1000
"""Rows of a distance matrix that are held at a time."""

TRAINING_ROWS = 10_000
"""Training images that are held as floats at a time: 31 MB at 28x28."""

FRESH = 1000
"""Test images whose distance to the training images stands for that of new data."""


@dataclass(frozen=True)
class DensityCoverage(ImageMetric):
    """How many test images' balls hold a sample, against what would be (density), and the share that hold any.

    A test image's ball reaches to its k-th nearest other one. density = sum over samples of the number of balls that
    hold it, over k n; coverage = share of balls that hold a sample. Test images are as many as there are samples,
    drawn at random: only then is a perfect sampler's density 1 and its coverage near 1 - 2^-k.
    Naeem et al. 2020, arXiv:2002.09797.
    """

    values: ClassVar[Mapping[str, Measured]] = {
        "density": Measured("1", "higher"),
        "coverage": Measured("1", "higher"),
    }

    neighbours: Annotated[int, Gt(0)] = 5

    def compare(self, seen: Seen, real: Seen, generator: np.random.Generator) -> Mapping[str, float]:
        """Both; the generator draws the test images."""
        count = min(len(seen), len(real))
        if count <= self.neighbours:
            raise Undefined(f"density and coverage need more than {self.neighbours} samples, and there are {count}")
        chosen = real[np.sort(generator.choice(len(real), count, replace=False))]
        near, fake = torch.tensor(chosen, dtype=torch.float64), torch.tensor(seen, dtype=torch.float64)
        # The nearest point to a test image is that image itself, at distance 0.
        radii = torch.cat([rows.kthvalue(self.neighbours + 1, dim=1).values for rows in _distances(near, near)])
        inside = torch.cat(
            [(rows <= r[:, None]).sum(1) for rows, r in zip(_distances(near, fake), radii.split(ROWS), strict=True)]
        )
        density = float(inside.sum()) / (self.neighbours * len(fake))
        return {"density": density, "coverage": float((inside > 0).double().mean())}


@dataclass(frozen=True)
class NearestTrainingImage(Metric):
    """Mean distance from a sample to the nearest training image, and its ratio to that of test images.

    nearest_training_image: E min_i |x - y_i| over pixels, on the scale from -1 to 1. nearest_training_image_ratio:
    the same over that of 1000 random test images: 1 where samples are as far from the training images as new data
    are, 0 where they are copies. Blurred samples are nearer than sharp ones. Meehan et al. 2020, arXiv:2004.05675.
    """

    values: ClassVar[Mapping[str, Measured]] = {
        "nearest_training_image": Measured("data units", "none"),
        "nearest_training_image_ratio": Measured("1", "none"),
    }
    inputs: ClassVar[tuple[str, ...]] = ("samples", "law")
    floored: ClassVar[bool] = False

    def measure(self, given: Given) -> Mapping[str, float]:
        """Distances of samples (n, *S), at 256 grey levels as the data have."""
        assert given.samples is not None
        assert given.law is not None
        refuse_points(given.law)
        train = pictures(given.law, "train")
        if given.samples.shape[1:] != train.shape[1:]:
            raise Undefined(f"samples of shape {given.samples.shape[1:]} beside images of shape {train.shape[1:]}")
        own = _to_nearest(as_bytes(given.samples), train)
        fresh = float((self.prepares().make(given.law) if given.prepared is None else given.prepared)[0])
        return {"nearest_training_image": own, "nearest_training_image_ratio": own / fresh}

    def prepares(self) -> Preparation:
        """What new data would score."""
        return FreshDistance()


@dataclass(frozen=True)
class FreshDistance(Preparation):
    """Mean distance of 1000 random test images to the nearest training image, (1,)."""

    name: ClassVar[str] = "fresh distance"

    def make(self, law: Dataset) -> Floats:
        """Measured anew."""
        refuse_points(law)
        test = pictures(law, "test")
        rows = numpy_stream(0, "fresh images").choice(len(test), min(FRESH, len(test)), replace=False)
        return np.array([_to_nearest(test[np.sort(rows)], pictures(law, "train"))])


def _to_nearest(images: Bytes, train: Bytes) -> float:
    """Mean over images (n, *S) of the distance to the nearest of train (N, *S), on the scale from -1 to 1."""
    flat, known = images.reshape(len(images), -1), train.reshape(len(train), -1)
    x = torch.tensor(flat).float()
    least, nearest = torch.full((len(x),), torch.inf), torch.zeros(len(x), dtype=torch.int64)
    for at in range(0, len(known), TRAINING_ROWS):
        y = torch.tensor(known[at : at + TRAINING_ROWS]).float()
        found = torch.addmm((y * y).sum(1), x, y.T, alpha=-2).min(1)  # |x - y|^2 without |x|^2, the same in each row
        closer = found.values < least
        least, nearest = torch.where(closer, found.values, least), torch.where(closer, found.indices + at, nearest)
    # Rounding above is of a few squared grey levels: enough to choose by, too much for copies to be at distance 0.
    difference = flat.astype(np.float64) - known[nearest.numpy()]
    return float(np.sqrt((difference**2).sum(1)).mean()) / 127.5


def _distances(rows: Tensor, columns: Tensor) -> Iterator[Tensor]:
    """Distances between rows (n, F) and columns (m, F), a block of rows at a time."""
    for block in rows.split(ROWS):
        yield torch.cdist(block, columns)
