"""What this package is called outside itself; imported as `bench`, typed as `bench`."""

DISTRIBUTION = "flowmatch-bench"
"""Its name for pip, and that of its folders in places that many programs share."""

ENTRY_POINTS = "flowmatch_bench"
"""The group of entry points by which installed packages offer plugins."""
