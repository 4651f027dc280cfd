"""A code hash follows the code that a component can reach, and nothing else."""

import ast
import dataclasses
import shutil
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent, indent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import codehash
from bench.components import ROOMS
from bench.errors import ComponentError
from bench.nets.mlp import MLP, ResidualMLP
from bench.paths import Linear, NoisyBridge
from bench.plugins import home

STAGES = ("bench.train", "bench.reference", "bench.sample", "bench.exact", "bench.score", "bench.timing")
CLASSES = [cls for room in ROOMS.values() for cls in room.table.values()]


@contextmanager
def source_in(root):
    """Code hashes of what stands in another folder than the package's."""
    before, codehash.ROOT = codehash.ROOT, Path(root)
    codehash.forget()
    try:
        yield
    finally:
        codehash.ROOT = before
        codehash.forget()


def edited_hashes(copy, places, modules=(), classes=()):
    """For each place (module, "function" or "Class.method"), the code hash once a line is planted in its body.

    `copy` is a copy of the package's folder, left as it was. Its hash without any edit stands under None.
    """
    hashes = {}
    with source_in(copy):
        hashes[None] = codehash.code_hash(modules, classes)
        for module, name in places:
            file = codehash._path(module)
            text = file.read_text(encoding="utf-8")
            file.write_text(planted(text, name), encoding="utf-8")
            codehash.forget()
            hashes[module, name] = codehash.code_hash(modules, classes)
            file.write_text(text, encoding="utf-8")
    return hashes


def planted(text, name):
    """A module's source with `_edited = 1` as the first line of a function's body."""
    body = ast.parse(text).body
    for part in name.split("."):
        node = next(inner for inner in body if getattr(inner, "name", None) == part)
        body = node.body
    first = body[1] if len(body) > 1 and ast.get_docstring(node) is not None else body[0]
    if first.lineno == node.lineno:  # def f(): return 1
        return text.replace(ast.get_source_segment(text, first), f"_edited = 1; {ast.get_source_segment(text, first)}")
    lines = text.splitlines(keepends=True)
    decorated = getattr(first, "decorator_list", ())
    line = min([first.lineno, *(each.lineno for each in decorated)]) - 1
    if first is body[0] and ast.get_docstring(node) is not None:  # a docstring alone
        line = first.end_lineno
    lines.insert(line, " " * first.col_offset + "_edited = 1\n")
    return "".join(lines)


def functions(module):
    """The places of all functions and methods that stand at a module's top or in a class there."""
    for node in ast.parse((codehash.ROOT / f"{module.partition('.')[2].replace('.', '/')}.py").read_text()).body:
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


def test_every_component_of_the_package_is_found_where_it_is_written():
    for cls in CLASSES:
        assert cls.__qualname__ in codehash._module(home(cls)).definitions


def test_what_stages_and_components_reach_hides_nothing_and_changes_no_other_module():
    """What the walk cannot follow: an assignment to another module's names is seen from neither side of it."""
    start = [place for stage in STAGES for place in codehash._whole(stage)]
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
    reached = codehash.reachable([place for stage in STAGES for place in codehash._whole(stage)])
    tables = {room.table_name for room in ROOMS.values()}
    assert not {(module, name) for module, name in reached if name in tables or module == "bench.components"}
    assert ("bench.seeds", "stream") in reached


def test_single_definitions_can_be_asked_for():
    one, other = (codehash.code_hash(definitions=[("bench.sample", name)]) for name in ("start", "with_clock"))
    assert len({one, other, codehash.code_hash(), codehash.code_hash(["bench.sample"])}) == 4
    with pytest.raises(ValueError, match=r"bench\.sample has no definition gone"):
        codehash.code_hash(definitions=[("bench.sample", "gone")])


def test_a_class_made_by_no_file_is_refused_in_words():
    with pytest.raises(ComponentError, match="write its class down in a file"):
        codehash.code_hash(classes=[dataclasses.make_dataclass("Made", [("x", int)])])


