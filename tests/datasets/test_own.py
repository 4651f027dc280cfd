"""Data of a user's own: read, split, scaled and taken back, and refused with place and remedy."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bench.components import Config, Tables
from bench.datasets import tables
from bench.distribution import DISTRIBUTION
from bench.interfaces import in_data_units
from bench.seeds import stream, uniforms


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of this test's own, and nothing held from other tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tables, "_HELD", {})
    return tmp_path / "cache"


@pytest.fixture
def random():
    return np.random.default_rng(0)


def resolved(folder, name, **given):
    return Tables(folder=folder).resolve("dataset", name, given)


def made(folder, name, **given):
    known = Tables(folder=folder)
    config = known.resolve("dataset", name, given)
    assert isinstance(config, Config), config
    return known.build(config)


def refused(folder, name, **given):
    problems = resolved(folder, name, **given)
    assert isinstance(problems, list), problems
    return " ".join(problem.message for problem in problems)


def rows(points):
    return {tuple(row) for row in np.asarray(points, dtype=np.float32).tolist()}


@pytest.mark.parametrize("form", ["npy", "npz", "csv", "tsv", "headless.csv", "parquet"])
def test_points_of_every_form_are_the_same_law(tmp_path, random, form):
    points, labels = random.normal(size=(200, 3)), np.array(["b", "a"])[random.integers(0, 2, 200)]
    file, given = tmp_path / f"points.{form}", {}
    if form == "npy":
        np.save(file, np.column_stack([points, labels == "b"]))
        given = {"labels": -1}
    elif form == "npz":
        np.savez(file, x=points, other=points[:3], kind=labels)
        given = {"key": "x", "labels": "kind"}
    else:
        table = pd.DataFrame(points, columns=["u", "v", "w"]).assign(kind=labels)
        head, given = form != "headless.csv", {"labels": "kind" if form != "headless.csv" else 3}
        if form == "parquet":
            pytest.importorskip("pyarrow")
            table.to_parquet(file)
        table = table if head else table.assign(kind=(labels == "b").astype(int))
        if form != "parquet":
            table.to_csv(file, index=False, sep="\t" if form == "tsv" else ",", header=head, float_format="%.17g")
    law = made(tmp_path, "points", file=file.name, held_out=0.25, scale="none", **given)
    assert (law.shape, law.points, law.units) == ((3,), 150, ())
    train = law.training_set(0).numpy()
    held = law.judge.from_uniform((np.arange(50)[:, None] + 0.5) / 50)
    assert rows(np.concatenate([train, held])) == rows(points)
    assert law.classes == 2
    drawn, classes = law.draw_labelled(4000, 0, stream(0, "data"))
    by_row = {tuple(row): kind for row, kind in zip(points.astype(np.float32).tolist(), labels, strict=True)}
    assert [by_row[tuple(row)] for row in drawn[:100].tolist()] == ["ab"[k] for k in classes[:100].tolist()]


@pytest.mark.parametrize("scale", ["standard", "isotropic", "none"])
def test_nets_see_scaled_points_and_everybody_else_the_datas_units(tmp_path, random, scale):
    points = random.normal(size=(1000, 2)) * [100, 0.1] + [5, -5]
    np.save(tmp_path / "points.npy", points)
    law = made(tmp_path, "points", file="points.npy", scale=scale)
    seen = law.training_set(0).double().numpy()
    if scale == "standard":
        np.testing.assert_allclose([seen.mean(0), seen.std(0)], [[0, 0], [1, 1]], atol=1e-5)
    if scale == "isotropic":
        np.testing.assert_allclose(seen.mean(0), 0, atol=1e-4)
        assert (seen.std(0) ** 2).mean() == pytest.approx(1, rel=1e-5)
        assert seen.std(0)[0] / seen.std(0)[1] == pytest.approx(points.std(0)[0] / points.std(0)[1], rel=0.1)
    u = uniforms(0, "all", 0, 64, 1, quasi=True)
    back = in_data_units(law.units, law.judge.from_uniform(u))
    distance = np.abs(back[:, None] - points[None]).max(2).min(1)
    assert distance.max() < 1e-9
    assert not rows(back) & rows(in_data_units(law.units, seen))


def test_a_second_file_is_what_samples_are_scored_against(tmp_path, random):
    np.save(tmp_path / "train.npy", random.normal(size=(40, 2)))
    np.save(tmp_path / "test.npy", random.normal(size=(30, 2)) + 9)
    law = made(tmp_path, "points", file="train.npy", test="test.npy", scale="none")
    assert law.points == 40
    assert law.judge.draw(500, 0, stream(0, "data")).min() > 4


BAD = {
    "missing.npy": (lambda f: None, "No such file"),
    "few.npy": (lambda f: np.save(f, np.arange(20.0)), "either needs 10"),
    "nan.npy": (lambda f: np.save(f, np.array([[1.0, 2.0]] * 50 + [[3.0, np.nan]])), "row 51, column 2 is nan"),
    "far.npy": (lambda f: np.save(f, np.full((50, 2), 1e30)), "row 1, column 1 is 1e+30 (1 of 100 such places)"),
    "constant.npy": (lambda f: np.save(f, np.ones((50, 2)) * [1, 2]), "column 1 is 1 in every row"),
    "slight.npy": (lambda f: np.save(f, np.arange(100.0).reshape(50, 2) * 1e-300), "column 1 spreads over"),
    "objects.npy": (lambda f: np.save(f, np.ones((50, 2), object), allow_pickle=True), "(objects, which are not read)"),
    "bare.npy": (lambda f: np.save(f, np.ones((50, 0))), "no column of coordinates"),
    "index.csv": (lambda f: pd.DataFrame({"x": np.arange(50.0) ** 2}).to_csv(f), "save it with index=False"),
    "cube.npy": (lambda f: np.save(f, np.ones((5, 5, 5))), "of shape 5x5x5; give numbers (N, d)"),
    "text.npy": (lambda f: np.save(f, np.array(["a"] * 50)), "give numbers (N, d)"),
    "pickled.npy": (lambda f: np.save(f, np.array([{}, None]), allow_pickle=True), "cannot be read as NumPy's"),
    "cut.npz": (lambda f: f.write_bytes(b"PK\x03\x04 and no more"), "save"),
    "empty.csv": (lambda f: f.write_text(""), "cannot be read as a table"),
    "head.csv": (lambda f: f.write_text("a,b\n"), "holds no rows"),
    "latin.csv": (lambda f: f.write_bytes("ä,b\n1,2\n".encode("latin-1")), "save it as UTF-8 text, and unpack it"),
    "semicolons.csv": (lambda f: f.write_text("a;b\n" + "1.5;2\n" * 30), "one column only, whose name holds ';'"),
    "decimals.csv": (lambda f: f.write_text("a;b\n" + "0,1;-0,2\n" * 30), "let every row have as many columns"),
    "infinite.csv": (lambda f: f.write_text("a,b\n" + "1,2\n" * 30 + "1,inf\n"), "row 31, column 2 is inf"),
    "ragged.csv": (lambda f: f.write_text("1,2\n" * 30 + "1,2,3\n"), "let every row have as many columns"),
    "short.csv": (lambda f: f.write_text("1,2\n" * 30 + "1\n"), "row 31, column 2 is nan"),
    "words.csv": (lambda f: f.write_text("a,b\n" + "1,2\n" * 30 + "1,x\n"), "column 2 (b) is not numbers, such as 'x'"),
    "points.txt": (lambda f: f.write_text("1 2\n"), "save them as one of these"),
    "folder.npy": (lambda f: f.mkdir(), "a folder, where a file is due"),
    "fifo.npy": (os.mkfifo, "not a regular file"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_no_points_is_refused_with_place_and_remedy(tmp_path, name):
    make, words = BAD[name]
    make(tmp_path / name)
    said = refused(tmp_path, "points", file=name)
    assert words in said
    assert name in said or "column" in said


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"file": "two.npz"}, "holds a, b; say which by `key`"),
        ({"file": "two.npz", "key": "c"}, "no array 'c'; there are a, b"),
        ({"file": "two.npz", "key": "a", "labels": "c"}, "no array 'c' for the labels"),
        ({"file": "plain.npy", "key": "a"}, "leave it out"),
        ({"file": "plain.npy", "labels": 2}, "give the number of one"),
        ({"file": "plain.npy", "labels": "kind"}, "give the number of one"),
        ({"file": "plain.csv", "labels": "kind"}, "no column 'kind' for the labels; there are 0, 1"),
        ({"file": "plain.npy", "test": "wide.npy"}, "`file` has 2 columns and `test` 3; give both the same"),
        ({"file": "plain.npy", "test": "plain.npy"}, "samples would be scored against what nets train on"),
        ({"file": "two.npz", "labels": "c"}, "no array 'c' for the labels; there are a, b"),
        ({"file": "lost.npz", "key": "a", "labels": "kind"}, "row 3 has no label; leave such rows out"),
        ({"file": "plain.npy", "held_out": 0.01}, "either needs 10"),
    ],
)
def test_what_is_asked_of_a_file_and_not_there_is_refused(tmp_path, random, given, words):
    np.savez(tmp_path / "lost.npz", a=np.ones((5, 2)), kind=np.array([0, 1, np.nan, 0, 1]))
    np.savez(tmp_path / "two.npz", a=random.normal(size=(50, 2)), b=np.zeros(3))
    np.save(tmp_path / "plain.npy", random.normal(size=(50, 2)))
    np.save(tmp_path / "wide.npy", random.normal(size=(50, 3)))
    np.savetxt(tmp_path / "plain.csv", random.normal(size=(50, 2)), delimiter=",")
    assert words in refused(tmp_path, "points", **given)


def test_a_parquet_file_that_cannot_be_read_says_what_to_do(tmp_path, monkeypatch):
    (tmp_path / "points.parquet").write_bytes(b"PAR1 and no more")
    if importlib.util.find_spec("pyarrow"):
        assert "save it anew" in refused(tmp_path, "points", file="points.parquet")
    for reader in ("pyarrow", "fastparquet"):  # as where they are not installed
        monkeypatch.setitem(sys.modules, reader, None)
    assert "points.parquet: reading it needs pyarrow, which is missing" in (
        said := refused(tmp_path, "points", file="points.parquet")
    )
    assert "pip install -U pyarrow, or save it as .npy" in said


def test_what_was_unpacked_is_kept_and_held_against_its_checksum(tmp_path, random, cache, monkeypatch):
    np.savetxt(tmp_path / "points.csv", random.normal(size=(50, 2)), delimiter=",")
    first = made(tmp_path, "points", file="points.csv").training_set(0)
    (kept,) = (cache / DISTRIBUTION / "own").glob("*/train.npy")
    for harm in (lambda: kept.write_bytes(kept.read_bytes()[:-1] + b"\x00"), kept.unlink, lambda: None):
        harm()
        monkeypatch.setattr(tables, "_HELD", {})
        again = made(tmp_path, "points", file="points.csv").training_set(0)
        assert first.equal(again)


@pytest.fixture
def folder(tmp_path, random):
    """Forty pictures in two folders, one of them in colour."""
    for number in range(40):
        kind = tmp_path / "pictures" / ("cats" if number % 2 else "dogs")
        kind.mkdir(parents=True, exist_ok=True)
        shape = (10, 14, 3) if number == 3 else (10, 14)
        Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8)).save(kind / f"{number:02}.png")
    return tmp_path / "pictures"


def test_pictures_of_a_folder_have_its_folders_as_classes(tmp_path, folder):
    law = made(tmp_path, "pictures", file="pictures", held_out=0.25)
    assert law.shape == (3, 10, 14)
    (train, labels), (test, _) = law.pictures("train"), law.pictures("test")
    assert (len(train), len(test), law.points, law.classes) == (30, 10, 30, 2)
    assert sum(law.counts) == 30
    due = {
        np.asarray(Image.open(file).convert("RGB")).transpose(2, 0, 1).tobytes(): file for file in folder.rglob("*.png")
    }
    assert {image.tobytes() for image in (*train, *test)} == set(due)
    assert [due[image.tobytes()].parent.name for image in train] == [["cats", "dogs"][k] for k in labels]


def test_pictures_are_resized_only_when_asked(tmp_path, folder):
    Image.fromarray(np.zeros((20, 20), dtype=np.uint8)).save(folder / "cats" / "other.png")
    assert "other.png: 20 x 20 pixels, not 14 x 10 as" in refused(tmp_path, "pictures", file="pictures")
    assert made(tmp_path, "pictures", file="pictures", side=8, held_out=0.25).shape == (3, 8, 8)
    assert "leave out `key` and `labels`" in refused(tmp_path, "pictures", file="pictures", side=8, labels="kind")


def test_pictures_of_16_bits_keep_their_whole_range(tmp_path):
    (tmp_path / "deep").mkdir()
    for number in range(20):
        shades = np.linspace(0, 65535, 16).reshape(4, 4).astype(np.uint16)
        Image.fromarray(shades).save(tmp_path / "deep" / f"{number}.png")
    pixels, _ = made(tmp_path, "pictures", file="deep", held_out=0.5).pictures("train")
    assert pixels[0].ravel().tolist() == [17 * step for step in range(16)]


def test_pictures_are_seen_as_they_are_shown_and_transparent_ones_refused(tmp_path):
    (tmp_path / "photos").mkdir()
    red = np.zeros((4, 6, 4), np.uint8)
    red[:2] = 255, 0, 0, 255
    red[2:, :, 3] = 255
    for number in range(20):
        Image.fromarray(red).save(tmp_path / "photos" / f"{number:02}.png")
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by a quarter to the right
    Image.fromarray(red[..., :3].transpose(1, 0, 2)[::-1].copy()).save(tmp_path / "photos" / "20.png", exif=turned)
    law = made(tmp_path, "pictures", file="photos", held_out=0.48)
    seen = [*law.pictures("train")[0], *law.pictures("test")[0]]
    assert len(seen) == 21
    assert all((image == red[..., :3].transpose(2, 0, 1)).all() for image in seen)

    glass = red.copy()
    glass[0, 0, 3] = 254
    grey = Image.fromarray(red[..., 0]).convert("P")
    for name, picture, options in (
        ("rgba", Image.fromarray(glass), {}),
        ("palette", grey, {"transparency": 255}),
        ("grey", Image.fromarray(red[..., 0]), {"transparency": 0}),
    ):
        file = tmp_path / "photos" / f"x{name}.png"
        picture.save(file, **options)
        assert f"x{name}.png: cannot be read as a picture (it is transparent" in refused(
            tmp_path, "pictures", file="photos"
        )
        file.unlink()


@pytest.mark.parametrize(
    ("shape", "due"), [((30, 6, 8), (1, 6, 8)), ((30, 6, 8, 3), (3, 6, 8)), ((30, 3, 6, 8), (3, 6, 8))]
)
def test_pictures_of_an_array_in_any_usual_order(tmp_path, random, shape, due):
    np.save(tmp_path / "pictures.npy", random.integers(0, 256, shape, dtype=np.uint8))
    law = made(tmp_path, "pictures", file="pictures.npy", held_out=0.4)
    assert law.shape == due
    assert law.draw(5, 0, stream(0, "data")).shape == (5, *due)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda f: np.save(f / "p.npy", np.zeros((30, 4, 4))), "whole numbers from 0 to 255 (uint8)"),
        (lambda f: np.save(f / "p.npy", np.zeros((60, 4, 4), np.uint8)), "every pixel of every picture is 0"),
        (lambda f: np.save(f / "p.npy", np.zeros((30, 4, 4, 5), np.uint8)), "1 grey or 3 colours"),
        (lambda f: (f / "p.npy").mkdir(), "no picture in it whose name ends in .png"),
        (
            lambda f: ((f / "p.npy").mkdir(), (f / "p.npy" / "a.png").write_text("no")),
            "a.png: cannot be read as a picture",
        ),
    ],
)
def test_what_is_no_pictures_is_refused(tmp_path, make, words):
    make(tmp_path)
    assert words in refused(tmp_path, "pictures", file="p.npy")


SUITE = """
    question: What is made anew?
    base:
      net: {name: mlp, width: 8}
      training: {steps: 20, batch: 16}
      sampling: {n: 32}
      solver: {name: euler, steps: 2}
    grid: {dataset: [{name: points, file: one.npy}, {name: points, file: two.npy}, two_moons]}
    metrics: [sliced_wasserstein]
