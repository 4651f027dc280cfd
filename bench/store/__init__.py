"""Finished work on disk: entries by key and build, their index, and where they came from. Without torch."""

from bench.store.entries import FORMS, Entry, write_array
from bench.store.provenance import provenance
from bench.store.store import Store

__all__ = ["FORMS", "Entry", "Store", "provenance", "write_array"]
