"""What may be published, that it is published as it was, and what the index says of it."""

import pytest

from bench.errors import StoreError
from bench.report import seal, write_report
from bench.report.embed import embed
from bench.report.results import load_results
from bench.report.settled import best, publish, settled, unfit, write_index

AXES = {"path": ["straight", "noisy"]}
SEEDS = range(12)
HARM = {
    "claim": "Noise does harm", "topic": "paths", "source": "a tutorial", "metric": "wasserstein",
    "better": "path: straight", "than": "path: noisy", "pairs": [[i, i + 12] for i in SEEDS],
}  # fmt: skip
HELP = {**HARM, "claim": "Noise helps | much", "source": "", "pairs": [[i + 12, i] for i in SEEDS]}


@pytest.fixture
def finished(make_run, tmp_path):
    """A run of committed code with its report."""

    def make(name="demo", **about):
        folder = make_run(AXES, SEEDS, sealed=True, name=f"results/{name}", **{"claims": [HARM, HELP], **about})
        write_report(folder)
        return folder

    return make


def test_a_run_is_published_as_it_is_and_indexed_by_topic_with_its_verdicts(finished, tmp_path):
    folder, root = finished(), tmp_path / "results" / "published"
    target = publish(folder, root)
    assert target == root / "demo"
    assert seal.verify(target)
    assert set(seal.held(folder)) - set(seal.held(target)) == {"report.html"}, "which is heavy"
    assert seal.said(seal.read_suite(target)) == seal.said(seal.read_suite(folder))
    for name in set(seal.held(target)) - {"suite.json"}:
        assert (target / name).read_bytes() == (folder / name).read_bytes()
    index = (root / "README.md").read_text()
    assert "## Paths" in index
    rows = [line for line in index.splitlines() if "demo/report.md" in line]
    assert len(rows) == 2
    assert all(words in rows[0] for words in ("**supported**", "a tutorial"))
    assert all(words in rows[1] for words in ("**refuted**", r"helps \| much"))
    assert (root / "settled.md").read_text().count("demo/report.md") == 2


def test_what_an_earlier_publication_held_and_this_one_does_not_goes(finished, tmp_path):
    root = tmp_path / "results" / "published"
    target = publish(finished(), root)
    (target / "own.txt").write_text("mine")
    before = set(seal.held(target))
    assert "tables/claims.csv" in before
    target = publish(finished(claims=[]), root)
    gone = before - set(seal.held(target))
    assert "tables/claims.csv" in gone
    assert not [name for name in gone if (target / name).exists()]
    assert (target / "own.txt").exists(), "what nobody of ours wrote stays"


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        ({"provenance": {"commit": "1a2b", "dirty": True}}, "uncommitted changes"),
        ({"provenance": {"dirty": False}}, "outside version control"),
    ],
)
def test_work_that_nobody_can_repeat_is_refused(finished, tmp_path, harm, words):
    with pytest.raises(StoreError, match=words):
        publish(finished(**harm), tmp_path / "published")
    assert not (tmp_path / "published").exists()


def test_work_that_is_not_whole_is_refused_with_every_reason(make_run, tmp_path):
    def failed(cell):
        if cell["cell"] == 3:
            cell["status"], cell["reason"] = "timeout", "took too long"

    folder = make_run(AXES, SEEDS, change=failed, sealed=True, name="demo-only")
    write_report(folder)
    with pytest.raises(StoreError, match=r"by --only(.|\n)*1 timeout"):
        publish(folder, tmp_path / "published")
    older = make_run(AXES, SEEDS, name="older")
    assert any("without checksums" in reason for reason in unfit(load_results(older)))


def test_a_file_that_is_not_as_it_was_written_is_not_published(finished, tmp_path):
    folder = finished()
    (folder / "report.md").write_text("another answer")
    with pytest.raises(StoreError, match=r"report\.md"):
        publish(folder, tmp_path / "published")


def test_the_best_lines_are_decided_ones_with_the_topics_in_turn(finished, tmp_path):
    root = tmp_path / "results" / "published"
    many = [{**HARM, "claim": f"Noise does harm, {i}", "topic": "paths"} for i in range(14)]
    publish(finished("many", claims=[*many, {**HARM, "claim": "Other", "topic": "solvers"}]), root)
    lines = best(settled(root))
    assert len(lines) == 12
    assert lines["topic"].value_counts().to_dict() == {"paths": 11, "solvers": 1}
    assert lines["topic"].iloc[-1] == "solvers"
    write_index(root)
    assert (root / "settled.md").read_text().count("many/report.md") == 12


def test_a_claim_takes_its_topic_and_source_from_another_run_of_it_where_its_own_says_none(finished, tmp_path):
    root = tmp_path / "results" / "published"
    bare = {key: value for key, value in HARM.items() if key not in ("topic", "source")}
    publish(finished("older", claims=[bare]), root)
    publish(finished("newer", claims=[{**bare, "topic": "paths", "source": "a paper"}]), root)
    assert settled(root)[["topic", "source"]].to_numpy().tolist() == [["paths", "a paper"]] * 2
    publish(finished("other", claims=[{**bare, "claim": "Of no source"}]), root)
    assert "| Of no source" in (root / "README.md").read_text()


def test_the_best_lines_stand_in_a_page_with_links_that_lead_to_their_reports(finished, tmp_path):
    root = tmp_path / "results" / "published"
    publish(finished(), root)
    page = tmp_path / "README.md"
    page.write_text(
        "# P\n<!-- table: results/published/settled.md -->\nold\n<!-- end -->\n"
        "<!-- answer: results/published/demo/report.md -->\n<!-- end -->\nrest\n"
    )
    assert embed(page) == 2
    text = page.read_text()
    question, answer = (root / "demo" / "report.md").read_text().split("\n\n")[1:3]
    assert f"-->\n\n*{question.strip()}* {answer.strip()}\n\n<!-- end -->\nrest\n" in text
    assert "[demo](results/published/demo/report.md)" in text
    assert (tmp_path / "results/published/demo/report.md").exists()
    assert "old" not in text
    assert text.endswith("<!-- end -->\nrest\n")


def test_reports_of_what_is_published_renew_its_index(finished, tmp_path):
    from bench.cli import report

    root = tmp_path / "results" / "published"
    publish(finished(), root)
    due = (root / "README.md").read_text(), (root / "settled.md").read_text()
    for name in ("README.md", "settled.md"):
        (root / name).write_text("older")
    report(None, root, None)
    assert ((root / "README.md").read_text(), (root / "settled.md").read_text()) == due
