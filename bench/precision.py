"""Asking a net in bf16, also on a processor that has no instructions for it."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

PRODUCTS = (
    "addbmm addmm baddbmm bmm conv1d conv1d.padding conv2d conv2d.padding conv3d conv3d.padding conv_transpose1d "
    "conv_transpose2d.input conv_transpose3d.input linear matmul mm scaled_dot_product_attention"
)
"""Of what autocast has a CPU do in low precision, products: torch's operators with their overloads. Others are made of
these, or cost little."""


@contextmanager
def autocast(device: torch.device) -> Iterator[None]:
    """Ask nets in bf16 with float32 weights, as torch.autocast has it; gradients are taken outside."""
    if device.type == "cpu" and not multiplies_bf16():
        by_float32()
    with torch.autocast(device.type, torch.bfloat16):
        yield


@functools.cache
def multiplies_bf16() -> bool:
    """Whether this processor has what oneDNN's products of bf16 need: AVX-512, AMX, or what Arm has of the kind."""
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


@functools.cache
def by_float32() -> torch.library.Library:
    """From here on this process has autocast's products on the CPU done by float32 instructions.

    Operands are rounded as autocast rounds them, and the sums of their products, forward and back. float32 has each
    product of two such numbers exactly, so that this differs from a processor's own bf16 by the order of its sums
    alone. torch's own loops for processors without it were seen to take twelve to twenty times as long as float32;
    these take up to 1.2 times as long to train, 1.6 to sample. Registered where autocast decides, below all that a
    net may call or record.
    """
    library = torch.library.Library("aten", "IMPL")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that a kernel of its own is overridden, which is meant
        for name in PRODUCTS.split():
            operator, _, overload = name.partition(".")
            done = getattr(getattr(torch.ops.aten, operator), overload or "default")
            library.impl(name, functools.partial(_rounded, done), "AutocastCPU")
    return library


def _rounded(done: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """An operator as autocast has it done: on operands in its type, where they are floating and not doubles."""
    low = torch.get_autocast_dtype("cpu")

    def cast(each: Tensor) -> Tensor:
        """To autocast's type where it casts such a tensor; shape and device stay."""
        return each.to(low) if each.is_floating_point() and each.dtype != torch.float64 else each

    with torch.autocast("cpu", enabled=False):
        args, kwargs = tree_map_only(Tensor, cast, (args, kwargs))
        if any(each.dtype != low for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)):
            return done(*args, **kwargs)
        return done(*tree_map_only(Tensor, Tensor.float, args), **tree_map_only(Tensor, Tensor.float, kwargs)).to(low)
