"""`airflow caf …`: the commands, declared. Every `airflow` command loads this file, so it imports nothing heavy."""

from __future__ import annotations

import argparse
from typing import Any

from airflow.cli.cli_config import ActionCommand, Arg, CLICommand, GroupCommand, lazy_load_command

from airflow_provider_caf.status.tasks import STEPS


def _arg(*flags: str, **words: Any) -> Arg:
    return Arg(flags, **words)  # type: ignore[no-untyped-call]


_FILES = _arg("files", nargs="+", metavar="FILE", help="definition files, or folders of them")
_FILE = _arg("file", metavar="FILE", help="a definition file")
_JSON = _arg("--json", action="store_true", dest="as_json", help="print JSON")
_OUTPUT = _arg("-o", "--output", metavar="FILE", help="write to this file instead of the terminal")
_DAG = _arg("dag_id", metavar="DAG", help="the DAG, which is the name of the CAF")
_RUN = _arg("run_id", metavar="RUN", help="the id of the DAG run, or `last`")
_ANY_RUN = _arg("run_id", nargs="?", metavar="RUN", help="without it the newest one")
_CALIBRATION = _arg("calibration", metavar="CALIBRATION")
_YES = _arg("-y", "--yes", action="store_true", help="do not ask")
_CONF = _arg("--conf", metavar="JSON", help="the params of a run, as JSON, or @FILE")
_ITERATION = _arg("--iteration", type=int, metavar="N", help="a pass, counted from 0; without it the last one")
_PASS = (_DAG, _RUN, _CALIBRATION, _ITERATION)


def _build(name: str, module: str, text: str, *args: Arg, function: str | None = None) -> ActionCommand:
    function = function or name.replace("-", "_")
    loaded = lazy_load_command(f"airflow_provider_caf.cli.{module}.{function}")
    return ActionCommand(name=name, help=text, func=loaded, args=args)


def _read_count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of at least 1")
    return int(text)


_ENVIRONMENT = (
    _arg("--setup", action="append", metavar="LINE", help="shell line that sets up the experiment's software"),
    _arg("--python", metavar="PROGRAM", help="the Python of the experiment's environment; without it this one"),
)
_DESCRIBED = (
    *_ENVIRONMENT,
    _arg(
        "--caf",
        choices=("dropin", "release"),
        default="dropin",
        help="where the modules caf and prompt come from: ours, or the experiment's release",
    ),
    _arg("--script-folder", action="append", metavar="FOLDER", help="where imported scripts are, beside its own"),
    _arg("--timeout", type=float, default=600.0, metavar="SECONDS", help="of the description of one script"),
    _JSON,
)
"""How calibration scripts are described."""

_SCRIPT = (
    _arg("--caf-config", metavar="FILE", help="caf_config.json, as the experiment's prompt tool reads it"),
    _arg("--input-data", required=True, metavar="FILE", help="input_data.json: names to folders, files and URIs"),
    _arg("-o", "--output", metavar="FOLDER", help="of definitions; without it definitions_folder of the section caf"),
    _arg("--connection", metavar="ID", help="of type caf_batch: the script is described where its commands run"),
    _arg("--backend", metavar="SYSTEM", help="the batch system of the collector jobs"),
    _arg("--max-files-per-subjob", type=_read_count, metavar="N", help="of all collections, whatever the script says"),
    _arg("--max-subjobs", type=_read_count, metavar="N", help="the same, by their number; one of the two"),
    *_DESCRIBED,
)
"""The arguments of both commands that make definitions of calibration scripts."""

