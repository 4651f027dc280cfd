"""Couplings: which source point is paired with which data point of a training batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bench.interfaces import Coupling


@dataclass(frozen=True)
class Independent(Coupling):
    """Each source point goes with the data point drawn beside it: the product of the two laws."""

    independent: ClassVar[bool] = True

    def pair(self, x0: Tensor, x1: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return both batches as they were drawn."""
        return x0, x1


COUPLINGS: dict[str, type[Coupling]] = {"independent": Independent}
