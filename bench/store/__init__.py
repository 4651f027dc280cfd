"""Finished work on disk: entries by key and code, their index, and where they came from. Without torch."""

from bench.store.entries import FORMS, Entry, disk, write_array
from bench.store.provenance import provenance
from bench.store.store import Store

__all__ = ["FORMS", "Entry", "Store", "disk", "provenance", "write_array"]
