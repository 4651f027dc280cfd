"""Feature extractors of images: the classifier `lenet64` and its training, plain pixels, and Inception.

A metric over features speaks of the weights that made them: an extractor's `tag` ends in the first six hex
digits of the SHA-256 of its weights file, `lenet64@1a2b3c`.
"""

from __future__ import annotations

import functools
import hashlib
import pickle
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn import functional

from bench.datafiles import NAME, DataFile, file_of
from bench.errors import JobError, Unavailable, Undefined
from bench.foreign import MIB, read_foreign
from bench.interfaces import Dataset, Preparation
from bench.precision import autocast
from bench.seeds import address, stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]
    Singles = NDArray[np.float32]

Weights = Annotated[str, DataFile()] | None
"""A file of weights, or none: those that are shipped, where there are any."""

ExtractorName = Literal["lenet64", "pixels", "inception-v3-compat"]
Part = Literal["train", "test"]

WEIGHTS = Path(__file__).parent / "lenet64.safetensors"
"""Shipped weights of lenet64, made by `train_extractor` on the MNIST training images with seed 0."""

WEIGHTS_SHA256 = "b39b4a3513b160301c9c731f8c375cbebe19a99e82c07b95c3232dca6953c486"
"""SHA-256 of that file. It stands in the code so that other weights make stored scores stale."""

MOST_BYTES = 512 * MIB
"""The largest file of weights; Inception's has 92 MB."""

CLASSES = 10
FEATURES = 64
SIDE = 28
PIXELS_MAX = 1024
"""Largest number of pixels that stand for themselves as features: covariances of more say little."""

BLOCK = 100
"""Images that pass an extractor at a time: few enough for what lies between its layers to stay in the cache."""

EPOCHS = 2
BATCH = 128
PEAK_RATE = 3e-3
WARM = 0.15
"""Part of the steps over which the learning rate rises to its peak, before it falls to 0 along a cosine."""


class Lenet64(nn.Module):
    """Classifier of 28x28 digits whose batch-normalised 64-wide layer serves as features.

    Convolutions of 32 and 64 channels (3x3, each with 2x2 max pooling and ReLU), a linear layer of 64 without
    bias, batch normalisation without affine terms, ReLU, a linear layer of 10: 220,234 parameters. Features are
    taken before the last ReLU: after it 10 to 24 of the 64 never fire, and KID over them means nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 32, 3, padding=1)
        self.second = nn.Conv2d(32, 64, 3, padding=1)
        self.wide = nn.Linear(64 * (SIDE // 4) ** 2, FEATURES, bias=False)
        self.norm = nn.BatchNorm1d(FEATURES, affine=False)
        self.head = nn.Linear(FEATURES, CLASSES)

    def pre_activations(self, images: Tensor) -> Tensor:
        """The 64-wide layer before normalisation. images: (B, 1, 28, 28) uint8; (B, 64) float32."""
        # A third of full white is 1: digits then have a root mean square of 1, on a ground of 0 as the padding's.
        x = (images.float() / 85).contiguous(memory_format=torch.channels_last)
        x = functional.max_pool2d(self.first(x), 2).relu()
        x = functional.max_pool2d(self.second(x), 2).relu()
        wide: Tensor = self.wide(x.flatten(1))
        return wide.float()

    def features(self, images: Tensor) -> Tensor:
        """Normalised pre-activations. images: (B, 1, 28, 28) uint8; (B, 64) float32."""
        features: Tensor = self.norm(self.pre_activations(images))
        return features

    def classify(self, features: Tensor) -> Tensor:
        """Logits of the ten classes. features: (B, 64); (B, 10) float32."""
        logits: Tensor = self.head(features.relu())
        return logits.float()

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the ten classes. images: (B, 1, 28, 28) uint8; (B, 10) float32."""
        return self.classify(self.features(images))


Progress = Callable[[int, int, float], None]
"""progress(step, steps, loss), after every step."""


