"""A definition reaches what its names stand for, however they are bound, changed or imported."""

import ast
import shutil
import tempfile
from pathlib import Path
from textwrap import dedent, indent

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from bench import codehash
from bench.definitions import Module


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
        with codehash.source_in(tmp_path / "bench"):
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
    "eval": "import bench.lib\ndef used(x):\n    return eval('bench.lib.power')(x)",
    "eval of a star": "from bench.lib import *\ndef used(x):\n    return eval('power')(x)",
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
    if how not in ("getattr", "whole package", "import_module", "eval", "eval of a star"):
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
    texts = [Module(ast.parse("\n# said\n".join(parts))) for parts in (plain, order)]
    assert texts[0].text(frozenset("ABfg")) == texts[1].text(frozenset("ABfg"))


NAMES = st.sampled_from(["A", "B", "C", "f", "g"])
SIMPLE = [
    "{a} = [{k}]", "{a}, {b} = [{k}], [{j}]", "{a} = {b} = [{k}]", "{a} = {b}", "{a} += [{k}]", "{a}[0] = {k}",
    "{a} = [{b}, {k}]", "{a}[0] = {b}", "{a}.append({k})", "{a}.append({b})", "{a}[0].append({k})", "put({a}, {k})",
    "{c} = put({a}, {k})", "{a} = give({b})", "del {a}", "{a} = [*{b}, {k}]", "add_to_b({k})", "{a} = add_to_b({k})",
    "list(map(add_to_b, [{k}]))", "[{a} := [{k}]]", "{a} = kept({k})", "for {a} in [[{k}], [{j}]]: pass",
]  # fmt: skip
BLOCKS = [
    "if {a}:\n{body}",
    "if len({a}) > {k}:\n{body}\nelse:\n    {b} = [{j}]",
    "if {k} > 5:\n{body}",
    "try:\n{body}\nexcept Exception:\n    {a} = [{k}]",
    "for {a} in [{b}, [{k}]]:\n{body}",
    "with open('/dev/null') as {c}:\n{body}",
    "def {a}(x=[{k}]):\n    return [x, {b}, {j}]",
    "class {a}:\n    k = {b}\n    def append(self, x): {b}.append([x, {k}])\n{a} = {a}()",
    "@mark\ndef {a}():\n    return {b}",
    "match [{k}, {b}]:\n    case [{a}, {c}]:\n        {a} = [{a}]\n{body}",
]
HEAD = """
A, B, C = [1], [2], [3]
kept_ones = []
f = g = A
def put(t, x):
    t.append(x)
    return [x]
def give(t):
    return t
def add_to_b(x):
    t = B
    t.append(x)
    return t
def mark(x):
    C.append(x())
    return [x()]
def kept(x):
    kept_ones.append(x)
    return kept_ones
"""
END = "\ndef used():\n    return shown({name})\n"


@st.composite
def programs(draw):
    """Two programs that differ in one number."""
    numbers = []

    def number():
        numbers.append(draw(st.integers(0, 9)))
        return f"<{len(numbers) - 1}>"

    def lines(depth):
        parts = []
        for _ in range(draw(st.integers(1, 5 if depth == 0 else 2))):
            form = draw(st.sampled_from(SIMPLE if depth else SIMPLE + BLOCKS))
            names = {key: draw(NAMES) for key in "abc"}
            body = indent(lines(depth + 1), "    ") if "{body}" in form else ""
            parts.append(form.format(k=number(), j=number(), body=body, **names))
        return "\n".join(parts)

    text = HEAD + lines(0) + END.format(name=draw(NAMES))
    changed = draw(st.integers(0, len(numbers) - 1))
    texts = []
    for delta in (0, 1):
        full = text
        for place, value in enumerate(numbers):
            full = full.replace(f"<{place}>", str(value + delta * (place == changed)))
        texts.append(full)
    return texts


def shown(thing, depth=0):
    """A value as text, functions by what they return."""
    if depth > 6:
        return "..."
    if isinstance(thing, list):
        return [shown(each, depth + 1) for each in thing]
    if callable(thing):
        return shown(thing(), depth + 1)
    return repr(thing) if isinstance(thing, int) else shown(getattr(thing, "k", None), depth + 1)


def outcome(text):
    names = {"shown": shown}
    try:
        exec(text, names)
        return names["used"]()
    except Exception as error:
        return type(error).__name__


def hash_of(text):
    """The code hash of `used` in a module with this text."""
    with tempfile.TemporaryDirectory() as folder, codehash.source_in(Path(folder)):
        Path(folder, "__init__.py").touch()
        Path(folder, "made.py").write_text(text)
        return codehash.code_hash(definitions=[("bench.made", "used")])


@settings(max_examples=300, deadline=None)
@given(programs())
def test_where_the_value_differs_the_hash_does(texts):
    one, other = map(outcome, texts)
    event(f"differs {one != other}, fails {isinstance(one, str)}")
    if one != other:
        assert hash_of(texts[0]) != hash_of(texts[1])
