"""Records: any factor may be an axis without hiding a column of the records."""

from bench.components import FACTORS
from bench.execute import Outcome
from bench.records import _row


def test_no_factor_is_called_like_a_column_of_the_records():
    row = _row(0, "wasserstein", 1.0, "data units", "lower", 16, Outcome("ok"))
    assert row["better"] == "lower"
    assert not set(FACTORS) & set(row)
