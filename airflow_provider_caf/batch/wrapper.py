"""The script that one array element runs, and the only function that quotes text for a shell.

The script sets up the site, goes to the array's folder (PBS starts in `$HOME`), and becomes the job app: one
process fewer to be killed, and signals of the batch system reach the app itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from airflow_provider_caf.batch.spec import ArraySpec, Resources
from airflow_provider_caf.core.errors import DefinitionError

DEFAULT_SHELL = "/bin/bash"
"""Sites write `source setup.sh`, which a plain POSIX shell does not know."""

_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]+", re.ASCII)


def quote(text: str) -> str:
    """Give a text as one word of a POSIX shell.

    :raises DefinitionError: if it holds a NUL character, which no shell and no system call can carry.
    """
    if "\0" in text:
        raise DefinitionError(f"{text!r} holds a NUL character.", hint="Remove it.")
    if _PLAIN.fullmatch(text):
        return text
    return "'" + text.replace("'", "'\"'\"'") + "'"


def build_script(array: ArraySpec, words: Sequence[str], *, plain_words: Sequence[str] = ()) -> str:
    """Give the text of a script that runs the job app.

    :param words: the app's verb and arguments. They are quoted.
    :param plain_words: more arguments that the shell has to read, such as `"$SLURM_ARRAY_TASK_ID"`. They are
        constants of a system, never a user's text.
    :raises DefinitionError: if something in it cannot be said to a shell.
    """
    resources = array.resources
    app = [array.python, array.app, *words]
    if resources.container is not None:
        shared = (array.folder, array.input_folder, array.output_folder, array.status_folder)
        binds = [word for folder in shared for word in ("--bind", folder)]
        app = ["apptainer", "exec", *binds, resources.container, *app]
    lines = [
        f"#!{resources.shell or DEFAULT_SHELL}",
        f"# One element of the array {array.name}.",
        *(resources.setup or ()),
        *(f"export {name}={quote(text)}" for name, text in sorted((resources.environment or {}).items())),
        f"cd {quote(array.folder)} || exit 125",
        " ".join(["exec", *map(quote, app), *plain_words]),
    ]
    return "\n".join(lines) + "\n"


def build_element_script(array: ArraySpec, index: str, first: int = 0) -> str:
    """Give the script of one element of an array on a batch system.

    :param index: the shell expression of the element's number, such as `"$LSB_JOBINDEX"`.
    :param first: the number the system gives the first element.
    """
    return build_script(
        array,
        ["subjob", "--array", array.array_file, "--first", str(first), "--element"],
        plain_words=[index],
    )


def build_site_argv(resources: Resources, argv: Sequence[str]) -> tuple[str, ...]:
    """Give the argv that runs a program on this machine in the environment of a job.

    The site's setup lines stand in front; the program's own words never become part of the shell's text.

    :param resources: whose `setup` and `shell` count. The environment variables go with the command.
    """
    if not resources.setup:
        return tuple(argv)
    text = "\n".join([*resources.setup, 'exec "$@"'])
    return (resources.shell or DEFAULT_SHELL, "-c", text, "caf-setup", *argv)