"""


@pytest.mark.slow
def test_a_file_changed_by_one_value_redoes_exactly_what_it_touches(bench, tmp_path, random):
    from textwrap import dedent

    (tmp_path / "own.yaml").write_text(dedent(SUITE))
    for name in ("one", "two"):
        np.save(tmp_path / f"{name}.npy", random.normal(size=(60, 2)))

    def run():
        done = bench("run", tmp_path / "own.yaml", "--results", tmp_path / "results")
        assert done.returncode == 0, done.stdout + done.stderr
        records = pd.read_csv(tmp_path / "results" / "own" / "tables" / "records.csv")
        return done.stdout, records[records["metric"] == "sliced_wasserstein"].set_index("dataset")["value"]

    _, before = run()
    assert "nothing new" in run()[0]
    (tmp_path / "one.npy").rename(tmp_path / "moved.npy")
    (tmp_path / "moved.npy").rename(tmp_path / "one.npy")
    os.utime(tmp_path / "one.npy")
    assert "nothing new" in run()[0]
    points = np.load(tmp_path / "one.npy")
    points[7, 1] += 1e-6
    np.save(tmp_path / "one.npy", points)
    said, after = run()
    assert "to do: 1 train, 1 reference, 1 sample, 1 floor, 1 score" in said
    changed = before != after
    assert changed["points(file=one.npy)"]
    assert changed.sum() == 1
    about = json.loads((tmp_path / "results" / "own" / "suite.json").read_text())
    assert [each["file"] for each in about["data"]] == ["one.npy", "two.npy"]
    assert "one.npy (sha256" in (tmp_path / "results" / "own" / "report.md").read_text()


def test_jobs_say_so_when_a_file_changes_under_them(tmp_path, random):
    np.save(tmp_path / "points.npy", random.normal(size=(60, 2)))
    config = resolved(tmp_path, "points", file="points.npy")
    program = f"""
from pathlib import Path
from bench.components import Config, Tables
from bench.datafiles import PLACES
PLACES.update({{{json.loads(config.plain)["file"]!r}: Path({str(tmp_path / "points.npy")!r})}})
Tables().build(Config("dataset", "points", {config.plain!r}))
"""
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "other")}
    assert subprocess.run([sys.executable, "-c", program], env=env, check=False).returncode == 0
    np.save(tmp_path / "points.npy", random.normal(size=(60, 2)))
    env["XDG_CACHE_HOME"] = str(tmp_path / "third")
    done = subprocess.run([sys.executable, "-c", program], env=env, check=False, capture_output=True, text=True)
    assert done.returncode != 0
    assert "changed while the run was under way" in done.stderr
    assert Path(tmp_path / "points.npy").exists()