@pytest.fixture
def made(tmp_path):
    """The code hash of `used` in a module of a package that stands in a folder of its own."""

    def of(files, start="used"):
        shutil.rmtree(tmp_path / "bench", ignore_errors=True)
        for name, text in {"__init__.py": "", "made.py": files, **(files if isinstance(files, dict) else {})}.items():
            if isinstance(text, str):
                path = tmp_path / "bench" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(dedent(text))
        with source_in(tmp_path / "bench"):
            return codehash.code_hash(definitions=[("bench.made", start)])

    return of


USING = "\ndef used(x):\n    return A * x\n"

BOUND = {
    "plain": "A = {}",
    "annotated": "A: int = {}",
    "chained": "B = A = {}",
    "tuple": "A, B = {}, 0",
    "starred": "B, *A = 0, {}",
    "nested tuple": "(B, (A, C)) = (0, ({}, 1))",
    "augmented": "A = 1\nA += {}",
    "through another": "K = {}\nA = K",
    "in if": "import sys\nif sys.byteorder:\n    A = {}\nelse:\n    A = 9",
    "in else": "import sys\nif sys.byteorder == 'x':\n    A = 9\nelse:\n    A = {}",
    "in the test of if": "import sys\nif sys.maxsize > {}:\n    A = 8\nelse:\n    A = 9",
    "in elif": "import sys\nif sys.byteorder == 'x':\n    A = 9\nelif sys.maxsize > {}:\n    A = 8\nelse:\n    A = 7",
    "in try": "try:\n    A = {}\nexcept ValueError:\n    A = 9",
    "in except": "try:\n    A = int('x')\nexcept ValueError:\n    A = {}",
    "in finally": "try:\n    pass\nfinally:\n    A = {}",
    "in with": "import contextlib\nwith contextlib.suppress(ValueError):\n    A = {}",
    "in with as": "import contextlib\nwith contextlib.nullcontext({}) as A:\n    pass",
    "in for": "for A in [{}]:\n    pass",
    "inside for": "for _ in [0]:\n    A = {}",
    "in while": "A = 0\nwhile A < {}:\n    A += 1",
    "in match": "match {}:\n    case A:\n        pass",
    "in a case": "match 1:\n    case 1:\n        A = {}",
    "walrus": "print(A := {})",
    "walrus in a test": "if (A := {}) > 0:\n    pass",
    "walrus in a comprehension": "B = [(A := {}) for _ in range(1)]",
    "deleted": "A = 9\ndel A\nA = {}",
    "rebound": "A = 1\nA = {}",
    "global in a function": "A = 0\ndef set_it():\n    global A\n    A = {}\nset_it()",
    "global of nowhere else": "def set_it():\n    global A\n    A = {}\nset_it()",
    "a default": "K = {}\ndef A(x, k=K):\n    return k",
    "item": "A = [0]\nA[0] = {}",
    "item of an item": "A = [[0]]\nA[0][0] = {}",
    "attribute": "class A:\n    pass\nA.k = {}",
    "item of an attribute": "class A:\n    k = [0]\nA.k[0] = {}",
    "method": "A = []\nA.append({})",
    "method of an item": "A = [[]]\nA[0].append({})",
    "setattr": "class A:\n    pass\nsetattr(A, 'k', {})",
    "under another name": "B = A = []\nB.append({})",
    "under a later name": "A = []\nB = A\nB += [{}]",
    "inside a container": "A = []\nB = [A]\nB[0].append({})",
    "by a loop": "class A:\n    pass\nfor cls in (A,):\n    cls.k = {}",
    "by a function": "A = []\ndef put(x):\n    A.append(x)\nput({})",
    "by a function's parameter": "A = []\ndef put(it, x):\n    it.append(x)\nput(A, {})",
    "by a kept call": "A = []\ndef put(it, x):\n    it.append(x)\nB = put(A, {})",
    "by a function of a function": "A = []\ndef put(x):\n    A.append(x)\ndef more(x):\n    put(x)\nB = more({})",
    "under a function's own name": "A = []\ndef put(x):\n    t = A\n    t.append(x)\nB = put({})",
    "by a method": "A = []\nclass R:\n    def put(self, x):\n        A.append(x)\nR_ = R()\nR_.put({})",
    "by a comprehension": "A = []\n_ = [A.append(x) for x in [{}]]",
    "by map": "A = []\ndef put(x):\n    A.append(x)\n_ = list(map(put, [{}]))",
    "by next": "A = iter([1, {}])\nnext(A)",
    "by itself": "import bench.made as me\nK = {}\nA = lambda: me.K",
    "global of an inner function": (
        "K = {}\ndef A():\n    K = 1\n    def g():\n        global K\n        return K\n    return g()"
    ),
    "by a decorator": "A = []\ndef put(f):\n    A.append(f)\n    return f\n@put\ndef other():\n    return {}",
    "by a decorator's call": (
        "A = []\ndef put(x):\n    A.append(x)\n    return lambda f: f\n@put({})\ndef other():\n    pass"
    ),
    "by a subclass": (
        "class A:\n    all = {{}}\n    def __init_subclass__(cls):\n        cls.all['x'] = cls\nclass B(A):\n    k = {}"
    ),
    "single dispatch": (
        "import functools\n@functools.singledispatch\ndef A(x):\n    return 0\n@A.register\ndef _(x: int):\n"
        "    return {}"
    ),
    "in a class body": "A = {{}}\nclass B:\n    A['x'] = {}",
    "in exec": "exec('A = {}')",
    "in globals": "K = {}\nglobals()['A'] = K",
    "in vars of the module": "import sys\nK = {}\nsetattr(sys.modules[__name__], 'A', K)",
    "statement of its own": "A = 1\ndef register(x):\n    pass\nregister([A, {}])",
    "statement about nothing": "import torch\nA = 1\ntorch.set_default_dtype({})",
    "another library's state": "import os\nA = 1\nos.environ['A'] = '{}'",
    "assertion": "A = 1\nassert A < {}",
    "lambda": "A = lambda: {}",
    "class": "class A:\n    k = {}",
    "metaclass": "class M(type):\n    k = {}\nclass A(metaclass=M):\n    pass",
    "class decorator": "def mark(cls):\n    cls.k = {}\n    return cls\n@mark\nclass A:\n    pass",
    "base through attribute": "class N:\n    class B:\n        k = {}\nclass A(N.B):\n    pass",
    "annotation": "from typing import Annotated\nK = {}\nclass A:\n    x: Annotated[int, K]",
    "text of an annotation": "K = {}\nclass A:\n    x: 'tuple[K]'",
    "foreign import": "from math import factorial as A\nfrom math import perm{} as A",
}