_COMMANDS = (
    # On definition files.
    _build("lint", "check", "Find all mistakes in definitions", _FILES, _JSON),
    _build("show", "check", "Show what is in a definition", _FILE, _JSON),
    _build("schema", "check", "Print the JSON Schema of definition files", _OUTPUT),
    _build("new", "check", "Begin a definition", _arg("name", metavar="NAME", help="its name"), _OUTPUT),
    _build(
        "plan",
        "plan",
        "Show what a run would submit and execute",
        _FILE,
        _CONF,
        _arg("--dry-run", action="store_true", help="show the submit commands and scripts, too"),
        _JSON,
    ),
    _build(
        "try",
        "trial",
        "Try a calibration on some events, without a run",
        _FILE,
        _arg("--calibration", metavar="NAME", help="which one; without it the first that collects"),
        _arg("--data", action="append", metavar="[COLLECTION=]FILE", help="instead of the first input file"),
        _arg("-n", "--events", type=_read_count, default=100, metavar="N", help="so many of the file, 100 without it"),
        _CONF,
        _arg("--pdb", action="store_true", help="stop in Python's debugger where it breaks"),
        function="try_definition",
    ),
    # On calibration scripts.
    _build(
        "import-script",
        "script",
        "Make a definition of a calibration script",
        _arg("script", metavar="SCRIPT", help="its path, or its name in the release"),
        _arg("--name", metavar="NAME", help="of the definition; without it as the script's settings say"),
        _arg("--validation", metavar="SCRIPT", help="a validation script, run on the finished output"),
        *_SCRIPT,
    ),
    _build(
        "import-scripts",
        "script",
        "Make definitions of all calibration scripts of a folder",
        _arg("folder", metavar="FOLDER", help="of the scripts"),
        _arg("--validations", metavar="FOLDER", help="of validation scripts with the names of the scripts"),
        _arg(
            "--production",
            nargs="+",
            metavar="WORD",
            help="the command that makes the data format that later scripts read",
        ),
        *_SCRIPT,
    ),
    _build(
        "prompt-check",
        "prompt",
        "Check the settings of all calibration scripts of a folder",
        _arg("folder", metavar="FOLDER", help="of the scripts"),
        *_DESCRIBED,
    ),
    _build(
        "prompt-run",
        "prompt",
        "Run a calibration script with its two files, without a running Airflow",
        *_ENVIRONMENT,
        _arg(
            "words",
            nargs=argparse.REMAINDER,
            metavar="BACKEND CAF_CONFIG INPUT_DATA",
            help="and options, as the experiment's prompt tool has them: BACKEND --help lists them",
        ),
    ),
    # On data files.
    _build(
        "filemap",
        "filemap",
        "Write which runs and how many events are in files",
        _arg("patterns", nargs="*", metavar="PATTERN", help="paths, globs or URIs"),
        _arg("-o", "--output", required=True, metavar="FILE", help="a .json or .parquet file, or .pkl for basf2's caf"),
        _arg("--pickle", metavar="FILE", help="take a map of b2caf-filemap in the place of patterns"),
        _arg("--exclude", metavar="REGEX", help="leave out files in whose paths this is found"),
        _arg(
            "--regex",
            metavar="REGEX",
            help="take the runs from the path: groups exp, run, and if need be exp_high, run_high",
        ),
        _arg("--basf2", action="store_true", help="read basf2's own metadata"),
        _arg("--tree", default="events", help="the tree of events"),
        _arg("--exp-branch", default="exp", help="its branch with the experiment"),
        _arg("--run-branch", default="run", help="its branch with the run"),
        _arg("--python", metavar="PROGRAM", help="a Python that has ROOT; without it this one"),
        _arg("--processes", type=int, metavar="N", help="at most so many at once"),
    ),
    # These look at runs.
    _build(
        "status",
        "look",
        "Show how far a run is",
        _DAG,
        _ANY_RUN,
        _JSON,
        _arg("--watch", action="store_true", help="until it has ended"),
    ),
    _build(
        "logs",
        "look",
        "Show the logs of failed subjobs, or of an algorithm",
        *_PASS,
        _arg("--collection", metavar="NAME", help="of this collection only"),
        _arg("--subjob", type=int, metavar="N", help="of this subjob, failed or not"),
        _arg("--algorithm", metavar="NAME", help="of this algorithm"),
        _arg("--full", action="store_true", help="the whole log instead of its end"),
    ),
    _build(
        "report",
        "report",
        "Write a run as one HTML file, with drawings as PNG and PDF",
        _DAG,
        _ANY_RUN,
        _arg("-o", "--output", metavar="FOLDER", help="write there instead of into the folder of the run"),
    ),
    _build(
        "compare",
        "report",
        "Show payload by payload what has changed from one run to another",
        _arg("first", metavar="RUN1", help="DAG/RUN, or a DAG for its newest run"),
        _arg("second", metavar="RUN2", help="the run to compare with it, in the same form"),
        _JSON,
    ),
    # These change runs.
    _build(
        "reset",
        "steer",
        "Go back to a pass or a checkpoint of a calibration",
        *_PASS,
        _arg(
            "--to",
            choices=STEPS,
            default="collect",
            help="the first step that runs again in this pass",
        ),
        _YES,
    ),
    _build(
        "cancel",
        "steer",
        "End a run, or a calibration of it, with its batch jobs",
        _DAG,
        _RUN,
        _arg("calibration", nargs="?", metavar="CALIBRATION", help="only this one"),
        _YES,
    ),
)


def get_caf_cli_commands() -> list[CLICommand]:
    """Return the commands of this provider."""
    text = "Calibrations: check definitions, look at runs, steer them"
    return [GroupCommand(name="caf", help=text, subcommands=_COMMANDS)]
