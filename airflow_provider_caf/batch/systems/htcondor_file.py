"""The submit file of HTCondor.

Theory
------
* The submit file is a language of its own: `$(name)` is a macro and `$$(name)` is filled in when the job starts. No
  user's text gets there but as the value of a command, with each `$` written `$(DOLLAR)`. Two in a row cannot be said:
  `$$` is expanded whatever stands around it, and has been seen to crash the schedd. All that a shell reads is in the
  script file.
* A throttle is a `concurrency_limits` of the array's own name. A name that the pool does not configure has the limit
  2308032 (`CONCURRENCY_LIMIT_DEFAULT`); for n at once each process takes an n-th of it. `max_materialize` is not used:
  processes that do not exist yet cannot be seen, held or removed, and those that stay in the queue after their end
  count against it. Whoever writes it into `extra_lines` gets all that, and no process stays.
* Without a shared file system (`transfer_files`) the whole tree of folders that a job needs is made again below its
  scratch folder: paths are given relative to `/`, and `preserve_relative_paths` keeps them so in both directions. What
  comes back is the output folder, which holds there nothing but what this job has made.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from airflow_provider_caf.batch.extra_lines import read_directives
from airflow_provider_caf.batch.spec import ArraySpec
from airflow_provider_caf.core.errors import DefinitionError

SUBMIT_FILE = "array.sub"
INPUTS_FILE = "inputs.txt"

_LATE_LINE = re.compile(r"\s*(?:max_materialize|max_idle|materialize_max_idle)\s*=", re.IGNORECASE)
_REQUIREMENTS_LINE = re.compile(r"\s*requirements\s*=", re.IGNORECASE)

_WHOLE_LIMIT = 2_308_032
STAY = 900
"""Seconds for which a completed process stays in the queue: longer than the longest interval between two polls."""


def build_submit_file(array: ArraySpec) -> str:
    """Return the text of the submit file.

    The user's own lines come last but for the requirements: the last word wins.
    """
    resources = array.resources
    prefix = resources.path_prefix or ""
    lines = [
        f"universe = {_say(resources.universe or 'vanilla', 'universe')}",
        f"executable = {_say(prefix + array.script_file, 'script')}",
        "arguments = $(Process)",
        # The script has a log of its own. An absolute path here would be read with ';' as a separator.
        "output = /dev/null",
        "error = /dev/null",
        "notification = never",
        f"batch_name = {array.name}",
        f'My.CafName = "{array.name}"',
        *_build_transfer_lines(array, prefix),
        *_build_resource_lines(array),
        *read_directives("htcondor", resources, f"array {array.name}"),
        *_build_requirements(array),
        "",
        f"queue caf_inputs from {_say(f'{array.folder}/{INPUTS_FILE}', 'table of inputs')}"
        if resources.transfer_files
        else f"queue {len(array.elements)}",
    ]
    return "\n".join(lines) + "\n"


def is_late(array: ArraySpec) -> bool:
    """Return whether processes are made late, so that none stays in the queue after its end."""
    return any(map(_LATE_LINE.match, array.resources.extra_lines or ()))


def _build_transfer_lines(array: ArraySpec, prefix: str) -> list[str]:
    if not array.resources.transfer_files:
        return [
            f"initialdir = {_say(prefix + array.folder, 'folder of the array')}",
            # Not "no": sites with a shared file system often give each machine a domain of its own, and then nothing
            # would ever match. The script finds its files by absolute paths either way.
            "should_transfer_files = if_needed",
            "when_to_transfer_output = on_exit",
            "transfer_executable = false",
            'transfer_output_files = ""',
        ]
    if len(array.inputs) != len(array.elements):
        raise DefinitionError(
            f"The array {array.name} has {len(array.elements)} elements and the inputs of {len(array.inputs)}.",
            hint="With transfer_files each element needs the list of what travels with it.",
        )
    # An absolute path arrives under its last part alone, a relative one under all of it.
    record = _say(prefix + array.array_file, "record of the array")
    list_paths([array.array_file])
    return [
        f"initialdir = {_say(prefix + '/', 'path_prefix')}",
        "should_transfer_files = yes",
        "when_to_transfer_output = on_exit",
        "transfer_executable = true",
        "preserve_relative_paths = true",
        f"transfer_input_files = {record}, {list_paths([array.app])}, $(caf_inputs)",
        f"transfer_output_files = {list_paths([array.output_folder])}",
    ]


def _build_resource_lines(array: ArraySpec) -> list[str]:
    resources = array.resources
    lines = []
    if resources.account is not None:
        lines.append(f"accounting_group = {_say(resources.account, 'account')}")
    if resources.getenv is not None:
        lines.append(f"getenv = {_say(resources.getenv, 'getenv')}")
    if resources.cpus is not None:
        lines.append(f"request_cpus = {resources.cpus}")
    if resources.memory is not None:
        lines.append(f"request_memory = {resources.memory}MB")
    if resources.disk is not None:
        lines.append(f"request_disk = {resources.disk}MB")
    if resources.walltime is not None:
        # A removal, not allowed_execute_duration: that holds the job, and a held job waits for ever.
        limit = f"JobStatus == 2 && time() - EnteredCurrentStatus > {resources.walltime}"
        lines.append(f"periodic_remove = {limit}")
    if resources.throttle is not None:
        limit = re.sub(r"[^A-Za-z0-9_]", "_", array.name)
        lines.append(f"concurrency_limits = {limit}:{max(1, _WHOLE_LIMIT // resources.throttle)}")
    if not is_late(array):
        lines.append(f"leave_in_queue = JobStatus == 4 && time() - EnteredCurrentStatus < {STAY}")
    return lines


def _build_requirements(array: ArraySpec) -> list[str]:
    hosts = array.resources.exclude_hosts
    if not hosts:
        return []
    names = ",".join(hosts)
    # A job calls its host by the name it has there, with or without the domain.
    clauses = [
        f'!stringListIMember(Machine, "{names}")',
        f'!stringListIMember(split(Machine, ".")[0], "{names}")',
    ]
    if any(map(_REQUIREMENTS_LINE.match, array.resources.extra_lines or ())):
        clauses.insert(0, "($(requirements))")
    return [f"requirements = {' && '.join(clauses)}"]


def _say(text: str, what: str) -> str:
    """Return a text as the value of a submit command.

    :raises DefinitionError: if the submit language cannot say it.
    """
    if "$$" in text or text != text.strip() or text.endswith("\\") or any(ord(letter) < 32 for letter in text):
        raise DefinitionError(
            f"The {what} {text!r} cannot be said in a submit file of HTCondor.",
            hint="Choose one without '$$', line breaks, '\\' at its end and spaces at its ends.",
        )
    return text.replace("$", "$(DOLLAR)")


def list_paths(paths: Iterable[str]) -> str:
    """Return absolute paths as a list of paths relative to `/`.

    :raises DefinitionError: if one has a comma: no quoting helps against that.
    """
    words = []
    for path in paths:
        if "," in path or not path.startswith("/"):
            raise DefinitionError(
                f"The file {path!r} cannot travel with a job of HTCondor.",
                hint="With transfer_files paths have to be absolute and without commas.",
            )
        words.append(_say(path.strip("/"), "file"))
    return ", ".join(words)
