"""Asking a net in bf16, also on a processor that has no instructions for it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only

PRODUCTS = (
    "addbmm addmm baddbmm bmm conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d einsum linear "
    "matmul mm scaled_dot_product_attention __matmul__ __rmatmul__"
)
"""What autocast has a CPU do in bf16. A product that a net asks for in another way torch does itself, slowly."""


@contextmanager
def autocast(device: torch.device) -> Iterator[None]:
    """Ask nets in bf16 with float32 weights, as torch.autocast has it; gradients are taken outside."""
    slow = device.type == "cpu" and not multiplies_bf16()
    with torch.autocast(device.type, torch.bfloat16), Rounded() if slow else nullcontext():
        yield


@functools.cache
def multiplies_bf16() -> bool:
    """Whether this processor has what oneDNN's products of bf16 need: AVX-512, AMX, or what Arm has of the kind."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class Rounded(TorchFunctionMode):
    """Products of operands rounded to bf16, summed in float32 and rounded, forward and back, by float32 instructions.

    float32 has each product of two such numbers exactly, so that this differs from a processor's own bf16 by the order
    of its sums alone. torch does the same there by loops that were seen to take twelve to twenty times as long as
    float32; so it takes 1.2 times as long.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Called by torch for each of its functions."""
        kwargs = dict(kwargs or {})
        if func not in _products() or not torch.is_autocast_enabled("cpu") or not _cast(args, kwargs):
            return func(*args, **kwargs)
        args, kwargs = tree_map_only(Tensor, _rounded, (args, kwargs))
        with torch.autocast("cpu", enabled=False):
            return func(*args, **kwargs).bfloat16()


def _cast(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether autocast would take these to bf16: not doubles, whole numbers, and where it is told a place to write."""
    kinds = {each.dtype for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)}
    return "out" not in kwargs and torch.float64 not in kinds and any(kind.is_floating_point for kind in kinds)


def _rounded(each: Tensor) -> Tensor:
    return each.bfloat16().float() if each.is_floating_point() else each


@functools.cache
def _products() -> frozenset[Any]:
    places = (torch, nn.functional, Tensor)
    return frozenset(getattr(place, name) for name in PRODUCTS.split() for place in places if hasattr(place, name))