def train_extractor(
    images: Bytes,
    labels: NDArray[np.int64],
    test_images: Bytes,
    test_labels: NDArray[np.int64],
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[dict[str, Tensor], float]:
    """Train lenet64: its state dict (float32), and its accuracy on the test images.

    images: (N, 1, 28, 28) uint8; labels: (N,) in [0, 10). Two epochs of batches of 128 under bf16 autocast; Adam,
    one cycle of the learning rate up to 3e-3 (Smith and Topin 2017, arXiv:1708.07120). At the end the
    normalisation gets the exact mean and variance over the training images, in float32. The same seed gives the
    same weights on the same machine with as many threads.
    """
    x, y = torch.tensor(images), torch.tensor(labels, dtype=torch.int64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(address(seed, "extractor/weights"))
        net = _channels_last(Lenet64())
    steps = EPOCHS * -(-len(x) // BATCH)
    optimizer = torch.optim.Adam(net.parameters(), lr=PEAK_RATE)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=steps, pct_start=WARM)
    orders = [torch.randperm(len(x), generator=stream(seed, "extractor/order", epoch)) for epoch in range(EPOCHS)]
    batches = [batch for order in orders for batch in order.split(BATCH)]
    for step, batch in enumerate(batches, start=1):
        with autocast(torch.device("cpu")):
            loss = functional.cross_entropy(net(x[batch]), y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()
        if progress:
            progress(step, steps, float(loss.detach()))
    net.eval()
    _normalise(net, x)
    guess = _in_blocks(net, test_images).argmax(axis=1)
    state = {name: value.contiguous() for name, value in net.state_dict().items()}
    return state, float((guess == test_labels).mean())


def _channels_last(net: Lenet64) -> Lenet64:
    net.to(memory_format=torch.channels_last)
    return net


@torch.no_grad()
def _normalise(net: Lenet64, images: Tensor) -> None:
    """Features of these images get mean 0 and variance 1, instead of what running averages were left with."""
    wide = torch.cat([net.pre_activations(block) for block in images.split(BLOCK)]).double()
    for statistic, value in ((net.norm.running_mean, wide.mean(0)), (net.norm.running_var, wide.var(0))):
        assert statistic is not None
        statistic.copy_(value)


@torch.no_grad()
def _in_blocks(function: Callable[[Tensor], Tensor], images: Bytes) -> Singles:
    """A function of images: (N, *S) uint8 to (N, F) float32, a block at a time."""
    blocks = [function(torch.tensor(images[at : at + BLOCK])) for at in range(0, len(images), BLOCK)]
    made: Singles = torch.cat(blocks).numpy()
    return made


class Extractor(ABC):
    """Maps images to features. `tag` says which extractor, and which weights where it has any."""

    tag: str

    @abstractmethod
    def features(self, images: Bytes) -> Singles:
        """Features of images: (N, *S) uint8 to (N, F) float32. Raises Undefined for images of another shape."""

    def logits(self, images: Bytes) -> Singles:
        """Logits of classes: (N, *S) uint8 to (N, K) float32. Raises Undefined where there is no classifier."""
        raise Undefined(f"the extractor {self.tag} tells no classes apart; use the extractor lenet64")


class Classifier(Extractor):
    """lenet64 with shipped weights, or with those of a file that `train_extractor`'s were saved to."""

    def __init__(self, weights: str | None) -> None:
        self.tag, self._net = _lenet64(weights)

    def features(self, images: Bytes) -> Singles:
        """Normalised pre-activations, (N, 64)."""
        return _in_blocks(self._net.features, _fitting(images))

    def logits(self, images: Bytes) -> Singles:
        """Logits of the ten digits, (N, 10)."""
        return _in_blocks(self._net, _fitting(images))


def _fitting(images: Bytes) -> Bytes:
    if images.shape[1:] != (1, SIDE, SIDE):
        raise Undefined(
            f"the extractor lenet64 looks at images of shape (1, {SIDE}, {SIDE}), and these are of shape "
            f"{images.shape[1:]}; for small images use the extractor pixels"
        )
    return images


class Pixels(Extractor):
    """The pixels themselves, on the samples' scale from -1 to 1: for small images such as 8x8 digits."""

    tag = "pixels"

    def features(self, images: Bytes) -> Singles:
        """Each image as one row, (N, C H W)."""
        size = int(np.prod(images.shape[1:]))
        if size > PIXELS_MAX:
            raise Undefined(f"the extractor pixels takes at most {PIXELS_MAX} of them, and these images have {size}")
        return (images.reshape(len(images), size) / np.float32(127.5) - np.float32(1)).astype(np.float32)


class Inception(Extractor):
    """Inception of the published FID, 2048 features, through torch-fidelity; grey images become three channels."""

    def __init__(self, weights: str | None) -> None:
        from torch_fidelity.utils import create_feature_extractor

        digest = _state_digest(weights)
        place = str(file_of(weights or ""))
        try:
            self._net = create_feature_extractor(
                "inception-v3-compat", ["2048"], cuda=False, feature_extractor_weights_path=place, verbose=False
            )
        except RuntimeError as error:
            raise Unavailable(f"{place}: not the weights of inception-v3-compat; give the file that is") from error
        self.tag = f"inception-v3-compat@{digest[:6]}"

    def features(self, images: Bytes) -> Singles:
        """Pooled features, (N, 2048)."""
        if images.ndim != 4 or images.shape[1] not in (1, 3):
            raise Undefined(f"Inception looks at images of 1 or 3 channels, and these are of shape {images.shape[1:]}")
        return _in_blocks(lambda block: self._net(block.expand(-1, 3, -1, -1))[0], images)


@functools.cache
def extractor(name: ExtractorName, weights: str | None = None) -> Extractor:
    """The extractor of a name, made once per process.

    weights: a file instead of what is shipped (lenet64, safetensors), or the one without which there is nothing
    to be had (inception-v3-compat). Raises Unavailable where the file is not there or is another's.
    """
    if name == "pixels":
        return Pixels()
    return Classifier(weights) if name == "lenet64" else Inception(weights)


def tag(name: ExtractorName, weights: str | None = None) -> str:
    """What stands in a value's name, `lenet64@1a2b3c`; without digits where the weights file is not there."""
    if name == "pixels" or (name != "lenet64" and weights is None):
        return name
    if weights is None:
        return f"{name}@{WEIGHTS_SHA256[:6]}"
    if NAME.fullmatch(weights):
        return f"{name}@{weights.partition(':')[2][:6]}"
    try:
        about = Path(weights).stat()
        return f"{name}@{_digest(weights, about.st_mtime_ns, about.st_size)[:6]}"
    except (OSError, ValueError):  # a name with a NUL in it is no file's
        return name


@functools.cache
def _digest(file: str, changed: int, size: int) -> str:
    """SHA-256 of a file as it was when it was last changed."""
    return hashlib.sha256(read_foreign(file, MOST_BYTES)).hexdigest()


def _lenet64(weights: str | None) -> tuple[str, Lenet64]:
    """Tag and net, ready to be asked."""
    data = _read(WEIGHTS if weights is None else file_of(weights), "lenet64")
    digest = hashlib.sha256(data).hexdigest()
    if weights is None and digest != WEIGHTS_SHA256:
        raise JobError(
            f"{WEIGHTS}: its SHA-256 begins with {digest[:6]} instead of {WEIGHTS_SHA256[:6]}; install the package "
            f"anew, or, if these weights are new, write {digest} into WEIGHTS_SHA256 in {Path(__file__).name}"
        )
    net = Lenet64()
    try:
        net.load_state_dict(load(data))
    except (SafetensorError, RuntimeError) as error:
        raise Unavailable(
            f"{file_of(weights or str(WEIGHTS))}: not the weights of lenet64 ({error}); make them by training it"
        ) from error
    # Channels last throughout: weights in the other format made features three times slower.
    return f"lenet64@{digest[:6]}", _channels_last(net).eval().requires_grad_(False)


def _state_digest(weights: str | None) -> str:
    """SHA-256 of Inception's weights; refused unless they are plain tensors, since torch-fidelity would unpickle."""
    if weights is None:
        raise Unavailable(
            "the extractor inception-v3-compat needs its weights, and none are shipped; download the file "
            "weights-inception-2015-12-05-6726825d.pth of torch-fidelity's release v0.2.0 and give its path: "
            "{extractor: inception-v3-compat, weights: FILE}, or use the extractor lenet64"
        )
    file = file_of(weights)
    data = _read(file, "inception-v3-compat")
    try:
        torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise Unavailable(f"{file}: not a file of plain tensors as torch saves them; download it anew") from error
    return hashlib.sha256(data).hexdigest()


def _read(file: Path, name: str) -> bytes:
    try:
        return read_foreign(file, MOST_BYTES)
    except (OSError, ValueError) as error:
        said, path = getattr(error, "strerror", error), str(file.absolute())
        raise Unavailable(
            f"{path if path.isprintable() else repr(path)}: the weights of {name} cannot be read: {said}; give the "
            "path of a file that can"
        ) from error


def refuse_points(law: Dataset) -> None:
    """Raise Undefined for a law that is not one of images."""
    if not law.images:
        raise Undefined("the data are no images; use the metrics of points, such as wasserstein")


def pictures(law: Dataset, part: Part) -> Bytes:
    """Images of a law of such, (N, *S) uint8."""
    return law.pictures(part)[0]


@dataclass(frozen=True)
class Features(Preparation):
    """Features of all images of a part of the data, (N, F) float32."""

    extractor: ExtractorName = "lenet64"
    weights: Weights = None
    part: Part = "test"

    @property
    def name(self) -> str:
        """`features/lenet64@1a2b3c/test`."""
        return f"features/{tag(self.extractor, self.weights)}/{self.part}"

    def make(self, law: Dataset) -> Singles:
        """Computed once per process and kept; read-only."""
        refuse_points(law)
        return _features(self, law)


@functools.lru_cache(maxsize=16)
def _features(of: Features, law: Dataset) -> Singles:
    made = extractor(of.extractor, of.weights).features(pictures(law, of.part))
    made.setflags(write=False)
    return made


@functools.cache
def register() -> None:
    """Make lenet64 and pixels known to torch-fidelity by name, so that its own functions and command take them.

    They take images: (B, C, H, W) uint8, as its other extractors do, and `feature_extractor_weights_path`. The
    layer is named after its width, "64", or "pixels"; the Inception score of lenet64 takes its "logits".
    """
    from torch_fidelity import FeatureExtractorBase, register_feature_extractor

    class Registered(FeatureExtractorBase):  # type: ignore[misc]
        """An extractor as torch-fidelity calls it."""

        layers: Mapping[str, str] = {"64": "features", "logits": "logits"}

        def __init__(self, name: ExtractorName, features_list: list[str], **given: Any) -> None:
            super().__init__(name, features_list)
            self.extractor = extractor(name, given.get("feature_extractor_weights_path"))

        @classmethod
        def get_provided_features_list(cls) -> tuple[str, ...]:
            """Names of the layers."""
            return tuple(cls.layers)

        @classmethod
        def get_default_feature_layer_for_metric(cls, metric: str) -> str:
            """The layer that a metric takes if none is named."""
            return "logits" if metric == "isc" else next(iter(cls.layers))

        @staticmethod
        def can_be_compiled() -> bool:
            """No: it leaves torch for numpy."""
            return False

        def forward(self, images: Tensor) -> tuple[Tensor, ...]:
            """The asked layers of images (B, C, H, W) uint8, (B, F) each."""
            array = images.cpu().numpy()
            rows = (getattr(self.extractor, self.layers[name])(array) for name in self.features_list)
            return tuple(torch.from_numpy(row) for row in rows)

    class RegisteredPixels(Registered):
        """Pixels as torch-fidelity calls them."""

        layers: Mapping[str, str] = {"pixels": "features"}

    register_feature_extractor("lenet64", Registered)
    register_feature_extractor("pixels", RegisteredPixels)
