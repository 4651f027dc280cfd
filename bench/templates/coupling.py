"""A coupling of one's own: which source point goes with which data point of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Gt
from torch import Tensor

from bench.interfaces import Coupling


@dataclass(frozen=True)
class Example(Coupling):
    """Optimal transport along one random direction a batch: both sides are sorted by their projections onto it.

    Rabin et al. 2011 average over such directions for the sliced Wasserstein distance.
    """

    permutes: ClassVar[bool] = True  # every call uses each point of both batches exactly once

    # Points that are paired together before they are cut into training batches; none: the training batch.
    transport_batch: Annotated[int, Gt(0)] | None = None

    def pair(self, x0: Tensor, x1: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Pairs of x0 and x1: (B, *S), as two batches. All randomness is drawn from the generator, on the CPU."""
        direction = torch.randn(x0[0].numel(), generator=generator, dtype=torch.float64)
        one, other = (x[self._order(x, direction)] for x in (x0, x1))
        return one, other

    @staticmethod
    def _order(x: Tensor, direction: Tensor) -> Tensor:
        return (x.flatten(1).double() @ direction.to(x.device)).argsort()


COUPLINGS = {"example": Example}
