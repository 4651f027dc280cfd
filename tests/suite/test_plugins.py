"""A suite's plugin is code: it is named before it runs, lies below the suite's folder, and runs for no faulty suite."""

import hashlib
import json
import os

import pytest

from bench.errors import SuiteError, UsageError
from bench.suite import load_suite

PLUGIN = '''
from dataclasses import dataclass
from pathlib import Path
from bench.paths import Linear
import helper
Path({mark!r}).touch()

@dataclass(frozen=True)
class Mine(Linear):
    """As it is."""
    s: int = 1

PATHS = {{"mine": Mine}}
'''


@pytest.fixture
def ran(tmp_path):
    """The file that the plugin leaves where it is run; the suite's folder is suites/."""
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "mine.py").write_text(PLUGIN.format(mark=str(tmp_path / "ran")))
    (tmp_path / "suites" / "helper.py").write_text("X = 1\n")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "mine.py").write_text(PLUGIN.format(mark=str(tmp_path / "ran")))
    (tmp_path / "outside" / "helper.py").write_text("X = 1\n")
    return tmp_path / "ran"


def load(ran, text, **options):
    file = ran.parent / "suites" / "s.yaml"
    file.write_text(f"question: what?\n{text}\n")
    return load_suite(file, **options)


def test_it_is_named_with_what_it_imports_before_it_is_run(ran):
    told = []
    suite = load(ran, "plugins: [mine.py]\nbase: {path: mine}", notice=lambda text: told.append((text, ran.exists())))
    ((said, too_late),) = told
    assert (too_late, ran.exists()) == (False, True)
    assert f"plugin: {ran.parent / 'suites' / 'mine.py'} with helper.py (sha256 {suite.plugins[0].sha256[:12]})" in said
    (ran.parent / "suites" / "helper.py").write_text("X = 2\n")
    assert load(ran, "plugins: [mine.py]").plugins[0].sha256 != suite.plugins[0].sha256


def test_the_hash_of_a_plugin_alone_is_its_files(ran):
    file = ran.parent / "suites" / "mine.py"
    file.write_text(file.read_text().replace("import helper\n", ""))
    assert load(ran, "plugins: [mine.py]").plugins[0].sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize("named", ["../outside/mine.py", "{}/outside/mine.py", "link.py", "folder/mine.py"])
def test_outside_the_suites_folder_it_is_run_only_where_that_is_allowed(ran, named):
    home = ran.parent
    (home / "suites" / "link.py").symlink_to(home / "outside" / "mine.py")
    (home / "suites" / "folder").symlink_to(home / "outside")
    text = f"plugins:\n  - {named.format(home)}\nbase: {{path: mine}}"
    with pytest.raises(SuiteError) as refused:
        load(ran, text)
    (fault,) = refused.value.faults
    assert (fault.line, fault.column, fault.key) == (3, 5, "plugins[0]")
    assert f"--allow-plugin {home / 'outside' / 'mine.py'}" in fault.message
    assert not ran.exists()
    for place in ("outside", "outside/mine.py") if "link" not in named else ("outside",):
        if place != "outside":  # its neighbour lies outside too
            with pytest.raises(SuiteError, match=r"imports a file that lies outside .*helper\.py"):
                load(ran, text, allow=[home / place])
            assert not ran.exists()
        else:
            load(ran, text, allow=[home / place])
            assert ran.exists()
            ran.unlink()


def test_a_neighbour_that_is_a_link_out_is_refused(ran):
    (ran.parent / "suites" / "helper.py").unlink()
    (ran.parent / "suites" / "helper.py").symlink_to(ran.parent / "outside" / "helper.py")
    with pytest.raises(SuiteError, match=r"'mine\.py' imports a file that lies outside .*outside/helper\.py"):
        load(ran, "plugins: [mine.py]")
    assert not ran.exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seedz: 3", "no key of a suite"),
        ("base: {path: mine, training: {stps: 3}}", "no parameter named"),
        ("grid: {path: [mine, linear], solver.stps: [1]}", "no parameter named"),
        ("metrics: [wasserstien]\nprofiles: {smoke: {sedes: 1}}", "no path named"),
        ("plugins: [mine.py, gone.py]", "cannot be read"),
    ],
)
def test_it_is_not_run_where_the_suite_is_faulty_without_it(ran, text, said):
    with pytest.raises(SuiteError, match=said):
        load(ran, text if "plugins" in text else f"plugins: [mine.py]\n{text}")
    assert not ran.exists()


def test_nor_for_a_profile_that_there_is_not(ran):
    with pytest.raises(UsageError, match="no profile named 'smok'"):
        load(ran, "plugins: [mine.py]\nprofiles: {smoke: {seeds: 1}}", profile="smok")
    assert not ran.exists()


def test_what_speaks_of_its_components_is_judged_with_it(ran):
    text = "plugins: [mine.py]\ngrid: {path: {a: {name: mine, s: 2}, b: mine}, solver.steps: [1, 2]}\n"
    text += "exclude: [{where: {path.s: 1, solver.steps: 1}, because: no}, {where: {path: a}, because: no}]\n"
    text += "claims: [{claim: c, metric: wasserstein, better: {path: b}, than: {path.s: 2}}]"
    with pytest.raises(SuiteError) as refused:
        load(ran, text)
    assert ran.exists()
    assert {fault.key for fault in refused.value.faults} == {"claims[0].than.path.s"}
    assert len(load(ran, text.partition("claims")[0]).cells) == 1


@pytest.mark.parametrize("kind", ["itself", "fifo", "zero", "folder", "large"])
def test_what_is_no_file_of_bounded_size_is_refused_in_words(ran, kind):
    file = ran.parent / "suites" / "odd.py"
    if kind == "itself":
        file.symlink_to(file)
    elif kind == "fifo":
        os.mkfifo(file)
    elif kind == "zero":
        file.symlink_to("/dev/zero")
    elif kind == "folder":
        file.mkdir()
    else:
        with file.open("wb") as opened:
            opened.truncate(2**40)
    words = {"itself": "Too many levels", "folder": "directory", "large": "larger than", "zero": "not a regular file"}
    allow = ["/dev/zero"] if kind == "zero" else []
    with pytest.raises(
        SuiteError, match=f"odd.py: the plugin cannot be read: .*{words.get(kind, 'not a regular file')}"
    ):
        load(ran, "plugins: [odd.py]", allow=allow)


def test_a_run_names_it_on_the_terminal_in_suite_json_and_on_the_page(ran, bench):
    suite = ran.parent / "suites" / "s.yaml"
    base = "base: {net: oracle, path: mine, solver: {name: euler, steps: 2}, sampling: {n: 64, repeats: 1}}"
    suite.write_text(f"question: what?\nplugins: [mine.py]\n{base}\n")
    done = bench("run", suite, "--results", ran.parent / "results", "--workers", 1)
    assert done.returncode == 0, done.stderr
    about = json.loads((ran.parent / "results" / "s" / "suite.json").read_text())
    ((digest, name),) = [(each["sha256"], each["file"]) for each in about["plugins"]]
    assert name == "mine.py"
    assert f"mine.py with helper.py (sha256 {digest[:12]}) is run" in done.stderr
    assert f"- plugins: mine.py (sha256 {digest[:12]})" in (ran.parent / "results" / "s" / "report.md").read_text()
