"""A benchmarking and ablation harness for flow matching."""

import os

__version__ = "0.1.0"

# Before torch loads, always: two spinning OpenMP threads beside a busy neighbour make a small training step
# a hundred times slower.
os.environ["OMP_WAIT_POLICY"] = "passive"
# Left to itself MKL takes another kernel where an array happens to lie off a 64-byte boundary (seen on an AMD with
# AVX-512), so that a net's bits would depend on its company in a cohort. This costs nothing measurable.
os.environ.setdefault("MKL_CBWR", "AUTO")
