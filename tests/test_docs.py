"""What the documentation says is so: its code runs, its command lines are the command line's, its tests exist."""

import contextlib
import io
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest
from ruamel.yaml import YAML
from typer.main import get_command

import bench
from bench import cli
from bench.components import FACTORS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>not run: [^\n]+|long|printed) -->\n)?^```(?P<language>\S*)\n(?P<text>.*?)^```$", re.M | re.S
)
NAMED_FILE = re.compile(r"# ([\w/-]+\.(?:py|yaml))\n")
CHEAP = {"plan", "check", "ls", "new"}
"""Commands that are run each time; others are parsed, and run by `make test-slow`."""

LINK = re.compile(r"(?<!`)\]\((?!https?:|#)([^)#\s]+)")
"""Where a link of a page leads, within the checkout."""


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


class Block(NamedTuple):
    """A fenced block: its language, its text, the mark in front of it (or none) and its line in the page."""

    language: str
    text: str
    mark: str | None
    line: int

    @property
    def file(self):
        """The file that it says it is, or none."""
        named = NAMED_FILE.match(self.text)
        return named and named[1]


def blocks(page):
    text = page.read_text(encoding="utf-8")
    return [
        Block(found["language"], found["text"], found["mark"], text[: found.start("language")].count("\n") + 1)
        for found in BLOCK.finditer(text)
    ]


class Reader:
    """Does what a page says, in the order of the page, in a folder that has the suites of the checkout."""

    def __init__(self, page, run, *, whole):
        self.page, self.run, self.whole = page, run, whole
        self.names, self.printed, self.done = {"__name__": "page"}, "", 0

    def read(self):
        for block in blocks(self.page):
            if (block.mark or "").startswith("not run") or (block.mark == "long" and not self.whole):
                continue
            try:
                language = {"": "sh", "console": "sh"}.get(block.language, block.language)
                do = getattr(self, f"do_{language}", None)
                assert do, f"a block of {language}, which nobody checks"
                do(block)
            except Exception as error:
                raise AssertionError(f"{self.page.relative_to(ROOT)}:{block.line}: {error}") from error
            self.done += 1

    def do_python(self, block):
        if block.file:
            self.write(block)
            told = self.run("check", block.file)
            assert told.returncode == 0, told.stdout + told.stderr
            return
        code = compile(block.text, f"{self.page.name}:{block.line}", "exec")
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(code, self.names)
        self.printed = printed.getvalue()

    def do_yaml(self, block):
        """A whole suite is written and planned; what is part of one is planned as part of a small one."""
        if block.file:
            self.write(block)
            assert len(bench.plan(block.file).cells)
            return
        found = YAML(typ="safe").load(block.text)
        base = {key: found.pop(key) for key in list(found) if key.split(".")[0] in FACTORS}
        suite = {"suite": "part", "question": "?", "seeds": 1, "metrics": ["wasserstein"], **found}
        assert len(bench.plan(suite | ({"base": base} if base else {})).cells)

    def do_sh(self, block):
        for line in block.text.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if words:
                self.call(words)

    def call(self, words):
        program, *arguments = words
        if program == "bench":
            command = parsed(arguments)
            if command in CHEAP or self.whole:
                told = self.run(*arguments)
                assert told.returncode == 0, f"{shlex.join(words)}\n{told.stdout}{told.stderr}"
                self.printed = told.stdout
        elif program == "make":
            targets = re.findall(r"^([\w-]+):.*##", (ROOT / "Makefile").read_text(), re.M)
            assert {word for word in arguments if "=" not in word} <= set(targets), words
        elif program == "pip":
            (package,) = [word for word in arguments if word not in ("install", "-e")]
            name, extras = re.fullmatch(r"([\w.-]+?)(?:\[([\w,]+)\])?", package).groups()
            assert name in (".", PROJECT["name"]), words
            assert set((extras or "").split(",")) <= {"", *PROJECT["optional-dependencies"]}, words
        else:
            raise AssertionError(f"no program {program!r} is known here")

    def do_text(self, block):
        """Under the mark `printed`: what the block above prints, numbers to within 5 %."""
        if block.mark == "printed" and self.whole:
            said, printed = block.text.split(), self.printed.split()
            assert [alike(one) for one in said] == [alike(one) for one in printed], self.printed
            for one, other in zip(said, printed, strict=True):
                if alike(one) == "number":
                    assert float(one) == pytest.approx(float(other), rel=0.05), self.printed

    def write(self, block):
        file = Path(block.file)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block.text, encoding="utf-8")


def alike(word):
    return "number" if re.fullmatch(r"-?\d+\.\d+", word) else word


