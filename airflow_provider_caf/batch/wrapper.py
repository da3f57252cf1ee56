"""The script that one array element runs, and the only function that quotes text for a shell.

The script sets up the site, goes to the array's folder (PBS starts in `$HOME`), and becomes the job app: one
process fewer to be killed, and signals of the batch system reach the app itself. What it prints goes to a log beside
the array's other files, so the systems' own output options, each with its own quoting, need not name a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from airflow_provider_caf.batch.spec import ArraySpec, Resources
from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.file_names import ARRAY_FILE

DEFAULT_SHELL = "/bin/bash"
"""Sites write `source setup.sh`, which a plain POSIX shell does not know."""

EXIT_NO_FOLDER = 125
"""The array's folder is not there: the work folder is not mounted on that machine."""

_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]+", re.ASCII)


def quote(text: str) -> str:
    """Return a text as one word of a POSIX shell.

    :raises DefinitionError: if it holds a NUL character, which no shell and no system call can carry.
    """
    if "\0" in text:
        raise DefinitionError(f"{text!r} holds a NUL character.", hint="Remove it.")
    if _PLAIN.fullmatch(text):
        return text
    return "'" + text.replace("'", "'\"'\"'") + "'"


def build_script(
    array: ArraySpec, words: Sequence[str], *, plain_words: Sequence[str] = (), log: str | None = None
) -> str:
    """Return the text of a script that runs the job app.

    :param words: the app's verb and arguments. They are quoted.
    :param plain_words: more arguments that the shell has to read, such as `"$SLURM_ARRAY_TASK_ID"`. They are
        constants of a system, never a user's text.
    :param log: where all that is printed goes, as a word of the shell.
    :raises DefinitionError: if something in it cannot be said to a shell.
    """
    shared = (array.folder, array.input_folder, array.output_folder, array.status_folder)
    app = [array.python, array.app, *words]
    return _join_lines(
        array,
        # Appended: an earlier start of the same element may still run somewhere.
        () if log is None else (_build_redirection(log),),
        f"cd {quote(array.folder)} || exit {EXIT_NO_FOLDER}",
        [*_build_container(array.resources, map(quote, shared)), *map(quote, app), *plain_words],
    )


def build_element_script(array: ArraySpec, index: str, first: int = 0) -> str:
    """Return the script of one element of an array on a batch system.

    :param index: the shell expression of the element's number, such as `"$LSB_JOBINDEX"`.
    :param first: the number the system gives the first element.
    """
    variable = index.strip('"')
    return build_script(
        array,
        ["subjob", "--array", array.array_file, "--first", str(first), "--element"],
        plain_words=[index],
        # The log is named by our own number of the element, whatever the system's first one is.
        log=_build_log(array, f"$(({variable} - {first}))" if first else index),
    )


def build_scratch_script(array: ArraySpec, index: str) -> str:
    """Return the script of an element that runs where none of the project's folders is seen.

    It starts in a folder of its own. There lies the record of the array, and below it each folder that is needed under
    its usual path: what is `/w/app.pyz` elsewhere is `$caf_scratch/w/app.pyz`.

    :param index: the shell expression of the element's number, counted from 0.
    """
    root = '"$caf_scratch"'
    app = [quote(array.python), f"{root}{quote(array.app)}", "subjob", "--scratch", root]
    return _join_lines(
        array,
        (
            "caf_scratch=$PWD",
            f"mkdir -p {root}{quote(array.folder)} {root}{quote(array.status_folder)} || exit {EXIT_NO_FOLDER}",
            _build_redirection(f"{root}{_build_log(array, index)}"),
        ),
        f"cd {root} || exit {EXIT_NO_FOLDER}",
        [*_build_container(array.resources, [root]), *app, "--array", ARRAY_FILE, "--element", index],
    )


def _build_redirection(log: str) -> str:
    """Return the line that sends all that is printed to a log which only this user may read."""
    return f"(umask 077; : >>{log}) && exec >>{log} 2>&1 || exit {EXIT_NO_FOLDER}"


def _build_log(array: ArraySpec, index: str) -> str:
    before, after = array.element_log("\0").split("\0")
    return f"{quote(before)}{index}{quote(after)}"


def _build_container(resources: Resources, shared: Iterable[str]) -> list[str]:
    if resources.container is None:
        return []
    binds = [word for folder in shared for word in ("--bind", folder)]
    return ["apptainer", "exec", *binds, quote(resources.container)]


def _join_lines(array: ArraySpec, before: Sequence[str], change_folder: str, command: Sequence[str]) -> str:
    resources = array.resources
    lines = [
        f"#!{resources.shell or DEFAULT_SHELL}",
        f"# One element of the array {array.name}.",
        *before,
        *(resources.setup or ()),
        *(f"export {name}={quote(text)}" for name, text in sorted((resources.environment or {}).items())),
        change_folder,
        " ".join(["exec", *command]),
    ]
    return "\n".join(lines) + "\n"


def build_site_argv(resources: Resources, argv: Sequence[str]) -> tuple[str, ...]:
    """Return the argv that runs a program on this machine in the environment of a job.

    The site's setup lines stand in front; the program's own words never become part of the shell's text.

    :param resources: whose `setup` and `shell` count. The environment variables go with the command.
    """
    if not resources.setup:
        return tuple(argv)
    text = "\n".join([*resources.setup, 'exec "$@"'])
    return (resources.shell or DEFAULT_SHELL, "-c", text, "caf-setup", *argv)
