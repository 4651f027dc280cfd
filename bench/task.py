"""A job as a stage sees it: what its row in the tables declares, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray

Array: TypeAlias = "NDArray[np.generic]"
Weights: TypeAlias = dict[str, torch.Tensor]


class Task(Protocol):
    """One job with its components built and its upstream entries at hand."""

    @property
    def seed(self) -> int:
        """The job's seed, and `replica`, which salts its random streams."""

    @property
    def replica(self) -> int:
        """0, or a copy's number."""

    @property
    def options(self) -> Mapping[str, Any]:
        """Plain JSON that the plan settled; part of the key."""

    @property
    def device(self) -> torch.device:
        """Where nets are asked and trained."""

    def component(self, role: str) -> Any:
        """The component or the value that plays a declared role; of a settings factor the declared fields alone.

        Raises LookupError for a role that the job's row does not declare.
        """

    def array(self, kind: str, name: str) -> Array:
        """An array of the upstream entry of this kind."""

    def find(self, kind: str, name: str) -> Array | None:
        """The same, or None where there is no such entry, or it holds no such array."""

    def weights(self, name: str) -> Weights | None:
        """Weights of the upstream training, or None where there is none."""

    def report(self, done: int, total: int) -> None:
        """Tell who waits how many parts are done."""


@dataclass(frozen=True)
class Made:
    """What a stage gives: numbers for the record (plain JSON), arrays and weights by name for the store."""

    numbers: Mapping[str, Any]
    arrays: Mapping[str, Array] = field(default_factory=dict)
    weights: Mapping[str, Weights] = field(default_factory=dict)
