"""Whether samples read as something of a class, and whether each class gets its share of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from scipy.special import softmax

from bench.interfaces import Dataset, Measured, Preparation
from bench.metrics.extractor import CLASSES, ExtractorName, Weights, extractor, pictures, refuse_points, tag
from bench.metrics.fidelity import ImageMetric

if TYPE_CHECKING:
    from bench.metrics.extractor import Bytes
    from bench.metrics.fidelity import Seen

SURE = 0.9
"""Probability of a class from which on the classifier counts as sure."""


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


@dataclass(frozen=True)
class Classified(ImageMetric):
    """Share of samples to which the classifier lenet64 gives some class with a probability of .9 or more.

    Whether pictures read as digits, one by one; not whether there are all kinds of them. A classifier is sure of much
    that is no digit too, of an empty picture for one: read it beside the FID. Not 1 for a perfect sampler: of the test
    images of MNIST it is sure of .964.
    """

    values: ClassVar[Mapping[str, Measured]] = {"classified": Measured("1", "higher")}

    def seen(self, images: Bytes) -> Seen:
        """The greatest probability of a class for each image, (n,)."""
        logits = extractor(self.extractor, self.weights).logits(images)
        greatest: Seen = softmax(logits.astype(np.float64), axis=1).max(axis=1)
        return greatest

    def prepares(self) -> Preparation:
        """The class of each test image, as for the histogram; the share needs none of them."""
        return Classes(self.extractor, self.weights)

    def compare(self, seen: Seen, real: Seen, generator: np.random.Generator) -> Mapping[str, float]:
        """Share of probabilities (n,)."""
        return {"classified": float(np.mean(seen >= SURE))}
