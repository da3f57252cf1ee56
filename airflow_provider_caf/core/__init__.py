"""Runs, IoVs, strategies, splitting, payload text, records, names and files: the standard library alone."""
