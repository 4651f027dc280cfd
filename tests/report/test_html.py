"""report.html without a browser: what it holds, what it may load, and that nothing of a stranger's is markup."""

import json
import re
from html.parser import HTMLParser

import pytest

from bench.report import html, seal, write_report
from bench.report.latex import decided_best, latex
from bench.report.results import load_results

AXES = {"path": ["straight", "noisy"], "solver": ["euler", "heun"], "solver.steps": ["5", "20"]}
HOSTILE = "</script><script>hacked=1</script><img src=x onerror=hacked=1>\"'><b>{{7*7}}`</style>"
CLAIM = {
    "claim": "Straight is better", "metric": "wasserstein", "better": "path=straight", "than": "path=noisy", "by": None,
    "margin": 0.05, "at": None, "source": "a folk saying", "because": "noise stays",
    "pairs": [[12 * 2 + s, s] for s in range(6)],
}  # fmt: skip


class Page(HTMLParser):
    """Elements with their attributes, text by element, and what the page's scripts say."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.scripts, self.text, self._within = [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._within = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._within = ""

    def handle_data(self, data):
        if self._within == "script":
            self.scripts[-1] += data
        elif self._within != "style":
            self.text.append(data)


@pytest.fixture
def hostile_run(make_run):
    """A run in which every text that a stranger could choose is markup."""
    claim = {**CLAIM, **dict.fromkeys(("claim", "metric", "better", "than", "source", "because"), HOSTILE)}
    about = {
        "suite": HOSTILE, "question": HOSTILE, "profile": HOSTILE, "notices": [HOSTILE], "command": HOSTILE,
        "provenance": {HOSTILE: HOSTILE}, "terms": {HOSTILE: HOSTILE}, "fixed": {HOSTILE: HOSTILE},
        "exclusions": [{"where": HOSTILE, "because": HOSTILE, "cells": 1}], "claims": [claim],
        "values": {name: {"unit": HOSTILE, "direction": "lower", "floored": True} for name in ("wasserstein", HOSTILE)},
    }  # fmt: skip

    def measure(cell):
        value = 1.0 + cell["cell"]
        return {"wasserstein": value, HOSTILE: value, "nfe": float(cell["solver.steps"])}

    def change(cell):
        cell["device"] = HOSTILE
        if cell["cell"] == 3:
            cell.update(status="failed", reason=HOSTILE)

    return make_run({"path": ["plain", HOSTILE], "solver.steps": ["5", "20"]}, range(6), change, measure, **about)


def test_what_a_stranger_says_is_text_in_the_page_and_in_its_numbers(hostile_run):
    assert write_report(hostile_run).warnings == []
    text = (hostile_run / "report.html").read_text()
    page = Page(text)
    assert len(page.scripts) == 1 + len(html.SCRIPTS), "no script but the numbers and the page's own"
    assert not [attrs for _, attrs in page.elements if any(name.startswith("on") for name in attrs)]
    assert not [attrs for _, attrs in page.elements if attrs.get("src") == "x"]
    numbers = json.loads(page.scripts[0])
    assert "<" not in page.scripts[0]
    assert numbers["factors"][0]["labels"] == ["plain", HOSTILE]
    assert text.count(HOSTILE) == 0
    assert sum(HOSTILE.partition("`")[0] in part for part in page.text) > 15, "and all of it is still shown"
    assert "49" not in next(part for part in page.text if "{{7*7}}" in part), "nothing of it is a template"


def test_the_page_is_one_file_and_may_load_and_run_nothing_else(make_run, tmp_path):
    folder = make_run(AXES, store=True, sealed=True)
    write_report(folder, tmp_path / "store")
    page = Page((folder / "report.html").read_text())
    policy = next(attrs["content"] for tag, attrs in page.elements if attrs.get("http-equiv"))
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy
    assert "unsafe-inline" not in policy.partition("style-src")[0]
    for tag, attrs in page.elements:
        places = [attrs[name] for name in ("src", "href", "action", "srcset") if name in attrs]
        assert all(place.startswith(("data:", "#")) for place in places), tag
    pictures = [attrs["src"][:22] for tag, attrs in page.elements if tag == "img"]
    assert [picture.partition(";")[0] for picture in pictures] == ["data:image/webp"] * 2 + ["data:image/svg+xml"]
    assert seal.verify(folder)
    assert "report.html" in seal.held(folder)


def test_numbers_of_the_page_are_those_of_the_run(make_run):
    folder = make_run(AXES, range(6), claims=[CLAIM])
    results = load_results(folder)
    write_report(folder)
    page = (folder / "report.html").read_text()
    data = json.loads(Page(page).scripts[0])
    names = [value["key"] for value in data["values"]]
    assert names[0] == "W2 (root)"
    for cell, combo, seed, *values in data["cells"]:
        row = results.cells.loc[cell]
        labels = [data["factors"][i]["labels"][place] for i, place in enumerate(data["combos"][combo])]
        assert (labels, seed) == ([row[axis] for axis in AXES], row["seed"])
        assert values[0] == pytest.approx(results.wide.loc[cell, "wasserstein"], rel=1e-5)
    assert len(data["cells"]) == 48
    assert len({data["lines"][combo] for combo in range(8)}) == 4, "a curve per path and solver"
    order = [
        page.index(f">{words}<") for words in ("Claims", "What shows it", "Headline", "Figures", "How it was made")
    ]
    assert order == sorted(order)
    assert page.index('class="answer"') < order[0]
    assert [row[2] for row in data["claims"]] == list(range(6))


def test_of_many_cells_dots_and_rows_are_left_out_and_that_is_said(make_run):
    axes = {"path": [f"p{i}" for i in range(50)], "solver.steps": [str(n) for n in range(1, 101)]}
    folder = make_run(
        axes, (0,), measure=lambda cell: {"wasserstein": 1.0 + cell["cell"], "nfe": float(cell["solver.steps"])}
    )
    results = load_results(folder)
    data, said = html.page_data(results, [])
    assert len(data["cells"]) == html.MOST_POINTS
    assert said == f"Dots of {html.MOST_POINTS} of 5000 cells are drawn, evenly chosen; means are of all."
    assert len(data["means"][0]) == 5000


def test_what_a_table_sorts_by_is_the_number_that_it_shows():
    shown = ["0.53 ± 0.04", "≈ 0.102", "-0.006 ± 0.006 data units", "1,024", "–", "failed", "2e-05 (busy)", "77 %"]
    assert [html.order(text) for text in shown] == ["0.53", "0.102", "-0.006", "1024", "–", "failed", "2e-05", "77"]


def test_latex_is_booktabs_with_labels_as_text_and_bold_only_where_decided(make_run):
    def measure(cell):
        return {"wasserstein": {"straight": 0.2, "noisy": 0.3}[cell["path"]] + 0.001 * cell["seed"]}

    for seeds, best in ((5, set()), (6, {0})):
        results = load_results(
            make_run({"path": ["straight", "noisy"]}, range(seeds), measure=measure, name=str(seeds))
        )
        assert decided_best(results, results.scores[0]) == best
        write_report(results.folder)
        table = (results.folder / "tables" / "headline.tex").read_text()
        assert re.findall(r"\\(\w+rule)", table) == ["toprule", "midrule", "bottomrule"]
        assert table.count(r"\textbf") == len(best)
        assert r"W2 (root) $\downarrow$" in table
    hostile = results.combinations[["path"]].assign(path=r"a_b & 50% \input{x} $y$ ±")
    assert r"a\_b \& 50\% \textbackslash input\{x\} \$y\$ $\pm$" in latex(hostile)