def nested(text, block):
    return f"{block}\n{indent(text, '    ')}\n"


@pytest.mark.parametrize("how", BOUND)
def test_every_way_of_binding_a_name_counts(made, how):
    assert made(BOUND[how].format(2) + USING) != made(BOUND[how].format(3) + USING)


@pytest.mark.parametrize(
    "block", ["if True:", "if bool(1):", "try:", "with open('x'):", "for _ in 'a':", "while True:"]
)
@pytest.mark.parametrize("how", BOUND)
def test_and_does_so_inside_a_block(made, how, block):
    end = "except ValueError:\n    pass\n" if block == "try:" else ""
    assert made(nested(BOUND[how].format(2), block) + end + USING) != made(
        nested(BOUND[how].format(3), block) + end + USING
    )


POWER = "K = {}\ndef power(x):\n    return x ** K\ndef other(x):\n    return x\n"

IMPORTED = {
    "from": "from bench.lib import power\ndef used(x):\n    return power(x)",
    "from as": "from bench.lib import power as p\ndef used(x):\n    return p(x)",
    "relative": "from .lib import power\ndef used(x):\n    return power(x)",
    "relative module": "from . import lib\ndef used(x):\n    return lib.power(x)",
    "module": "import bench.lib\ndef used(x):\n    return bench.lib.power(x)",
    "module as": "import bench.lib as m\ndef used(x):\n    return m.power(x)",
    "module from": "from bench import lib\ndef used(x):\n    return lib.power(x)",
    "star": "from bench.lib import *\ndef used(x):\n    return power(x)",
    "relative star": "from .lib import *\ndef used(x):\n    return power(x)",
    "inside": "def used(x):\n    from bench.lib import power\n    return power(x)",
    "module inside": "def used(x):\n    import bench.lib as m\n    return m.power(x)",
    "in try": (
        "try:\n    from bench.lib import power\nexcept ImportError:\n    power = None\ndef used(x):\n"
        "    return power(x)"
    ),
    "in if": "if True:\n    import bench.lib as m\ndef used(x):\n    return m.power(x)",
    "rebound": "import bench.lib\nf = bench.lib.power\ndef used(x):\n    return f(x)",
    "base": "import bench.lib as m\nclass used(m.power):\n    pass",
    "decorator": "import bench.lib as m\n@m.power\ndef used(x):\n    return x",
    "default": "import bench.lib as m\ndef used(x, f=m.power):\n    return x",
    "getattr": "import bench.lib as m\ndef used(x):\n    return getattr(m, 'po' + 'wer')(x)",
    "whole package": "import bench.lib\ndef used(x):\n    return getattr(getattr(bench, 'lib'), 'power')(x)",
    "import_module": (
        "from importlib import import_module\ndef used(x):\n"
        "    return import_module('bench.lib').power(x)"
    ),
    "sub": "def used(x):\n    from bench.sub.deep import power\n    return power(x)",
    "sub relative": "from .sub import again\ndef used(x):\n    return again(x)",
    "sub module": "from bench.sub import deep\ndef used(x):\n    return deep.power(x)",
    "sub alias": "from bench.sub import lib\ndef used(x):\n    return lib.power(x)",
    "sub alias whole": "import bench.sub as s\ndef used(x):\n    return s.lib.power(x)",
    "sub star": "from bench.sub.stars import *\ndef used(x):\n    return power(x)",
    "lazy": "from bench.lazy import anything\ndef used(x):\n    return anything(x)",
    "through a class": "from bench.lib import power\nclass used:\n    f = staticmethod(power)",
}  # fmt: skip
OTHERS = {
    "sub/__init__.py": "from ..lib import power as again\nfrom bench import lib\n",
    "sub/deep.py": "from bench.lib import power\n",
    "sub/stars.py": "from ..lib import *\n",
    "lazy.py": "def __getattr__(name):\n    from bench.lib import power\n    return power\n",
}


