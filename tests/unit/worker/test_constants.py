"""Payloads: the same content gives the same bytes, and the first database of the chain that has one wins."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys
from array import array
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_caf.core.chain import DatabaseEntry
from airflow_provider_caf.core.errors import CafError, DatabaseError, DefinitionError
from airflow_provider_caf.core.iov import ExpRun
from airflow_provider_caf.worker.constants import ConstantsReader, build_payload, read_payload, save_payload
from airflow_provider_caf.worker.root import open_root_file

pytestmark = pytest.mark.slow

RUN = ExpRun(1, 5)


def make_database(folder: Path, *lines: tuple[str, Any, str]) -> DatabaseEntry:
    """Write a local database: payload names, values and IoVs."""
    folder.mkdir(exist_ok=True)
    text = ""
    for name, value, iov in lines:
        revision, _ = save_payload(value, name, folder)
        text += f"dbstore/{name} {revision} {iov}\n"
    (folder / "database.txt").write_text(text)
    return DatabaseEntry(kind="local", value=str(folder))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**62), 2**62)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(value=JSON)
@settings(deadline=None, max_examples=40)
def test_json_values_come_back(value: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "json_payload.root"
    path.write_bytes(build_payload(value, "P"))
    assert read_payload(str(path), "P") == value


def test_objects_come_back(tmp_path: Path, root: Any) -> None:
    histogram = root.TH1D("h", "title", 10, 0, 1)
    histogram.Fill(0.5)
    tree = root.TTree("t", "")
    x = array("d", [0.0])
    tree.Branch("x", x, "x/D")
    for number in range(1000):
        x[0] = number
        tree.Fill()
    vector = root.std.vector("double")([1.0, 2.5])
    for value in (histogram, tree, vector):
        (tmp_path / "p.root").write_bytes(build_payload(value, "P"))
        back = read_payload(str(tmp_path / "p.root"), "P")
        if value is histogram:
            assert (back.GetEntries(), back.GetTitle()) == (1, "title")
        elif value is tree:
            assert sum(back.x for _ in back) == sum(range(1000))
        else:
            assert list(back) == [1.0, 2.5]
    tree.SetDirectory(root.nullptr)


def test_the_key_of_an_object_is_its_name_as_basf2_reads_it(tmp_path: Path, root: Any) -> None:
    (tmp_path / "p.root").write_bytes(build_payload(root.TNamed("other", "t"), "VertexPar"))
    file = open_root_file(str(tmp_path / "p.root"))
    assert [key.GetName() for key in file.GetListOfKeys()] == ["VertexPar"]


def test_numpy_values_become_plain_ones(tmp_path: Path) -> None:
    value = {"a": np.float32(0.5), "b": np.int64(3), "c": np.array([[1, 2], [3, 4]]), "d": (np.bool_(True),)}
    (tmp_path / "p.root").write_bytes(build_payload(value, "P"))
    assert read_payload(str(tmp_path / "p.root"), "P") == {"a": 0.5, "b": 3, "c": [[1, 2], [3, 4]], "d": [True]}


WRITE = """
import hashlib, time
from airflow_provider_caf.worker.constants import build_payload
from airflow_provider_caf.worker.root import load_root
root = load_root()
histogram = root.TH1D("h", "title", 10, 0, 1); histogram.Fill(0.5)
graph = root.TGraph(2); graph.SetPoint(0, 1, 2)
function = root.TF1("f", "[0]*x", 0, 1); function.SetParameter(0, 3.5)
items = [histogram, graph, function, {"b": 1, "a": [0.1, None]}]
print([hashlib.md5(build_payload(item, "P")).hexdigest() for item in items])
"""


def test_the_same_content_gives_the_same_bytes_at_any_time_and_place(tmp_path: Path) -> None:
    answers = []
    for folder in ("one", "another"):
        (tmp_path / folder).mkdir()
        answer = subprocess.run(
            [sys.executable, "-c", WRITE], cwd=tmp_path / folder, capture_output=True, text=True, check=True
        )
        answers.append(answer.stdout)
    assert answers[0] == answers[1]
    assert len(set(answers[0].strip("[]\n").split(", "))) == 4


def test_the_order_of_keys_does_not_count_and_content_does() -> None:
    assert build_payload({"a": 1, "b": 2}, "P") == build_payload({"b": 2, "a": 1}, "P")
    assert build_payload({"a": 1}, "P") != build_payload({"a": 2}, "P")
    assert build_payload({"a": 1}, "P") != build_payload({"a": 1}, "Q")


def test_a_saved_payload_is_named_by_its_bytes(tmp_path: Path) -> None:
    revision, size = save_payload({"a": 1}, "P", tmp_path)
    (path,) = tmp_path.iterdir()
    assert path.name == f"dbstore_P_rev_{revision}.root"
    assert hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() == revision
    assert path.stat().st_size == size


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (math.nan, "holds nan, which JSON cannot carry"),
        ({"a": [1, math.inf]}, "value of payload 'P'['a'][1] holds inf"),
        ({1: 2}, "has the key 1, which is no text"),
        ({"a": object()}, "of type object, which JSON cannot carry"),
        ({1, 2}, "of type set"),
        (np.array([1.0, math.nan]), "holds nan"),
    ],
)
def test_values_that_json_cannot_say_are_refused(value: Any, text: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        build_payload(value, "P")
    assert text in str(caught.value)
    assert "Or save an object of ROOT." in str(caught.value)


@pytest.mark.parametrize("name", ["a/b", "../a", "a b", "a;b", "$(a)", "", "a\nb", "'a'"])
def test_names_that_cannot_be_are_refused(name: str) -> None:
    with pytest.raises(DefinitionError, match="cannot be the name of a payload"):
        build_payload(1, name)


def test_a_full_disk_leaves_nothing(tmp_path: Path, small_disk: Any) -> None:
    with small_disk(100), pytest.raises(CafError) as caught:
        save_payload({"a": 1}, "P", tmp_path)
    assert "could not be written: File too large." in str(caught.value)
    assert "Free space" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_the_first_database_that_has_it_wins(tmp_path: Path) -> None:
    chain = [
        make_database(tmp_path / "a", ("P", "a", "2,0,2,-1")),
        make_database(tmp_path / "b", ("Q", "b", "0,0,-1,-1"), ("P", "b", "1,0,1,9")),
        DatabaseEntry(kind="global_tag", value="main"),
        make_database(tmp_path / "c", ("P", "c", "0,0,-1,-1")),
    ]
    reader = ConstantsReader(chain)
    assert [reader.get("P", run) for run in (ExpRun(2, 3), RUN, ExpRun(1, 10))] == ["a", "b", "c"]


def test_the_last_line_that_holds_the_run_wins(tmp_path: Path) -> None:
    chain = [make_database(tmp_path / "a", ("P", 1, "0,0,-1,-1"), ("P", 2, "1,0,1,7"), ("P", 3, "1,6,1,9"))]
    reader = ConstantsReader(chain)
    assert [reader.get("P", ExpRun(1, run)) for run in (5, 6, 8, 10)] == [2, 3, 3, 1]


def test_a_database_that_grows_is_read_again(tmp_path: Path) -> None:
    entry = make_database(tmp_path / "a")
    reader = ConstantsReader([entry])
    with pytest.raises(DatabaseError, match="There is no payload 'P'"):
        reader.get("P", RUN)
    make_database(tmp_path / "a", ("P", 7, "0,0,-1,-1"))
    assert reader.get("P", RUN) == 7


def test_a_missing_payload_names_chain_and_run(tmp_path: Path) -> None:
    chain = [
        make_database(tmp_path / "a", ("BeamSpot", 1, "0,0,-1,-1")),
        DatabaseEntry(kind="global_tag", value="main"),
    ]
    with pytest.raises(DatabaseError) as caught:
        ConstantsReader(chain).get("BeamSpt", RUN)
    text = str(caught.value)
    assert f"There is no payload 'BeamSpt' for run 1.5. Looked in: {tmp_path / 'a'}; global tag 'main'" in text
    assert "Did you mean 'BeamSpot'?" in text
    with pytest.raises(DatabaseError, match="the database chain is empty"):
        ConstantsReader(()).get("BeamSpot", RUN)


def test_a_payload_of_other_runs_is_said_so(tmp_path: Path) -> None:
    chain = [make_database(tmp_path / "a", ("P", 1, "1,0,1,4"))]
    with pytest.raises(DatabaseError, match=r"There is no payload 'P' for run 1\.5(.|\n)*It is there for other runs"):
        ConstantsReader(chain).get("P", RUN)


def test_a_missing_database_is_an_error(tmp_path: Path) -> None:
    chain = [DatabaseEntry(kind="local", value=str(tmp_path / "no"))]
    with pytest.raises(DatabaseError, match=r"There is no local database in .*no: it has no database\.txt"):
        ConstantsReader(chain).get("P", RUN)


def test_a_changed_payload_file_is_found(tmp_path: Path) -> None:
    entry = make_database(tmp_path / "a", ("P", 1, "0,0,-1,-1"))
    (path,) = (tmp_path / "a").glob("*.root")
    path.write_bytes(build_payload(2, "P"))
    with pytest.raises(DatabaseError, match="payload 'P' was changed or damaged"):
        ConstantsReader([entry]).get("P", RUN)
    path.unlink()
    with pytest.raises(DatabaseError, match="payload 'P' cannot be read: No such file"):
        ConstantsReader([entry]).get("P", RUN)


def test_databases_of_others_may_have_short_revisions(tmp_path: Path) -> None:
    entry = make_database(tmp_path / "a")
    (tmp_path / "a" / "dbstore_P_rev_abc123.root").write_bytes(build_payload(9, "P"))
    (tmp_path / "a" / "database.txt").write_text("dbstore/P abc123 0,0,-1,-1\n")
    assert ConstantsReader([entry]).get("P", RUN) == 9


def test_a_file_without_the_payload_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "p.root").write_bytes(build_payload(1, "Other"))
    with pytest.raises(DatabaseError, match=r"does not hold payload 'P'.\n.*Other\.json"):
        read_payload(str(tmp_path / "p.root"), "P")
