"""A plugin may import the files beside it: they are loaded for it alone, and a change of theirs is seen."""

import importlib
import random
import subprocess
import sys
from textwrap import dedent

import pytest

from bench.codehash import code_hash
from bench.components import Tables, parameters
from bench.errors import ComponentError
from bench.plugins import load_plugin

PLUGIN = '''
from dataclasses import dataclass
{imports}
from bench.interfaces import Path

@dataclass(frozen=True)
class Powered(Path):
    """x_t = p(t) x1 + (1 - p(t)) x0."""

    k: int = 1

    def alpha(self, t): {inside}return {call}(t)
    def sigma(self, t): return 1 - self.alpha(t)
    def d_alpha(self, t): return 2 * t
    def d_sigma(self, t): return -2 * t

PATHS = {{"powered": Powered}}
'''
POWER = "def power(t):\n    return t ** {}\n"


def plugin(imports="", call="power", inside=""):
    return PLUGIN.format(imports=imports, call=call, inside=inside)


@pytest.fixture
def folder(tmp_path):
    """Writes files into a folder; the path of the plugin there."""

    def write(files, name="suites"):
        for file, text in files.items():
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(dedent(text))
        return str(tmp_path / name / "my_paths.py")

    return write


def powered(file):
    """What the plugin's alpha is at 3, and its code hash."""
    cls = Tables((file,)).rooms["path"]["powered"]
    return cls().alpha(3), code_hash(classes=[cls])


