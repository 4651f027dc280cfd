"""Data of a user's own: points and pictures out of files, a part of them held out for samples to be scored against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor

from bench.datafiles import DataFile
from bench.datasets.images import Pictures
from bench.datasets.tables import LARGEST, pictures, table, unpacked
from bench.interfaces import Dataset
from bench.seeds import numpy_stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.interfaces import Floats

    Labels = NDArray[np.int64]
    Pixels = NDArray[np.uint8]

FEW = 10
"""Points or pictures that either part needs."""


def _split(file: Path, n: int, fraction: float, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places of the training and of the held-out part, each in the file's order. Raises ValueError."""
    held = round(n * fraction)
    if min(held, n - held) < FEW:
        raise ValueError(
            f"{file}: holds {n}, of which {n - held} to train on and {held} to score against, and either needs {FEW}; "
            "give more"
        )
    order = numpy_stream(number, "held out").permutation(n)
    return np.sort(order[held:]), np.sort(order[:held])


def _refuse_same(file: str, test: str | None) -> None:
    if test == file:
        raise ValueError("`test` holds what `file` does, so that samples would be scored against what nets train on")


@dataclass(frozen=True)
class Points(Dataset):
    """Points of your own out of a file, (N, d) in any dimension d: .npy, .npz, .csv, .tsv or .parquet.

    Nets train on one part, drawn uniformly and with replacement; samples are scored against the other: `held_out` of
    the rows, chosen at random by `split`, or all of a second file, `test`. The floor is what the training part itself
    scores. `key`: the array of an .npz file. `labels`: the column of the classes, by its name or number (an .npz file:
    its array).

    `scale`: nets see standard units (each axis less its mean, over its standard deviation, both of the training part),
    isotropic ones (one scale for all axes), or the data's own (none). Samples, scores and figures are in the data's own
    units again, whatever it is.
    """

    file: Annotated[str, DataFile()]
    test: Annotated[str, DataFile()] | None = None
    key: str | None = None
    labels: str | int | None = None
    held_out: Annotated[float, Gt(0), Lt(1)] = 0.2
    split: Annotated[int, Ge(0)] = 0
    scale: Literal["standard", "isotropic", "none"] = "standard"

    def __post_init__(self) -> None:
        """Refuse what cannot be trained on, with its place and a remedy. Raises ValueError."""
        _refuse_same(self.file, self.test)
        train, held = self._parts
        if not train.shape[1]:
            raise ValueError("no column of coordinates in `file`; give each row one or more, beside its label")
        for part in (train, held):
            if part.shape[1] != train.shape[1]:
                raise ValueError(f"`file` has {train.shape[1]} columns and `test` {part.shape[1]}; give both the same")
            if len(part) < FEW:
                raise ValueError(f"{len(part)} points are too few; give {FEW} or more")
        spread = train.max(0) - train.min(0)
        if len(slight := np.flatnonzero((spread > 0) & (spread < 1 / LARGEST))):
            which = f"column {slight[0] + 1} spreads over {spread[slight[0]]:.2g} only"
            raise ValueError(f"{which}, of which squares are too small for numbers; take other units")
        constant = np.flatnonzero(spread == 0)
        if len(constant) and (self.scale == "standard" or len(constant) == train.shape[1]):
            which = f"column {constant[0] + 1} is {train[0, constant[0]]:g} in every row"
            raise ValueError(f"{which}; leave it out, or write `scale: isotropic`")
        counts = self._by_class[1]
        if not counts.all():
            raise ValueError(
                f"{len(counts)} classes, of which {int((counts == 0).sum())} have no point to train on; see whether "
                "`labels` is the column of the labels, then hold out fewer, or by another `split`"
            )

    @classmethod
    def example(cls, folder: Path) -> dict[str, object]:
        """Parameters at which contracts can be tried, of a file that is written into a folder."""
        file = folder / "points.npy"
        np.save(file, numpy_stream(0, "example").normal(size=(256, 3)) * [1, 10, 0.1] + [0, 5, 0])
        return {"file": str(file)}

    @cached_property
    def _parts(self) -> tuple[Floats, Floats]:
        """Training part and held-out part in data units, (N, d) each, in the files' order; shared and read-only."""
        return self._arrays["train"], self._arrays["held"]

    @cached_property
    def _arrays(self) -> dict[str, NDArray[Any]]:
        how = f"points/{self.key}/{self.labels!r}/{self.held_out}/{self.split}"
        return unpacked([self.file, self.test] if self.test else [self.file], how, self._unpack)

    def _unpack(self, paths: Sequence[Path]) -> dict[str, NDArray[Any]]:
        (points, labels), *others = (table(path, self.key, self.labels) for path in paths)
        classes = np.zeros(len(points), dtype=np.int64) if labels is None else labels
        if others:
            return {"train": points, "held": others[0][0], "classes": classes}
        train, held = _split(paths[0], len(points), self.held_out, self.split)
        return {"train": points[train], "held": points[held], "classes": classes[train]}

    @cached_property
    def units(self) -> tuple[tuple[float, ...], tuple[float, ...]] | tuple[()]:
        """Mean and standard deviation of the training part along each axis; none where the data's units are kept."""
        if self.scale == "none":
            return ()
        train = self._parts[0]
        centre, scale = train.mean(0), train.std(0)
        if self.scale == "isotropic":
            scale = np.full_like(scale, np.sqrt((scale**2).mean()))
        return tuple(centre.tolist()), tuple(scale.tolist())

    @property
    def judge(self) -> Dataset:
        """The held-out part."""
        return _HeldOut(self)

    @property
    def shape(self) -> tuple[int, ...]:
        """(d,)."""
        return (self._parts[0].shape[1],)

    @property
    def points(self) -> int:
        """Points that nets train on."""
        return len(self._parts[0])

    @cached_property
    def _by_class(self) -> tuple[NDArray[np.int64], Labels]:
        """Training points in the order of their classes, and how many there are of each."""
        classes = self._arrays["classes"]
        return np.argsort(classes, kind="stable"), np.bincount(classes)

    @cached_property
    def modes(self) -> tuple[float, ...]:
        """Each class's share of the training part."""
        counts = self._by_class[1]
        return tuple((counts / counts.sum()).tolist())

    @property
    def inner(self) -> int:
        """One coordinate chooses the point of a class."""
        return 1

    def draw_labelled(self, n: int, seed: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Training points at random, (n, d) float32 in the units that nets see, and their classes (n,) int64."""
        chosen = torch.randint(self.points, (n,), generator=generator).numpy()
        points = self.in_own_units(self._parts[0][chosen])
        return torch.from_numpy(points).float(), torch.from_numpy(self._arrays["classes"][chosen])

    def place(self, mode: Labels, u: Floats) -> Floats:
        """Training point number floor(u N_k) of class k, in the file's order; (B, d) in the units that nets see."""
        order, counts = self._by_class
        number = np.minimum((u[:, 0] * counts[mode]).astype(np.int64), counts[mode] - 1)
        return self.in_own_units(self._parts[0][order[(np.cumsum(counts) - counts)[mode] + number]])

    def training_set(self, seed: int) -> Tensor | None:
        """All training points, (N, d) float32, whatever the seed."""
        return torch.from_numpy(self.in_own_units(np.array(self._parts[0]))).float()

    def in_own_units(self, points: Floats) -> Floats:
        """Points (N, d) out of data units into those that nets see."""
        if not self.units:
            return points
        centre, scale = (np.asarray(part) for part in self.units)
        seen: Floats = (points - centre) / scale
        return seen

    @property
    def limits(self) -> tuple[float, float, float, float]:
        """The range of the training part along the first two axes (twice the one of a line), in data units."""
        low, high = self._parts[0].min(0), self._parts[0].max(0)
        return float(low[0]), float(high[0]), float(low[1 % len(low)]), float(high[1 % len(high)])


class _HeldOut(Dataset):
    """The part of a user's points that no net sees."""

    def __init__(self, of: Points) -> None:
        self._of, self._points = of, of.in_own_units(np.array(of._parts[1]))

    @property
    def shape(self) -> tuple[int, ...]:
        """(d,)."""
        return self._of.shape

    @property
    def inner(self) -> int:
        """One coordinate chooses the point."""
        return 1

    def place(self, mode: Labels, u: Floats) -> Floats:
        """Held-out point number floor(u N), in the file's order; (B, d) in the units that nets see."""
        placed: Floats = self._points[np.minimum((u[:, 0] * len(self._points)).astype(np.int64), len(self._points) - 1)]
        return placed

    def draw_labelled(self, n: int, seed: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Held-out points at random, (n, d) float32; they are of one class."""
        chosen = torch.randint(len(self._points), (n,), generator=generator).numpy()
        return torch.from_numpy(self._points[chosen]).float(), torch.zeros(n, dtype=torch.int64)

    @property
    def limits(self) -> tuple[float, float, float, float]:
        """Those of the whole."""
        return self._of.limits


@dataclass(frozen=True)
class OwnPictures(Pictures):
    """Pictures of your own: an .npy or .npz file of uint8, or a folder of PNG or JPEG whose folders are classes.

    (N, H, W), (N, H, W, C) or (N, C, H, W), grey or in three colours; pixel p is seen as p / 127.5 - 1. `held_out` of
    them, chosen at random by `split`, or all of a second file or folder, `test`, are the test pictures that samples are
    scored against. `key`, `labels`: arrays of an .npz file. `side`: the pictures of a folder are cut to a square in
    their middle and resized to so many pixels; without it they must be of one size.
    """

    file: Annotated[str, DataFile(folder=True)]
    test: Annotated[str, DataFile(folder=True)] | None = None
    key: str | None = None
    labels: str | None = None
    held_out: Annotated[float, Gt(0), Lt(1)] = 0.2
    split: Annotated[int, Ge(0)] = 0
    side: Annotated[int, Ge(4), Le(1024)] | None = None

    images: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse what cannot be trained on, with its place and a remedy. Raises ValueError."""
        _refuse_same(self.file, self.test)
        (train, _), (test, _) = self.pictures("train"), self.pictures("test")
        if train.shape[1:] != test.shape[1:]:
            raise ValueError(
                f"pictures are {train.shape[1:]} (channels, height, width), test pictures {test.shape[1:]}"
            )
        if min(len(train), len(test)) < FEW:
            raise ValueError(f"{min(len(train), len(test))} pictures are too few; give {FEW} or more")
        if train.min() == train.max():
            raise ValueError(f"every pixel of every picture is {train.min()}")
        if not np.bincount(self.pictures("train")[1]).all():
            raise ValueError("a class has no picture to train on; hold out fewer, or by another `split`")

    @classmethod
    def example(cls, folder: Path) -> dict[str, object]:
        """Parameters at which contracts can be tried, of a file that is written into a folder."""
        random = numpy_stream(0, "example")
        file = folder / "pictures.npz"
        np.savez(file, images=random.integers(0, 256, (64, 8, 8), dtype=np.uint8), labels=np.arange(64) % 2)
        return {"file": str(file), "labels": "labels"}

    @cached_property
    def _arrays(self) -> dict[str, NDArray[Any]]:
        how = f"pictures/{self.key}/{self.labels}/{self.held_out}/{self.split}/{self.side}"
        return unpacked([self.file, self.test] if self.test else [self.file], how, self._unpack)

    def _unpack(self, paths: Sequence[Path]) -> dict[str, NDArray[Any]]:
        (images, labels), *others = (pictures(path, self.key, self.labels, self.side) for path in paths)
        if others:
            return {"train": images, "train_labels": labels, "test": others[0][0], "test_labels": others[0][1]}
        train, test = _split(paths[0], len(images), self.held_out, self.split)
        return {
            "train": images[train], "train_labels": labels[train],
            "test": images[test], "test_labels": labels[test],
        }  # fmt: skip

    def pictures(self, part: Literal["train", "test"]) -> tuple[Pixels, Labels]:
        """The pictures (N, C, H, W) uint8 of a part and their classes (N,), in the file's order; shared, read-only."""
        return self._arrays[part], self._arrays[f"{part}_labels"]

    @property
    def shape(self) -> tuple[int, ...]:
        """(channels, height, width)."""
        return tuple(self._arrays["train"].shape[1:])

    @cached_property
    def counts(self) -> tuple[int, ...]:  # type: ignore[override]
        """Training pictures of each class."""
        return tuple(np.bincount(self._arrays["train_labels"]).tolist())

    @property
    def points(self) -> int:
        """Pictures that nets train on."""
        return len(self._arrays["train"])
