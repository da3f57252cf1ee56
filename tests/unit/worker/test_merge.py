"""The merge: what goes in comes out, in the index and in the file, and bad inputs are named."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_caf.core.errors import CafError, DefinitionError, InputError
from airflow_provider_caf.core.lock import hold_lock
from airflow_provider_caf.worker.__main__ import main
from airflow_provider_caf.worker.collect import merge as merging
from airflow_provider_caf.worker.collect.collector import Collector, run_collector
from airflow_provider_caf.worker.collect.contents import inspect_file
from airflow_provider_caf.worker.collect.merge import (
    MergeRequest,
    merge_collection,
    merge_files,
    split_evenly,
)
from airflow_provider_caf.worker.collect.merge_objects import ObjectMerger
from airflow_provider_caf.worker.collect.signature import FileTally
from airflow_provider_caf.worker.job.forks import run_forked
from airflow_provider_caf.worker.root import open_root_file


def list_objects(path: str, folder: str = "") -> dict[str, float]:
    """Give all histograms and trees of a file with their entries."""
    file = open_root_file(path)
    found: dict[str, float] = {}

    def look(directory: Any, place: str) -> None:
        for key in directory.GetListOfKeys():
            name = f"{place}{key.GetName()}"
            item = key.ReadObj()
            if key.IsFolder() and hasattr(item, "GetListOfKeys"):
                look(item, f"{name}/")
            else:
                found[name] = item.GetEntries()

    look(file, folder)
    return found


def test_the_index_says_what_is_where(index: str) -> None:
    value = json.loads(Path(index).read_text())
    names = ["1.1", "1.2", "1.3", "2.1"]
    assert value == {
        "version": 1,
        "collection": "default",
        "file": "default.root",
        "granularity": "run",
        "prefixes": {
            "Hits": {
                "runs": [[1, 1, 2], [1, 2, 3], [1, 3, 2], [2, 1, 2]],
                "objects": {name: {run: f"Hits/{name}/{name}_{run}" for run in names} for name in ("hits", "x")},
            }
        },
    }


def test_objects_of_a_run_are_added_over_subjobs(index: str) -> None:
    objects = list_objects(str(Path(index).parent / "default.root"))
    assert objects["Hits/x/x_1.2"] == 3
    assert objects["Hits/hits/hits_2.1"] == 2


def test_nothing_but_file_and_index_is_left(index: str) -> None:
    assert sorted(each.name for each in Path(index).parent.iterdir()) == ["default.index.json", "default.root"]


def test_hadd_gives_the_same_objects(index: str, outputs: list[str], tmp_path: Path, root: Any) -> None:
    hadd = Path(root.__file__).parent / "bin" / "hadd"
    if not hadd.exists():
        hadd = Path(str(root.TROOT.GetBinDir())) / "hadd"
    subprocess.run([str(hadd), "-v", "0", str(tmp_path / "hadd.root"), *outputs], check=True, capture_output=True)
    assert list_objects(str(tmp_path / "hadd.root")) == list_objects(str(Path(index).parent / "default.root"))


def test_groups_and_processes_do_not_change_the_result(
    tmp_path: Path, outputs: list[str], merge_outputs: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    many = outputs * 4
    whole = Path(merge_outputs(tmp_path / "whole", many))
    monkeypatch.setattr(merging, "GROUP_SIZE", 3)
    indexes = [Path(merge_outputs(tmp_path / str(n), many, processes=n)) for n in (1, 2, 5)]
    assert {path.read_text() for path in indexes} == {whole.read_text()}
    expected = list_objects(str(whole.parent / "default.root"))
    assert expected["Hits/x/x_1.2"] == 12
    assert all(list_objects(str(path.parent / "default.root")) == expected for path in indexes)
    assert sorted(each.name for each in (tmp_path / "5").iterdir()) == ["default.index.json", "default.root"]


def test_entries_of_trees_keep_the_order_of_the_inputs(
    tmp_path: Path, outputs: list[str], merge_outputs: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging, "GROUP_SIZE", 2)
    merge_outputs(tmp_path, [*outputs, *outputs], processes=3)
    file = open_root_file(str(tmp_path / "default.root"))
    tree = file.Get("Hits/hits/hits_1.2")
    assert [tree.x for entry in range(tree.GetEntries()) if tree.GetEntry(entry)] == [20.0, 21.0, 22.0] * 2


@given(count=st.integers(1, 500), size=st.integers(1, 40), most=st.integers(1, 20))
def test_groups_are_even_and_complete(count: int, size: int, most: int) -> None:
    items = [str(number) for number in range(count)]
    groups = split_evenly(items, size, most)
    assert [item for group in groups for item in group] == items
    lengths = [len(group) for group in groups]
    assert len(groups) <= most
    assert len(groups) == 1 or min(lengths) >= size // 2
    assert max(lengths) - min(lengths) <= 1


def test_nothing_is_recompressed(index: str, outputs: list[str], tmp_path: Path, root: Any) -> None:
    source = str(tmp_path / "lzma.root")
    file = root.TFile.Open(source, "RECREATE", "", 207)
    file.WriteTObject(root.TH1D("h", "", 10, 0, 1))
    file.Close()
    merge_files([source, source], str(tmp_path / "out.root"), "out.root", ObjectMerger(FileTally()))
    assert open_root_file(str(tmp_path / "out.root")).GetCompressionSettings() == 207


@pytest.fixture
def damage(outputs: list[str], tmp_path: Path) -> Callable[[str], str]:
    """Give a function that makes a bad collector output."""

    def make(kind: str) -> str:
        path = tmp_path / f"{kind}.root"
        data = Path(outputs[0]).read_bytes()
        if kind == "truncated":
            path.write_bytes(data[:-50])
        elif kind == "text":
            path.write_text("hello")
        elif kind == "empty":
            path.touch()
        return str(path)

    return make


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("missing", "The collector output {} does not exist."),
        ("empty", "The collector output {} is empty (0 bytes)."),
        ("text", "The collector output {} is not a ROOT file."),
        ("truncated", "The collector output {} is truncated:"),
    ],
)
@pytest.mark.parametrize("processes", [1, 2])
def test_bad_inputs_are_named(
    kind: str,
    text: str,
    processes: int,
    damage: Callable[[str], str],
    outputs: list[str],
    tmp_path: Path,
    merge_outputs: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(merging, "GROUP_SIZE", 2)
    path = damage(kind)
    with pytest.raises(InputError) as caught:
        merge_outputs(tmp_path / "merged", [*outputs, path], processes=processes)
    assert text.format(path) in str(caught.value)
    assert list((tmp_path / "merged").iterdir()) == []


def test_a_file_of_another_kind_is_refused(tmp_path: Path, make_events: Any, merge_outputs: Callable[..., str]) -> None:
    path = make_events(tmp_path / "events.root", [(1, 1, 0.0)])
    with pytest.raises(InputError, match=r"events\.root has no folder of a collector"):
        merge_outputs(tmp_path / "merged", [path])


def test_a_folder_without_runs_is_refused(tmp_path: Path, root: Any, merge_outputs: Callable[..., str]) -> None:
    path = str(tmp_path / "foreign.root")
    file = root.TFile.Open(path, "RECREATE")
    file.mkdir("Foreign")
    file.Close()
    with pytest.raises(InputError, match=r"folder 'Foreign' in .*foreign\.root has no tree 'RunRange'"):
        merge_outputs(tmp_path / "merged", [path])


def test_a_run_range_without_its_branches_is_refused(tmp_path: Path, root: Any) -> None:
    path = str(tmp_path / "foreign.root")
    file = root.TFile.Open(path, "RECREATE")
    file.mkdir("Foreign").cd()
    tree = root.TTree("RunRange", "")
    tree.Branch("values", root.std.vector("int")())
    tree.Fill()
    tree.Write()
    file.Close()
    with pytest.raises(InputError, match=r"Foreign/RunRange in the .* cannot be read(.|\n)*exp/I, run/I and events/L"):
        inspect_file(path, "collector output")


def test_inputs_without_any_run_are_refused(
    tmp_path: Path, make_events: Any, hit_collector: type[Collector], merge_outputs: Callable[..., str]
) -> None:
    source, output = make_events(tmp_path / "no.root", []), str(tmp_path / "output.root")
    run_collector(hit_collector(), [source], (), output)
    with pytest.raises(InputError, match="The 2 outputs of collection 'default' hold no run at all"):
        merge_outputs(tmp_path / "merged", [output, output])


def test_an_input_without_runs_among_others_does_no_harm(
    tmp_path: Path, make_events: Any, hit_collector: type[Collector], outputs: list[str], merge_outputs: Any
) -> None:
    source, output = make_events(tmp_path / "no.root", []), str(tmp_path / "output.root")
    run_collector(hit_collector(), [source], (), output)
    value = json.loads(Path(merge_outputs(tmp_path / "merged", [output, *outputs])).read_text())
    assert len(value["prefixes"]["Hits"]["runs"]) == 4


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_histograms_that_do_not_fit_together_are_told(
    tmp_path: Path, make_events: Any, root: Any, merge_outputs: Callable[..., str]
) -> None:
    class Binned(Collector):
        bins = 10

        def prepare(self) -> None:
            self.register("x", root.TH1D("x", "", self.bins, 0, self.bins / 7))

        def collect(self, event: Any) -> None:
            self.get("x").Fill(event.x)

    source = make_events(tmp_path / "events.root", [(1, 1, 0.5)])
    paths = []
    for bins in (10, 3):
        collector = Binned()
        collector.bins = bins
        paths.append(str(tmp_path / f"{bins}.root"))
        run_collector(collector, [source], (), paths[-1])
    expected = r"'Binned/x/x_1\.1' cannot be merged: x axis bins is 10 in .*10\.root, but 3 in .*3\.root"
    with pytest.raises(InputError, match=expected):
        merge_outputs(tmp_path / "merged", paths)


def test_no_input_at_all_is_refused(tmp_path: Path, merge_outputs: Callable[..., str]) -> None:
    with pytest.raises(InputError, match="There is nothing to merge for collection 'default'"):
        merge_outputs(tmp_path / "merged", [])


@pytest.mark.parametrize("size", [1, 16])
def test_other_granularity_is_refused(
    size: int,
    tmp_path: Path,
    make_events: Any,
    hit_collector: type[Collector],
    outputs: list[str],
    merge_outputs: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(merging, "GROUP_SIZE", size)
    collector = hit_collector()
    collector.granularity = "all"
    path = str(tmp_path / "all.root")
    run_collector(collector, [make_events(tmp_path / "events.root", [(1, 1, 0.0)])], (), path)
    with pytest.raises(InputError) as caught:
        merge_outputs(tmp_path / "merged", [*outputs, path])
    assert f"The collector output {path} has granularity 'all' under 'Hits', but {outputs[0]} has 'run'." in str(
        caught.value
    )
    with pytest.raises(InputError, match=r"has granularity 'run' under 'Hits', the collection has 'all'"):
        merge_outputs(tmp_path / "merged", outputs, granularity="all")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # PyROOT makes Python's warnings of ROOT's
def test_a_full_disk_leaves_nothing(
    tmp_path: Path, outputs: list[str], merge_outputs: Callable[..., str], small_disk: Any
) -> None:
    with small_disk(2000), pytest.raises(CafError) as caught:
        merge_outputs(tmp_path / "merged", outputs)
    expected = f"The merged file {tmp_path}/merged/default.root could not be written: File too large."
    assert expected in str(caught.value)
    assert list((tmp_path / "merged").iterdir()) == []


def test_an_old_index_does_not_outlive_its_file(
    tmp_path: Path, outputs: list[str], merge_outputs: Callable[..., str]
) -> None:
    index = Path(merge_outputs(tmp_path / "merged", outputs))
    with pytest.raises(InputError):
        merge_outputs(tmp_path / "merged", [*outputs, "/nowhere/x.root"])
    assert not index.exists()


def test_the_verb(tmp_path: Path, outputs: list[str], write_json: Any, capsys: pytest.CaptureFixture[str]) -> None:
    request = {
        "version": 1,
        "collection": "default",
        "inputs": outputs,
        "output": str(tmp_path / "m.root"),
        "index": str(tmp_path / "m.index.json"),
        "processes": 2,
    }
    assert main(["merge", write_json("merge.json", request)]) == 0
    assert "merged 3 files with 4 runs" in capsys.readouterr().out
    with pytest.raises(DefinitionError, match="unknown field 'proceses'"):
        merging.run({**request, "proceses": 2})


def test_the_index_names_a_file_in_another_folder(tmp_path: Path, outputs: list[str]) -> None:
    (tmp_path / "a").mkdir()
    request = MergeRequest(
        collection="c", inputs=tuple(outputs), output=str(tmp_path / "m.root"), index=str(tmp_path / "a" / "i.json")
    )
    merge_collection(request)
    assert json.loads((tmp_path / "a" / "i.json").read_text())["file"] == "../m.root"


def test_forked_tasks_answer_in_order() -> None:
    def build_answer(number: int) -> dict[str, str]:
        return {"n": number * "x"}

    tasks = [partial(build_answer, number) for number in range(7)]
    assert run_forked(tasks, 3, "a task") == [build_answer(number) for number in range(7)]


def test_a_forked_task_that_dies_is_told_by_its_signal() -> None:
    with pytest.raises(CafError, match="The process of a task died of signal 9"):
        run_forked([lambda: 1, lambda: os.kill(os.getpid(), signal.SIGKILL)], 2, "a task")


def test_a_forked_task_that_raises_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CafError, match="ZeroDivisionError: "):
        run_forked([lambda: 1 // 0, lambda: 2], 2, "a task")
    assert "Traceback" in capfd.readouterr().err


HOLD = """
import sys
from pathlib import Path
from airflow_provider_caf.core.lock import hold_lock
with hold_lock(Path(sys.argv[1]), "a merge"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_merge_never_runs_beside_an_older_one_of_the_same_file(
    outputs: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "default.root"
    request = tmp_path / "merge.json"
    fields = {"version": 1, "collection": "default", "inputs": outputs, "output": str(output)}
    request.write_text(json.dumps({**fields, "index": str(tmp_path / "default.index.json")}))
    older = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / ".default.root.lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert older.stdout is not None
    assert older.stdout.readline() == "held\n"
    left = tmp_path / ".default.root.0123456789abcdef.tmp"
    left.touch()
    argv = [sys.executable, "-m", "airflow_provider_caf.worker", "merge", str(request)]
    newer = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
    assert newer.stderr is not None
    assert "waiting for a merge into" in newer.stderr.readline()
    assert newer.poll() is None
    assert left.exists()
    # Killed, not asked: the lock is the kernel's.
    older.kill()
    older.communicate()
    newer.communicate()
    assert newer.returncode == 0
    assert output.exists()
    assert not left.exists()


def test_a_fork_holds_the_lock_of_its_parent(tmp_path: Path) -> None:
    """The merges of groups are forks: while one of them lives, the merge does."""
    path = tmp_path / "lock"
    reader, writer = os.pipe()
    with hold_lock(path, "a merge"):
        pid = os.fork()
        if pid == 0:
            os.close(writer)
            os.read(reader, 1)
            os._exit(0)
    os.close(reader)
    with path.open("rb") as again:
        with pytest.raises(BlockingIOError):
            fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(writer)
        os.waitpid(pid, 0)
        fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
