"""What a user meets at the command line: listings, messages, exit statuses."""

import json
from textwrap import dedent

import pytest


def test_ls_shows_every_component_with_its_parameters_and_defaults(bench):
    from bench.components import CHOICES, ROOMS, SETTINGS

    done = bench("ls")
    assert done.returncode == 0
    for room in ROOMS.values():
        assert room.title in done.stdout
        for name, cls in room.table.items():
            assert f"\n  {name}" in done.stdout
            assert cls.__doc__.splitlines()[0] in done.stdout
    for name in (*SETTINGS, *CHOICES):
        assert f"\n  {name}" in done.stdout
    assert "steps: whole number >= 1; default 100" in done.stdout
    assert "sigma_min: number >= 0, < 1; default 0.0" in done.stdout


def test_schema_is_json(bench):
    done = bench("schema")
    assert json.loads(done.stdout)["type"] == "object"


def test_five_mistakes_get_five_messages_in_one_go(bench, tmp_path):
    file = tmp_path / "wrong.yaml"
    file.write_text(
        dedent("""\
        suite: wrong
        question: What is wrong?
        seeds: 3
        base:
          solver: {name: huen}
          training: {steps: many, learning_rte: 1e-3}
        grid:
          paht: [linear]
        metrics: [wasserstien]
        """)
    )
    done = bench("run", file)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    for place, word in (
        ("5:18", "'heun'"),
        ("6:21", "steps"),
        ("6:27", "learning_rate"),
        ("8:3", "'path'"),
        ("9:11", "'wasserstein'"),
    ):
        assert any(line.startswith(f"{file}:{place} ") and word in line for line in lines), (place, done.stderr)
    assert "5 mistakes" in lines[-1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "nothing.yaml"], "nothing.yaml"),
        (["run", "quikc"], "Did you mean 'quick'"),
        (["run", "suites/quick.yaml", "--profile", "smok"], "Did you mean 'smoke'"),
        (["run", "suites/quick.yaml", "--only", "pth=linear"], "Did you mean 'path'"),
        (["run", "suites/quick.yaml", "--device", "gpu0"], "--device"),
        (["run", "suites/quick.yaml", "--stale", "perhaps"], "redo, keep"),
        (["ls", "solver"], "Did you mean 'solvers'"),
        (["report", "qick", "--results", "results"], "qick"),
        (["run"], "SUITE"),
        (["rnu"], "rnu"),
    ],
)
def test_a_wrong_command_line_is_answered_in_words_with_status_2(bench, arguments, said):
    done = bench(*arguments)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_plugin_needs_no_edit_of_the_package(bench, tmp_path):
    (tmp_path / "mine.py").write_text(
        dedent('''\
        from dataclasses import dataclass
        from bench.paths import Linear

        @dataclass(frozen=True)
        class Mine(Linear):
            """The straight line under another name."""

        PATHS = {"mine": Mine}
        ''')
    )
    (tmp_path / "own.yaml").write_text("question: Mine?\nplugins: [mine.py]\nbase: {path: mine}\n")
    assert "The straight line under another name." in bench("ls", "paths", "--plugin", tmp_path / "mine.py").stdout
    done = bench("plan", tmp_path / "own.yaml", "--results", tmp_path / "results")
    assert done.returncode == 0, done.stderr
    assert "1 cells" in done.stdout


OWN = """
from dataclasses import dataclass
from bench.interfaces import Measured, Metric

@dataclass(frozen=True)
class Own(Metric):
    "A metric of one's own."
    values = {"VALUE": Measured("1", "lower")}
    inputs = ("INPUT",)

    def measure(self, given):
        return {"VALUE": 0.0}

METRICS = {"own": Own}
"""


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("PATHS = ['a']", "PATHS must map names to classes"),
        ("raise SystemExit(3)", "fails on import"),
        ("x = 1", "no table found"),
        (
            "from dataclasses import dataclass\nfrom bench.interfaces import Metric\n\n@dataclass(frozen=True)\n"
            "class Mute(Metric):\n    'Says nothing.'\n\n    def measure(self, given):\n        return {}\n\n"
            "METRICS = {'mute': Mute}",
            "a metric says what it returns",
        ),
        *(
            (OWN.replace("VALUE", value).replace("INPUT", asked), words)
            for value, asked, words in (
                (
                    "nfe",
                    "samples",
                    "METRICS['own']: 'nfe' is a value that every cell has already (evaluations)",
                ),
                ("score_seconds", "samples", "'score_seconds' is a value that every cell has already (s)"),
                ("spread_floor", "samples", "names that end in '_floor' stand beside the score of the name before it"),
                ("solver", "samples", "'solver' is a factor, and so a column of the records"),
                ("records", "samples", "'records' is a table of the report or a column of the records"),
                ("NFE", "samples", "'NFE' is a value that every cell has already"),
                ("seeds ok", "samples", "letters, digits and _ alone"),
                ("w_excess", "samples", "names that end in '_excess' stand beside"),
                ("own", "sample", "no input named 'sample' among `inputs`. Known: samples, start"),
            )
        ),
    ],
)
def test_a_plugin_that_cannot_be_used_is_refused_in_words(bench, tmp_path, code, said):
    (tmp_path / "bad.py").write_text(code + "\n")
    (tmp_path / "own.yaml").write_text("question: Bad?\nplugins: [bad.py]\n")
    done = bench("plan", tmp_path / "own.yaml", "--results", tmp_path / "results")
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_brackets_in_a_question_and_a_folder_are_plain_text(bench, tmp_path):
    (tmp_path / "odd.yaml").write_text('question: "Is [/red] plain?"\n')
    done = bench("plan", tmp_path / "odd.yaml", "--results", tmp_path / "res [/x] dir")
    assert done.returncode == 0, done.stderr
    assert "Is [/red] plain?" in done.stdout


def test_a_report_is_not_written_over_that_of_another_suite(bench, tmp_path):
    folder = tmp_path / "results" / "mine"
    folder.mkdir(parents=True)
    (folder / "suite.json").write_text('{"suite": "other", "profile": null}')
    (tmp_path / "mine.yaml").write_text("question: Mine?\n")
    done = bench("run", tmp_path / "mine.yaml", "--results", tmp_path / "results")
    assert done.returncode == 2
    assert "suite other" in done.stderr
