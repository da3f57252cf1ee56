"""The part of basf2 that calibrations use: modules, paths, conditions, logging. A stand-in for tests."""

import os
import sys

from basf2._conditions import conditions
from basf2._logging import (
    B2DEBUG,
    B2ERROR,
    B2FATAL,
    B2INFO,
    B2RESULT,
    B2WARNING,
    LogLevel,
    log_to_console,
    log_to_file,
    logging,
    reset_log,
    set_debug_level,
    set_log_level,
)
from basf2._modules import AfterConditionPath, Module, register_module
from basf2._path import Path, create_path
from basf2._process import process
from basf2._random import set_random_seed
from basf2._statistics import statistics
from basf2.pickle_path import get_path_from_file, write_path_to_file

__all__ = [
    "B2DEBUG",
    "B2ERROR",
    "B2FATAL",
    "B2INFO",
    "B2RESULT",
    "B2WARNING",
    "AfterConditionPath",
    "LogLevel",
    "Module",
    "Path",
    "basf2label",
    "conditions",
    "create_path",
    "find_file",
    "get_path_from_file",
    "log_to_console",
    "log_to_file",
    "logging",
    "process",
    "register_module",
    "reset_log",
    "set_debug_level",
    "set_log_level",
    "set_random_seed",
    "statistics",
    "write_path_to_file",
]

basf2label = "BASF2 (Belle Analysis Software Framework 2)"


def find_file(name, data_type="", silent=False):
    """Give the whole path of a file in the current folder; a release would be looked through, too."""
    if os.path.exists(name):
        return os.path.abspath(name)
    if not silent:
        raise FileNotFoundError(name)
    return ""


if hasattr(sys.stdout, "reconfigure") and not sys.stdout.line_buffering:
    sys.stdout.reconfigure(line_buffering=True)
