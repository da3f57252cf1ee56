"""Input files: found, looked into where that is needed, and chosen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_caf import Collection, Selection
from airflow_provider_caf.batch.spec import Resources
from airflow_provider_caf.core.errors import DefinitionError, InputError
from airflow_provider_caf.core.iov import IoV
from airflow_provider_caf.io.filemap import MappedFile, read_filemap, write_filemap
from airflow_provider_caf.io.metadata_cache import MetadataCache
from airflow_provider_caf.steps import file_metadata
from airflow_provider_caf.steps.app_run import Answer
from airflow_provider_caf.steps.manifest import CollectionManifest

if TYPE_CHECKING:
    from tests.unit.conftest import Lab


def prepare(lab: Lab, words: dict[str, Any], **more: Any) -> list[str]:
    """Prepare a calibration with one collection, and give the names of the files that its subjobs read."""
    collection = Collection(lab.files.name("HitCollector"), **{"input_files": lab.files.events, **words})
    lab.prepare(lab.calibration(collections={"default": collection}, **more))
    manifest = CollectionManifest.read(lab.layout().iteration(0).collection("default"))
    return [Path(file).name for subjob in manifest.subjobs for file in subjob.files]


def test_events_and_runs_are_read_from_the_files(lab: Lab) -> None:
    # The files hold 4 events of runs 1.1 and 1.2, 3 of 1.2 and 1.3, and 2 of 2.1.
    chosen = prepare(lab, {"selection": Selection(max_events=4)})
    assert chosen == ["events_0.root"]
    written = json.loads(lab.layout().selection("default").read_text())
    assert written["chosen"] == [{"file": str(lab.files.events[0]), "events": 4}]
    assert [each["reason"] for each in written["left_out"]] == ["max_events: 4 events are reached"] * 2
    assert prepare(lab, {"selection": Selection(min_events_per_file=3)}) == ["events_0.root", "events_1.root"]
    with pytest.raises(InputError, match=r"limits for each run, but 2 of 3 files hold several runs"):
        prepare(lab, {"selection": Selection(max_files_per_run=1)})


def test_only_files_of_the_requested_runs_are_read(lab: Lab) -> None:
    assert prepare(lab, {}, requested_iov=[2, 0, 2, -1]) == ["events_2.root"]
    assert prepare(lab, {}, requested_iov=[1, 2, 1, 3]) == ["events_0.root", "events_1.root"]
    assert not lab.layout().selection("default").exists()


def test_what_is_said_of_files_is_not_looked_up(lab: Lab) -> None:
    first, second, third = map(str, lab.files.events)
    iovs = {first: [9, 1], second: [9, 1], third: [9, 2]}
    assert prepare(lab, {"files_to_iovs": iovs, "selection": Selection(max_files_per_run=1)}) == [
        "events_0.root",
        "events_2.root",
    ]
    assert prepare(lab, {"files_to_iovs": iovs}, requested_iov=[9, 2, 9, 2]) == ["events_2.root"]


def test_a_file_map_is_input_with_all_that_is_known(lab: Lab, tmp_path: Path) -> None:
    files = {
        str(file): MappedFile(iov=IoV(1, number, 1, number), events=1000 * number)
        for number, file in enumerate(lab.files.events)
    }
    write_filemap(tmp_path / "map.json", files)
    assert read_filemap(tmp_path / "map.json") == files
    words = {"input_files": [], "files_to_iovs": str(tmp_path / "map.json")}
    assert len(prepare(lab, words)) == 3
    assert prepare(lab, {**words, "selection": Selection(min_events_per_file=1500)}) == ["events_2.root"]
    assert prepare(lab, words, requested_iov=[1, 1, 1, 1]) == ["events_1.root"]


@pytest.mark.parametrize(
    ("text", "error", "what"),
    [
        ("{", InputError, "file map"),
        ('{"version": 2, "files": {}}', InputError, "has version 2"),
        ('{"version": 1, "files": {"/a": {"iov": [1]}}}', DefinitionError, "is not an IoV"),
        (
            '{"version": 1, "files": {"/a": {"iov": [1, 1, 1, 1], "event": 1}}}',
            DefinitionError,
            "unknown field 'event'",
        ),
    ],
)
def test_a_file_map_that_is_none(tmp_path: Path, text: str, error: Any, what: str) -> None:
    (tmp_path / "map.json").write_text(text)
    with pytest.raises(error, match=what):
        read_filemap(tmp_path / "map.json")


def test_files_into_which_nobody_can_look(lab: Lab) -> None:
    with pytest.raises(DefinitionError, match="the number of events in 1 of 4 input files") as caught:
        prepare(
            lab, {"input_files": [*lab.files.events, "root://server//a.root"], "selection": Selection(max_events=2)}
        )
    assert "file map" in str(caught.value.hint)


def test_a_command_says_nothing_of_its_files(lab: Lab) -> None:
    calibration = lab.calibration(collections={"default": lab.copies()}, requested_iov=[1, 0, 1, -1])
    with pytest.raises(DefinitionError, match="the runs in 3 of 3 input files"):
        lab.prepare(calibration)


def test_files_are_looked_into_once(lab: Lab) -> None:
    prepare(lab, {"selection": Selection(max_events=4)})
    cache = lab.run.work_dir.with_name("caf_file_metadata.sqlite")
    assert cache.exists()
    before = cache.stat().st_mtime_ns
    # Whatever is looked into is written to the cache.
    assert prepare(lab, {"selection": Selection(max_events=5)}) == ["events_0.root", "events_1.root"]
    assert cache.stat().st_mtime_ns == before


def test_a_file_that_changes_while_it_is_read_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, cache = tmp_path / "a.root", MetadataCache(tmp_path / "cache.sqlite")
    file.write_text("before")

    def read_and_change(*_words: object, **_options: object) -> Answer:
        file.write_text("and after")
        seen = {"ok": True, "low": [1, 1], "high": [1, 2], "events": 3}
        return Answer(value={"version": 1, "files": [seen]}, printed="")

    monkeypatch.setattr(file_metadata, "run_app", read_and_change)
    how = file_metadata.HowToRead()
    found = file_metadata.read_metadata([str(file)], how, app=tmp_path, resources=Resources(), cache=cache)
    assert found[str(file)].events == 3
    assert cache.find([str(file)], how.key) == {}
