"""`basf2 [options] steering.py [-- words]`: run a steering file."""

import argparse
import json
import os
import runpy
import sys

from basf2 import B2FATAL, LogLevel, _options, set_log_level

_LEVELS = ("DEBUG", "INFO", "RESULT", "WARNING", "ERROR", "FATAL")


def build_parser():
    """Give the options that the real one has."""
    parser = argparse.ArgumentParser(prog="basf2", allow_abbrev=False)
    parser.add_argument("steering")
    parser.add_argument("-i", "--input", action="append", default=[], help="files to read instead")
    parser.add_argument("-n", "--events", type=int, default=0, help="how many events to process at most")
    parser.add_argument("-l", "--log_level", choices=_LEVELS, type=str.upper)
    parser.add_argument("--job-information", metavar="FILE", help="a JSON file that says how it went")
    parser.add_argument("--dry-run", action="store_true", help="process no events")
    parser.add_argument("-v", "--version", action="version", version=os.environ.get("BELLE2_RELEASE", "unknown"))
    return parser


def apply(options):
    """Hand options over to those that look at them."""
    _options.input_files = options.input
    _options.max_events = options.events
    _options.dry_run = options.dry_run
    if options.log_level:
        set_log_level(getattr(LogLevel, options.log_level))


def run_steering(path):
    """Run a steering file. An `exit()` in it without a code is no mistake."""
    if not os.path.exists(path):
        B2FATAL(f"Steering file {path} does not exist")
    try:
        runpy.run_path(path, run_name="__main__")
    except SystemExit as error:
        if error.code not in (None, 0):
            raise


def main():
    """Run a steering file, and leave with its exit code."""
    words, rest = sys.argv[1:], []
    if "--" in words:
        at = words.index("--")
        words, rest = words[:at], words[at + 1 :]
    options = build_parser().parse_args(words)
    apply(options)
    sys.argv = [options.steering, *rest]
    success = False
    try:
        run_steering(options.steering)
        success = True
    finally:
        if options.job_information:
            status = {
                "version": os.environ.get("BELLE2_RELEASE"),
                "arguments": rest,
                "finished": True,
                "success": success,
            }
            with open(options.job_information, "w") as file:
                json.dump({"basf2_status": status}, file)


if __name__ == "__main__":
    main()
