"""Names for files and folders that are made ready beside their place, and then renamed."""

from __future__ import annotations

import os

_LONGEST_NAME = 100
"""Letters of the target's name that stand in the temporary one: it may have the longest length that a disk takes."""


def build_temporary_name(target: str = "") -> str:
    """Return a hidden name that no other process has, on this host or on another one that shares the folder.

    The number of a process would not do. It comes again on each host, in each container and after each boot.

    :param target: the name of what is made ready, so that who finds what a killed process has left knows what it is.
    """
    # Not the module secrets: it is slow to import.
    return f".{target[:_LONGEST_NAME]}{'.' if target else ''}{os.urandom(8).hex()}.tmp"
