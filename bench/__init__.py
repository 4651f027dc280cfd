"""A benchmarking and ablation harness for flow matching."""

__version__ = "0.1.0"
