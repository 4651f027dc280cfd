"""No file of the working directory is imported: not by the driver, the fork server or a worker. Real processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import bench
from bench.distribution import ENTRY_POINTS

ROOT = Path(bench.__file__).parents[1]
SCRIPT = f"""#!{sys.executable}
import re
import sys
from bench.__main__ import main
if __name__ == '__main__':
    sys.exit(main())
"""
PLANTED = (
    "ot", "random", "json", "torch", "numpy", "pandas", "typer", "signal", "threading", "tempfile", "selectors",
    "multiprocessing", "matplotlib", "sitecustomize", "usercustomize", "__main__", "statements",
)  # fmt: skip
SUITE = """
question: what?
base: {net: oracle, solver: {name: euler, steps: 2}, sampling: {n: 64, repeats: 1}}
"""
PLUGIN = '''
from dataclasses import dataclass
from bench.datasets.moons import TwoMoons

@dataclass(frozen=True)
class Mine(TwoMoons):
    """As it is."""

DATASETS = {"mine": Mine}
'''


@pytest.fixture
def planted(tmp_path):
    """A folder in which every file leaves a mark where it is run, and bench called there in its two ways."""
    for name in (*PLANTED, "bench"):
        mark = f"open({str(tmp_path / 'ran')!r}, 'a').write({name + ' '!r})\nraise SystemExit('{name} is run')\n"
        (tmp_path / f"{name}.py").write_text(mark)
    evil = tmp_path / "evil-1.dist-info"
    evil.mkdir()
    (evil / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1\n")
    (evil / "entry_points.txt").write_text(f"[{ENTRY_POINTS}]\nevil = bench\n")
    (tmp_path / "s.yaml").write_text(SUITE)
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "mine.py").write_text(PLUGIN)
    script = tmp_path / "bin" / "bench"
    script.parent.mkdir()
    script.write_text(SCRIPT)
    script.chmod(0o755)

    def call(way, *arguments, python_path=str(ROOT), cwd=tmp_path, options=()):
        """Ends well, and nothing has left its mark."""
        if way == "module":
            (tmp_path / "bench.py").unlink(missing_ok=True)  # Python takes it for the program before any line of ours
        command = [sys.executable, *options, "-m", "bench"] if way == "module" else [str(script)]
        environment = {**os.environ, "PYTHONPATH": python_path}
        environment.pop("PYTHONSAFEPATH", None)
        done = subprocess.run(
            [*command, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert (done.returncode, (tmp_path / "ran").exists()) == (0, False), done.stdout + done.stderr
        return done.stdout

    return call


@pytest.mark.slow
@pytest.mark.parametrize("way", ["script", pytest.param("module", marks=pytest.mark.long)])
def test_no_file_of_the_working_directory_is_run(planted, way):
    assert "1 to do" in planted(way, "plan", "s.yaml")
    assert "W2 (root)" in planted(way, "run", "s.yaml", "--workers", "1")
    assert "report.md" in planted(way, "report")
    assert "two_moons" in planted(way, "ls", "datasets")
    assert "laws hold" in planted(way, "check", "plugins/mine.py")


def test_an_empty_part_of_pythonpath_is_not_the_working_directory(planted, tmp_path):
    (tmp_path / "sitecustomize.py").unlink()  # Python runs it before any line of ours
    (tmp_path / "usercustomize.py").unlink()
    assert "two_moons" in planted("script", "ls", "datasets", python_path=f"{ROOT}{os.pathsep}")


def test_a_folder_that_pythonpath_names_stays(planted, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    (own / "made_up_of_ours.py").write_text("X = 1\n")
    (tmp_path / "plugins" / "mine.py").write_text(f"import made_up_of_ours\n{PLUGIN}")
    path = f"{own}{os.pathsep}{ROOT}"
    assert "mine" in planted("module", "ls", "datasets", "--plugin", "../plugins/mine.py", python_path=path, cwd=own)


@pytest.mark.long
def test_the_repository_itself_may_be_the_working_directory(planted, tmp_path):
    options = ("run", str(tmp_path / "s.yaml"), "--workers", "1", "--results", str(tmp_path / "results"))
    assert "W2 (root)" in planted("module", *options, cwd=ROOT)
