"""What the fork server loads once, so that no job pays for it: two seconds for torch's optimizers alone.

Nothing here may start a thread or touch a GPU: neither survives a fork.
"""

from __future__ import annotations

import atexit
import gc
import os
import warnings

# Heavy, and imported late by what needs it:
import ot  # noqa: F401
import scipy.stats.qmc
import torch
import torchdiffeq  # noqa: F401

from bench.execute import child, group, tree

torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # pulls in torch._dynamo and sympy


def _leave_nothing(server: int) -> None:
    """When the driver is gone, however it died, the server ends, and with it all that it adopted."""
    if os.getpid() == server:
        group.end_all_of(server)
        tree.kill_orphans(server)


tree.adopt_orphans()
warnings.filterwarnings("ignore", message="forkserver: waitpid returned")  # an adopted process has ended
atexit.register(_leave_nothing, os.getpid())
gc.freeze()

__all__ = ["child", "scipy"]
