"""Image metrics on real digits: identities, known orders, and torch-fidelity asked directly."""

import hashlib
import math
import re
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch

from bench.datasets.images import Digits, Mnist, Pictures
from bench.errors import JobError, Unavailable, Undefined
from bench.interfaces import Given
from bench.metrics import extractor as extractors
from bench.metrics.classes import ClassHistogram, Classified
from bench.metrics.extractor import Features, extractor, register, tag, train_extractor
from bench.metrics.fidelity import FID, KID, PrecisionRecall, as_bytes
from bench.metrics.manifold import DensityCoverage, NearestTrainingImage
from bench.seeds import numpy_stream


@dataclass(frozen=True)
class Few(Pictures):
    """Only the first 1500 test images of MNIST, to be quick."""

    shape: ClassVar[tuple[int, ...]] = (1, 28, 28)
    counts: ClassVar[tuple[int, ...]] = (150,) * 10

    def pictures(self, part):
        return tuple(array[:1500] for array in Mnist().pictures(part))


@pytest.fixture(scope="module")
def mnist():
    try:
        Mnist().pictures("test")
    except Unavailable as error:
        pytest.skip(str(error))
    return Mnist()


@pytest.fixture(scope="module")
def digits():
    return Digits()


def floats(images):
    return images / 127.5 - 1


def some(law, part, n, seed=0):
    images, _ = law.pictures(part)
    return images[np.random.default_rng(seed).choice(len(images), n, replace=False)]


def measured(metric, images, law):
    return metric.measure(Given(samples=floats(images), law=law))


def test_samples_are_taken_to_the_nearest_grey_level_and_clipped():
    levels = np.arange(256, dtype=np.uint8)
    assert (as_bytes(floats(levels)) == levels).all()
    assert as_bytes(np.array([-7.0, -1.0, 0.001, 1.0, 1.3])).tolist() == [0, 0, 128, 255, 255]


def test_shipped_weights_are_those_of_the_name():
    digest = hashlib.sha256(extractors.WEIGHTS.read_bytes()).hexdigest()
    assert extractor("lenet64").tag == tag("lenet64") == f"lenet64@{digest[:6]}"
    assert FID().label("fid") == f"fid[lenet64@{digest[:6]}]"
    assert FID(extractor="pixels").label("fid") == "fid[pixels]"
    assert extractors.WEIGHTS.stat().st_size < 1_000_000


def test_other_weights_are_refused_in_the_shipped_place_and_named_elsewhere(tmp_path, monkeypatch):
    from safetensors.torch import load_file, save_file

    state = load_file(extractors.WEIGHTS)
    state["head.bias"] = state["head.bias"] + 1
    other = tmp_path / "other.safetensors"
    save_file(state, other)
    digest = hashlib.sha256(other.read_bytes()).hexdigest()
    assert extractor("lenet64", str(other)).tag == tag("lenet64", str(other)) == f"lenet64@{digest[:6]}"
    monkeypatch.setattr(extractors, "WEIGHTS", other)
    extractor.cache_clear()
    with pytest.raises(JobError, match=f"begins with {digest[:6]} instead of"):
        extractor("lenet64")
    other.write_bytes(b"nonsense")
    with pytest.raises(Unavailable, match="not the weights of lenet64"):
        extractor("lenet64", str(other))


def test_the_classifier_knows_its_digits_and_no_feature_is_dead(mnist):
    images, labels = mnist.pictures("test")
    features = Features().make(mnist)
    assert features.shape == (10_000, 64)
    assert features.dtype == np.float32
    assert Features().make(mnist) is features
    assert features.std(axis=0).min() > 0.1
    guess = extractor("lenet64").logits(images).argmax(axis=1)
    assert (guess == labels).mean() >= 0.989


