"""Paths as plain values, and back: where older releases have it."""

from basf2.pickle_path import (
    deserialize_module,
    deserialize_path,
    get_path_from_file,
    serialize_module,
    serialize_path,
    write_path_to_file,
)

__all__ = [
    "deserialize_module",
    "deserialize_path",
    "get_path_from_file",
    "serialize_module",
    "serialize_path",
    "write_path_to_file",
]
