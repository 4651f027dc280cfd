"""Finished work on disk: entries by key and code, their index, and where they came from. Without torch."""

from bench.files import disk
from bench.store.arrays import array_file, load_array, write_array
from bench.store.bodies import fault
from bench.store.entries import FORMS, Entry
from bench.store.provenance import provenance
from bench.store.store import Store

__all__ = ["FORMS", "Entry", "Store", "array_file", "disk", "fault", "load_array", "provenance", "write_array"]
