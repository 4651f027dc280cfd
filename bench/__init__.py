"""A benchmarking and ablation harness for flow matching."""

import os

__version__ = "0.1.0"

# Before torch loads, always: two spinning OpenMP threads beside a busy neighbour make a small training step
# a hundred times slower.
os.environ["OMP_WAIT_POLICY"] = "passive"
