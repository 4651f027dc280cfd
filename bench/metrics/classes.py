"""Whether each class gets its share of the samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bench.interfaces import Dataset, Measured
from bench.metrics.extractor import CLASSES, Part, extractor, known_logits
from bench.metrics.fidelity import ImageMetric

if TYPE_CHECKING:
    from bench.metrics.extractor import Bytes
    from bench.metrics.fidelity import Seen


@dataclass(frozen=True)
class ClassHistogram(ImageMetric):
    """Total variation between class frequencies of samples and of test images, 1/2 sum_k |f_k - g_k|.

    Both are what the classifier lenet64 takes images for, so that its own mistakes cancel. 0: every class has its
    share; 1: samples and test images have no class in common. Not 0 for a perfect sampler: n is finite.
    """

    values: ClassVar[Mapping[str, Measured]] = {"class_histogram": Measured("1", "lower")}

    def seen(self, images: Bytes) -> Seen:
        """The class of each image, (n,)."""
        classes: Seen = extractor(self.extractor, self.weights).logits(images).argmax(axis=1)
        return classes

    def known(self, law: Dataset, part: Part) -> Seen:
        """The class of each image of a part, (N,), as the classifier sees it."""
        classes: Seen = known_logits(extractor(self.extractor, self.weights), law, part).argmax(axis=1)
        return classes

    def compare(self, seen: Seen, real: Seen, generator: np.random.Generator) -> Mapping[str, float]:
        """Total variation of classes (n,) and (N,)."""
        frequencies = [np.bincount(classes, minlength=CLASSES) / len(classes) for classes in (seen, real)]
        return {"class_histogram": 0.5 * float(np.abs(frequencies[0] - frequencies[1]).sum())}
