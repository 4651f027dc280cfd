"""`bench new`: what it writes keeps its contract and runs, and nothing is written over or misnamed."""

import sys

import pytest
from ruamel.yaml import YAML

import bench as api
from bench.components import ROOMS
from bench.planner import plan
from bench.scaffold import KINDS
from bench.suite import load_suite

COMPONENTS = [kind for kind in KINDS if kind != "suite"]
SLOW = ("path", "solver", "net")
"""What takes seconds to check."""

CHEAP = {"base.training.steps": 5, "base.sampling.n": 32, "base.net.width": 8}
"""What a run of all components together is cut down to."""


@pytest.fixture(scope="module")
def made(bench, tmp_path_factory):
    """A folder with a component of each kind, called my_<kind>, and a suite; and what was said of each."""
    folder = tmp_path_factory.mktemp("new")
    (folder / "suites").mkdir()
    said = {}
    for kind in KINDS:
        done = bench("new", kind, f"my_{kind}", "--folder", folder)
        assert done.returncode == 0, done.stderr
        said[kind] = done.stdout
    return folder / "suites", said


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.long] if kind in SLOW else []) for kind in COMPONENTS]
)
def test_a_new_component_keeps_its_contract_under_its_own_name(bench, made, kind):
    folder, said = made
    file = folder / f"my_{kind}.py"
    assert f"bench check {file}" in said[kind]
    assert f"plugins: [my_{kind}.py]" in said[kind]
    text = file.read_text()
    assert f'{ROOMS[kind].table_name} = {{"my_{kind}": My{kind.title()}}}' in text
    assert "example" not in text.lower()
    done = bench("check", file)
    assert done.returncode == 0, done.stdout
    assert f"ok       {kind} my_{kind}  " in done.stdout
    assert "FAILED" not in done.stdout


@pytest.fixture(scope="module")
def with_them(made):
    """The new suite's file with every new component in it."""
    folder, _ = made
    file, yaml = folder / "with_them.yaml", YAML(typ="safe")
    suite = yaml.load(folder / "my_suite.yaml")
    suite["plugins"] = [f"my_{kind}.py" for kind in COMPONENTS]
    suite["base"] |= {kind: f"my_{kind}" for kind in ("dataset", "net", "coupling")}
    suite["grid"] |= {"path": ["linear", "my_path"], "solver": [{"name": "my_solver", "steps": 3}]}
    suite["metrics"] = ["wasserstein", "my_metric"]
    suite["claims"][0] |= {"metric": "my_metric", "better": {"path": "my_path"}, "than": {"path": "linear"}}
    suite["profiles"]["smoke"] |= CHEAP
    yaml.dump(suite, file)
    return file


def test_every_job_of_a_new_suite_with_new_components_in_it_is_done(with_them, tmp_path, run_inline):
    suite = load_suite(with_them, "smoke")
    outcomes = run_inline(plan(suite, "here"), tmp_path / "store", plugins=suite.tables.loaded)
    assert {outcome.status for outcome in outcomes.values()} == {"ok"}
    scores = [done.entry.job["values"] for (kind, _), done in outcomes.items() if kind == "score"]
    assert [value for values in scores for value in values.get("my_metric", []) if value > 0]
    assert {done.entry.job["nfe"] for (kind, _), done in outcomes.items() if kind == "sample"} == {6}


@pytest.mark.long
def test_a_new_suite_runs_from_the_command_line_in_its_smoke_profile(bench, with_them, made):
    for file in (with_them, made[0] / "my_suite.yaml"):
        done = bench("run", file, "--profile", "smoke", "--results", file.parent / "results")
        assert done.returncode == 0, done.stderr
        assert api.load(file.parent / "results" / f"{file.stem}-smoke").ok


def test_a_new_suite_is_planned_as_it_is_with_the_seeds_that_its_claims_need(made):
    from bench.stats import seeds_needed

    folder, said = made
    planned = api.plan(folder / "my_suite.yaml", results=folder / "nothing")
    assert planned.suite.name == "my_suite"
    assert len(planned.suite.seeds) == seeds_needed(len(planned.suite.claims))
    assert planned.suite.claims[0].margin
    assert len(api.plan(folder / "my_suite.yaml", profile="smoke", results=folder / "nothing").suite.seeds) == 1
    assert f"bench run {folder / 'my_suite.yaml'} --profile smoke" in said["suite"]


def test_nothing_is_written_over(bench, made):
    folder, _ = made
    (folder / "mine.py").write_text("kept")
    done = bench("new", "path", "mine", "--folder", folder)
    assert done.returncode == 2
    assert "is there already" in done.stderr
    assert (folder / "mine.py").read_text() == "kept"


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("path", "2fast", "beginning with a letter"),
        ("suite", "../up", "beginning with a letter"),
        ("path", "lambda", "a word of Python"),
        ("path", "null", "or of YAML"),
        ("path", "linear", "there is a path 'linear' already"),
        ("dataset", "gaussian", "there is a dataset 'gaussian' already"),
        ("metric", "seed", "column of the records"),
        ("metric", "nearest_training_ratio", "reports a value"),
        ("solver", "torch", "would hide the module 'torch'"),
        ("suite", "store", "folder that results are stored in"),
        ("suite", "quick", "comes with the package"),
        ("pth", "mine", "Did you mean 'path'"),
    ],
)
def test_a_name_that_cannot_be_is_answered_with_what_to_do(bench, tmp_path, kind, name, said):
    done = bench("new", kind, name, "--folder", tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert "my_" in done.stderr or "Known:" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_class_is_never_called_as_what_its_file_imports(bench, tmp_path):
    assert bench("new", "path", "path", "--folder", tmp_path).returncode == 0
    assert "class MyPath(Path)" in (tmp_path / "path.py").read_text()
    assert bench("ls", "paths", "--plugin", tmp_path / "path.py").returncode == 0
    assert "path" not in sys.modules
    assert "make it" in bench("new", "path", "other", "--folder", tmp_path / "none").stderr
