"""What stands in a CAF beside plain calibrations: data sets, steps, types of a user's own, templates."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_caf import (
    CAF,
    Calibration,
    CalibrationBase,
    Collection,
    ExpRun,
    ExternalCommand,
    ImportedPayloads,
    IoV,
    Publish,
    SignOff,
)
from airflow_provider_caf.core.errors import DefinitionError
from tests.unit.definitions.making import ALGORITHM, COLLECTOR, DATA, TAG, build, build_members, make_calibration


def test_a_calibration_without_collections_works_on_what_it_depends_on() -> None:
    merging = Calibration("merging", algorithms=ALGORITHM, depends_on=["vertex"])
    assert build(make_calibration(), merging).calibrations[1].collections == {}


def test_a_data_set_becomes_input_files() -> None:
    caf = CAF(
        "demo",
        [make_calibration(input_files=["/own.root"], input_data=["plain", "mapped", "listed"])],
        input_data={
            "plain": ["/data/*.root"],
            "mapped": {"/data/a.root": [1, 2], "/data/b.root": [1, 3, 1, 9]},
            "listed": {"filemap": "/maps/a.json"},
        },
    )
    (collection,) = build_members(caf)[0].collections.values()
    assert collection.input_files == ["/own.root", "/data/*.root", "/data/a.root", "/data/b.root"]
    assert collection.files_to_iovs == {"/data/a.root": IoV(1, 2, 1, 2), "/data/b.root": IoV(1, 3, 1, 9)}
    assert collection.filemaps == ["/maps/a.json"]


def test_a_data_set_that_does_not_exist_is_refused() -> None:
    with pytest.raises(DefinitionError, match="reads the data set 'muon', which does not exist") as caught:
        CAF("demo", [make_calibration(input_data="muon")], input_data={"muons": ["/a"]}).resolve()
    assert "Did you mean 'muons'" in str(caught.value.hint)


def test_what_the_caf_says_for_all_is_the_default_or_comes_in_addition() -> None:
    own = make_calibration("own", requested_iov=[2, 0, 2, -1], ignored_runs=[(2, 5), (1, 7)])
    first, second = build(make_calibration(), own, requested_iov="1,0,3,-1", ignored_runs=["1.7"]).calibrations
    assert (first.requested_iov, second.requested_iov) == (IoV(1, 0, 3, -1), IoV(2, 0, 2, -1))
    assert first.ignored_runs == [ExpRun(1, 7)]
    assert second.ignored_runs == [ExpRun(1, 7), ExpRun(2, 5)]


@pytest.mark.parametrize(
    "make",
    [
        lambda: CAF("demo", database_chain=[TAG]),
        lambda: make_calibration(database_chain=[TAG]),
        lambda: Collection(COLLECTOR, DATA, database_chain=[TAG]),
    ],
)
def test_the_database_that_is_named_last_is_looked_at_first(make: Callable[[], Any]) -> None:
    made = make()
    made.use_central_database("newer")
    made.use_local_database("/fixes")
    assert made.database_chain == [{"local": "/fixes"}, {"global_tag": "newer"}, TAG]
    made.reset_database()
    assert made.database_chain == []


def test_a_setting_after_the_constructor_is_read_as_in_it() -> None:
    calibration = make_calibration()
    calibration.max_iterations = 3
    calibration.ignored_runs = ["1.7"]
    assert build(calibration) == build(make_calibration(max_iterations=3, ignored_runs=[(1, 7)]))
    with pytest.raises(DefinitionError, match="In max_iterations of calibration 'vertex': 'many' cannot stand here"):
        calibration.max_iterations = "many"  # type: ignore[assignment]


def test_a_definition_survives_its_json_form() -> None:
    caf = CAF(
        "demo",
        [
            make_calibration(
                requested_iov=(1, 0, 2, -1), ignored_runs=[(1, 7)], backend_args={"queue": "{{ params.q }}"}
            ),
            ImportedPayloads("earlier", "/by/hand", payloads=["Spot"]),
            ExternalCommand("production", ["make", "{folder}"], timeout="2h", depends_on=["vertex"]),
        ],
        sign_off=SignOff(message="Look.", users=["anna"], timeout="7d"),
        publish=Publish(folder="/accepted"),
        job_budget=5,
    )
    text = json.dumps(caf.to_json())
    assert CAF.from_json(json.loads(text)).resolve() == caf.resolve()
    assert CAF.from_json(json.loads(text)).to_json() == caf.to_json()
    sign_off = caf.resolve().sign_off
    assert sign_off is not None
    assert sign_off.timeout == 7 * 24 * 3600


def test_what_is_changed_in_place_was_said() -> None:
    caf = CAF("demo")
    caf.calibrations.append(make_calibration())
    caf.backend_args["memory"] = "4 GB"
    (vertex,) = caf.calibrations
    vertex.ignored_runs.append(ExpRun(1, 4))
    vertex.ignored_runs.append("1.5")
    vertex.algorithms.append("hits:Other")
    record = caf.resolve()
    assert record.backend_args == {"memory": "4 GB"}
    assert CAF.from_json(json.loads(json.dumps(caf.to_json()))).resolve() == record
    (member,) = build_members(caf)
    assert member.ignored_runs == [ExpRun(1, 4), ExpRun(1, 5)]
    assert [each.name for each in member.algorithms] == ["MeanAlgorithm", "Other"]
    # Nothing of it stays in the defaults of the classes.
    assert "backend_args" not in CAF("other").to_json()


def test_what_is_changed_in_place_is_checked() -> None:
    calibration = make_calibration()
    calibration.input_files.append("relative.root")
    with pytest.raises(
        DefinitionError, match=r"In input_files of calibration 'vertex': .*'relative\.root' is not absol"
    ):
        build(calibration)


def test_a_type_of_ones_own_has_to_run() -> None:
    with pytest.raises(DefinitionError, match="'special' is of the type Idle, which has no run"):
        build(Idle(name="special"))


def test_a_step_that_imports_names_an_absolute_folder() -> None:
    with pytest.raises(
        DefinitionError, match="In folder of calibration 'earlier': The folder 'by/hand' is not absolute"
    ):
        ImportedPayloads("earlier", "by/hand")


def test_a_command_is_no_text() -> None:
    for make in (lambda: Publish(command="upload"), lambda: ExternalCommand("x", "make")):  # type: ignore[arg-type]
        with pytest.raises(DefinitionError, match="Write a list of words"):
            make()


def test_steps_that_collect_nothing_reach_the_record() -> None:
    imported, command = build(
        ImportedPayloads("earlier", "/by/hand", save_payloads=False),
        ExternalCommand("production", ["make"], environment={"A": "b"}, timeout=60, depends_on=["earlier"]),
    ).calibrations
    assert (imported.kind, imported.folder, imported.payloads, imported.save_payloads) == (
        "imported_payloads",
        "/by/hand",
        None,
        False,
    )
    assert (command.kind, command.command, command.environment, command.timeout) == (
        "external_command",
        ["make"],
        {"A": "b"},
        60,
    )
    assert command.dependencies == ["earlier"]


class Production(CalibrationBase):
    """A type of a user's own."""

    n_events: int = 1000

    def run(self, step: object) -> None:
        """Do nothing."""


