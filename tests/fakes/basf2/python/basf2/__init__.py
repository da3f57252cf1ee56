"""The part of basf2 that calibrations use: modules, paths, conditions, logging. A stand-in for tests."""

import random
import sys

from basf2._conditions import conditions
from basf2._logging import (
    B2DEBUG,
    B2ERROR,
    B2FATAL,
    B2INFO,
    B2WARNING,
    LogLevel,
    log_to_file,
    reset_log,
    set_log_level,
)
from basf2._modules import Module, register_module
from basf2._path import AfterConditionPath, Path, create_path
from basf2._process import process

__all__ = [
    "B2DEBUG",
    "B2ERROR",
    "B2FATAL",
    "B2INFO",
    "B2WARNING",
    "AfterConditionPath",
    "LogLevel",
    "Module",
    "Path",
    "conditions",
    "create_path",
    "find_file",
    "log_to_file",
    "process",
    "register_module",
    "reset_log",
    "set_log_level",
    "set_random_seed",
    "version",
]

version = "fake-01-00-00"
basf2label = version


def find_file(name, data_type="", silent=False):
    """Give the path of a file of the release; it has none."""
    if not silent:
        raise FileNotFoundError(name)
    return ""


def set_random_seed(seed):
    """Begin the random numbers of the modules anew."""
    random.seed(str(seed))


if not sys.stdout.line_buffering:
    sys.stdout.reconfigure(line_buffering=True)
