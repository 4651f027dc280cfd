"""A console that cannot say everything, and one that cannot be written. Real processes, real devices."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.console import SPELT, encodable

SUITE = """
question: “Schön” – or not?
seeds: 2
base: {net: oracle, dataset: gaussian_mixture, sampling: {n: 64, repeats: 1}}
grid: {solver: {é: {name: euler, steps: 2}, z: {name: euler, steps: 4}}}
metrics: [wasserstein]
"""
ENCODINGS = {
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0"},
}
BENCH = (sys.executable, "-P", "-m", "bench")
NEVER = ("Traceback", "Exception ignored")


@pytest.fixture(scope="module")
def ran(bench, tmp_path_factory):
    """A folder with results whose words are beyond ASCII."""
    folder = tmp_path_factory.mktemp("ran")
    (folder / "suites").mkdir()
    (folder / "suites" / "s.yaml").write_text(SUITE, encoding="utf-8")
    assert bench("run", folder / "suites" / "s.yaml", "--results", folder / "results").returncode == 0
    return folder


def started(command, ran, settings=None, **options):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "", **(settings or {})}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen([*BENCH, *command], cwd=ran, env=environment, **options)


def ended(process, status):
    """What a process printed; there is no traceback."""
    out, err = (text or b"" for text in process.communicate(timeout=120))
    assert process.returncode == status, err
    assert not any(word.encode() in err for word in NEVER), err
    return out, err


def test_what_an_encoding_lacks_is_spelt_and_keeps_its_width():
    assert encodable("0.5 ± 0.1 – “ß” é 漢 \udcff", "ascii") == '0.5 +-0.1 - "\\xdf" e \\u6f22 \\udcff'
    assert encodable("0.5 ± 0.1 – é", "latin-1") == "0.5 ± 0.1 - é"
    assert encodable("± – 漢", "utf-8") == "± – 漢"
    assert all(text.isascii() for text in SPELT.values())


def test_all_that_the_package_prints_has_a_spelling():
    source = Path(__file__).parents[1] / "bench"
    printed = {each for file in source.rglob("*.py") for each in file.read_text(encoding="utf-8") if not each.isascii()}
    drawn = set("│├└─")  # of a docstring
    assert {each for each in printed - drawn if "\\" in encodable(each, "ascii")} == set()
    assert {"±", "–", "█"} <= printed


@pytest.mark.slow
@pytest.mark.parametrize(
    "encoding", ["C", *(pytest.param(each, marks=pytest.mark.long) for each in ENCODINGS if each != "C")]
)
def test_a_console_of_another_encoding_gets_plain_characters(ran, encoding):
    command = ["run", "s"] if encoding == "C" else ["ls", "suites"]
    out = ended(started(command, ran, ENCODINGS[encoding]), 0)[0].decode(
        "latin-1" if encoding == "latin-1" else "ascii"
    )
    assert (" +-" if encoding == "C" else '"Schön" - or' if encoding == "latin-1" else '"Schon" - or') in out


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["--help"], id="help"),
        pytest.param(["ls", "suites"], id="ls", marks=pytest.mark.slow),
        pytest.param(["schema"], id="schema", marks=pytest.mark.long),
        pytest.param(["run", "s"], id="run", marks=pytest.mark.long),
    ],
)
def test_a_full_disk_behind_stdout_is_said_in_one_line(ran, command):
    with open("/dev/full", "wb") as full:
        _, err = ended(started(command, ran, stdout=full), 1)
    assert err.decode().splitlines() == ["<stdout>: cannot be written: No space left on device"]


@pytest.mark.slow
def test_a_reader_that_goes_away_is_not_spoken_of(ran):
    process = started(["ls", "suites"], ran)
    process.stdout.close()
    process.stdout = None
    assert ended(process, 1) == (b"", b"")


def test_where_nothing_can_be_written_the_status_tells(ran):
    with open("/dev/full", "wb") as full:
        ended(started(["--help"], ran, stdout=full, stderr=subprocess.STDOUT), 1)
