"""Budgets of field evaluations, and who spends most within one."""

import math

import pandas as pd
import pytest

from bench.nfe import Budget, largest


@pytest.mark.parametrize("text", ["nfe <= 20", " nfe<=20 ", "nfe  <=  020"])
def test_a_budget_is_read_however_it_is_spaced_and_written_one_way(text):
    budget = Budget.parse(text)
    assert budget == Budget(20)
    assert str(budget) == "nfe <= 20"
    assert Budget.parse(str(budget)) == budget
    assert budget.words == "NFE ≤ 20"


@pytest.mark.parametrize("text", ["nfe < 20", "nfe <= 0", "nfe <= 2.5", "seconds <= 2", "nfe <= 20 or so", 20, None])
def test_what_is_no_budget_is_refused_with_one_that_is(text):
    with pytest.raises(ValueError, match="such as `nfe <= 20`, got "):
        Budget.parse(text)


def test_the_largest_is_within_the_limit_and_keeps_equals():
    nfe = pd.Series([5, 20, math.nan, 20, 40], index=list("abcde"))
    assert largest(nfe, 20) == ["b", "d"]
    assert largest(nfe) == ["e"]
    assert largest(nfe, 4) == []
    assert largest(nfe[["c"]]) == []
