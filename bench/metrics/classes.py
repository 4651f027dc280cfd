"""Whether each class gets its share of the samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bench.interfaces import Dataset, Measured, Preparation
from bench.metrics.extractor import CLASSES, ExtractorName, Weights, extractor, pictures, refuse_points, tag
from bench.metrics.fidelity import ImageMetric

if TYPE_CHECKING:
    from bench.metrics.extractor import Bytes
    from bench.metrics.fidelity import Seen


@dataclass(frozen=True)
class Classes(Preparation):
    """The classes of all test images as the classifier sees them, (N,)."""

    extractor: ExtractorName = "lenet64"
    weights: Weights = None

    @property
    def name(self) -> str:
        """`classes/lenet64@1a2b3c`."""
        return f"classes/{tag(self.extractor, self.weights)}"

    def make(self, law: Dataset) -> Seen:
        """Asked of the classifier anew."""
        refuse_points(law)
        return _classes(self.extractor, self.weights, pictures(law, "test"))


def _classes(name: ExtractorName, weights: str | None, images: Bytes) -> Seen:
    classes: Seen = extractor(name, weights).logits(images).argmax(axis=1)
    return classes


@dataclass(frozen=True)
class ClassHistogram(ImageMetric):
    """Total variation between class frequencies of samples and of test images, 1/2 sum_k |f_k - g_k|.

    Both are what the classifier lenet64 takes images for, so that its own mistakes cancel. 0: every class has its
    share; 1: samples and test images have no class in common. Not 0 for a perfect sampler: n is finite.
    """

    values: ClassVar[Mapping[str, Measured]] = {"class_histogram": Measured("1", "lower")}

    def seen(self, images: Bytes) -> Seen:
        """The class of each image, (n,)."""
        return _classes(self.extractor, self.weights, images)

    def prepares(self) -> Preparation:
        """The class of each test image."""
        return Classes(self.extractor, self.weights)

    def compare(self, seen: Seen, real: Seen, generator: np.random.Generator) -> Mapping[str, float]:
        """Total variation of classes (n,) and (N,)."""
        frequencies = [np.bincount(classes, minlength=CLASSES) / len(classes) for classes in (seen, real)]
        return {"class_histogram": 0.5 * float(np.abs(frequencies[0] - frequencies[1]).sum())}