def test_test_images_against_themselves_are_at_0(mnist):
    real = Features().make(mnist)
    assert FID().compare(real, real, np.random.default_rng(0))["fid"] == pytest.approx(0, abs=1e-6)
    few = KID(subsets=5).compare(real, real, np.random.default_rng(0))
    assert abs(few["kid"]) < 0.01
    assert few["kid_sd"] < 0.01
    images, _ = Few().pictures("test")
    assert measured(FID(), images, Few())["fid"] == pytest.approx(0, abs=1e-6)
    assert measured(ClassHistogram(), images, Few())["class_histogram"] == 0


@pytest.mark.slow
def test_all_training_images_are_near_the_test_images(mnist):
    real = Features().make(mnist)
    train = Features(part="train").make(mnist)
    assert 0.02 < FID().compare(train, real, np.random.default_rng(0))["fid"] < 0.08


def test_a_thousand_training_images_score_as_a_perfect_sampler_would(mnist):
    floor = FID().floors(mnist, 1000, 0)["fid"]
    assert len(floor) == 10
    assert 0.15 < np.mean(floor) < 0.4
    assert 0.02 < np.std(floor, ddof=1) < 0.15
    assert FID().floors(mnist, 100, 1) == FID().floors(mnist, 100, 1) != FID().floors(mnist, 100, 2)


def test_fid_of_shifted_normals_extrapolates_to_the_squared_shift():
    generator = np.random.default_rng(0)
    real = generator.normal(size=(200_000, 8)).astype(np.float32)
    drawn = [generator.normal(size=(100, 8)).astype(np.float32) + np.float32(0.5) for _ in range(40)]
    scores = [FID().compare(x, real, generator) for x in drawn]
    plain, infinite = (np.array([score[name] for score in scores]) for name in ("fid", "fid_infinity"))
    error = infinite.std(ddof=1) / math.sqrt(len(infinite))
    assert infinite.mean() == pytest.approx(8 * 0.5**2, abs=3 * error)
    assert plain.mean() > 8 * 0.5**2 + 3 * error


def test_a_floor_is_the_score_of_training_images(mnist):
    train, _ = mnist.pictures("train")
    drawn = train[numpy_stream(3, "floor/images", 0).choice(len(train), 200, replace=False)]
    assert FID().floors(mnist, 200, 3)["fid"][0] == pytest.approx(measured(FID(), drawn, mnist)["fid"], rel=1e-4)
    with pytest.raises(Undefined, match="60,000 training images"):
        FID().floors(mnist, 60_001, 0)


def test_fid_grows_with_noise_and_is_large_for_what_is_not_a_digit(mnist):
    images = some(mnist, "train", 1000)
    noise = np.random.default_rng(1).normal(size=images.shape)
    scores = [
        FID().measure(Given(samples=floats(images) + sigma * noise, law=mnist))["fid"]
        for sigma in (0, 0.1, 0.2, 0.4, 0.8)
    ]
    assert scores == sorted(scores)
    assert scores[-1] > 20 * scores[0]
    assert measured(FID(), 255 - images, mnist)["fid"] > 50 * scores[0]
    assert measured(FID(), images[:, :, ::-1], mnist)["fid"] > 10 * scores[0]


def test_values_are_those_of_torch_fidelity_asked_directly(mnist):
    import torch_fidelity

    register()
    images, law = some(mnist, "train", 600), Few()
    direct = torch_fidelity.calculate_metrics(
        input1=Listed(images), input2=Listed(law.pictures("test")[0]), feature_extractor="lenet64",
        fid=True, kid=True, prc=True, kid_subset_size=500, kid_subsets=5, cuda=False, cache=False,
        save_cpu_ram=True, verbose=False,
    )  # fmt: skip
    ours = {
        **measured(FID(), images, law),
        **measured(KID(subset=500, subsets=5), images, law),
        **measured(PrecisionRecall(), images, law),
    }
    names = {
        "fid": torch_fidelity.KEY_METRIC_FID,
        "kid": torch_fidelity.KEY_METRIC_KID_MEAN,
        "kid_sd": torch_fidelity.KEY_METRIC_KID_STD,
        "precision": torch_fidelity.KEY_METRIC_PRECISION,
        "recall": torch_fidelity.KEY_METRIC_RECALL,
    }
    for name, theirs in names.items():
        assert ours[name] == pytest.approx(direct[theirs], rel=1e-4), name