class Idle(CalibrationBase):
    """A type that cannot do anything."""


def test_a_type_of_ones_own_keeps_its_words() -> None:
    caf = CAF("demo", [Production(name="special", n_events=7, depends_on=["vertex"]), make_calibration()])
    step = build_members(caf)[0]
    assert (step.kind, step.model_extra) == (f"{__name__}:Production", {"n_events": 7})
    again = CAF.from_json(caf.to_json())
    assert again.resolve() == caf.resolve()
    made = Production.from_options("special", {"n_events": 7})
    assert made.n_events == 7
    with pytest.raises(DefinitionError, match="unknown word 'n_event'"):
        Production.from_options("special", {"n_event": 7})


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ({"name": "{{ params.x }}"}, "is a template"),
        ({"depends_on": "{{ params.x }}"}, "is a template"),
        ({"max_iterations": "{{ params.x }}"}, "is a template"),
    ],
)
def test_what_makes_the_shape_of_the_dag_cannot_be_a_template(words: dict[str, Any], what: str) -> None:
    with pytest.raises(DefinitionError, match=what):
        Calibration(**{"name": "vertex", "collector": COLLECTOR, "algorithms": ALGORITHM, "input_files": DATA, **words})


def test_templates_may_stand_for_values_until_a_run_has_filled_them_in() -> None:
    calibration = make_calibration(
        max_collector_jobs="{{ params.jobs }}", ignored_runs="{{ params.ignored }}", save_payloads="{{ params.save }}"
    )
    caf = CAF("demo", [calibration])
    assert build_members(caf)[0].ignored_runs == []
    with pytest.raises(DefinitionError) as caught:
        CAF.from_json(caf.to_json(), templates=False)
    assert len(caught.value.causes) == 3
