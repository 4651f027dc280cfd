"""Suite files: one question, a grid of cells, and what is claimed of them."""

from __future__ import annotations

from bench.suite.load import load_suite
from bench.suite.model import Cells, Claim, Exclusion, Selector, Suite, selector_text, text_of
from bench.suite.schema import suite_schema

__all__ = [
    "Cells",
    "Claim",
    "Exclusion",
    "Selector",
    "Suite",
    "load_suite",
    "selector_text",
    "suite_schema",
    "text_of",
]
