"""What a job may change for its whole process, and what is put back afterwards: no job decides how another runs.

What code does to modules and classes of others stays, and ends with the process.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import torch


def kept() -> Callable[[], None]:
    """How this process is set up now; called, it is so again."""
    dtype, device, grad = torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    matmul, folder, umask = torch.get_float32_matmul_precision(), _folder(), _umask()
    errors, environment, path, filters = np.geterr(), dict(os.environ), list(sys.path), list(warnings.filters)

    def put_back() -> None:
        """Set everything as it was, what has changed alone: some of it takes long, or warns."""
        if torch.get_default_dtype() != dtype:
            torch.set_default_dtype(dtype)
        if torch.get_default_device() != device:
            torch.set_default_device(None if device.type == "cpu" else device)
        if torch.get_float32_matmul_precision() != matmul:
            torch.set_float32_matmul_precision(matmul)
        if torch.are_deterministic_algorithms_enabled() != deterministic:
            torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.set_grad_enabled(grad)
        os.umask(umask)
        if folder is not None and _folder() != folder:
            os.chdir(folder)
        np.seterr(**errors)
        if os.environ != environment:
            os.environ.clear()
            os.environ.update(environment)
        sys.path[:] = path
        if warnings.filters != filters:
            warnings.filters[:] = filters  # type: ignore[index]

    return put_back


def _umask() -> int:
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


def _folder() -> str | None:
    """The working directory; none where it was removed."""
    with suppress(FileNotFoundError):
        return os.getcwd()
    return None
