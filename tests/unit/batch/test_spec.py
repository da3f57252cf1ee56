"""Arguments of a batch system, and arrays: what is taken, what is refused, what survives JSON."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_caf.batch.arguments import ARGUMENTS, CAF_NAMES
from airflow_provider_caf.batch.spec import (
    ArraySpec,
    Resources,
    SubmittedArray,
    merge_resources,
    parse_resources,
    select_elements,
)
from airflow_provider_caf.core.errors import DefinitionError
from tests.unit.batch import arrays

WHERE = "calibration 'vertex'"


def make_array(**changes: Any) -> ArraySpec:
    values = {"name": "caf_x_0123456789", "elements": ((0,), (1, 2)), "folder": "/w/arrays/0"}
    return arrays.make_array(**{**values, **changes})


def test_every_argument_is_a_field_and_the_other_way_round() -> None:
    assert set(ARGUMENTS) == {field.name for field in fields(Resources)}
    assert set(CAF_NAMES.values()) <= set(ARGUMENTS)


@pytest.mark.parametrize(
    ("given_value", "expected"),
    [
        (4096, 4096),
        ("4096", 4096),
        ("4 GB", 4096),
        ("4GiB", 4096),
        ("4g", 4096),
        ("1.5 GB", 1536),
        ("1 TB", 1024**2),
        ("512k", 1),
        ("1025 KB", 2),
        (2.5, 3),
        ("100 MB", 100),
    ],
)
@pytest.mark.parametrize("name", ["memory", "request_memory"])
def test_sizes(name: str, given_value: object, expected: int) -> None:
    assert parse_resources({name: given_value}, WHERE).memory == expected


@pytest.mark.parametrize("wrong", ["lots", "", "-1", -1, 0, "0 GB", True, [4], "4 GB extra", None.__class__])
def test_sizes_that_are_none(wrong: object) -> None:
    with pytest.raises(DefinitionError, match="The argument 'request_memory' of calibration 'vertex' is"):
        parse_resources({"request_memory": wrong}, WHERE)


@pytest.mark.parametrize(
    ("given_value", "expected"),
    [
        (90, 90),
        ("00:01:30", 90),
        ("100:00:00", 360000),
        ("1-02:00:00", 93600),
        ("90m", 5400),
        ("2 h", 7200),
        ("1.5h", 5400),
        ("1D", 86400),
        ("30s", 30),
    ],
)
def test_walltimes(given_value: object, expected: int) -> None:
    assert parse_resources({"walltime": given_value}, WHERE).walltime == expected


@pytest.mark.parametrize("wrong", ["10:00", "1:2:3", 0, -5, "0s", "soon", 1.5, True, "90"])
def test_walltimes_that_could_mean_two_things_are_refused(wrong: object) -> None:
    with pytest.raises(DefinitionError, match=r"argument 'walltime' .*\n.*'HH:MM:SS', 'D-HH:MM:SS', or a text"):
        parse_resources({"walltime": wrong}, WHERE)


@pytest.mark.parametrize("name", ["cpus", "max_processes", "throttle", "request_cpus"])
@pytest.mark.parametrize("wrong", [0, -1, "two", 1.5, True, None.__class__])
def test_counts_that_are_none(name: str, wrong: object) -> None:
    with pytest.raises(DefinitionError, match=f"argument '{name}' .*\n.*a whole number of at least 1"):
        parse_resources({name: wrong}, WHERE)


@pytest.mark.parametrize(
    ("name", "given_value", "expected"),
    [
        ("array_limit", "500", 500),
        ("exclude_hosts", "bad1.site.org, bad-2 bad_3", ("bad1.site.org", "bad-2", "bad_3")),
        ("exclude_hosts", ["bad1"], ("bad1",)),
        ("held", "release", "release"),
        ("held_timeout", "10m", 600),
        ("max_failures_per_host", 3, 3),
        ("memory_ceiling", "16 GB", 16384),
        ("memory_factor", "2", 2.0),
        ("memory_unit", "gb", "G"),
        ("memory_unit", "M", "M"),
        ("memory_factor", 1.25, 1.25),
        ("subjobs_per_job", "20", 20),
        ("subjobs_per_job", "auto", "auto"),
        ("transfer_files", "True", True),
        ("transfer_files", False, False),
    ],
)
def test_what_a_site_may_say(name: str, given_value: object, expected: object) -> None:
    resources = parse_resources({name: given_value}, WHERE)
    assert getattr(resources, name) == expected
    assert parse_resources(resources.to_json(), WHERE) == resources


WRONG: dict[tuple[str, str], list[object]] = {
    ("exclude_hosts", "a list of host names"): [3, ["a b"], ["$(x)"], [3], "-x", "a;b"],
    ("held", "one of wait, release, fail"): ["remove", True, []],
    ("memory_unit", "one of KB, MB, GB, TB, PB, EB"): ["", "x", "MiB", 1],
    ("memory_factor", "a number from 1 to 100"): [0.5, 101, "much", True, "nan", []],
    ("subjobs_per_job", "at least 1, or 'auto'"): [0, "automatic", True, 1.5],
    ("transfer_files", "true or false"): ["yes", 1, []],
}


@pytest.mark.parametrize(
    ("name", "wrong", "wanted"),
    [(name, wrong, wanted) for (name, wanted), values in WRONG.items() for wrong in values],
)
def test_what_a_site_cannot_mean_is_refused(name: str, wrong: object, wanted: str) -> None:
    with pytest.raises(DefinitionError, match=f"argument '{name}' of calibration 'vertex' is .*\n.*{wanted}"):
        parse_resources({name: wrong}, WHERE)


def test_the_names_of_the_caf() -> None:
    caf = {
        "queue": "short",
        "request_memory": "4 GB",
        "request_disk": "1 GB",
        "request_cpus": "2",
        "universe": "vanilla",
        "getenv": False,
        "path_prefix": "",
        "extra_lines": ["+Project = 'x'"],
        "max_processes": "3",
    }
    assert parse_resources(caf, WHERE) == Resources(
        queue="short",
        memory=4096,
        disk=1024,
        cpus=2,
        universe="vanilla",
        getenv="false",
        path_prefix="",
        extra_lines=("+Project = 'x'",),
        max_processes=3,
    )


def test_getenv_may_be_true_or_names() -> None:
    assert parse_resources({"getenv": True}, WHERE).getenv == "true"
    assert parse_resources({"getenv": "HOME, PATH"}, WHERE).getenv == "HOME, PATH"


def test_nothing_is_not_said() -> None:
    assert parse_resources({"queue": None, "memory": None}, WHERE) == Resources()


def test_an_unknown_argument_is_refused_with_a_guess() -> None:
    with pytest.raises(DefinitionError) as caught:
        parse_resources({"request_memroy": "4 GB"}, WHERE)
    assert "The backend_args of calibration 'vertex' have an unknown argument 'request_memroy'." in str(caught.value)
    assert "Did you mean 'request_memory'?" in str(caught.value)


def test_one_argument_under_two_names_is_refused() -> None:
    with pytest.raises(DefinitionError, match="give 'memory' twice, once as 'request_memory'"):
        parse_resources({"memory": 1, "request_memory": 2}, WHERE)


def test_something_else_than_a_mapping_is_refused() -> None:
    with pytest.raises(DefinitionError, match=r"The backend_args of calibration 'vertex' are \['queue'\]"):
        parse_resources(["queue"], WHERE)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", ["", "  ", "a\nb", "a\x1b[0m", 3])
def test_a_text_of_one_line(wrong: object) -> None:
    with pytest.raises(DefinitionError, match=r"argument 'queue' .*\n.*a text of one line"):
        parse_resources({"queue": wrong}, WHERE)


def test_setup_is_a_list_of_lines_or_a_text() -> None:
    assert parse_resources({"setup": "a\nb"}, WHERE).setup == ("a", "b")
    assert parse_resources({"setup": ["a 'b'", ""]}, WHERE).setup == ("a 'b'", "")


@pytest.mark.parametrize("wrong", [3, [3], {"a": "b"}, ["a\nb"], ["a\0b"]])
def test_lines_that_are_none(wrong: object) -> None:
    with pytest.raises(DefinitionError, match=r"argument 'extra_lines' .*\n.*a list of lines"):
        parse_resources({"extra_lines": wrong}, WHERE)


def test_environment() -> None:
    hostile = {"A_1": "x y; $(z) 'q'", "B": ""}
    assert parse_resources({"environment": hostile}, WHERE).environment == hostile


@pytest.mark.parametrize("wrong", ["A=b", ["A"], {"A-B": "x"}, {"1A": "x"}, {"A;x": ""}, {3: "x"}])
def test_names_of_variables(wrong: object) -> None:
    with pytest.raises(DefinitionError, match="argument 'environment' of calibration"):
        parse_resources({"environment": wrong}, WHERE)


@pytest.mark.parametrize("wrong", [3, "a\0b", None])
def test_values_of_variables(wrong: object) -> None:
    with pytest.raises(DefinitionError, match=r"variable 'A' in the argument 'environment' .*\n.*a text"):
        parse_resources({"environment": {"A": wrong}}, WHERE)


def test_the_last_layer_wins() -> None:
    merged = merge_resources(
        Resources(queue="system", memory=1, setup=("a",), environment={"A": "1", "B": "1"}),
        Resources(queue="connection", environment={"B": "2"}),
        Resources(),
        Resources(memory=3, setup=("b",), environment={"C": "3"}),
    )
    assert merged == Resources(queue="connection", memory=3, setup=("b",), environment={"A": "1", "B": "2", "C": "3"})


def test_nothing_merged_is_nothing() -> None:
    assert merge_resources() == Resources()


RESOURCES = st.builds(
    Resources,
    queue=st.none() | st.sampled_from(["a", "b c"]),
    memory=st.none() | st.integers(1, 10**6),
    walltime=st.none() | st.integers(1, 10**6),
    extra_lines=st.none() | st.lists(st.sampled_from(["x", "", "y 'z'"])).map(tuple),
    environment=st.none() | st.dictionaries(st.sampled_from("ABC"), st.sampled_from(["", "x;y"])),
)


@given(RESOURCES)
def test_arguments_survive_json(resources: Resources) -> None:
    assert parse_resources(json.loads(json.dumps(resources.to_json())), WHERE) == resources


@given(RESOURCES, RESOURCES, RESOURCES)
def test_merging_does_not_depend_on_the_grouping(first: Resources, second: Resources, third: Resources) -> None:
    left = merge_resources(merge_resources(first, second), third)
    assert left == merge_resources(first, merge_resources(second, third)) == merge_resources(first, second, third)


def test_an_array_survives_json() -> None:
    array = make_array(resources=Resources(memory=5, environment={"A": "b"}))
    assert ArraySpec.from_json(json.loads(json.dumps(array.to_json()))) == array
    assert array.subjobs == (0, 1, 2)
    assert (array.array_file, array.script_file) == ("/w/arrays/0/array.json", "/w/arrays/0/run.sh")


@pytest.mark.parametrize("name", ["", "a b", "a;b", "a[1-3]", "$(x)", "1a", "ä", "a\n"])
def test_names_that_a_system_would_read_in_its_own_way(name: str) -> None:
    with pytest.raises(DefinitionError, match="cannot be the name of an array"):
        make_array(name=name)


@pytest.mark.parametrize("field", ["folder", "input_folder", "output_folder", "status_folder", "app"])
@pytest.mark.parametrize("path", ["relative", "", "/a\0b"])
def test_paths_have_to_be_absolute(field: str, path: str) -> None:
    with pytest.raises(DefinitionError, match=f"The {field} of array caf_x_0123456789 is .*\n.*an absolute path"):
        make_array(**{field: path})


@pytest.mark.parametrize("elements", [(), ((),), ((0,), (0,)), ((0, 0),), ((-1,),), ((0,), ())])
def test_each_subjob_is_in_one_element(elements: Any) -> None:
    with pytest.raises(DefinitionError, match=r"each subjob .* is in one of them"):
        make_array(elements=elements)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "has version 2, this program knows 1"),
        ({"name": None}, "'name' of the intent record"),
        ({"elements": [[0], "x"]}, "elements"),
        ({"other": 1}, "unknown field 'other'"),
        ({"resources": {"quueue": "x"}}, "unknown argument 'quueue'"),
    ],
)
def test_what_is_no_array(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        ArraySpec.from_json({**make_array().to_json(), **change})


def test_a_submission_survives_json() -> None:
    array = make_array()
    submitted = SubmittedArray(array=array, ids=("5", "6"), submitted="2026-01-01T00:00:00.000Z")
    assert SubmittedArray.from_json(array, json.loads(json.dumps(submitted.to_json()))) == submitted
    with pytest.raises(DefinitionError, match="is of array 'caf_x_0123456789', not of 'other'"):
        SubmittedArray.from_json(replace(array, name="other"), submitted.to_json())


def test_an_element_is_chosen_only_as_a_whole() -> None:
    array = make_array(elements=((0,), (1, 2), (3,)))
    assert select_elements(array, None) == (0, 1, 2)
    assert select_elements(array, [0, 1]) == (0,)
    assert select_elements(array, [2, 1, 9]) == (1,)
    assert select_elements(array, []) == ()


@pytest.mark.parametrize(("text", "size"), [("1 GB", 1024), ("1GiB", 1024), ("1024k", 1), ("1.5g", 1536), ("7", 7)])
def test_sizes_are_in_powers_of_two(text: str, size: int) -> None:
    assert parse_resources({"memory": text}, "test").memory == size


@pytest.mark.parametrize("text", ["100 B", "100b", "5 iB", "5i"])
def test_a_size_in_bytes_is_not_taken_for_one_in_megabytes(text: str) -> None:
    with pytest.raises(DefinitionError, match="number of MB"):
        parse_resources({"memory": text}, "test")
