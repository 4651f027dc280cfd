"""Numbers of field evaluations (NFE): the budget that a claim states, and who spends most."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.words import shown

if TYPE_CHECKING:
    import pandas as pd

BUDGET = r"nfe\s*<=\s*([0-9]{1,9})"
"""How a budget is written."""

_GRAMMAR = re.compile(rf"\s*{BUDGET}\s*")


class Budget(NamedTuple):
    """The most field evaluations a sample that each side of a claim may spend: `nfe <= 20`."""

    limit: int

    @classmethod
    def parse(cls, text: object) -> Budget:
        """The budget that a text states. Raises ValueError where it states none."""
        match = _GRAMMAR.fullmatch(text) if isinstance(text, str) else None
        if not match or int(match[1]) == 0:
            raise ValueError(f"must be a budget such as `nfe <= 20`, got {shown(text)}")
        return cls(int(match[1]))

    def __str__(self) -> str:
        return f"nfe <= {self.limit}"

    @property
    def words(self) -> str:
        """As a sentence has it."""
        return f"NFE ≤ {self.limit}"


def largest(nfe: pd.Series[float], limit: float = math.inf) -> list[Any]:
    """Labels of the rows with the largest NFE up to the limit, several where they are equal.

    What is unknown (nan) is none of them; none at all where nothing is known and that cheap.
    """
    under = nfe[nfe <= limit]
    return list(under.index[under == under.max()])