class Listed(torch.utils.data.Dataset):
    def __init__(self, images):
        self.images = torch.tensor(images)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index]


def test_kid_takes_no_more_than_there_are(mnist):
    images = some(mnist, "train", 50)
    small = measured(KID(subsets=3), images, mnist)
    assert small == measured(KID(subsets=3, subset=50), images, mnist)
    assert np.isfinite(list(small.values())).all()


def test_precision_is_the_samples_and_recall_the_datas(mnist):
    images, labels = mnist.pictures("train")
    ones = images[labels == 1][:300]
    narrow = measured(PrecisionRecall(), ones, Few())
    assert narrow["precision"] > 0.8
    assert narrow["recall"] < 0.3
    wild = np.random.default_rng(0).integers(0, 256, size=(300, 1, 28, 28)).astype(np.uint8)
    assert measured(PrecisionRecall(), wild, Few())["precision"] < 0.1


def test_density_and_coverage_written_out_and_of_one_law():
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(40, 3)), generator.normal(size=(40, 3))
    far = np.linalg.norm(y[:, None] - y[None], axis=-1)
    inside = np.linalg.norm(y[:, None] - x[None], axis=-1) <= np.sort(far, axis=1)[:, 5:6]
    made = DensityCoverage().compare(x, y, generator)
    assert made["density"] == pytest.approx(inside.sum() / (5 * 40))
    assert made["coverage"] == pytest.approx(inside.any(axis=1).mean())
    many = DensityCoverage().compare(generator.normal(size=(1500, 8)), generator.normal(size=(4000, 8)), generator)
    assert many["density"] == pytest.approx(1, abs=0.05)
    assert many["coverage"] == pytest.approx(1 - 2**-5, abs=0.02)


def test_class_histogram_is_the_share_that_is_missing(mnist):
    images, labels = mnist.pictures("test")
    assert measured(ClassHistogram(), images[labels == 3], mnist)["class_histogram"] == pytest.approx(0.9, abs=0.01)
    even = measured(ClassHistogram(), some(mnist, "train", 1000), mnist)["class_histogram"]
    assert even < 0.08


def test_the_classifier_is_sure_of_digits_and_less_often_of_two_in_one(mnist):
    images = some(mnist, "test", 1000)
    mixed = (0.5 * images[::2] + 0.5 * images[1::2]).astype(np.uint8)
    of_images, of_mixed = (measured(Classified(), shown, mnist)["classified"] for shown in (images, mixed))
    assert 0.94 < of_images < 0.99
    assert of_mixed < of_images - 0.3
    both = measured(Classified(), np.concatenate([images, mixed]), mnist)["classified"]
    assert both == pytest.approx((2 * of_images + of_mixed) / 3)


def test_copies_of_training_images_are_told_from_new_ones(digits):
    train, test = (digits.pictures(part)[0] for part in ("train", "test"))
    copies = measured(NearestTrainingImage(), train[[5, 5, 1436]], digits)
    assert copies == {"nearest_training_image": 0.0, "nearest_training_image_ratio": 0.0}
    new = measured(NearestTrainingImage(), test, digits)
    assert new["nearest_training_image_ratio"] == pytest.approx(1)
    x, y = floats(test[:20]).reshape(20, -1), floats(train).reshape(len(train), -1)
    plain = np.linalg.norm(x[:, None] - y[None], axis=-1).min(axis=1).mean()
    assert measured(NearestTrainingImage(), test[:20], digits)["nearest_training_image"] == pytest.approx(plain)


