"""A code hash follows the code that a component can reach, and nothing else."""

import ast
import dataclasses
import json
import shutil
import sys
from contextlib import contextmanager

import pytest

from bench import codehash
from bench.components import ROOMS
from bench.errors import ComponentError
from bench.nets.mlp import MLP, ResidualMLP
from bench.paths import Linear, NoisyBridge
from bench.planner import plan
from bench.plugins import home
from bench.stages import STAGES
from bench.suite import load_suite

MODULES = ("bench.train", "bench.reference", "bench.sample", "bench.exact", "bench.score", "bench.timing")
CLASSES = [cls for room in ROOMS.values() for cls in room.table.values()]


def edited_hashes(copy, places, modules=(), classes=()):
    """For each place (module, "function" or "Class.method"), the code hash once a line is planted in its body.

    `copy` is a copy of the package's folder, left as it was. Its hash without any edit stands under None. Functions
    inside functions are named as Python does, "velocity.<locals>.field"; of several of one name the last is edited.
    """
    hashes = {}
    with codehash.source_in(copy):
        hashes[None] = codehash.code_hash(modules, classes)
        for module, name in places:
            with edited(module, name):
                hashes[module, name] = codehash.code_hash(modules, classes)
    return hashes


@contextmanager
def edited(module, name):
    """Meanwhile a line is planted in a function of the copy."""
    file = codehash._path(module)
    text = file.read_text(encoding="utf-8")
    file.write_text(planted(text, name), encoding="utf-8")
    codehash.forget()
    yield
    file.write_text(text, encoding="utf-8")
    codehash.forget()


def planted(text, name):
    """A module's source with `_edited = 1` as the first line of a function's body, after its docstring."""
    node = ast.parse(text)
    for part in name.replace("<locals>.", "").split("."):
        node = [inner for inner in blocks(node.body) if getattr(inner, "name", None) == part][-1]
    lines = text.splitlines(keepends=True)
    first, *rest = node.body
    if ast.get_docstring(node) is None or rest:
        first = first if ast.get_docstring(node) is None else rest[0]
        start = min([first.lineno, *(each.lineno for each in getattr(first, "decorator_list", ()))]) - 1
    else:
        start = first.end_lineno
    if first.lineno == node.lineno:  # def f(): return 1
        line = lines[start].encode()
        lines[start] = (line[: first.col_offset] + b"_edited = 1; " + line[first.col_offset :]).decode()
    else:
        lines.insert(start, " " * first.col_offset + "_edited = 1\n")
    return "".join(lines)


def blocks(body):
    """Statements, also those in blocks, but not those in functions and classes."""
    for node in body:
        yield node
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            for part in ("body", "orelse", "finalbody", "handlers", "cases"):
                yield from blocks(getattr(node, part, ()))


