"""Published numbers in a suite: matched to one combination of labels, refused where they fit none or several."""

from textwrap import dedent

import pytest

from bench.errors import SuiteError
from bench.suite import load_suite

SUITE = """
    question: Does it replicate?
    seeds: 2
    grid: {path: [linear, noisy_bridge], clock: [noise_at_0, data_at_0]}
    published:
      - {where: {path: linear, clock: noise_at_0}, metric: wasserstein, mean: 0.5, sd: 0.1, n: 10, source: a paper}
"""


def load(folder, *changes):
    text = SUITE
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    (folder / "replication.yaml").write_text(dedent(text))
    return load_suite(folder / "replication.yaml")


def test_a_published_number_finds_the_cells_of_its_combination(tmp_path):
    suite = load(tmp_path)
    (number,) = suite.published
    assert (number.mean, number.sd, number.n, number.source) == (0.5, 0.1, 10, "a paper")
    labels = suite.cells.labels.iloc[list(number.cells)]
    assert set(labels["path"]) == {"linear"}
    assert set(labels["clock"]) == {"noise_at_0"}
    assert [int(suite.cells.seed[cell]) for cell in number.cells] == [0, 1]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (", clock: noise_at_0}", "}", "2 combinations"),
        ("metric: wasserstein", "metric: wassserstein", "wasserstein"),
        ("sd: 0.1", "sd: -1", "number >= 0"),
        ("n: 10", "n: 1", "whole number >= 2"),
        ("n: 10, ", "", "lacks `n`"),
        ("source:", "sauce:", "source"),
        ("where: {path: linear,", "where: {path: linaer,", "linear"),
    ],
)
def test_a_slip_in_it_is_said_at_its_place(tmp_path, before, after, said):
    with pytest.raises(SuiteError) as caught:
        load(tmp_path, (before, after))
    assert any(fault.line == 6 and said in fault.message for fault in caught.value.faults), str(caught.value)
