"""Pictures of ten classes: MNIST, Fashion-MNIST, and scikit-learn's 8x8 digits for when it must go fast.

The law is the empirical law of the training set. Pixels are kept as bytes, shared by all who ask, and only the
pictures that are drawn become numbers in [-1, 1].
"""

from __future__ import annotations

import functools
import importlib.util
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from bench.datasets.idx import FASHION_MNIST, MNIST, IdxSet
from bench.errors import DataMissing
from bench.interfaces import Dataset
from bench.seeds import address

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.interfaces import Floats

    Pixels = NDArray[np.uint8]
    Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Pictures(Dataset):
    """A finite set of pictures. A point is a training picture, pixel p as p / 127.5 - 1 in [-1, 1]; a mode is a class.

    `draw` takes training pictures at random, uniformly and with replacement: an epoch is N / batch steps on
    average, in which a given picture is seen once on average. `from_uniform` is the same law: its first coordinate
    chooses the class, its second the picture. `counts`: training pictures of each class.
    """

    images: ClassVar[bool] = True
    counts: ClassVar[tuple[int, ...]]

    @abstractmethod
    def pictures(self, part: Literal["train", "test"]) -> tuple[Pixels, Labels]:
        """Pictures (N, *S) uint8 and classes (N,), in the order of the files; both are shared and read-only."""

    @property
    def modes(self) -> tuple[float, ...]:
        """Share of each class in the training set."""
        return tuple(count / sum(self.counts) for count in self.counts)

    @property
    def inner(self) -> int:
        """One coordinate chooses the picture of a class."""
        return 1

    def draw_labelled(self, n: int, seed: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Training pictures at random, (n, *S) float32 in [-1, 1], and their classes (n,) int64."""
        pixels, labels = self.pictures("train")
        chosen = torch.randint(len(pixels), (n,), generator=generator).numpy()
        return _scaled(pixels[chosen]), torch.from_numpy(labels[chosen])

    def place(self, mode: Labels, u: Floats) -> Floats:
        """Picture number floor(u N_k) of class k, in the order of the files; (B, *S) float64."""
        pixels, labels = self.pictures("train")
        counts = np.array(self.counts)
        number = np.minimum((u[:, 0] * counts[mode]).astype(np.int64), counts[mode] - 1)
        by_class = np.argsort(labels, kind="stable")
        points: Floats = _scaled(pixels[by_class[(np.cumsum(counts) - counts)[mode] + number]]).double().numpy()
        return points

    def training_set(self, seed: int) -> Tensor | None:
        """All training pictures at once, (N, *S) float32: for the exact velocity of the set; training draws instead."""
        return _scaled(self.pictures("train")[0])

    @property
    def limits(self) -> tuple[float, float, float, float]:
        """The picture's own frame, in pixels."""
        return 0.0, float(self.shape[-1]), 0.0, float(self.shape[-2])


class _Idx(Pictures):
    """28 x 28 grey pictures out of IDX files."""

    shape: ClassVar[tuple[int, ...]] = (1, 28, 28)
    files: ClassVar[IdxSet]
    points = 60_000

    def pictures(self, part: Literal["train", "test"]) -> tuple[Pixels, Labels]:
        """60,000 training or 10,000 test pictures (N, 1, 28, 28) and their classes."""
        # Imported here, so that how files are found stays out of what an entry was made by: their sums are in it.
        from bench.datasets.idx import load

        images, labels = load(self.files, part)
        return images[:, None], labels


@dataclass(frozen=True)
class Mnist(_Idx):
    """MNIST: 60,000 handwritten digits, 28 x 28. LeCun, Bottou, Bengio and Haffner 1998, Proc. IEEE 86."""

    files: ClassVar[IdxSet] = MNIST
    counts: ClassVar[tuple[int, ...]] = (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)


@dataclass(frozen=True)
class FashionMnist(_Idx):
    """Fashion-MNIST: 60,000 articles of clothing, 28 x 28. Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747."""

    files: ClassVar[IdxSet] = FASHION_MNIST
    counts: ClassVar[tuple[int, ...]] = (6000,) * 10


@dataclass(frozen=True)
class Digits(Pictures):
    """scikit-learn's 1,797 handwritten digits, 8 x 8, four fifths for training. Alpaydin and Kaynak 1998.

    Values 0 to 16 are stored as round(255 v / 16). The split is fixed: pictures in the order of SHA-256 of their
    number, the first 1,437 for training, 360 for the test. Needs no file beside the installed package.
    """

    shape: ClassVar[tuple[int, ...]] = (1, 8, 8)
    counts: ClassVar[tuple[int, ...]] = (141, 150, 145, 159, 142, 141, 144, 139, 131, 145)
    points = 1437

    def pictures(self, part: Literal["train", "test"]) -> tuple[Pixels, Labels]:
        """1,437 training or 360 test pictures (N, 1, 8, 8) and their classes."""
        return _digits(part, type(self).points)


@functools.cache
def _digits(part: str, points: int) -> tuple[Pixels, Labels]:
    # The package's own file: load_digits() returns the same and costs each process seconds of imports.
    package = importlib.util.find_spec("sklearn")
    places = package.submodule_search_locations if package else None
    file = Path((places or [""])[0], "datasets", "data", "digits.csv.gz")
    if not file.is_file():
        raise DataMissing(f"digits: {file} is not there; install scikit-learn")
    table = np.loadtxt(file, delimiter=",")
    order = sorted(range(len(table)), key=lambda number: address(0, "digits", number))
    rows = table[order[:points] if part == "train" else order[points:]]
    pixels = np.rint(rows[:, :64] * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    labels = rows[:, 64].astype(np.int64)
    for array in (pixels, labels):
        array.setflags(write=False)
    return pixels, labels


def _scaled(pixels: Pixels) -> Tensor:
    """Pixels p as p / 127.5 - 1, float32: 0 is -1 and 255 is 1, exactly."""
    return torch.from_numpy(pixels.astype(np.float32)).div_(127.5).sub_(1)
