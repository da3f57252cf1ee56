"""What a batch system's refusal means: errors for submit commands and look-ups, with advice.

A refusal is an answer; a broken connection is none. Only the words of the command tell one from the other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from airflow_provider_caf.batch.spec import ArraySpec, CommandResult
from airflow_provider_caf.core.errors import PollError, SubmitError, SubmitRefused, SubmitUnknown


def show_output(result: CommandResult) -> str:
    """Return the last words of a command for a message."""
    return (result.stderr.strip() or result.stdout.strip())[-500:] or "it printed nothing"


def show_all_output(result: CommandResult) -> str:
    """Return the last words of a command that tells its troubles on both outputs."""
    return f"{result.stdout.strip()}\n{result.stderr.strip()}".strip()[-500:] or "it printed nothing"


_AWAY = re.compile(
    r"connect|contact|time[d-]? ?out|not respond|try (?:again )?later|end of (?:file|message)|communicat|broken pipe|"
    r"\b(?:busy|unavailable|unreachable|interrupted|shutting down|slow down)\b|route to host|host is down|reset by|"
    # Slurm: numbers below 2000 in `slurm_errno.c`, and what it says where it has none.
    r"unexpected (?:message|missing)|message (?:send|receive) failure|insane message|authentication error|zero bytes|"
    r"unspecified error|"
    # LSF: LSBE_MBATCHD to LSBE_XDR in `lsb.err.c`, with which a message has been lost.
    r"internal error|library call|system call failed|protocol error|encode/decode|child process died|"
    # HTCondor: the schedd has not said whether it has committed; where it has refused, a line says why (`submit.cpp`).
    r"Failed to commit job submission into the queue\.\s*\Z",
    re.IGNORECASE,
)
"""Words of a command that could not speak with its server to the end."""
_CRASHES = range(129, 153)
"""What a shell says of a command that a signal ended. Error numbers of PBS begin at 153."""


ARRAY_ADVICE = "The site takes smaller arrays: set 'array_limit' to its limit, and a large collection becomes several."
JOBS_ADVICE = (
    "The site takes fewer jobs at once: 'subjobs_per_job' makes fewer jobs, each with several subjobs. Where it limits "
    "the size of one array, set 'array_limit'."
)


def refuse_submit(
    program: str, array: ArraySpec, result: CommandResult, advice: Mapping[str, str], otherwise: str
) -> SubmitError:
    """Return the error for a submit command that gave no id.

    It is a `SubmitRefused` only where the command has ended by itself, with an exit code and words, and the words do
    not say that it had no answer of its server.

    :param program: who has refused the array.
    :param advice: pattern of the command's output → what to do; the first one that is found counts.
    :param otherwise: what to do where none is found.
    """
    output = f"{result.stdout}\n{result.stderr}"
    refused = result.exit_code > 0 and result.exit_code not in _CRASHES and output.strip() and not _AWAY.search(output)
    hints = (hint for pattern, hint in advice.items() if re.search(pattern, output, re.IGNORECASE))
    return (SubmitRefused if refused else SubmitError)(
        f"{program} did not take array {array.name} (exit code {result.exit_code}): {show_all_output(result)}",
        hint=next(hints, otherwise),
    )


def doubt_lookup(array: ArraySpec, why: str, *, advice: str, remembers: float = 0.0) -> SubmitUnknown:
    """Return the error for a lookup that found nothing in the queue, where the queue is not all there ever was.

    :param why: what the system does not remember.
    :param advice: what would tell, or would have told.
    :param remembers: seconds for which the queue shows what is over.
    """
    return SubmitUnknown(
        f"It is not known whether array {array.name} was submitted: none of that name is in the queue, and {why}.",
        hint=f"{advice} If it never ran, remove {array.array_file} and clear the task: then it is submitted.",
        remembers=remembers,
    )


def refuse_lookup(array: ArraySpec, result: CommandResult, reason: str | None = None) -> SubmitError:
    """Return the error for a lookup by name that was not answered.

    :param reason: why not; None: what the command printed.
    """
    return SubmitError(
        f"It is not known whether array {array.name} was submitted (exit code {result.exit_code}): "
        f"{reason or show_output(result)}",
        hint="Run the task again when the batch system answers; it looks first, and submits only if there is none.",
    )


def refuse_action(what: str, result: CommandResult, done: str) -> PollError:
    """Return the error for a command that was to do something to jobs.

    :param what: to what it was to be done, such as `Array caf_a`.
    :param done: what was to be done, such as `cancelled`.
    """
    return PollError(
        f"{what} could not be {done} (exit code {result.exit_code}): {show_all_output(result)}",
        hint=f"Try by hand: {' '.join(result.argv)}"[:300],
    )
