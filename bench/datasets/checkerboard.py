"""The checkerboard: a law with sharp edges, many parts and a density that is known exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.datasets.finite import FinitePoints

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.interfaces import Floats

_SIDE = 2.0
"""Side of one square, in data units."""

_ROWS, _COLUMNS = np.nonzero(np.indices((4, 4)).sum(0) % 2)
"""Row and column of each of the 8 filled squares, (8,)."""


@dataclass(frozen=True)
class Checkerboard(FinitePoints):
    """Uniform on the 8 filled squares of a 4 x 4 board over [-4, 4]^2; density 1/32 there.

    x = (column, row) * 2 - 4 + 2 u with u uniform on the unit square. Columns count from the left and rows
    from the bottom, both from 0; a square is filled where row + column is odd. A mode is a square. A common
    toy density, e.g. Grathwohl et al. 2018, arXiv:1810.01367.
    """

    @property
    def modes(self) -> tuple[float, ...]:
        """One eighth for each filled square, row by row from the bottom."""
        return (1 / 8,) * 8

    @property
    def inner(self) -> int:
        """One coordinate for each axis."""
        return 2

    def place(self, mode: NDArray[np.int64], u: Floats) -> Floats:
        """The square's lower left corner plus 2 u."""
        corner = np.stack([_COLUMNS[mode], _ROWS[mode]], axis=1)
        points: Floats = _SIDE * (corner + u) - 4.0
        return points

    def density(self, x: Floats) -> Floats:
        """1/32 on the filled squares, 0 elsewhere; x: (B, 2)."""
        square = np.floor((x + 4.0) / _SIDE)
        on_board = ((square >= 0) & (square < 4)).all(1)
        value: Floats = np.where(on_board & (square.sum(1) % 2 == 1), 1 / 32, 0.0)
        return value

    @property
    def limits(self) -> tuple[float, float, float, float]:
        """The board, exactly."""
        return -4.0, 4.0, -4.0, 4.0
