"""`basf2 [options] steering.py [-- words]`: run a steering file."""

import argparse
import json
import runpy
import sys


def main():
    """Run a steering file, and give its exit code."""
    words, rest = sys.argv[1:], []
    if "--" in words:
        at = words.index("--")
        words, rest = words[:at], words[at + 1 :]
    parser = argparse.ArgumentParser(prog="basf2")
    parser.add_argument("steering")
    parser.add_argument("-n", "--events", type=int)
    parser.add_argument("-l", "--log_level")
    parser.add_argument("--job-information")
    options = parser.parse_args(words)
    sys.argv = [options.steering, *rest]
    success = False
    try:
        runpy.run_path(options.steering, run_name="__main__")
        success = True
    finally:
        if options.job_information:
            with open(options.job_information, "w") as file:
                json.dump({"basf2_status": {"finished": True, "success": success}}, file)


if __name__ == "__main__":
    main()
