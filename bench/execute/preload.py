"""What the fork server loads once, so that no job pays for it: two seconds for torch's optimizers alone.

Nothing here may start a thread or touch a GPU: neither survives a fork.
"""

from __future__ import annotations

import gc

import ot  # noqa: F401 - heavy, and imported late by the metrics that need it
import scipy.stats.qmc
import torch

from bench.execute import child

torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # pulls in torch._dynamo and sympy
gc.freeze()

__all__ = ["child", "scipy"]
