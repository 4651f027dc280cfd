"""The whole report: the same bytes each time, without torch, and whatever the run went through."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest

from bench.report import headline_text, seal, write_report
from bench.report.canvas import about as caption_of

AXES = {"path": ["straight", "noisy"], "solver.steps": ["5", "20"]}
REPOSITORY = Path(__file__).parents[2]


def one_score(cell):
    """A single floored metric, so that few figures are drawn."""
    seed, steps = cell["seed"], int(cell["solver.steps"])
    score = 0.2 + 0.01 * seed + 1 / steps
    return {
        "wasserstein": score,
        "wasserstein_floor": 0.18,
        "wasserstein_excess": (score**2 - 0.18**2) ** 0.5,
        "nfe": float(steps),
        "sample_seconds": 0.01 * steps,
        "train_seconds": 3.0,
    }


def contents(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def test_same_inputs_give_the_same_bytes_in_another_process(make_run, tmp_path):
    first = make_run(AXES, measure=one_score, store=True, name="first")
    second = make_run(AXES, measure=one_score, name="second")
    report = write_report(first, tmp_path / "store")
    code = (
        "import sys; from pathlib import Path; from bench.report import write_report;"
        f"write_report(Path({str(second)!r}), Path({str(tmp_path / 'store')!r}));"
        "assert 'torch' not in sys.modules"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "MPLBACKEND": "agg"}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY, env=environment)
    assert report.warnings == []
    assert contents(first) == contents(second)
    assert {file.name for file in (first / "figures").iterdir()} == {
        "score_vs_nfe-wasserstein.svg", "score_vs_seconds-wasserstein.svg", "factors-wasserstein.svg",
        "samples.webp", "way.webp", "losses.svg",
    }  # fmt: skip
    for file in (first / "figures").glob("*.webp"):
        assert caption_of(file.read_bytes(), "")[1].endswith("Axes in data units.")
        assert file.stat().st_size < 300_000
    for file in (first / "figures").glob("*.svg"):
        words = {element.tag.rpartition("}")[2] for element in ElementTree.parse(file).iter()}
        assert "date" not in words
        assert file.stat().st_size < 300_000
    before = contents(first)
    write_report(first, None)
    assert contents(first) == before, "without the store, what was drawn from it stays and so does the page"


def test_importing_the_report_loads_neither_torch_nor_drawing_libraries():
    code = "import sys, bench.stats, bench.report.page; print({'torch', 'matplotlib', 'seaborn'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stdout.strip() == "set()"


def test_page_links_only_to_what_exists_and_says_what_it_must(make_run):
    pairs = [[s, 6 + s] for s in range(3)]
    stated = {"claim": "Straight is better", "metric": "wasserstein", "better": "path=straight", "than": "path=noisy"}
    folder = make_run(
        AXES,
        measure=one_score,
        claims=[{**stated, "by": None, "margin": None, "at": None, "pairs": pairs}],
        exclusions=[{"where": "path=vp", "because": "it is another question", "cells": 3}],
        notices=["2 entries are of other code"],
    )
    report = write_report(folder, None)
    page = report.path.read_text()
    links = re.findall(r"\]\(([^)#]+)\)", page)
    assert links
    assert all((folder / link).is_file() for link in links)
    for words in (
        "# demo", "Does noise on the straight path help?", "Straight is better", "one claim in a suite needs 6",
        "it is another question", "2 entries are of other code", "1a2b3c4d5e6f", "python -m bench run", "Excess",
        "training | steps = 5000",
    ):  # fmt: skip
        assert words in page
    assert "**" not in page
    assert "2025" not in page
    assert "W2 (root) ↓" in headline_text(report, 100)
    assert headline_text(folder, 100) == headline_text(report, 100)


@pytest.mark.parametrize(
    ("axes", "seeds", "status"),
    [({}, (0,), "ok"), ({}, (0,), "oom"), ({"path": ["a"]}, (0, 1), "ok"), ({"path": ["a", "b"]}, (0, 1), "cancelled")],
)
def test_degenerate_runs_get_a_report_without_warnings(make_run, axes, seeds, status):
    def change(cell):
        cell.update(status=status, reason="" if status == "ok" else "why not")

    folder = make_run(axes, seeds, change=change, measure=one_score)
    report = write_report(folder, folder / "nothing-here")
    assert report.warnings == []
    page = report.path.read_text()
    assert ("why not" in page) == (status != "ok")
    assert len(report.headline) == max(1, len(axes.get("path", [])))
    assert list((folder / "figures").iterdir()) == []


def test_page_says_which_floors_are_approximate_and_which_times_were_disturbed(make_run):
    folder = make_run(AXES, measure=one_score)
    file = folder / "tables" / "records.csv"
    records = pd.read_csv(file, keep_default_na=False)
    records.loc[records["metric"] == "wasserstein_floor", "note"] = "approximate; stale"
    records.loc[(records["metric"] == "sample_seconds") & (records["cell"] < 5), "note"] = "machine busy"
    records.loc[(records["metric"] == "train_seconds") & (records["cell"] < 3), "note"] = "machine busy"
    records.to_csv(file, index=False)
    report = write_report(folder, None)
    page = report.path.read_text()
    assert report.headline["W2 (root) floor"].str.startswith("≈ ").all()
    assert "5 of 12 sampling times were taken while the machine was busy" in page
    assert "3 of 12 training times were taken while the machine was busy" in page
    assert report.headline["sampling [s]"].str.contains("(busy)", regex=False).tolist() == [True, True, False, False]
    assert "12 cells hold results of older code" in page


def test_page_begins_with_question_answer_and_claims(make_run):
    stated = {"claim": "Straight is better", "metric": "wasserstein", "better": "path=straight", "than": "path=noisy"}
    pairs, more = [[6 + s, s] for s in range(6)], {"by": None, "margin": None, "at": None, "source": "a folk saying"}
    claims = [{**stated, **more, "pairs": pairs, "because": "noise stays"}]
    page = write_report(make_run(AXES, range(6), measure=one_score, claims=claims), None).path.read_text()
    head = page.partition("## Headline")[0]
    places = [
        head.index(text) for text in ("Does noise", "Supported: the W2 (root)", "| Straight is better", "0.031 |")
    ]
    assert places == sorted(places)
    assert "| a folk saying" in head
    assert "Because: noise stays." in head
    assert head.index("| Straight is better") < head.index("(figures/claims.svg)") < head.index("Because")


def test_page_names_the_gpu_and_says_what_its_seconds_hold(make_run):
    def place(cell):
        cell["device"] = "cuda"

    folder = make_run(AXES, measure=one_score, change=place)
    about = json.loads((folder / "suite.json").read_text())
    about["provenance"]["gpu"] = "Example GPU"
    (folder / "suite.json").write_text(json.dumps(about))
    page = write_report(folder, None).path.read_text()
    assert "- gpu: Example GPU" in page
    assert "warm, on cuda" in page
    assert "drawn on the CPU and counts" in page


def test_a_figure_that_fails_costs_only_itself(make_run, tmp_path):
    folder = make_run({"path": ["straight", "noisy"]}, (0,), measure=one_score, store=True)
    for file in (tmp_path / "store").rglob("losses.npy"):
        file.write_bytes(b"not an array")
    report = write_report(folder, tmp_path / "store")
    assert len(report.warnings) == 1
    assert report.warnings[0].startswith("training loss: the figure could not be drawn")
    assert "training loss: the figure could not be drawn" in report.path.read_text()
    assert (folder / "figures" / "samples.webp").is_file()


def test_what_an_earlier_report_left_and_no_longer_applies_goes_and_what_is_the_users_stays(make_run):
    folder = make_run({}, (0,), measure=one_score, sealed=True)
    write_report(folder, None)
    notes = [folder / "tables" / "notes.md", folder / "tables" / "mine.csv", folder / "figures" / "mine.svg"]
    for file in notes:
        file.write_text("mine")
    edited = folder / "tables" / "headline.md"
    edited.write_text(edited.read_text() + "\nMy remark.\n")
    about = json.loads((folder / "suite.json").read_text())
    assert "tables/wasserstein.csv" in about["written"]
    records = (folder / "tables" / "records.csv").read_bytes().replace(b",wasserstein", b",mmd")
    inputs = {"tables/cells.csv": (folder / "tables" / "cells.csv").read_bytes(), "tables/records.csv": records}
    seal.write_run(folder, inputs, about)
    assert write_report(folder, None).verified
    assert not (folder / "tables" / "wasserstein.csv").exists()
    assert (folder / "tables" / "mmd.csv").is_file()
    assert all(file.read_text() == "mine" for file in notes)
    assert "My remark" not in edited.read_text()


def test_awkward_numbers_and_labels_can_still_be_drawn(make_run):
    def measure(cell):
        return {"wasserstein": -0.5 + 0.1 * int(cell["solver.steps"]), "nfe": float(cell["solver.steps"])}

    axes = {"path": ["$x", "a_b^c$", "long " * 20], "solver.steps": ["1", "5", "9"]}
    report = write_report(make_run(axes, (0, 1), measure=measure), None)
    assert report.warnings == []
    assert "score_vs_nfe-wasserstein.svg" in report.path.read_text()


HOSTILE = [
    "=cmd()|'x'!A1",
    "<script>a</script>](http://evil.x) ![a](http://evil.x) | `b` <b>c $d$ & *e*",
    "@a`",
    "+b\\|",
]


def test_labels_are_inert_in_tables_pages_and_figures(make_run, tmp_path):
    from markdown_it import MarkdownIt

    hostile = HOSTILE[1]
    about = {
        "question": hostile, "profile": hostile, "provenance": {"cpu": hostile}, "notices": [hostile],
        "claims": [{"claim": hostile, "metric": hostile, "better": "path: " + hostile, "than": hostile, "by": None,
                    "margin": None, "at": None, "pairs": [[0, 1]]}],
        "exclusions": [{"where": hostile, "because": hostile, "cells": 1}], "fixed": {"net.name": hostile},
        "values": {name: {"unit": hostile, "direction": "lower", "floored": True} for name in ("wasserstein", hostile)},
        "command": f"bench run `{hostile}\n```\n<script>",
    }  # fmt: skip
    measure = lambda cell: {**one_score(cell), hostile: 1.0 + cell["cell"]}  # noqa: E731
    run = make_run({"path": HOSTILE, "solver.steps": ["5", "20"]}, measure=measure, store=True, **about)
    report = write_report(run, tmp_path / "store")
    assert report.warnings == []
    for page in [report.page, *(run / "tables").glob("*.md")]:
        tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(page.read_text())
        inside = [token for each in tokens for token in (each, *(each.children or ()))]
        assert not [token.content for token in inside if token.type.startswith("html")]
        to = [
            token.attrs.get("href") or token.attrs.get("src")
            for token in inside
            if token.type in {"link_open", "image"}
        ]
        assert all(str(link).startswith(("tables/", "figures/", "#")) for link in to)
        assert len({len(row) for row in _rows(tokens)}) <= 1 or page == report.page
    for file in (run / "figures").glob("*.svg"):
        tags = {element.tag.rpartition("}")[2] for element in ElementTree.parse(file).iter()}
        assert not tags & {"script", "b", "a", "foreignObject"}
    for file in (run / "tables").glob("*.csv"):
        if file.name not in {"cells.csv", "records.csv"}:  # those are given
            texts = pd.read_csv(file, dtype=str, keep_default_na=False)
            assert not [text for text in (*texts, *texts.to_numpy().ravel()) if re.match(r"[=+@\t]|-(?![\d.])", text)]


def _rows(tokens):
    """The cells of each row of a page's tables."""
    rows = []
    for token in tokens:
        if token.type == "tr_open":
            rows.append([])
        elif token.type in {"td_open", "th_open"}:
            rows[-1].append(token)
    return rows
