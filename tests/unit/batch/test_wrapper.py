"""The script of an element: the one place where text is quoted for a shell."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_caf.batch.spec import ArraySpec, Resources
from airflow_provider_caf.batch.wrapper import (
    build_element_script,
    build_scratch_script,
    build_script,
    build_site_argv,
    quote,
)
from airflow_provider_caf.core.errors import DefinitionError
from tests.unit.batch import arrays

GOLDEN = Path(__file__).parents[2] / "golden" / "batch"
HOSTILE = 'it\'s $(touch broken) "a"; `b` & <c> * \\ \n -x #!'


def make_array(**changes: Any) -> ArraySpec:
    values = {"name": "caf_x_0123456789", "elements": 2, "root": "/w/a b", "folder": "/w/a b/arrays/0"}
    return arrays.make_array(**{**values, **changes})


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)


@given(st.lists(TEXTS, min_size=1, max_size=5))
@example([HOSTILE, "", "'", "''", "-n", "~", "a=b", "!", "\r\n"])
def test_a_shell_reads_back_what_was_quoted(words: list[str]) -> None:
    line = " ".join(map(quote, [sys.executable, "-c", "import json, sys; print(json.dumps(sys.argv[1:]))", *words]))
    # Quick to check with the standard library's reader; the shell itself is asked below.
    assert shlex.split(line)[3:] == words


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
def test_the_shell_itself_agrees(shell: str) -> None:
    words = [HOSTILE, "", "'", "''", "a'b'c", "-n", "~", "a=b", "!", "\t", "$HOME", "{a,b}", "ä", "\\", "\r"]
    code = "import json, sys; print(json.dumps(sys.argv[1:]))"
    line = " ".join(map(quote, [sys.executable, "-c", code, *words]))
    done = subprocess.run([shell, "-c", line], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == words


def test_plain_words_stay_readable() -> None:
    assert quote("/w/app.pyz") == "/w/app.pyz"
    assert quote("") == "''"


def test_what_no_shell_can_carry_is_refused() -> None:
    with pytest.raises(DefinitionError, match="holds a NUL character"):
        quote("a\0b")


def test_the_script_of_an_element() -> None:
    resources = Resources(
        setup=("source /site/setup.sh 'x y'", "ulimit -c 0"),
        environment={"B": HOSTILE.replace("\n", " "), "A": "1"},
        shell="/bin/bash",
        container="/images/a b.sif",
    )
    script = build_element_script(make_array(resources=resources), '"$LSB_JOBINDEX"', first=1)
    assert script == (GOLDEN / "element.sh").read_text()


def test_a_bare_script() -> None:
    assert build_script(make_array(), ["pool", "submit"]) == (GOLDEN / "bare.sh").read_text()


def test_the_script_runs(tmp_path: Path) -> None:
    folder = tmp_path / HOSTILE.replace("\n", "")
    folder.mkdir()
    app = folder / "app.py"
    app.write_text("import json, os, sys; print(json.dumps([sys.argv[1:], os.getcwd(), os.environ['GIVEN']]))")
    array = make_array(
        folder=str(folder),
        app=str(app),
        python=sys.executable,
        resources=Resources(environment={"GIVEN": HOSTILE}),
    )
    script = "INDEX=7\n" + build_element_script(array, '"$INDEX"')
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout == ""
    printed = (folder / "element_7.log").read_text()
    words = ["subjob", "--array", array.array_file, "--first", "0", "--element", "7"]
    assert json.loads(printed) == [words, str(folder), HOSTILE]
    # A second start does not wipe out what the first one, which may still run, has printed.
    subprocess.run(["/bin/sh", "-c", script], check=True, cwd="/")
    assert (folder / "element_7.log").read_text() == printed * 2


def test_the_script_in_a_scratch_folder(tmp_path: Path) -> None:
    scratch = tmp_path / HOSTILE.replace("\n", "")
    array = make_array(
        python=sys.executable, resources=Resources(environment={"GIVEN": HOSTILE}, setup=("cd /", "echo set up"))
    )
    app = Path(f"{scratch}{array.app}")
    app.parent.mkdir(parents=True)
    app.write_text("import json, os, sys; print(json.dumps([sys.argv[1:], os.getcwd(), os.environ['GIVEN']]))")
    script = build_scratch_script(array, '"$1"')
    done = subprocess.run(
        ["/bin/bash", "-c", script, "run.sh", "4"], capture_output=True, text=True, check=True, cwd=scratch
    )
    assert done.stdout == ""
    printed = Path(f"{scratch}{array.folder}/element_4.log").read_text().splitlines()
    words = ["subjob", "--scratch", str(scratch), "--array", "array.json", "--element", "4"]
    assert printed[0] == "set up"
    assert json.loads(printed[1]) == [words, str(scratch), HOSTILE]
    # What is brought home has to be there, also when the app did not even start.
    assert Path(f"{scratch}{array.status_folder}").is_dir()


def test_a_container_in_a_scratch_folder_sees_it_all() -> None:
    script = build_scratch_script(make_array(resources=Resources(container="/images/a b.sif")), '"$1"')
    start = (
        """exec apptainer exec --bind "$caf_scratch" '/images/a b.sif' python3 "$caf_scratch"'/w/a b/app.pyz' subjob """
    )
    assert start in script


def test_a_program_in_the_environment_of_the_site(tmp_path: Path) -> None:
    argv = [
        sys.executable,
        "-c",
        "import json, os, sys; print(json.dumps([os.environ['SITE'], sys.argv[1:]]))",
        HOSTILE,
    ]
    assert build_site_argv(Resources(), argv) == tuple(argv)
    words = build_site_argv(Resources(setup=("SITE='a b'", "export SITE")), argv)
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert json.loads(done.stdout) == ["a b", [HOSTILE]]
    assert build_site_argv(Resources(setup=("x",), shell="/bin/bash"), argv)[0] == "/bin/bash"


def test_a_folder_that_is_gone_ends_it(tmp_path: Path) -> None:
    array = make_array(folder=str(tmp_path / "gone"))
    for script in (build_script(array, ["pool"]), build_element_script(array, "7")):
        done = subprocess.run(["/bin/bash", "-c", script], capture_output=True, text=True, check=False)
        assert done.returncode == 125
        assert "gone" in done.stderr