def functions(module):
    """The places of all functions and methods that stand at a module's top or in a class there."""
    for node in blocks(ast.parse(codehash._path(module).read_bytes()).body):
        if isinstance(node, ast.FunctionDef):
            yield module, node.name
        elif isinstance(node, ast.ClassDef):
            yield from ((module, f"{node.name}.{e.name}") for e in node.body if isinstance(e, ast.FunctionDef))


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("copy") / "bench"
    shutil.copytree(codehash.ROOT, folder, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    return folder


@pytest.mark.parametrize("module", ["bench.sample", "bench.train"])
def test_an_edit_of_any_function_of_a_stage_counts(copy, module):
    places = list(functions(module))
    hashes = edited_hashes(copy, places, modules=[module])
    assert len(set(hashes.values())) == len(places) + 1


def test_an_edit_of_a_path_counts_for_the_classes_that_reach_it(copy):
    reached = {name for module, name in codehash.reachable([("bench.paths", "NoisyBridge")]) if module == "bench.paths"}
    places = list(functions("bench.paths"))
    hashes = edited_hashes(copy, places, ["bench.train"], [NoisyBridge])
    changed = {name for module, name in places if hashes[module, name] != hashes[None]}
    assert changed == {name for _, name in places if name.partition(".")[0] in reached}
    assert {name.partition(".")[0] for name in changed} == {"_Noisy", "NoisyBridge"}


@pytest.mark.parametrize(
    ("text", "name", "edited"),
    [
        ("def f(): return 1\n", "f", "def f(): _edited = 1; return 1\n"),
        ("def f():\n    'Doc.'\n", "f", "def f():\n    'Doc.'\n    _edited = 1\n"),
        ("def f():\n    'Doc.'\n    return 1\n", "f", "def f():\n    'Doc.'\n    _edited = 1\n    return 1\n"),
        ("if A:\n def f():\n  @d\n  def g(): 1\n", "f", "if A:\n def f():\n  _edited = 1\n  @d\n  def g(): 1\n"),
        ("class A:\n  def f(x): return 'é', x\n", "A.f", "class A:\n  def f(x): _edited = 1; return 'é', x\n"),
        ("def f():\n  def g():\n    pass\n", "f.<locals>.g", "def f():\n  def g():\n    _edited = 1\n    pass\n"),
    ],
)  # fmt: skip
def test_a_line_is_planted_where_it_belongs(text, name, edited):
    assert planted(text, name) == edited


def test_every_component_of_the_package_is_found_where_it_is_written():
    for cls in CLASSES:
        assert cls.__qualname__ in codehash._module(home(cls)).definitions


def test_what_stages_and_components_reach_hides_nothing_and_changes_no_other_module():
    """What the walk cannot follow: an assignment to another module's names is seen from neither side of it."""
    start = [place for stage in MODULES for place in codehash._whole(stage)]
    start += [place for cls in CLASSES for place in codehash._class(cls)]
    for name in {module for module, _ in codehash.reachable(start)}:
        module = codehash._module(name)
        assert not module.opaque, name
        for statement in module.statements:
            for changed in {each for each, _ in statement.changes} | statement.later:
                froms = {each.module.partition(".")[0] for each in module.imports.get(changed, ())}
                assert "bench" not in froms, f"{name} changes {changed}"


def test_neighbours_in_a_room_do_not_share_a_code_hash():
    assert codehash.code_hash(classes=[Linear]) != codehash.code_hash(classes=[NoisyBridge])
    assert ("bench.nets.mlp", "ResidualMLP") not in codehash.reachable([("bench.nets.mlp", "MLP")])
    assert codehash.code_hash(classes=[MLP]) != codehash.code_hash(classes=[ResidualMLP])
    reached = codehash.reachable([("bench.solvers.fixed", "Euler")])
    assert {name for module, name in reached if module == "bench.solvers.tableau" and name.isupper()} == {"EULER"}


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_a_component_reaches_only_components_that_it_names(cls):
    """That it derives from or builds: what it reaches of other classes of tables stands in its own source."""
    reached = codehash.reachable(codehash._class(cls)) - set(codehash._class(cls))
    others = {(other.__module__, other.__qualname__): other for other in CLASSES}
    for place in reached & others.keys():
        assert issubclass(cls, others[place]), place


def test_stages_reach_no_table_of_components():
    reached = codehash.reachable([place for stage in MODULES for place in codehash._whole(stage)])
    tables = {room.table_name for room in ROOMS.values()}
    assert not {(module, name) for module, name in reached if name in tables or module == "bench.components"}
    assert ("bench.seeds", "stream") in reached


def test_single_definitions_can_be_asked_for():
    one, other = (codehash.code_hash(definitions=[("bench.sample", name)]) for name in ("start", "with_clock"))
    assert len({one, other, codehash.code_hash(), codehash.code_hash(["bench.sample"])}) == 4
    with pytest.raises(ValueError, match=r"bench\.sample has no definition gone"):
        codehash.code_hash(definitions=[("bench.sample", "gone")])
    with pytest.raises(ValueError, match=r"no module bench\.gone"):
        codehash.code_hash(["bench.gone"])


def test_a_class_made_by_no_file_is_refused_in_words():
    with pytest.raises(ComponentError, match="write its class down in a file"):
        codehash.code_hash(classes=[dataclasses.make_dataclass("Made", [("x", int)])])


MOVERS = (
    "bench.execute.",
    "bench.store.",
    "bench.files",
    "bench.components",
    "bench.plugins",
    "bench.neighbours",
    "bench.codehash",
)
"""Modules that move work and make components of what keys hold; nothing in them decides a number."""

SUITES = {
    "nets": {
        "question": "What runs?",
        "seeds": 1,
        "base": {
            "dataset": {"name": "gaussian_mixture", "points": 64},
            "path": {"name": "noisy_bridge", "s": 0.5},
            "training": {
                "steps": 8, "batch": 16, "ema": 0.5, "clip": 1.0, "warmup": 2, "schedule": "cosine",
                "weighting": "min_snr", "order": "by_class", "precision": "bf16",
            },
            "solver": {"name": "euler", "steps": 3},
            "sampling": {"n": 32, "weights": "ema", "precision": "bf16"},
        },
        "zip": {
            "prediction": ["velocity", "noise"],
            "net": [
                {"name": "mlp", "width": 8, "depth": 1, "time": "sinusoidal"}, {"name": "residual_mlp", "width": 8},
            ],
        },
        "metrics": [
            "wasserstein", "sliced_wasserstein", "mmd", "energy_distance", "mode_weight_tv", "error_budget",
            "velocity_error", "log_likelihood", "straightness", "normalised_path_energy", "nearest_training_point",
        ],
    },
    "solvers": {
        "question": "What runs?",
        "seeds": 1,
        "base": {"net": "oracle", "sampling": {"n": 32, "repeats": 1}},
        "zip": {"clock": ["noise_at_0", "data_at_0"], "path": ["linear", "vp"]},
        "grid": {
            "solver": [
                {"name": "heun", "steps": 2, "spacing": "cosine"}, {"name": "rk4", "steps": 2}, "dopri5",
                {"name": "euler_maruyama", "steps": 2}, {"name": "ddim", "steps": 2}, {"name": "ddpm", "steps": 2},
            ],
        },
        "metrics": ["wasserstein"],
    },
    "couplings": {
        "question": "What runs?",
        "seeds": 1,
        "base": {
            "dataset": "two_moons",
            "training": {"steps": 4, "batch": 16},
            "net": {"name": "mlp", "width": 8, "depth": 1},
            "sampling": {"n": 32, "start": "independent", "reference": "independent"},
        },
        "grid": {"coupling": ["independent", "ot", "ot_plan", "sinkhorn"], "source": ["gaussian", "eight_gaussians"]},
        "metrics": ["wasserstein_squared"],
    },
    "pictures": {
        "question": "What runs?",
        "seeds": 1,
        "base": {
            "dataset": "digits",
            "training": {"steps": 2, "batch": 8},
            "solver": {"name": "euler", "steps": 2},
            "sampling": {"n": 16, "repeats": 1, "guidance": 2},
        },
        "grid": {
            "net": [
                {"name": "unet", "width": 8, "classes": 10},
                {"name": "dit", "width": 12, "depth": 1, "patch": 2, "classes": 10},
            ],
        },
        "metrics": [
            *({"name": name, "extractor": "pixels"} for name in ("fid", "kid", "precision_recall", "density_coverage")),
            "nearest_training_image",
        ],
    },
}  # fmt: skip


class Tracer:
    """Notes the package's functions that run while a job is done: {job: {(module, qualified name)}}."""

    def __init__(self):
        self.seen, self.job = {}, None

    def __call__(self, frame, event, arg):
        if event == "call" and frame.f_code.co_filename.startswith(str(codehash.ROOT)):
            module = frame.f_globals["__name__"]
            self.seen.setdefault(self.job, set()).add((module, frame.f_code.co_qualname))

    def watching(self, engine):
        """The same engine, watched while it works."""
        submit = engine.submit

        def watched(batch):
            for work in batch:  # each by itself, so that it is known who passed through what
                self.job = work.id
                sys.setprofile(self)
                try:
                    submit([work])
                finally:
                    sys.setprofile(None)

        engine.submit = watched
        return engine


LONG = [pytest.param(name, marks=pytest.mark.long) for name in sorted(SUITES.keys() - {"couplings"})]


@pytest.fixture(scope="module", params=["couplings", *LONG])
def traced(request, run_inline, tmp_path_factory):
    """A suite file, and what its jobs passed through."""
    folder = tmp_path_factory.mktemp("traced")
    file = folder / f"{request.param}.yaml"
    file.write_text(json.dumps(SUITES[request.param]))
    tracer = Tracer()
    outcomes = run_inline(plan(load_suite(file), "this machine"), folder / "store", tracer.watching)
    assert all(outcome.ok for outcome in outcomes.values()), {o.reason for o in outcomes.values() if not o.ok}
    return file, tracer.seen


def decides(place):
    """Whether a function may decide a number; lambdas and comprehensions are edited with what holds them."""
    module, name = place
    return not module.startswith(MOVERS) and "<" not in name.replace("<locals>", "")


@pytest.mark.slow
def test_an_edit_of_any_function_that_a_number_passed_through_changes_its_jobs_code(traced, copy):
    file, seen = traced
    suite = load_suite(file)
    places = sorted({place for found in seen.values() for place in found if decides(place)})
    assert len(places) > 60
    assert any(module.startswith("bench.execute.") for found in seen.values() for module, _ in found)
    missed = []
    with codehash.source_in(copy):
        before = {job: spec.code for job, spec in plan(suite, "this machine").jobs.items()}
        for place in places:
            with edited(*place):
                after = {job: spec.code for job, spec in plan(suite, "this machine").jobs.items()}
            asked = [job for job, found in seen.items() if place in found]
            missed += [(place, job) for job in asked if after[job] == before[job]]
    assert not missed


@pytest.mark.parametrize("name", SUITES)
def test_what_moves_work_is_in_no_code_hash(tmp_path, name):
    """Else a better driver would have everything trained anew."""
    (tmp_path / "s.yaml").write_text(json.dumps(SUITES[name]))
    reached = set()
    for job in plan(load_suite(tmp_path / "s.yaml"), "this machine").jobs.values():
        run = STAGES[job.kind].run
        reached |= {module for module, _ in codehash.reachable([(run.__module__, run.__qualname__)])}
    assert "bench.score" in reached
    assert not [module for module in reached if module.startswith(MOVERS)]
