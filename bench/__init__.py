"""A benchmarking and ablation harness for flow matching: `run`, `plan`, `explain`, `load`, `compare` (`bench.api`)."""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.api import Run, compare, explain, load, plan, run

__all__ = ["Run", "__version__", "compare", "explain", "load", "plan", "run"]
__version__ = "0.1.0"

# Before torch loads, always: two spinning OpenMP threads beside a busy neighbour make a small training step
# a hundred times slower.
os.environ["OMP_WAIT_POLICY"] = "passive"
# Left to itself MKL takes another kernel where an array happens to lie off a 64-byte boundary (seen on an AMD with
# AVX-512), so that a net's bits would depend on its company in a cohort. This costs nothing measurable.
os.environ.setdefault("MKL_CBWR", "AUTO")


def __getattr__(name: str) -> Any:
    """The functions of `bench.api`, which load when they are first asked for."""
    if name not in __all__:
        raise AttributeError(f"module 'bench' has no attribute {name!r}")
    from bench import api

    return getattr(api, name)
