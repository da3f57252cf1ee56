"""Paths of a run: every one in its place, and no name leaves the work folder."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.io.layout import RunLayout, default_catalog_file, slug

RUN = RunLayout(work_dir=Path("/data/caf"), dag_id="Belle2_prompt", run_id="manual_1")
PASS = RUN.calibration("vertex").iteration(2)
CDC = PASS.collection("default")
HOSTILE = [
    "",
    ".",
    "..",
    "a/b",
    "/a",
    "../a",
    "a..b",
    "a b",
    "a;b",
    "$(id)",
    "`id`",
    "'a'",
    '"a"',
    "-rf",
    ".hidden",
    "a.",
    "a\nb",
    "a\n",
    "a\0",
    "ä",
    "a" * 101,
    "a#b",
    "*",
    "a.b",
    "_x",
]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (RUN.calibration("vertex").app, "app.pyz"),
        (RUN.calibration("vertex").manifest("default"), "manifest/default.json"),
        (RUN.calibration("vertex").database, "outputdb"),
        (PASS.folder, "2"),
        (PASS.database, "2/outputdb"),
        (PASS.decision, "2/decision.json"),
        (RUN.calibration("vertex").manifest_folder, "manifest"),
        (RUN.calibration("vertex").definition, "definition.json"),
        (RUN.calibration("vertex").gaps, "iov_gaps.json"),
        (CDC.manifest, "manifest/default.json"),
        (CDC.jobs.job_file(3), "2/collector_input/default/00003.json"),
        (CDC.jobs.subjob_folder(3), "2/collector_output/default/00003"),
        (CDC.jobs.attempt_folder(3, 1), "2/collector_output/default/00003/attempt_1"),
        (CDC.jobs.status_folder, "2/collector_output/default/status"),
        (CDC.jobs.exit_record(3, 1), "2/collector_output/default/status/00003.1.json"),
        (CDC.jobs.exit_record(123456, 0), "2/collector_output/default/status/123456.0.json"),
        (CDC.jobs.array_folder(0), "2/collector_output/default/arrays/0"),
        (CDC.merged_file, "2/merged/default.root"),
        (CDC.merged_index, "2/merged/default.index.json"),
        (CDC.merge_request, "2/merged/default.merge.json"),
        (CDC.merge_log, "2/merged/default.merge.log"),
        (CDC.failed_file, "2/merged/default.failed.json"),
        (PASS.algorithm("BeamSpot").folder, "2/algorithm_output/BeamSpot"),
        (PASS.algorithm("BeamSpot").database, "2/algorithm_output/BeamSpot/outputdb"),
        (PASS.algorithm("BeamSpot").log, "2/algorithm_output/BeamSpot/BeamSpot.log"),
        (PASS.algorithm("BeamSpot").result, "2/algorithm_output/BeamSpot/result.json"),
        (PASS.algorithm("BeamSpot").staging_folder, "2/algorithm_output/BeamSpot/staging"),
        (PASS.algorithm("BeamSpot").checkpoint_folder, "2/algorithm_output/BeamSpot/checkpoint"),
    ],
)
def test_every_path_is_where_the_contract_says(path: Path, expected: str) -> None:
    assert path == Path("/data/caf/Belle2_prompt/manual_1/vertex") / expected


def test_catalog_file_lies_beside_the_work_folder() -> None:
    assert default_catalog_file(Path("/data/caf")) == Path("/data/caf_catalog.sqlite")


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("kind", ["calibration", "collection", "algorithm"])
def test_a_name_that_cannot_be_a_folder_is_refused(kind: str, name: str) -> None:
    make = {"calibration": RUN.calibration, "collection": PASS.collection, "algorithm": PASS.algorithm}[kind]
    with pytest.raises(DefinitionError) as caught:
        make(name)
    assert re.match(rf"{re.escape(repr(name))} cannot be the name of an? {kind}\.", str(caught.value))
    assert "letters, digits, '_' and '-'" in str(caught.value)


@pytest.mark.parametrize("name", ["vertex", "ecl_Wave_C2_0_1", "3d", "a-b", "a" * 100])
def test_a_plain_name_stays_as_it_is(name: str) -> None:
    assert RUN.calibration(name).folder.name == name


@pytest.mark.parametrize("dag_id", ["Belle2_prompt", "a.b", "_x"])
def test_a_plain_dag_id_stays_as_it_is(dag_id: str) -> None:
    run = RunLayout(work_dir=Path("/w"), dag_id=dag_id, run_id="r")
    assert run.folder == Path("/w") / dag_id / "r"


@pytest.mark.parametrize("dag_id", ["..", ".", "-a", "schön", "a" * 201, "a..b"])
def test_a_dag_id_that_cannot_be_a_folder_gets_a_hash(dag_id: str) -> None:
    run = RunLayout(work_dir=Path("/w"), dag_id=dag_id, run_id="r")
    assert run.folder == Path("/w") / slug(dag_id) / "r"
    assert slug(dag_id) != dag_id


def test_a_relative_work_folder_is_refused() -> None:
    with pytest.raises(DefinitionError, match="'work' is not an absolute path"):
        RunLayout(work_dir=Path("work"), dag_id="d", run_id="r")


@pytest.mark.parametrize("number", [-1, True, 1.0, "1"])
def test_a_count_that_is_no_count_is_refused(number: object) -> None:
    with pytest.raises(DefinitionError, match="cannot count subjobs"):
        CDC.jobs.job_file(number)  # type: ignore[arg-type]


@pytest.mark.parametrize("run_id", ["manual_1", "a", "caf.2", "2026-01-01"])
def test_a_plain_run_id_is_its_own_slug(run_id: str) -> None:
    assert slug(run_id) == run_id


@pytest.mark.parametrize(
    ("run_id", "start"),
    [
        ("manual__2026-01-01T10:00:00+00:00", "manual__2026-01-01T10-00-00-00-00-"),
        ("", "run-"),
        ("..", "run-"),
        ("../../etc/passwd", "etc-passwd-"),
        ("-rf", "rf-"),
        ("nul", "nul-"),
        ("con.txt", "con.txt-"),
        ("Upper", "Upper-"),
        ("x" * 500, "x" * 80 + "-"),
    ],
)
def test_another_run_id_stays_readable_and_gets_a_hash(run_id: str, start: str) -> None:
    got = slug(run_id)
    assert got.startswith(start)
    assert len(got) == len(start) + 12


ODD_TEXT = st.one_of(
    st.text(max_size=30),
    st.text(alphabet="aA-._:/ ", max_size=6),
    st.from_regex(r"[a-z]{1,3}-[0-9a-f]{12}", fullmatch=True),
)


@given(ODD_TEXT)
def test_a_slug_is_safe_everywhere(text: str) -> None:
    got = slug(text)
    assert 0 < len(got) <= 93
    assert set(got) <= set(string.ascii_letters + string.digits + "_.-")
    assert got[0] not in ".-"
    assert got[-1] != "."
    assert ".." not in got


@given(st.lists(ODD_TEXT, min_size=2, max_size=6, unique=True))
def test_two_run_ids_never_share_a_folder(texts: list[str]) -> None:
    assert len({slug(text).lower() for text in texts}) == len(texts)


@given(ODD_TEXT)
def test_a_slug_given_as_run_id_is_another_run(text: str) -> None:
    if slug(text) != text:
        assert slug(slug(text)) != slug(text)


@given(dag_id=ODD_TEXT, run_id=ODD_TEXT)
def test_no_id_leaves_the_work_folder(dag_id: str, run_id: str) -> None:
    work = Path("/data/caf")
    folder = RunLayout(work_dir=work, dag_id=dag_id, run_id=run_id).folder
    assert folder.parent.parent == work
    assert ".." not in folder.parts
