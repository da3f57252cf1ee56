"""Jobs and splitters by the reference's names."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_caf.worker.basf2.dropin.caf import backends, framework, runners, strategies
from airflow_provider_caf.worker.basf2.dropin.caf.backends import (
    ArgumentsGenerator,
    ArgumentsSplitter,
    BackendError,
    Job,
    JobError,
    MaxFilesSplitter,
    MaxSubjobsSplitter,
    SplitterError,
    range_arguments,
)


def build_job(folder: Path, files: int = 0, **words: Any) -> Job:
    job = Job("job")
    job.working_dir = job.output_dir = folder / "work"
    job.input_files = [f"/data/{number}.root" for number in range(files)]
    for name, value in words.items():
        setattr(job, name, value)
    return job


def split(splitter: Any, job: Job) -> list[int]:
    splitter.create_subjobs(job)
    files = [path for subjob in job.subjobs.values() for path in subjob.input_files]
    assert files == job.input_files
    return [len(subjob.input_files) for subjob in job.subjobs.values()]


@pytest.mark.parametrize(
    ("splitter", "sizes"),
    [
        (MaxFilesSplitter(max_files_per_subjob=4), [4, 4, 3]),
        (MaxFilesSplitter(), [1] * 11),
        (MaxSubjobsSplitter(max_subjobs=4), [3, 3, 3, 2]),
        (MaxSubjobsSplitter(), [1] * 11),
    ],
)
def test_files_are_split(tmp_path: Path, splitter: Any, sizes: list[int]) -> None:
    assert split(splitter, build_job(tmp_path, 11)) == sizes


@given(files=st.integers(1, 60), most=st.integers(1, 25))
def test_every_file_is_in_one_subjob_and_in_its_order(files: int, most: int) -> None:
    sizes = split(MaxFilesSplitter(max_files_per_subjob=most), build_job(Path("/nowhere"), files))
    assert sizes == [most] * (files // most) + [files % most] * (files % most > 0)
    sizes = split(MaxSubjobsSplitter(max_subjobs=most), build_job(Path("/nowhere"), files))
    assert (len(sizes), sum(sizes)) == (min(files, most), files)
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] - sizes[-1] <= 1


@pytest.mark.parametrize("splitter", [MaxFilesSplitter(), MaxSubjobsSplitter()])
def test_without_files_there_are_no_subjobs(tmp_path: Path, splitter: Any) -> None:
    assert split(splitter, build_job(tmp_path)) == []


@pytest.mark.parametrize(
    "build", [lambda: MaxFilesSplitter(max_files_per_subjob=0), lambda: MaxSubjobsSplitter(max_subjobs=0)]
)
def test_a_limit_below_one_is_an_error(build: Any) -> None:
    with pytest.raises(SplitterError, match="at least 1"):
        build()


def name_files(prefix: str) -> Generator[Any, Any, None]:
    """Give arguments that depend on the subjob, as scripts write such a function."""
    subjob = yield None
    while subjob.id < 3:
        subjob = yield (f"{prefix}{subjob.id}.root",)


def test_arguments_are_asked_for_each_subjob(tmp_path: Path) -> None:
    job = build_job(tmp_path, 1)
    generator = ArgumentsGenerator(name_files, prefix="out")
    splitter = ArgumentsSplitter(arguments_generator=generator, max_subjobs=10)
    splitter.create_subjobs(job)
    assert [each.args for each in job.subjobs.values()] == [("out0.root",), ("out1.root",), ("out2.root",)]
    assert all(each.input_files == job.input_files for each in job.subjobs.values())
    again = build_job(tmp_path)
    splitter.create_subjobs(again)
    assert len(again.subjobs) == 3


def test_too_many_arguments_are_an_error(tmp_path: Path) -> None:
    generator = ArgumentsGenerator(range_arguments)
    with pytest.raises(SplitterError, match="more than 2 subjobs"):
        ArgumentsSplitter(arguments_generator=generator, max_subjobs=2).create_subjobs(build_job(tmp_path))


def test_files_and_arguments_together(tmp_path: Path) -> None:
    job = build_job(tmp_path, 3)
    MaxFilesSplitter(arguments_generator=ArgumentsGenerator(range_arguments, 5, step=2)).create_subjobs(job)
    assert [each.args for each in job.subjobs.values()] == [(5,), (7,), (9,)]
    generator = ArgumentsGenerator(range_arguments, stop=2)
    with pytest.raises(SplitterError, match="no arguments for the subjob 2"):
        MaxFilesSplitter(arguments_generator=generator).create_subjobs(build_job(tmp_path, 3))


def test_a_subjob_says_what_the_job_says(tmp_path: Path) -> None:
    job = build_job(tmp_path, cmd=["basf2", "x.py"])
    subjob = job.create_subjob(3, input_files=["a"], args=("--exp", 4))
    job.backend_args = {"queue": "l"}
    assert (subjob.name, subjob.working_dir, subjob.backend_args) == ("job_3", tmp_path / "work" / "3", {"queue": "l"})
    assert (subjob.full_command, job.full_command) == ("basf2 x.py --exp 4", "basf2 x.py")
    assert subjob.subjobs == {}
    assert repr(subjob) == "SubJob(job_3)"
    with pytest.raises(JobError, match="has a subjob 3 already"):
        job.create_subjob(3)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = subjob.nothing


def test_a_job_travels_as_json(tmp_path: Path) -> None:
    job = build_job(tmp_path, 2, cmd=["echo"], setup_cmds=["true"], output_patterns=["*.root"])
    job.input_sandbox_files = [tmp_path / "x.py"]
    job.max_files_per_subjob = 1
    job.splitter.create_subjobs(job)
    job.dump_to_json(tmp_path / "job.json")
    read = Job.from_json(tmp_path / "job.json")
    assert read.job_dict == job.job_dict == json.loads((tmp_path / "job.json").read_text())
    assert read.subjobs[1].input_files == ["/data/1.root"]


def test_a_job_is_as_far_as_its_last_subjob(tmp_path: Path) -> None:
    job = build_job(tmp_path, 2, max_subjobs=2)
    assert (job.status, job.max_subjobs) == ("init", 2)
    job.splitter.create_subjobs(job)
    job.subjobs[0].status = "completed"
    job.subjobs[1].status = "running"
    assert (job.update_status(), job.ready()) == ("running", False)
    job.subjobs[1].status = "failed"
    assert (job.status, job.ready()) == ("failed", True)


def test_input_data_are_those_of_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(JobError, match="this is no job"):
        backends.get_input_data()
    (tmp_path / "job.json").write_text('{"input_files": ["/a.root"]}')
    monkeypatch.setenv("CAF_JOB", str(tmp_path / "job.json"))
    assert backends.get_input_data() == ["/a.root"]


def test_input_files_are_absolute_and_there_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.root", "b c.root"):
        (tmp_path / name).touch()
    job = build_job(tmp_path)
    job.input_files = [
        "b c.root",
        f"{tmp_path}/a.root",
        f"file://{tmp_path}/b%20c.root",
        "root://far//c.root",
        "a.root",
    ]
    job.check_input_data_files()
    assert job.input_files == [f"{tmp_path}/b c.root", f"{tmp_path}/a.root", "root://far//c.root"]
    job.input_files = ["nothing.root"]
    with pytest.raises(JobError, match=r"input file nothing\.root of Job\(job\) is not there"):
        job.check_input_data_files()


def test_the_folder_of_a_subjob_is_that_of_its_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    job = Job("job")
    subjob = job.create_subjob(4)
    job.output_dir = "results"
    monkeypatch.chdir("/")
    assert (subjob.working_dir, subjob.output_dir) == (tmp_path / "4", tmp_path / "results" / "4")
    for name in ("working_dir", "output_dir"):
        with pytest.raises(AttributeError, match="lies in that of its job"):
            setattr(subjob, name, tmp_path)


RELEASE = {"BELLE2_TOOLS": "/cvmfs/my tools", "BELLE2_RELEASE": "release-08-00-00"}
LOCAL = {"BELLE2_TOOLS": "/tools", "BELLE2_LOCAL_DIR": "/home/me/dev elopment", "BELLE2_OPTION": "opt"}


@pytest.mark.parametrize(
    ("variables", "lines"),
    [
        (RELEASE, ["source '/cvmfs/my tools/b2setup' release-08-00-00"]),
        ({"BELLE2_TOOLS": "/tools"}, ["source /tools/b2setup"]),
        (
            LOCAL,
            [
                "export BELLE2_NO_TOOLS_CHECK=TRUE",
                "pushd '/home/me/dev elopment' > /dev/null",
                "source /tools/b2setup",
                "b2code-option opt",
                "popd > /dev/null",
            ],
        ),
    ],
)
def test_jobs_can_have_the_release_of_the_script(
    variables: dict[str, str], lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in {*RELEASE, *LOCAL}:
        monkeypatch.delenv(name, raising=False)
    job = Job("job")
    with pytest.raises(BackendError, match="no \\$BELLE2_TOOLS"):
        job.append_current_basf2_setup_cmds()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    job.append_current_basf2_setup_cmds()
    assert job.setup_cmds == lines


@pytest.mark.parametrize(
    ("kind", "queue", "limit"),
    [
        (backends.LSF, "s", 15000),
        (backends.PBS, "short", 5000),
        (backends.Torque, "short", 5000),
        (backends.HTCondor, None, 10000),
        (backends.Slurm, None, 1000),
    ],
)
def test_batch_systems_have_the_defaults_of_the_reference(kind: Any, queue: str | None, limit: int) -> None:
    backend = kind(backend_args={"own": 1})
    assert backend.backend_args["own"] == 1
    assert (backend.backend_args.get("queue"), backend.global_job_limit) == (queue, limit)


@pytest.mark.parametrize(
    "kind",
    [
        backends.Backend,
        backends.DIRAC,
        backends.SubjobSplitter,
        runners.Runner,
        runners.AlgorithmsRunner,
        framework.CalibrationBase,
        strategies.AlgorithmStrategy,
    ],
)
def test_what_scripts_derive_from_cannot_be_made_itself(kind: Any) -> None:
    with pytest.raises(TypeError, match="abstract"):
        kind()
