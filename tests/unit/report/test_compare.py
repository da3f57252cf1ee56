"""Two runs compared, payload by payload."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_caf.io.catalog import Catalog
from airflow_provider_caf.report.compare import PayloadChange, compare_runs
from tests.unit.report.conftest import AddPayloads

FIRST, SECOND = ("lab", "first"), ("lab", "second")


def compare(catalog: Catalog) -> dict[str, PayloadChange]:
    return {each.payload: each for each in compare_runs(catalog, FIRST, SECOND)}


def test_equal_runs_are_the_same(catalog: Catalog, add_payloads: AddPayloads) -> None:
    values: Any = {(1, 1, 1, 5): {"value": 1.0, "error": 0.1}, (1, 6, -1, -1): {"value": 2.0, "error": 0.1}}
    add_payloads(values)
    add_payloads(values, run_id="second")
    change = compare(catalog)["Spot"]
    assert (change.kind, change.equal, change.moved, change.changed, change.opaque) == ("same", 2, (), (), 0)


def test_a_changed_constant_has_its_pull(catalog: Catalog, add_payloads: AddPayloads) -> None:
    add_payloads({(1, 1, 1, 5): {"value": 1.0, "error": 0.3, "chi2": 1.0}})
    add_payloads({(1, 1, 1, 5): {"value": 2.0, "error": 0.4, "chi2": 1.5}}, run_id="second")
    change = compare(catalog)["Spot"]
    assert change.kind == "changed"
    by_field = {each.field: each for each in change.changed}
    assert set(by_field) == {"value", "chi2"}
    assert by_field["value"].pull == pytest.approx(2.0)
    assert by_field["value"].difference == 1.0
    assert by_field["chi2"].pull is None


def test_iovs_that_moved_are_compared_where_both_hold(catalog: Catalog, add_payloads: AddPayloads) -> None:
    add_payloads({(1, 1, 1, 5): 1.0, (1, 6, -1, -1): 2.0})
    add_payloads({(1, 1, 1, 7): 1.0, (1, 8, -1, -1): 3.0}, run_id="second")
    change = compare(catalog)["Spot"]
    assert [str(iov) for iov in change.moved] == ["1,1,1,5", "1,1,1,7", "1,6,-1,-1", "1,8,-1,-1"]
    assert change.equal == 1
    assert [(str(each.iov), each.first, each.second) for each in change.changed] == [
        ("1,6,1,7", 2.0, 1.0),
        ("1,8,-1,-1", 2.0, 3.0),
    ]


def test_payloads_of_one_run_only_are_named(catalog: Catalog, add_payloads: AddPayloads) -> None:
    add_payloads({(1, 1, 1, 5): 1.0}, name="Old")
    add_payloads({(1, 1, 1, 5): 1.0}, name="New", run_id="second")
    assert {name: each.kind for name, each in compare(catalog).items()} == {
        "New": "only in the second",
        "Old": "only in the first",
    }


def test_what_has_no_numbers_is_only_known_to_differ(catalog: Catalog, add_payloads: AddPayloads) -> None:
    add_payloads({(1, 1, 1, 5): {"kind": "a"}})
    add_payloads({(1, 1, 1, 5): {"kind": "b"}}, run_id="second")
    change = compare(catalog)["Spot"]
    assert (change.kind, change.opaque, change.changed) == ("changed", 1, ())


def test_a_constant_of_one_run_only_is_named(catalog: Catalog, add_payloads: AddPayloads) -> None:
    add_payloads({(1, 1, 1, 5): {"gain": 1.0, "old": 2.0}})
    add_payloads({(1, 1, 1, 5): {"gain": 1.0, "new": 3.0}}, run_id="second")
    found = {each.field: (each.first, each.second, each.difference) for each in compare(catalog)["Spot"].changed}
    assert found == {"old": (2.0, None, None), "new": (None, 3.0, None)}


@pytest.mark.parametrize(("errors", "pull"), [((0.0, 0.5), 2.0), ((0.0, 0.0), None)])
def test_an_error_of_zero_is_known(
    catalog: Catalog, add_payloads: AddPayloads, errors: tuple[float, float], pull: float | None
) -> None:
    add_payloads({(1, 1, 1, 5): {"value": 1.0, "error": errors[0]}})
    add_payloads({(1, 1, 1, 5): {"value": 2.0, "error": errors[1]}}, run_id="second")
    (change,) = compare(catalog)["Spot"].changed
    assert change.pull == pull


def test_payloads_of_other_forms_are_read_by_their_own(catalog: Catalog, add_payloads: AddPayloads) -> None:
    add_payloads({(1, 1, 1, 5): {"a": 1.0, "a_error": 0.3}, (1, 6, 1, 9): {"a": 1.0}})
    add_payloads({(1, 1, 1, 5): {"a": 2.0, "a_error": 0.4}, (1, 6, 1, 9): {"a": 2.0}}, run_id="second")
    assert [each.pull for each in compare(catalog)["Spot"].changed] == [pytest.approx(2.0), None]


def test_runs_of_two_dags_can_be_compared(catalog: Catalog, add_payloads: AddPayloads) -> None:
    add_payloads({(1, 1, 1, 5): 1.0})
    add_payloads({(1, 1, 1, 5): 1.0}, dag_id="other")
    assert [each.kind for each in compare_runs(catalog, FIRST, ("other", "first"))] == ["same"]
