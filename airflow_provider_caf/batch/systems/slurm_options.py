"""The words of Slurm: options of `sbatch`, what its reasons mean, and what to do about its refusals."""

from __future__ import annotations

import re
from collections.abc import Mapping

from airflow_provider_caf.batch.evidence import FINAL, JobState
from airflow_provider_caf.batch.spec import ArraySpec, Resources
from airflow_provider_caf.batch.systems.refusals import ARRAY_ADVICE, JOBS_ADVICE

MEANINGS: Mapping[str, str] = {
    "AccountNotAllowed": "the partition does not take this account",
    "BadConstraints": "no node can ever have what it asks for",
    "DependencyNeverSatisfied": "it depends on a job that has failed",
    "InvalidAccount": "there is no such account",
    "InvalidQOS": "there is no such quality of service",
    "JobHeldAdmin": "held by an administrator",
    "JobHeldUser": "held by its owner",
    "JobHoldMaxRequeue": "it was requeued too often",
    "PartitionTimeLimit": "its walltime is more than the partition allows",
    "QOSNotAllowed": "the partition does not take this quality of service",
    "launch_failed_requeued_held": "its node could not start it; held",
    "user_env_retrieval_failed_requeued_held": "its node could not load the user's login environment; held",
    "BOOT_FAIL": "its node did not start",
    "DEADLINE": "its deadline is over",
    "NODE_FAIL": "its node failed",
    "OUT_OF_MEMORY": "it used more memory than it had asked for",
    "PREEMPTED": "a job of higher priority took its place",
    "TIMEOUT": "its walltime is over",
}
"""Reason or final state → what it means, where its own word does not say."""

EXIT = re.compile(r"(\d+)(?::(\d+))?", re.ASCII)
"""`3:0` (exit code, signal) from sacct; the raw wait status of the script from squeue."""
_NOT_STARTED = 53
"""Slurm's own "signal" of a job that could not be started."""

_LOOK = "`sacctmgr show associations user=$USER` and `sacctmgr show qos` show the limits."
_LARGE = "No node has what is asked for: look at 'memory', 'cpus' and 'disk'."

ADVICE: Mapping[str, str] = {
    "unable to contact": "The controller is down. The task can be run again.",
    "timed out": "The controller is busy. The task can be run again.",
    "job array spec": ARRAY_ADVICE,
    # `AssocMaxSubmitJobLimit` stands on a line before; the text behind it is the same for every limit.
    r"\b(?:Assoc|QOS)\w*(?:Wall|Duration|Time)\w*": f"Lower 'walltime': a limit of account or QOS. {_LOOK}",
    r"\b(?:Assoc|QOS)\w*(?:Submit|Jobs)\w*": f"{JOBS_ADVICE} {_LOOK}",
    r"\b(?:Assoc|QOS)(?:Max|Min|Grp)\w+": f"A limit of account or QOS: look at 'memory', 'cpus' and 'disk'. {_LOOK}",
    "accounting/qos policy": "A limit of account or QOS refuses it: more jobs at once than it allows ('array_limit', "
    f"'subjobs_per_job'), or more 'memory', 'cpus' or 'walltime'. {_LOOK}",
    "invalid account or account/partition": "Is 'account' one of yours, and may it use the partition ('queue')? "
    "sacctmgr show associations user=$USER shows that.",
    "invalid qos|qos specification": "Is the QOS in 'extra_lines' one of yours? sacctmgr show associations shows that.",
    "partition": "Is 'queue' one of the partitions that sinfo shows?",
    "account": "Is 'account' one of yours? sacctmgr show associations user=$USER shows them.",
    "can not be satisfied|node configuration": _LARGE,
    "limit": "Lower what is asked for, or ask for less at once: a limit of the site refuses it.",
}
"""Words of a refusal → what to do; the first that fits counts."""


def build_output(array: ArraySpec) -> str:
    """Return the pattern of the element's log, where Slurm adds its own lines ("exceeded memory limit")."""
    folder, mark, rest = array.element_log("%a").rpartition("%a")
    if "\\" in folder:
        # A backslash turns every `%` of a pattern into plain text. The script still writes its log itself.
        return "/dev/null"
    return folder.replace("%", "%%") + mark + rest


def build_options(resources: Resources) -> list[str]:
    """Return the options that the arguments become."""
    given = (
        ("partition", resources.queue),
        ("account", resources.account),
        # Minutes are the unit; less would be cut off.
        ("time", None if resources.walltime is None else -(-resources.walltime // 60)),
        ("mem", None if resources.memory is None else f"{resources.memory}M"),
        ("cpus-per-task", resources.cpus),
        ("tmp", None if resources.disk is None else f"{resources.disk}M"),
        ("exclude", ",".join(resources.exclude_hosts or ()) or None),
    )
    return [f"--{name}={value}" for name, value in given if value is not None]


def explain(state: str, known: JobState | None, word: str, status: str) -> tuple[int | None, str | None]:
    """Return exit code and reason of an element.

    :param known: what the state means; None: nobody knows.
    :param word: the reason in Slurm's words; empty: none.
    :param status: `3:0` (exit code, signal) from sacct; the raw wait status of the script from squeue.
    """
    parts = []
    if word:
        parts.append(f"{word}: {MEANINGS[word]}" if word in MEANINGS else word)
    if known in (JobState.RUNNING, JobState.TRANSFERRING, JobState.CANCELLED):
        # They keep the word of the time when the element waited.
        return None, None
    if known not in FINAL:
        return None, "".join(parts) or None
    if state in MEANINGS:
        parts.append(f"{state}: {MEANINGS[state]}")
    match = EXIT.fullmatch(status)
    if match is None:
        return None, ", ".join(parts) or None
    number = int(match[1])
    exit_code: int | None
    exit_code, signal = (number >> 8, number & 127) if match[2] is None else (number, int(match[2]))
    if match[2] is not None and state != "COMPLETED":
        # Up to Slurm 25.05 it takes 128 off what is 128 or more (PRINT_EXITCODE in `print.c`).
        exit_code = None
        if not signal:
            parts.append(f"sacct says exit code {number}, which may stand for {number + 128}")
    if signal == _NOT_STARTED:
        parts.append("the node could not start it: are user, folder and log file known there?")
    elif signal:
        parts.append(f"ended by signal {signal}")
    return (None if signal else exit_code), ", ".join(parts) or None