HELPERS = {
    "direct": (plugin("from helper import power"), "helper.py", {}),
    "as": (plugin("import helper as h", "h.power"), "helper.py", {}),
    "module": (plugin("import helper", "helper.power"), "helper.py", {}),
    "star": (plugin("from helper import *"), "helper.py", {}),
    "inside": (plugin("", "power", "from helper import power; "), "helper.py", {}),
    "module inside": (plugin("", "helper.power", "import helper; "), "helper.py", {}),
    "relative": (plugin("from .helper import power"), "helper.py", {}),
    "relative module": (plugin("from . import helper", "helper.power"), "helper.py", {}),
    "in try": (plugin("try:\n    from helper import power\nexcept ImportError:\n    raise"), "helper.py", {}),
    "import_module": (
        plugin("import importlib\npower = importlib.import_module('helper').power"), "helper.py", {},
    ),
    "through another": (plugin("from near import power"), "far.py", {"near.py": "from far import power\n"}),
    "through another, inside": (
        plugin("from near import power"), "far.py",
        {"near.py": "def power(t):\n    import far\n    return far.power(t)\n"},
    ),
    "package": (plugin("from lib.power import power"), "lib/power.py", {"lib/__init__.py": ""}),
    "package without a file": (plugin("from lib.power import power"), "lib/power.py", {}),
    "package's init": (plugin("from lib import power"), "lib/__init__.py", {}),
    "package's module": (plugin("from lib import it", "it.power"), "lib/it.py", {"lib/__init__.py": ""}),
    "dotted": (plugin("import lib.it", "lib.it.power"), "lib/it.py", {"lib/__init__.py": ""}),
    "dotted as": (plugin("import lib.it as it", "it.power"), "lib/it.py", {"lib/__init__.py": ""}),
    "relative in a package": (
        plugin("from lib import power"), "lib/it.py", {"lib/__init__.py": "from .it import power\n"},
    ),
    "relative upwards": (
        plugin("from lib.sub.a import power"), "lib/it.py",
        {"lib/__init__.py": "", "lib/sub/__init__.py": "", "lib/sub/a.py": "from ..it import power\n"},
    ),
    "star of a package": (
        plugin("from lib import *", "it.power"), "lib/it.py", {"lib/__init__.py": "__all__ = ['it']\n"},
    ),
    "absolute from a package": (
        plugin("from lib.a import power"), "helper.py",
        {"lib/__init__.py": "", "lib/a.py": "from helper import power\n"},
    ),
    "class of a neighbour": ("from helper import PATHS\n", "helper.py", {}),
    "a helper that imports the plugin": (
        plugin("import sys\nTWO = 2\nfrom near import power"), "far.py",
        {"near.py": "import my_paths\nfrom far import power\nassert my_paths.TWO == 2\n"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", HELPERS)
def test_a_helpers_change_is_seen_and_loaded_without_any_path(folder, how):
    text, helper, others = HELPERS[how]
    body = (
        POWER
        if how != "class of a neighbour"
        else plugin(POWER.replace("{}", "{{}}")).replace("{", "{{").replace("}", "}}").replace("{{{{}}}}", "{}")
    )
    before = list(sys.path)
    file = folder({"my_paths.py": text, helper: body.format(2), **others})
    value, code = powered(file)
    assert value == 9
    assert powered(folder({helper: body.format(2) + "\n# said\n"})) == (9, code)
    changed, other = powered(folder({helper: body.format(3)}))
    assert (changed, other != code) == (27, True)
    assert powered(folder({helper: body.format(2)})) == (9, code)
    assert sys.path == before
    assert not {"my_paths", "helper", "near", "far", "lib"} & {name.partition(".")[0] for name in sys.modules}
    moved = folder({"my_paths.py": text, helper: body.format(2), **others}, "elsewhere")
    assert powered(moved) == (9, code)


def test_two_folders_with_a_helper_of_one_name_each_get_their_own(folder):
    text = plugin("from helper import power")
    files = [folder({"my_paths.py": text, "helper.py": POWER.format(k)}, f"suite_{k}") for k in (2, 3)]
    assert [powered(file)[0] for file in files] == [9, 27]
    assert [powered(file)[0] for file in reversed(files)] == [27, 9]


def test_the_same_content_is_the_same_module(folder):
    file = folder({"my_paths.py": plugin("from helper import power"), "helper.py": POWER.format(2)})
    assert load_plugin(file) is load_plugin(file)
    assert load_plugin(file).__file__ == file


def test_what_is_imported_late_is_what_was_hashed(folder):
    file = folder({"my_paths.py": plugin("", "power", "from helper import power; "), "helper.py": POWER.format(2)})
    cls = Tables((file,)).rooms["path"]["powered"]
    folder({"helper.py": POWER.format(3)})
    assert cls().alpha(3) == 9


@pytest.mark.parametrize("name", ["random", "json", "numpy", "bench"])
def test_a_file_named_as_a_library_does_no_harm(folder, name):
    imports = f"import {name}\nfrom helper import power"
    file = folder(
        {"my_paths.py": plugin(imports), "helper.py": POWER.format(2), f"{name}.py": "raise ValueError('taken')\n"}
    )
    value, code = powered(file)
    assert value == 9
    assert powered(folder({f"{name}.py": "X = 1\n"})) == (9, code)  # it is not imported, so it does not count
    assert importlib.reload(random).__file__ == random.__file__


def test_a_relative_import_takes_the_file_beside_even_so(folder):
    file = folder({"my_paths.py": plugin("import random\nfrom .random import power"), "random.py": POWER.format(2)})
    assert powered(file)[0] == 9
    assert load_plugin(file).random is random


def test_a_neighbour_does_not_overwrite_a_name_of_the_plugin(folder):
    text = plugin("def power(t):\n    import power as p\n    return p.f(t)\n", "power")
    file = folder({"my_paths.py": text, "power.py": "def f(t):\n    return t ** 2\n"})
    assert [powered(file)[0] for _ in range(2)] == [9, 9]


def test_what_a_plugin_reaches_in_the_package_counts_by_definition(folder, monkeypatch):
    file = folder({"my_paths.py": plugin("import bench.predictions as p\nfrom helper import power"),
                   "helper.py": "from bench.seeds import salted\n" + POWER.format(2)})  # fmt: skip
    from bench.codehash import _class, reachable

    reached = reachable(_class(Tables((file,)).rooms["path"]["powered"]))
    assert {("bench.interfaces", "Path"), ("bench.seeds", "salted")} <= reached
    assert ("bench.paths", "Linear") not in reached
    assert not {name for module, name in reached if module == "bench.predictions" and name}


def test_a_made_class_counts_with_the_plugin_that_made_it(folder):
    text = """
        import dataclasses
        from bench.paths import Linear
        from helper import power
        def alpha(self, t): return power(t)
        Powered = dataclasses.make_dataclass("Powered", [], bases=(Linear,), namespace={"alpha": alpha}, frozen=True)
        PATHS = {"powered": Powered}
        """
    file = folder({"my_paths.py": text, "helper.py": POWER.format(2)})
    value, code = powered(file)
    changed, other = powered(folder({"helper.py": POWER.format(3)}))
    assert (value, changed) == (9, 27)
    assert code != other


def test_a_module_on_the_path_that_is_not_installed_counts_too(folder, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path / "own")
    text = plugin("from made_up_lib.it import power")
    files = {"own/made_up_lib/__init__.py": "", "own/made_up_lib/it.py": "from . import *\nfrom .deep import power\n"}
    folder({**files, "own/made_up_lib/deep.py": POWER.format(2)}, ".")
    code = powered(folder({"my_paths.py": text}))[1]
    folder({"own/made_up_lib/deep.py": POWER.format(3)}, ".")
    assert powered(folder({"my_paths.py": text}))[1] != code
    for name in [name for name in sys.modules if name.startswith("made_up_lib")]:
        del sys.modules[name]


def test_what_is_installed_into_a_folder_of_the_path_does_not_count(folder, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path / "vendor")
    folder({"made_up_vendored-1.dist-info/METADATA": "", "made_up_vendored.py": POWER.format(2)}, "vendor")
    code = powered(folder({"my_paths.py": plugin("from made_up_vendored import power")}))[1]
    folder({"made_up_vendored.py": POWER.format(3)}, "vendor")
    assert powered(folder({}))[1] == code
    del sys.modules["made_up_vendored"]


def test_an_installed_component_counts_with_the_files_of_its_package(folder, tmp_path, monkeypatch):
    place = tmp_path / "site-packages"
    monkeypatch.syspath_prepend(place)
    folder({"made_up_dist/__init__.py": "from made_up_dist.paths import PATHS\n",
            "made_up_dist/paths.py": plugin("from made_up_dist.helper import power\nimport made_up_other"),
            "made_up_dist/helper.py": POWER.format(2), "made_up_other.py": "X = 1\n"}, "site-packages")  # fmt: skip
    hashes = []
    for file, more in [("helper.py", "# said"), ("helper.py", "X = 1"), ("__init__.py", "X = 1"), ("more.py", "X = 1")]:
        path = place / "made_up_dist" / file
        path.write_text((path.read_text() if path.exists() else "") + more + "\n")
        for name in [name for name in sys.modules if name.startswith("made_up_")]:
            del sys.modules[name]
        from bench import codehash, plugins

        codehash.forget()
        plugins.bundle_of.cache_clear()
        hashes.append(code_hash(classes=[importlib.import_module("made_up_dist").PATHS["powered"]]))
    assert len(set(hashes)) == 3
    assert hashes[2] == hashes[3]
    for name in [name for name in sys.modules if name.startswith("made_up_")]:
        del sys.modules[name]


def test_what_a_plugin_imports_by_a_name_worked_out_counts_with_all_beside_it(folder):
    text = plugin("import importlib\nX = 'jso'\nimportlib.import_module(X + 'n')", "(lambda t: t ** 2)")
    code = powered(folder({"my_paths.py": text, "helper.py": POWER.format(2)}))[1]
    assert powered(folder({"helper.py": POWER.format(3)}))[1] != code


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"my_paths.py": "from gone import x\n"}, "No module named 'gone'; install gone, or put gone.py beside"),
        ({"my_paths.py": "from .gone import x\n"}, "No module named 'gone'; install gone, or put gone.py beside"),
        ({"my_paths.py": "import helper\n", "helper.py": "\n\n1 / 0\n"}, r"ZeroDivisionError: .* \(helper.py:3\)"),
        ({"my_paths.py": "import helper\n", "helper.py": "def f(:\n"}, r"SyntaxError: .*\(helper.py, line 1\)"),
        ({"my_paths.py": "def f(:\n"}, r"fails on import: SyntaxError"),
        ({"my_paths.py": "import helper\n", "helper.py": "raise SystemExit(3)\n"}, r"SystemExit: 3 \(helper.py:1\)"),
    ],
)
def test_a_helper_that_fails_is_named_with_its_line(folder, files, said):
    file = folder(files)
    with pytest.raises(ComponentError, match=said):
        load_plugin(file)


