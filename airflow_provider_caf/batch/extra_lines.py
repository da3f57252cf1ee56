"""Read the user's own lines for a batch system (`extra_lines`), and refuse those that break what watching rests on.

Theory
------
We find an array by its name, count its elements by their indices, and believe a submit command that ends at once and
prints an id. An option that changes one of these is refused before anything is submitted, whatever its spelling: short
or long, abbreviated, joined with its value or with other flags. So is one that would have no effect, as the command
line sets it and wins. All other lines are passed on as they are.

What a program's options are, and which of them take a value, stands in its source: `src/common/slurm_opt.c` of Slurm,
`src/cmds/qsub.c` of OpenPBS, `src/cmds/qsub_functions.c` of Torque, `lsbatch/lib/lsb.sub.c` of the LSF-compatible
volclava with IBM's documentation of `bsub`, `src/condor_utils/submit_utils.cpp` of HTCondor.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping

from airflow_provider_caf.batch.spec import Resources
from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.record import record

_ID = "the id of the array is not printed then"
_NAME = "arrays are found by the name that this package gives them"
_INDEX = "the elements of the array are this package's to number"
_SET = "this package sets it on the command line, which wins"
_NOTHING = "nothing is submitted then"
_WAITS = "the submit command would not end before the jobs do"
_ORDER = "jobs whose condition fails wait for ever; the order of things is the DAG's affair"
_TERMINAL = "it needs a terminal, and waits"
_OTHER_USER = "jobs of another user are not found"

_SLURM: Mapping[str, str] = {
    "array": _INDEX,
    "autocomplete": _NOTHING,
    "chdir": _SET,
    "cluster": "on another cluster than the default one nobody would look for the jobs",
    "clusters": "on another cluster than the default one nobody would look for the jobs",
    "dependency": _ORDER,
    "export": _SET,
    "help": _NOTHING,
    "job-name": _NAME,
    "open-mode": _SET,
    "output": _SET,
    "quiet": _ID,
    "test-only": _NOTHING,
    "uid": _OTHER_USER,
    "usage": _NOTHING,
    "version": _NOTHING,
    "wait": _WAITS,
    "wrap": "the script is this package's",
}
_SLURM_LETTERS = {
    "?": "help",
    "D": "chdir",
    "J": "job-name",
    "M": "clusters",
    "Q": "quiet",
    "V": "version",
    "W": "wait",
    "a": "array",
    "d": "dependency",
    "h": "help",
    "o": "output",
}
_SLURM_VALUES = "AabDMCScdmexBGiJLFwNnopqt"
"""The letters that take a value."""

_PBS: Mapping[str, str] = {
    "I": _TERMINAL,
    "J": _INDEX,
    "N": _NAME,
    "X": _TERMINAL,
    "e": _SET,
    "m": _SET,
    "o": _SET,
    "t": _INDEX,
    "z": _ID,
}
_PBS_ATTRIBUTES: Mapping[str, str] = {"block": _WAITS, "depend": _ORDER, "interactive": _TERMINAL}
_PBS_VALUES = "aAcCejJklmMNopPqrRSuvW"
_TORQUE_VALUES = "aAbcCdDeFijJkKlLmMNopPqrStTuvwW"

_LSF: tuple[tuple[re.Pattern[str], str], ...] = (
    # -Jd is a description, -wa and -wt are about a warning before the end.
    (re.compile(r"-J(?!d$).*"), _NAME),
    (re.compile(r"-w(?![at]$).*|-ti"), _ORDER),
    (re.compile(r"-K"), _WAITS),
    (re.compile(r"-I\w*"), _TERMINAL),
    (re.compile(r"-oo?"), _SET),
    (re.compile(r"-pack"), _INDEX),
    (re.compile(r"-[hV]"), _NOTHING),
)

_FILES = "with transfer_files this package says what travels"
_HTCONDOR: Mapping[str, str] = {
    **dict.fromkeys(("arguments", "args", "executable"), "the script is this package's"),
    **dict.fromkeys(("initialdir", "initial_dir", "job_iwd"), "the folder is this package's"),
    **dict.fromkeys(("cafname", "my.cafname", "+cafname"), _NAME),
    **dict.fromkeys(("leave_in_queue", "my.leavejobinqueue", "+leavejobinqueue"), "so ended jobs are seen"),
    **dict.fromkeys(("noop_job", "my.isnoopjob", "+isnoopjob"), "jobs would end well without having run"),
    **dict.fromkeys(
        ("cron_minute", "cron_hour", "cron_day_of_month", "cron_month", "cron_day_of_week"), "the jobs would never end"
    ),
}
_HTCONDOR_FILES = frozenset(
    {
        *("preserve_relative_paths", "should_transfer_files", "transfer_executable", "transfer_input_files"),
        *("transfer_output_files", "transfer_output_remaps", "when_to_transfer_output"),
    }
)
_QUEUE_LINE = re.compile(r"\s*queue\b", re.IGNORECASE)

_VARIABLES: Mapping[str, Mapping[str, str]] = {
    "slurm": dict.fromkeys(
        ("SBATCH_CLUSTERS", "SBATCH_WAIT", "SLURM_CLUSTERS"),
        "a job sees it, sbatch does not; another cluster, or waiting for the end, is not possible here",
    )
}
"""Variables that stand for refused options. In `environment` and `setup` they only reach the job."""


@record
class _Rule:
    """How lines of a system are read.

    :param prefix: what a directive begins with.
    :param refusal: what is wrong with a line that is none.
    :param hint: what to write instead.
    :param find: gives from the words of a directive each refused option and why.
    """

    prefix: str
    refusal: str
    hint: str
    find: Callable[[list[str]], Iterable[tuple[str, str]]]
    dash_suffices: bool = False


def read_directives(system: str, resources: Resources, where: str) -> tuple[str, ...]:
    """Return the extra lines as they stand in the script or the submit file.

    :param system: our name of the batch system.
    :param where: what they belong to, such as `array caf_x`.
    :raises DefinitionError: if one is no line of the system, or one that would break the watching.
    """
    _check_variables(system, resources, where)
    lines = resources.extra_lines or ()
    if system == "htcondor":
        return tuple(_check_condor_line(line, resources, where) for line in lines)
    rule = _RULES.get(system)
    return () if rule is None else tuple(text for line in lines if (text := _read_directive(rule, line, where)))


def _check_variables(system: str, resources: Resources, where: str) -> None:
    setup = "\n".join(resources.setup or ())
    for name, reason in _VARIABLES.get(system, {}).items():
        if name in (resources.environment or {}) or re.search(rf"\b{name}=", setup):
            raise DefinitionError(f"The environment or setup of {where} sets {name}: {reason}.", hint="Take it out.")


def _read_directive(rule: _Rule, line: str, where: str) -> str | None:
    if rule.dash_suffices:
        line = line.strip()
        if not line:
            return None
        if line.startswith("-"):
            line = f"{rule.prefix} {line}"
    if not line.startswith(f"{rule.prefix} "):
        raise DefinitionError(f"The extra line {line!r} of {where} {rule.refusal}", hint=rule.hint)
    for option, reason in rule.find(_split(line.removeprefix(rule.prefix))):
        raise _refuse(line, where, option, reason)
    return line


def _refuse(line: str, where: str, option: str, reason: str) -> DefinitionError:
    return DefinitionError(
        f"The extra line {line!r} of {where} is refused for {option!r}: {reason}.", hint="Take it out."
    )


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text, comments=True)
    except ValueError:
        # A quote that is not closed; what the system makes of it is its own affair.
        return text.split()


def _find_slurm(words: list[str]) -> Iterator[tuple[str, str]]:
    if words and not words[0].startswith("-"):
        yield words[0], "it is no option; such a line makes one job of several parts"
    for word in words:
        name = word.partition("=")[0][2:]
        if word.startswith("--") and name:
            # As getopt_long: a beginning that fits is enough, and an exact name is no beginning of another.
            found = name if name in _SLURM else next((option for option in _SLURM if option.startswith(name)), None)
            if found is not None:
                yield word, _SLURM[found]
        elif word.startswith("-"):
            for letter in _list_letters(word, _SLURM_VALUES):
                if letter in _SLURM_LETTERS:
                    yield f"-{letter}", _SLURM[_SLURM_LETTERS[letter]]


def _list_letters(word: str, values: str) -> Iterator[str]:
    """Yield the flags of `-Hd`, up to the one that takes the rest as its value."""
    for letter in word[1:]:
        yield letter
        if letter in values:
            return


def _build_pbs_finder(values: str) -> Callable[[list[str]], Iterator[tuple[str, str]]]:
    def find(words: list[str]) -> Iterator[tuple[str, str]]:
        rest = iter(words)
        for word in rest:
            letters = [*_list_letters(word, values)] if word.startswith("-") else []
            yield from ((f"-{letter}", _PBS[letter]) for letter in letters if letter in _PBS)
            value = ""
            if letters and letters[-1] in values:
                value = word[1 + len(letters) :] or next(rest, "")
            if letters and letters[-1] == "W":
                names = [part.partition("=")[0].strip() for part in value.split(",")]
                yield from ((f"-W {name}", _PBS_ATTRIBUTES[name]) for name in names if name in _PBS_ATTRIBUTES)

    return find


def _find_lsf(words: list[str]) -> Iterator[tuple[str, str]]:
    for word in words:
        yield from ((word, reason) for pattern, reason in _LSF if pattern.fullmatch(word))


def _check_condor_line(line: str, resources: Resources, where: str) -> str:
    if _QUEUE_LINE.match(line) or line.rstrip().endswith("\\"):
        raise DefinitionError(
            f"The extra line {line!r} of {where} would change what is queued.",
            hint="Remove 'queue' lines and a '\\' at the end of a line.",
        )
    name = line.partition("=")[0].strip().lower()
    if name in _HTCONDOR:
        raise _refuse(line, where, name, _HTCONDOR[name])
    if name in _HTCONDOR_FILES and resources.transfer_files:
        raise _refuse(line, where, name, _FILES)
    return line


_RULES: Mapping[str, _Rule] = {
    "lsf": _Rule(
        prefix="#BSUB",
        refusal="is no directive of LSF.",
        hint="Write '#BSUB -option value', and lines of the shell into 'setup'.",
        find=_find_lsf,
    ),
    "pbs": _Rule(
        prefix="#PBS",
        refusal="is not a directive of PBS.",
        hint="Begin it with '#PBS ', such as '#PBS -l place=excl'. Commands go into 'setup'.",
        find=_build_pbs_finder(_PBS_VALUES),
    ),
    "slurm": _Rule(
        prefix="#SBATCH",
        refusal="is no option of sbatch.",
        hint="Write '--option=value' or '#SBATCH --option=value'; shell lines belong into 'setup'.",
        find=_find_slurm,
        dash_suffices=True,
    ),
    "torque": _Rule(
        prefix="#PBS",
        refusal="is not a directive of PBS.",
        hint="Begin it with '#PBS ', such as '#PBS -l nodes=1'. Commands go into 'setup'.",
        find=_build_pbs_finder(_TORQUE_VALUES),
    ),
}