def parsed(arguments):
    """The command that these arguments call. Raises what click raises for those that the command line has not."""
    command = get_command(cli.app)
    context, path = command.make_context("bench", list(arguments)), []
    while hasattr(command, "resolve_command"):
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, rest, parent=context)
        path.append(name)
    return " ".join(path)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "suites", tmp_path / "suites")
    return tmp_path


def named(page):
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_what_a_page_says_can_be_done(page, folder, bench):
    reader = Reader(page, bench, whole=False)
    reader.read()
    assert reader.done or not any(block.mark is None for block in blocks(page))


@pytest.mark.long
@pytest.mark.parametrize("page", [page for page in PAGES if "<!-- long -->" in page.read_text()], ids=named)
def test_what_a_page_says_can_be_done_to_the_end(page, folder, bench):
    reader = Reader(page, bench, whole=True)
    reader.read()
    assert reader.done == sum(not (block.mark or "").startswith("not run") for block in blocks(page))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_the_links_of_a_page_lead_somewhere(page):
    links = LINK.findall(page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_page_is_in_the_built_documentation():
    pages = {str(page.relative_to(ROOT / "docs")) for page in PAGES if "docs" in page.parts}
    assert pages == set(re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))


def test_what_is_cited_is_this_version_of_this_project():
    cited = YAML(typ="safe").load((ROOT / "CITATION.cff").read_text())
    assert (cited["title"], cited["version"]) == (PROJECT["name"], bench.__version__)
    assert (cited["license"], cited["authors"]) == (PROJECT["license"], [{"name": f"The {PROJECT['name']} authors"}])


@pytest.mark.long
def test_the_documentation_builds_without_a_warning(tmp_path):
    pytest.importorskip("material")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path / "site"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    reference = (tmp_path / "site" / "api.html").read_text()
    assert 'id="bench.api.run"' in reference
    assert 'id="bench.interfaces.Path"' in reference
    fetched = re.findall(
        r"""(?:<link[^>]+href|src)=["'](https?://[^"']+)""", (tmp_path / "site" / "index.html").read_text()
    )
    assert fetched == []


@pytest.mark.long
def test_the_notebook_on_own_data_ends_as_it_is_shown(tmp_path):
    """Executed anew it has the outputs that are stored, as far as these are words; those of a run are its verdict."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    file = ROOT / "docs" / "own_data.ipynb"
    assert file.stat().st_size < 400_000
    stored, anew = (nbformat.read(file, as_version=4) for _ in range(2))
    nbclient.NotebookClient(anew, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert shown(stored) == shown(anew)
    assert "Supported: the W2" in shown(anew)[2]
    assert str(Path.home()) not in str(stored)


def shown(book):
    """Of each output its forms and, up to the first number that a run measures, its words."""
    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    assert all(output.output_type in ("execute_result", "stream") for output in outputs)
    plain = [(output.get("data", {}), output.get("data", {}).get("text/plain", "")) for output in outputs]
    return [f"{sorted(data)} {re.split(r'[-0-9]+[.]', text)[0]}" for data, text in plain]


BROKEN = """
from dataclasses import dataclass

from bench.paths import Linear


@dataclass(frozen=True)
class Wrong(Linear):
    'Not the derivative.'

    def d_alpha(self, t):
        return 2 * t


PATHS = {"wrong": Wrong}
"""


def test_a_wrong_line_of_a_page_is_noticed(folder, tmp_path, bench):
    """The tests above would not see anything if this one did not fail for each of these."""
    wrong = {
        "```sh\nbench run quick --profil smoke\n```": "--profil",
        "```sh\nbench runn quick\n```": "runn",
        "```sh\nbench plan nothing_of_this_name\n```": "nothing_of_this_name",
        "```sh\nmake everything\n```": "everything",
        "```sh\nwget something\n```": "wget",
        "```sh\npip install flowmatch-bench[rayy]\n```": "rayy",
        "```yaml\nsolver: {name: euler, stepz: 3}\n```": "stepz",
        "```python\nassert 1 == 2, 'unequal'\n```": "unequal",
        "```python\n# broken.py\nPATHS = {'p': int}\n```": "int",
        f"```python\n# broken.py\n{BROKEN}\n```": "d_alpha",
        "```java\nint x;\n```": "java",
        "```\nbench plan --quickly quick\n```": "--quickly",
    }
    for number, (text, named) in enumerate(wrong.items()):
        page = ROOT / "docs" / f"page{number}.md"
        reader = Reader(_Text(page, text), bench, whole=False)
        with pytest.raises(AssertionError, match=re.escape(named)):
            reader.read()


class _Text:
    """A page that lies nowhere."""

    def __init__(self, page, text):
        self.name, self.text, self.page = page.name, text + "\n", page

    def read_text(self, encoding):
        return self.text

    def relative_to(self, root):
        return self.page.relative_to(root)
