"""`lint`, `show`, `schema`, `new`: the commands on the file of a definition."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from airflow_provider_caf.cli.output import EXIT_PROBLEM, command, show_json, show_text
from airflow_provider_caf.core.errors import CafError, DefinitionError
from airflow_provider_caf.core.files import write_text
from airflow_provider_caf.core.graph import order_calibrations
from airflow_provider_caf.core.names import check_name
from airflow_provider_caf.definitions.caf import CAF
from airflow_provider_caf.definitions.calibration import Calibration
from airflow_provider_caf.definitions.files import list_definition_files, load_definitions
from airflow_provider_caf.definitions.run_params import describe_params
from airflow_provider_caf.definitions.schema import build_schema
from airflow_provider_caf.definitions.words import describe_job
from airflow_provider_caf.scripts.script_run import is_script_run, read_script_run

STARTER = """\
# A definition of airflow-provider-caf. `airflow caf lint` finds mistakes, `airflow caf plan` shows what would run.
# For an editor that completes words: airflow caf schema -o caf.schema.json, and as the first line of this file
#   yaml-language-server: $schema=./caf.schema.json
name: {name}
description: What is calibrated, and from what

# Where jobs run: local, htcondor, slurm, pbs, torque or lsf; and the arguments of all jobs.
backend: local
backend_args: {{}}
# connection: my_batch_system

# Named data sets. A run can be triggered with other files for them.
input_data:
  events: ["/data/*.root"]

# Options that experts may change when they trigger a run. Used as {{{{ params.expert_config.least_events }}}}.
expert_config:
  least_events: 1000

# Where constants are looked up after those of this run; the first hit wins.
database_chain: []
#  - local: /data/constants/localdb
#  - global_tag: main

# Repetitions after the first pass, at most. A calibration may say its own.
max_iterations: 0

calibrations:
  - name: first
    collector: my_detector:MyCollector       # module:Class, a module beside the DAG files
    input_data: events
    max_files_per_collector_job: 10
    algorithms:
      - algorithm: my_detector:MyAlgorithm
        strategy: SequentialRunByRun         # or SingleIOV, SimpleRunByRun, SequentialBoundaries, or module:Class
        params: {{}}
        settings: {{least_events: "{{{{ params.expert_config.least_events }}}}"}}

  # - name: second
  #   depends_on: [first]
  #   collections:
  #     one: {{collector: "my_detector:OtherCollector", input_data: events}}
  #   algorithms: [my_detector:OtherAlgorithm]

# gaps: fail                                 # report, fill or fail
# sign_off: {{message: Look at the plots first., users: [anna]}}
# publish: {{folder: /data/accepted}}
"""


@command
def lint(arguments: Any) -> None:
    """Find all mistakes in definitions; exit code 1 if there are some."""
    mistakes: list[DefinitionError] = []
    good = 0
    for path in _list_files(arguments.files):
        try:
            if is_script_run(path):
                read_script_run(path)
                good += 1
            else:
                for caf in load_definitions(path):
                    describe_params(caf)
                    good += 1
        except DefinitionError as error:
            mistakes += [
                mistake
                if mistake.file is not None
                else DefinitionError(mistake.what, hint=mistake.hint, file=str(path))
                for mistake in error.causes or (error,)
            ]
        except CafError as error:
            mistakes.append(DefinitionError(error.what, hint=error.hint, file=str(path)))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a Python file may raise anything: a mistake in it
            mistakes.append(DefinitionError(f"{type(error).__name__}: {error}", file=str(path)))
    if arguments.as_json:
        show_json([_build_json(mistake) for mistake in mistakes])
    else:
        for mistake in mistakes:
            show_text(f"{mistake}\n")
        show_text(f"Good definitions: {good}. Mistakes: {len(mistakes)}.")
    if mistakes:
        raise SystemExit(EXIT_PROBLEM)


def _list_files(names: Iterable[str]) -> list[Path]:
    paths = []
    for name in names:
        path = Path(name)
        if not path.exists():
            raise DefinitionError(f"There is no file or folder {name!r}.", hint="Check the path.")
        paths += list_definition_files(path) if path.is_dir() else [path]
    return paths


def _build_json(mistake: DefinitionError) -> dict[str, Any]:
    return {name: getattr(mistake, name) for name in ("file", "line", "what", "hint", "where")}


@command
def show(arguments: Any) -> None:
    """Show what is in a definition."""
    cafs = load_definitions(Path(arguments.file))
    if arguments.as_json:
        show_json([caf.to_json() for caf in cafs])
        return
    for caf in cafs:
        for line in describe_caf(caf.resolve()):
            show_text(line)


def describe_caf(caf: CAF) -> Iterator[str]:
    """Return the lines that tell what is in a definition: calibrations in the order in which they may run."""
    yield f"{caf.name}  {len(caf.calibrations)} calibrations"
    members = {member.name: member for member in caf.calibrations}
    for name in order_calibrations(caf.map_dependencies()):
        member = members[name]
        after = f"  after {', '.join(member.dependencies)}" if member.dependencies else ""
        kept = "" if member.save_payloads else "  (payloads not saved)"
        if not isinstance(member, Calibration):
            yield f"  {name}  {member.describe_kind()}{after}{kept}"
            continue
        yield f"  {name}  {describe_passes(member)}{after}{kept}"
        for collection in member.collections.values():
            yield f"    collection {collection.name}  {collection.reference or ' '.join(collection.command or ())}"
        for algorithm in member.algorithms:
            job = describe_job(algorithm.backend, algorithm.connection)
            yield f"    algorithm {algorithm.name}  {algorithm.strategy}{job and f', a job{job}'}"


def describe_passes(calibration: Calibration) -> str:
    """Return how many passes a resolved calibration may have."""
    return f"up to {calibration.repetitions + 1} passes" if calibration.repetitions else "1 pass"


@command
def schema(arguments: Any) -> None:
    """Print the JSON Schema of definition files."""
    _write(json.dumps(build_schema(), indent=2) + "\n", arguments.output)


@command
def new(arguments: Any) -> None:
    """Begin a definition, with comments."""
    check_name("CAF", arguments.name)
    if arguments.output is not None and Path(arguments.output).exists():
        raise DefinitionError(f"{arguments.output} is there already.", hint="Name another file.")
    _write(STARTER.format(name=arguments.name), arguments.output)


def _write(text: str, output: str | None) -> None:
    if output is None:
        sys.stdout.write(text)
        return
    write_text(Path(output), text)
    sys.stderr.write(f"{output} was written.\n")