def test_annotations_of_a_neighbours_classes_are_read(folder):
    text = '''
        from __future__ import annotations
        from dataclasses import dataclass
        from typing import Annotated
        from annotated_types import Gt
        from bench.paths import Linear
        from helper import Count

        @dataclass(frozen=True)
        class Powered(Linear):
            """A path."""
            k: Count = 2
            def alpha(self, t): return t ** self.k

        PATHS = {"powered": Powered}
        '''
    helper = "from typing import Annotated\nfrom annotated_types import Gt\nCount = Annotated[int, Gt(0)]\n"
    cls = Tables((folder({"my_paths.py": text, "helper.py": helper}),)).rooms["path"]["powered"]
    assert [(row.name, row.kind) for row in parameters(cls)][-1] == ("k", "whole number > 0")


def test_a_worker_finds_the_helper_without_any_path(folder):
    file = folder({"my_paths.py": plugin("from helper import power"), "helper.py": POWER.format(2), "random.py": "1/0"})
    ask = f"from bench.components import Tables; print(Tables(({file!r},)).rooms['path']['powered']().alpha(3))"
    import bench

    start = f"import sys; sys.path.insert(0, {str(bench.__path__[0]).removesuffix('/bench')!r}); "
    done = subprocess.run([sys.executable, "-I", "-c", start + ask], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "9", done.stderr


READING = """
from pathlib import Path as Folder

files = ("data/points.txt",)

def power(t):
    return t ** float((Folder(__file__).parent / files[0]).read_text())
"""


def test_data_that_a_plugin_names_count_wherever_they_lie(folder):
    text = plugin().replace("from bench.interfaces", READING + "\nfrom bench.interfaces")
    before = powered(folder({"my_paths.py": text, "data/points.txt": "2"}))
    assert before[0] == 9
    assert powered(folder({"my_paths.py": text, "data/points.txt": "2"}, name="moved"))[1] == before[1]
    assert powered(folder({"data/points.txt": "3"}))[1] != before[1]


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ('"gone.txt"', "gone.txt: named by the plugin's `files`, and cannot be read: No such file"),
        ('"../other/points.txt"', "data lie below the plugin's folder"),
        ('"/etc/hostname"', "data lie below the plugin's folder"),
        ('"data"', "Is a directory"),
    ],
)
def test_data_that_cannot_be_had_are_told_before_the_plugin_runs(folder, named, said):
    text = plugin(call="pow", imports=f"files = ({named},)\nraise SystemExit('ran')")
    with pytest.raises(ComponentError, match=said):
        Tables((folder({"my_paths.py": text, "data/points.txt": "2"}),))