@pytest.mark.parametrize("how", IMPORTED)
def test_reach_goes_through_every_form_of_import(made, how):
    files = {"made.py": IMPORTED[how], **OTHERS}
    two, three = (made({**files, "lib.py": POWER.format(k)}) for k in (2, 3))
    assert two != three
    if how not in ("getattr", "whole package", "import_module"):
        assert two == made({**files, "lib.py": POWER.format(2).replace("return x\n", "return -x\n")})


def test_what_is_imported_under_which_name_counts(made):
    lib = "def a(x):\n    return x\ndef b(x):\n    return -x\n"
    text = "from bench.lib import a as p, b as q\ndef used(x):\n    return p(x) - 2 * q(x)\n"
    swapped = text.replace("a as p, b as q", "b as p, a as q")
    assert made({"made.py": text, "lib.py": lib}) != made({"made.py": swapped, "lib.py": lib})
    assert made("from math import sin as f\ndef used(x):\n    return f(x)") != made(
        "from math import cos as f\ndef used(x):\n    return f(x)"
    )
    assert made("from math import *\ndef used(x):\n    return log(x)") != made(
        "from numpy import *\ndef used(x):\n    return log(x)"
    )


def test_which_of_two_star_imports_comes_last_counts(made):
    files = {"a.py": "def f(x):\n    return x\n", "b.py": "def f(x):\n    return -x\n"}
    stars = ["from bench.a import *\n", "from bench.b import *\n"]
    used = "def used(x):\n    return f(x)\n"
    assert made({"made.py": "".join(stars) + used, **files}) != made({"made.py": "".join(stars[::-1]) + used, **files})
    hidden = {**files, "b.py": "__all__ = []\n" + files["b.py"]}
    assert made({"made.py": "".join(stars) + used, **files}) != made({"made.py": "".join(stars) + used, **hidden})


