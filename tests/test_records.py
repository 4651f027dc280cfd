"""Records: any factor may be an axis without hiding a column of the records."""

from textwrap import dedent

from bench.automatic import COLUMNS
from bench.components import FACTORS
from bench.execute import Outcome
from bench.records import _row, fixed
from bench.suite import load_suite


def test_no_factor_is_called_like_a_column_of_the_records():
    row = _row(0, "wasserstein", 1.0, "data units", "lower", 16, Outcome("ok"))
    assert row["better"] == "lower"
    assert not set(FACTORS) & set(row)
    assert set(row) | {"seed"} == set(COLUMNS)


def test_a_parameter_that_some_cells_lack_is_not_the_same_in_all(tmp_path):
    (tmp_path / "mixed.yaml").write_text(
        dedent("""
        question: Which path?
        grid: {path: [linear, noisy_bridge], dataset: [checkerboard, {name: checkerboard, points: 9}]}
        """)
    )
    same = fixed(load_suite(tmp_path / "mixed.yaml"))
    assert same["training.steps"] == 5000
    assert not {"path.sigma_min", "path.s", "path.name", "dataset.points"} & set(same)
