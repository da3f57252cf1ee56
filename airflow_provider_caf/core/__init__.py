"""Runs, IoVs, strategies, splitting, payload text, JSON of records, writing of files: with the standard library alone."""
