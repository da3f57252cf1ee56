"""Every shape of a real calibration script can be written as a definition, and becomes the DAG that it should."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.definitions.caf import CAF
from airflow_provider_caf.definitions.calibration import Calibration
from airflow_provider_caf.factory.dag import build_dag
from tests.script_shapes import build_definition, build_joined_definition, read_shapes

SHAPES = read_shapes()
WITH_IGNORED = [
    shape
    for shape in SHAPES
    if any(algorithm["params_ignored"] for each in shape["calibrations"] for algorithm in each["algorithms"])
]


def name_shape(shape: dict[str, Any]) -> str:
    return str(shape["script"])


def count(caf: CAF) -> dict[str, int]:
    members = caf.resolve().calibrations
    calibrations = [each for each in members if isinstance(each, Calibration)]
    return {
        "calibrations": len(calibrations),
        "algorithms": sum(len(each.algorithms) for each in calibrations),
        "collections": sum(len(each.collections) for each in calibrations),
        "edges": sum(len(each.dependencies) for each in calibrations),
    }


@pytest.mark.parametrize("shape", SHAPES, ids=name_shape)
def test_a_script_becomes_a_definition_and_a_dag(shape: dict[str, Any]) -> None:
    caf = CAF.from_json(build_definition(shape))
    assert count(caf) == shape["expected"]
    dag = build_dag(caf)
    edges = {
        (other.partition(".")[0], each["name"])
        for each in shape["calibrations"]
        for other in dag.get_task(f"{each['name']}.prepare").upstream_task_ids
        if other != "configure"
    }
    assert edges == {(other, each["name"]) for each in shape["calibrations"] for other in each["depends_on"]}
    first = [
        task_id
        for task_id in dag.task_ids
        if task_id.partition(".")[2].startswith("iteration_0.") and task_id.endswith(".submit")
    ]
    assert len(first) == shape["expected"]["collections"]
    algorithms = [
        f"{each['name']}.iteration_0.{algorithm['class'].rpartition('::')[2]}"
        for each in shape["calibrations"]
        for algorithm in each["algorithms"]
    ]
    assert len(algorithms) == shape["expected"]["algorithms"]
    assert set(algorithms) <= set(dag.task_ids)


@pytest.mark.parametrize("shape", WITH_IGNORED, ids=name_shape)
def test_a_parameter_that_the_strategy_ignores_is_refused(shape: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError, match=r"The strategy \w+ has no parameter '\w+'"):
        CAF.from_json(build_definition(shape, with_ignored_params=True)).resolve()


def test_all_scripts_together_are_one_definition() -> None:
    caf = CAF.from_json(build_joined_definition(SHAPES))
    counted = count(caf)
    assert counted["calibrations"] == sum(shape["expected"]["calibrations"] for shape in SHAPES)
    assert counted["edges"] == sum(shape["expected"]["edges"] for shape in SHAPES)
    assert (
        len([task_id for task_id in build_dag(caf).task_ids if task_id.endswith(".prepare")]) == counted["calibrations"]
    )
