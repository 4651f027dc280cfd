"""How a law speaks when it is broken: what failed, where, and how to mend it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from bench.errors import ContractBroken

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = Tensor | NDArray[Any] | float

Law = Callable[[Any], str | None]
"""A law takes a component. None: it holds. Text: why it does not apply. ContractBroken: it is broken.

Its name is what it says of the component, the first line of its docstring says it in words.
"""


def holds(condition: bool, fault: str, mend: str) -> None:
    """Raise ContractBroken with both sentences unless the condition is true."""
    if not condition:
        raise ContractBroken(f"{fault}; mend: {mend}")


def close(
    got: Values, due: Values, within: float, what: str, mend: str, at: Tensor | None = None, coordinate: str = "t"
) -> None:
    """Got equals due up to within (1 + |due|); a value that is not finite never does.

    `at`: (B,) says where row b is, by the name `coordinate`, so that the fault names its place.
    """
    mine, other = numbers(got), numbers(due)
    holds(mine.shape == other.shape, f"{what} has shape {mine.shape} where {other.shape} is due", mend)
    if not mine.size:
        return
    gap = np.abs(mine - other) / (1 + np.abs(other))
    gap = np.where(np.isfinite(mine) & np.isfinite(other), gap, np.inf)
    worst = int(gap.argmax())
    if gap.ravel()[worst] <= within:
        return
    row = worst // (gap.size // len(gap)) if gap.ndim else 0
    place = "" if at is None else f" at {coordinate} = {float(at[row]):.4g}"
    pair = f"{mine.ravel()[worst]:.6g} where {other.ravel()[worst]:.6g} is due"
    raise ContractBroken(f"{what}{place} is {pair}; mend: {mend}")


def unchanged(before: Values, after: Values, what: str) -> None:
    """A component left its input as it was, bit for bit."""
    same = np.array_equal(numbers(before), numbers(after), equal_nan=True)
    holds(same, f"{what} was written into", f"work on a copy of {what}, and use no in-place operation on it")


def form(got: Tensor, shape: tuple[int, ...], dtype: torch.dtype, what: str) -> None:
    """A tensor of this shape and dtype, all finite."""
    holds(isinstance(got, Tensor), f"{what} is a {type(got).__name__}, not a tensor", "return a torch tensor")
    holds(
        tuple(got.shape) == shape,
        f"{what} has shape {tuple(got.shape)} where {shape} is due",
        "keep the batch first and the point's own shape after it; shapes such as (B, 1, 8, 8) must pass too",
    )
    holds(
        got.dtype == dtype,
        f"{what} is {got.dtype} where the inputs are {dtype}",
        "make constants with torch.full_like, ones_like or .to(x.dtype), so that precision follows the input",
    )
    holds(bool(got.isfinite().all()), f"{what} is not finite", "find the division by 0 or the root of a negative")


def no_cuda() -> str | None:
    """Why a law about a GPU cannot be tried here, or None."""
    return None if torch.cuda.is_available() else "torch sees no CUDA device here"


def numbers(values: Values) -> NDArray[np.float64]:
    """Values as a float64 array on the CPU."""
    if isinstance(values, Tensor):
        return values.detach().cpu().double().numpy()
    return np.asarray(values, dtype=np.float64)


def significant(value: float) -> str:
    """Four digits, for sentences."""
    return f"{value:.4g}" if math.isfinite(value) else str(value)
