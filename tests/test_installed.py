"""The package away from its source: built, installed, and called in a folder of somebody else's. Real processes."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

import bench
from bench.distribution import DISTRIBUTION
from bench.errors import UsageError
from bench.shipped import question_of, suite_file, suites_by_name

ROOT = Path(bench.__file__).parents[1]
SOURCE = ("bench", "suites", "pyproject.toml", "README.md", "LICENSE")
POSIX = ("fcntl", "resource", "pwd", "grp", "termios")


def call(*command, **options):
    """What a command printed; it must end as `status` says."""
    status = options.pop("status", 0)
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, timeout=300, check=False,
        **{"encoding": "utf-8", **options},
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel that was built from an sdist, which was built from a copy of the source. No network is used."""
    if int(version("setuptools").partition(".")[0]) < 77:
        pytest.skip("building takes setuptools 77, which `make test` installs")
    place = tmp_path_factory.mktemp("built")
    copy = place / "source"
    for name in SOURCE:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy)
    build = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    call(sys.executable, "-c", build, place, cwd=copy)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    options = ("--no-deps", "--no-build-isolation", "--no-index")
    call(*pip, "wheel", "-q", *options, "-w", place, *place.glob("*.tar.gz"))
    return next(place.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The command of an environment that holds the wheel, and this one's libraries without this checkout."""
    place = tmp_path_factory.mktemp("environment")
    venv.create(place, symlinks=True)
    python = place / "bin" / "python"
    call(sys.executable, "-m", "pip", "-q", "--python", python, "install", "--no-deps", "--no-index", wheel)
    beside = [path for path in sys.path if path.endswith("site-packages")] or [sysconfig.get_path("purelib")]
    site = Path(call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (site / "libraries.pth").write_text(
        "\n".join(beside)
    )  # their .pth files, such as an editable install, are not read
    return python.with_name("bench")


@pytest.fixture
def elsewhere(tmp_path):
    """A folder, and a home, in which something else is called bench."""
    for place in (tmp_path, tmp_path / "home"):
        (place / "bench").mkdir(parents=True)
        (place / "bench" / "__init__.py").write_text("raise SystemExit('another bench is run')\n")
    return {
        "cwd": tmp_path,
        "env": {
            **{name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
            "HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": "", "OMP_NUM_THREADS": "1",
        },
    }  # fmt: skip


@pytest.mark.slow
def test_the_wheel_holds_every_module_and_every_suite(wheel):
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    code = {str(file.relative_to(ROOT)) for file in (ROOT / "bench").rglob("*.*") if "__pycache__" not in file.parts}
    suites = {f"bench/shipped_suites/{file.name}" for file in (ROOT / "suites").glob("*.*")}
    assert held == code | suites
    assert wheel.name.startswith(DISTRIBUTION.replace("-", "_"))


@pytest.mark.slow
def test_an_installed_package_knows_its_suites_wherever_it_is_called(installed, elsewhere):
    listed = call(installed, "ls", "suites", **elsewhere)
    for file in (ROOT / "suites").glob("*.yaml"):
        assert f"\n  {file.stem} " in listed
        assert question_of(file) in listed
    assert "18 cells" in call(installed, "plan", "quick", "--profile", "smoke", **elsewhere)


@pytest.mark.long
def test_an_installed_package_runs_a_suite_by_name(installed, elsewhere):
    assert "report: results/quick-smoke/report.md" in call(installed, "run", "quick", "--profile", "smoke", **elsewhere)
    assert "no results of it are published" in call(installed, "compare", "quick", "--profile", "smoke", **elsewhere)
    code = "import bench; print(bench.run('two_gaussians', profile='smoke', quiet=True).folder)"
    run = (installed.with_name("python"), "-P", "-c", code)
    assert call(*run, **elsewhere).strip() == str(Path("results", "two_gaussians-smoke"))


def test_a_name_is_sought_here_first_and_then_in_the_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("quick", "suites"):
        Path(folder).mkdir()
    assert suite_file("quick").samefile(ROOT / "suites" / "quick.yaml")
    for name in ("quick", "mine"):
        Path("suites", f"{name}.yaml").write_text(f"question: >\n  {name}\n  of mine?\n")
        assert suite_file(name) == Path("suites", f"{name}.yaml")
    assert question_of(suites_by_name()["mine"]) == "mine of mine?"
    assert suites_by_name().keys() == {"mine", *(file.stem for file in (ROOT / "suites").glob("*.yaml"))}
    Path("quick.yaml").write_text("question: And this one?\n")
    assert suite_file("quick.yaml") == Path("quick.yaml")
    assert suite_file("./quick") == Path("quick")  # a place is never a name
    with pytest.raises(UsageError, match="Did you mean 'mine'"):
        suite_file("mime")
    with pytest.raises(UsageError, match=r"no suite named 'a{57}\.\.\.'"):
        suite_file("a" * 300)


REFUSED = f"""
import json
import multiprocessing.reduction
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name in {POSIX}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

for name in {POSIX}:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Refuse())
multiprocessing.reduction.HAVE_SEND_HANDLE = False  # by which multiprocessing knows that it has no fork server
from bench.__main__ import main

for command in json.loads(sys.argv[1]):
    sys.argv = ["bench", *command]
    try:
        main()
    except SystemExit as ended:
        print(command, "ended with", ended.code, flush=True)
"""
PLUGIN = """
from dataclasses import dataclass
from bench.paths import Linear

@dataclass(frozen=True)
class Mine(Linear):
    "The straight line."

PATHS = {"mine": Mine}
"""


@pytest.mark.long
def test_all_but_running_works_without_what_posix_alone_has(bench, tmp_path):
    (tmp_path / "mine.py").write_text(PLUGIN)
    (tmp_path / "own.yaml").write_text(
        "question: Mine?\nplugins: [mine.py]\n"
        "base: {path: mine, net: oracle, solver: {name: euler, steps: 2}, sampling: {n: 64, repeats: 1}}\n"
    )
    assert bench("run", tmp_path / "own.yaml", "--results", tmp_path / "results").returncode == 0
    commands = [
        ["plan", "own.yaml"], ["ls", "datasets"], ["check", "mine.py"], ["report"],
        ["run", "own.yaml", "--results", "new"],
    ]  # fmt: skip
    told = call(sys.executable, "-P", "-c", REFUSED, json.dumps(commands), cwd=tmp_path)
    for said in ("nothing to do", "two_moons", "laws hold, 0 are broken", "report.html", "do not fork"):
        assert said in told
    for command in commands:
        assert f"{command} ended with {command[0] == 'run':d}" in told
