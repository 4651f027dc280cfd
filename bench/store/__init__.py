"""Finished work on disk: entries by key and code, their index, and where they came from. Without torch."""

from bench.files import disk
from bench.store.bodies import fault
from bench.store.entries import FORMS, Entry, write_array
from bench.store.provenance import provenance
from bench.store.store import Store

__all__ = ["FORMS", "Entry", "Store", "disk", "fault", "provenance", "write_array"]