def test_small_digits_have_a_distance_over_their_pixels(digits):
    pixels = FID(extractor="pixels")
    train, test = (digits.pictures(part)[0] for part in ("train", "test"))
    assert measured(pixels, test, digits)["fid"] == pytest.approx(0, abs=1e-4)
    x, y = (floats(images).reshape(len(images), -1) for images in (train, test))
    root = np.linalg.eigvals(np.cov(x.T) @ np.cov(y.T)).astype(complex) ** 0.5
    frechet = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(np.cov(x.T) + np.cov(y.T)) - 2 * root.real.sum()
    assert measured(pixels, train, digits)["fid"] == pytest.approx(frechet, rel=1e-4)
    assert measured(pixels, 255 - test, digits)["fid"] > 5 * measured(pixels, train[:360], digits)["fid"]
    with pytest.raises(Undefined, match=r"shape \(1, 28, 28\).*\(1, 8, 8\).*use the extractor pixels"):
        measured(FID(), test, digits)
    with pytest.raises(Undefined, match="tells no classes apart"):
        measured(ClassHistogram(extractor="pixels"), test, digits)
    with pytest.raises(Undefined, match="tells no classes apart"):
        measured(Classified(extractor="pixels"), test, digits)


@pytest.mark.parametrize(
    "metric", [FID, KID, PrecisionRecall, DensityCoverage, ClassHistogram, Classified, NearestTrainingImage]
)
def test_points_on_the_plane_are_no_images(metric):
    from bench.datasets.moons import TwoMoons

    with pytest.raises(Undefined, match="no images"):
        metric().measure(Given(samples=np.zeros((20, 2)), law=TwoMoons()))


def test_inception_without_its_weights_says_where_they_are(digits, tmp_path):
    images = digits.pictures("test")[0]
    with pytest.raises(Unavailable, match=r"weights-inception-2015-12-05-6726825d\.pth.*weights: FILE"):
        measured(FID(extractor="inception-v3-compat"), images, digits)
    with pytest.raises(Unavailable, match="cannot be read: No such file"):
        measured(FID(extractor="inception-v3-compat", weights=str(tmp_path / "none.pth")), images, digits)
    torn = tmp_path / "torn.pth"
    torn.write_bytes(b"PK\x03\x04 torn off")
    with pytest.raises(Unavailable, match="not a file of plain tensors"):
        measured(FID(extractor="inception-v3-compat", weights=str(torn)), images, digits)
    other = tmp_path / "other.pth"
    torch.save({"a": torch.zeros(1)}, other)
    with pytest.raises(Unavailable, match="not the weights of inception-v3-compat"):
        measured(FID(extractor="inception-v3-compat", weights=str(other)), images, digits)


def test_training_is_fixed_by_its_seed(mnist):
    images, labels = (array[:512] for array in mnist.pictures("train"))
    first, again, other = (train_extractor(images, labels, images, labels, seed)[0] for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["wide.weight"], other["wide.weight"])


@pytest.mark.slow
@pytest.mark.long
def test_training_anew_gives_one_as_good(bench, mnist, tmp_path):
    anew = str(tmp_path / "anew.safetensors")
    done = bench("extractor", "train", "--seed", 1, "--out", anew)
    assert done.returncode == 0, done.stderr
    accuracy = float(re.search(r"([0-9.]+)% of the test images right", done.stdout)[1])
    assert accuracy >= 98.9
    assert tag("lenet64", anew) in done.stdout
    images, labels = mnist.pictures("test")
    guess = extractor("lenet64", anew).logits(images).argmax(axis=1)
    assert 100 * (guess == labels).mean() == pytest.approx(accuracy, abs=0.006)
    assert extractor("lenet64", anew).features(images).std(axis=0).min() > 0.1
    assert 0.15 < np.mean(FID(weights=anew).floors(mnist, 1000, 0)["fid"]) < 0.4
    again = bench("extractor", "train", "--out", anew)
    assert again.returncode == 2
    assert "there is such a file already" in again.stderr
