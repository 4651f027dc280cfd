"""LaTeX tables: text that no label can turn into a command, and bold only where scores that compare are decided."""

import shutil
import subprocess

import pandas as pd
import pytest

from bench.report.latex import decided_best, latex
from bench.report.results import load_results

SOLVERS = {"solver": ["euler", "heun"]}


def ahead(cell, floor=0.0):
    """Heun is ahead by .01 in every seed, whose own spread is larger than that; its floor is higher by `floor`."""
    heun = cell["solver"] == "heun"
    return {"wasserstein": 1 + 0.1 * (cell["seed"] % 5) - 0.01 * heun, "wasserstein_floor": 0.1 + floor * heun}


def best(folder):
    results = load_results(folder)
    return decided_best(results, results.scores[0])


def test_the_best_is_decided_by_paired_seeds_alone(make_run):
    def but_for_one(cell):
        return ahead(cell) | ({"wasserstein": 0.9} if (cell["solver"], cell["seed"]) == ("euler", 0) else {})

    assert best(make_run(SOLVERS, seeds=range(7), measure=ahead)) == {1}
    assert best(make_run(SOLVERS, seeds=range(3), measure=ahead)) == set()
    assert best(make_run(SOLVERS, seeds=range(7), measure=but_for_one)) == set()


def test_each_data_set_has_its_own_best(make_run):
    axes = {"dataset": ["moons", "checkerboard"], **SOLVERS}
    assert best(make_run(axes, seeds=range(7), measure=ahead)) == {1, 3}


def test_scores_above_different_floors_were_not_measured_alike(make_run):
    assert best(make_run(SOLVERS, seeds=range(7), measure=lambda cell: ahead(cell, floor=0.05))) == set()


def test_seeds_that_were_added_until_something_was_decided_make_nothing_bold(make_run):
    assert best(make_run(SOLVERS, seeds=range(7), measure=ahead, settled=True)) == set()


HOSTILE = pd.DataFrame({
    "[2] 50 % & more": [r"\input{/etc/passwd}", "[2pt] $x_1^2$", "~#{}\n\n\\\\"],
    "W2² ↓": ["0.3 ± 0.1", "≈ 0.2 (−0.1 to 0.5)", "<script>"],
})  # fmt: skip


def test_labels_are_text():
    rows = [line for line in latex(HOSTILE).splitlines() if line.endswith(r"\\")]
    assert rows == [
        r"{[}2] 50 \% \& more & W2\textsuperscript{2} $\downarrow$ \\",
        r"\textbackslash input\{/etc/passwd\} & 0.3 $\pm$ 0.1 \\",
        r"{[}2pt] \$x\_1\textasciicircum 2\$ & $\approx$ 0.2 ($-$0.1 to 0.5) \\",
        r"\textasciitilde \#\{\} \textbackslash \textbackslash  & \textless{}script\textgreater{} \\",
    ]


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex on this machine")
def test_a_document_takes_it(tmp_path):
    document = rf"\documentclass{{article}}\usepackage{{booktabs}}\begin{{document}}{latex(HOSTILE)}\end{{document}}"
    (tmp_path / "t.tex").write_text(document)
    ran = subprocess.run(
        ["pdflatex", "-halt-on-error", "t.tex"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout[-800:]