@pytest.mark.parametrize("place", ["__init__.py", "lib.py", "more.py", "sub/__init__.py"])
def test_what_happens_on_import_counts_for_all_that_import_it(made, place):
    files = {
        "made.py": "from bench.lib import power\nimport bench.sub.deep\ndef used(x):\n    return power(x)\n",
        "lib.py": "import bench.more\n" + POWER.format(2), "more.py": "", "sub/deep.py": "", "sub/__init__.py": "",
    }  # fmt: skip
    acting = f"import torch\ntorch.set_num_threads(2)\n{files.get(place, '')}"
    assert made(files) != made({**files, place: acting})
    assert made(files) == made({**files, place: f"NEW = 1\n{files.get(place, '')}"})


def test_order_counts_where_a_name_is_bound_twice_and_nowhere_else(made):
    twice = "A = 1\nB = A\nA = 2\ndef used():\n    return A, B"
    assert made(twice) != made("A = 1\nA = 2\nB = A\ndef used():\n    return A, B")
    once = "A = 1\nB = 2\ndef used():\n    return A, B"
    assert made(once) == made("def used():\n    return A, B\nB = 2\nA = 1")


ROOM = '''
"""A room."""
from __future__ import annotations
from typing import TYPE_CHECKING
from dataclasses import dataclass
if TYPE_CHECKING:
    from bench.other import Type
SCALE = 2.0

def used(x: Type, size=3):
    """Doc."""
    # a comment
    return SCALE * x

def unused(x):
    return x

class Thing:
    def go(self, unused):
        return unused

TABLE = {"used": used, "thing": Thing}
TABLE["more"] = unused
'''


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("# a comment", "# another"),
        ('"""Doc."""', '"""Other words."""'),
        ('"""Doc."""', ""),
        ('"""A room."""', ""),
        ("    return x\n", "    return -x\n"),
        ("SCALE * x", "(SCALE\n            * x)"),
        ("TABLE = {", 'TABLE = {"new": 3, '),
        ('TABLE["more"] = unused', 'TABLE["more"] = used'),
        ("SCALE = 2.0", "NEW = 1\nSCALE = 2.0"),
        ("SCALE = 2.0", "def new(): pass\nSCALE = 2.0"),
        ("SCALE = 2.0", "if TABLE_SIZE:\n    NEW = 1\nSCALE = 2.0"),
        ("SCALE = 2.0", "for NEW in [1]: pass\nSCALE = 2.0"),
        ("SCALE = 2.0", "def new(): SCALE = [0]; SCALE[0] = 1\nSCALE = 2.0"),
        ("from dataclasses", "import json\nfrom dataclasses"),
        ("import Type", "import Type, More"),
        ("class Thing", "def change(t): t[0] = SCALE\nOF = {1: change}\nclass Thing"),
        ("class Thing", "@dataclass\nclass Thing"),
        ("return unused", "return unused + 1"),
    ],
)
def test_comments_docstrings_and_code_out_of_reach_do_not_count(made, before, after):
    assert before in ROOM
    assert made(ROOM) == made(ROOM.replace(before, after, 1))


@pytest.mark.parametrize(
    ("before", "after"), [("SCALE = 2.0", "SCALE = 3.0"), ("SCALE * x", "x"), ("size=3", "size=4"), ("(x:", "(y:")]
)
def test_code_within_reach_counts(made, before, after):
    assert made(ROOM) != made(ROOM.replace(before, after, 1))


def test_a_name_of_a_functions_own_reaches_nothing(made):
    assert made(ROOM, "Thing") == made(ROOM.replace("    return x\n", "    return -x\n"), "Thing")


@given(st.permutations(["A = 1", "B = 2", "def f():\n    return A", "def g():\n    return B"]))
def test_layout_does_not_count(order):
    plain = ["A = 1", "B = 2", "def f():\n    return A", "def g():\n    return B"]
    texts = [codehash.Module(ast.parse("\n# said\n".join(parts))) for parts in (plain, order)]
    assert texts[0].text(frozenset("ABfg")) == texts[1].text(frozenset("ABfg"))
