"""What Airflow is told of this package, held against Airflow's own schema and against the package."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import airflow
import pytest
from airflow.sdk import BaseHook, BaseOperator
from airflow.triggers.base import BaseTrigger

from airflow_provider_caf import __version__
from airflow_provider_caf.batch.spec import parse_resources
from airflow_provider_caf.batch.systems import SYSTEMS
from airflow_provider_caf.get_provider_info import get_provider_info
from airflow_provider_caf.hooks.batch import FIELDS

INFO = get_provider_info()
jsonschema: Any = import_module("jsonschema")  # has no types here
SCHEMA = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text(encoding="utf-8"))
KINDS = ("operators", "sensors", "hooks", "triggers")


def list_modules(*kinds: str) -> Iterator[str]:
    for kind in kinds:
        for group in INFO[kind]:
            yield from group["python-modules"]


def list_classes(module: str) -> list[type]:
    return [each for _, each in inspect.getmembers(import_module(module), inspect.isclass) if each.__module__ == module]


def test_it_follows_the_schema_of_airflow() -> None:
    jsonschema.validate(INFO, SCHEMA)


def test_it_is_json_and_the_same_every_time() -> None:
    assert json.loads(json.dumps(get_provider_info())) == INFO


@pytest.mark.parametrize("module", [*list_modules(*KINDS)])
def test_every_module_is_there(module: str) -> None:
    import_module(module)


@pytest.mark.parametrize(
    ("kind", "base"), [("operators", BaseOperator), ("sensors", BaseOperator), ("triggers", BaseTrigger)]
)
def test_no_module_with_a_class_is_forgotten(kind: str, base: type) -> None:
    package = import_module(f"airflow_provider_caf.{kind}")
    names = {path.stem for path in Path(str(package.__file__)).parent.glob("*.py")} - {"__init__"}
    bases = {f"airflow_provider_caf.{name}" for name in ("operators.base", "operators.waiting", "sensors.foreign")}
    modules = {f"{package.__name__}.{name}" for name in names} - bases
    with_class = {module for module in modules if any(issubclass(each, base) for each in list_classes(module))}
    assert with_class == set(list_modules(kind))


def test_every_integration_is_described() -> None:
    known = {each["integration-name"] for each in INFO["integrations"]}
    assert {group["integration-name"] for kind in KINDS for group in INFO[kind]} <= known


def test_the_hook_of_every_connection_type_is_there_and_says_the_same() -> None:
    for described in INFO["connection-types"]:
        module, _, name = described["hook-class-name"].rpartition(".")
        hook = getattr(import_module(module), name)
        assert issubclass(hook, BaseHook)
        assert hook.conn_type == described["connection-type"]
        assert hook.hook_name == described["hook-name"]


def test_every_field_of_the_form_is_one_that_is_read() -> None:
    (described,) = INFO["connection-types"]
    fields = described["conn-fields"]
    examples: dict[str, Any] = {
        name: field["schema"].get("minimum", field["schema"].get("enum", ["2"])[0])
        for name, field in fields.items()
        if name not in FIELDS
    }
    parse_resources({**examples, "walltime": "2h", "exclude_hosts": "node1, node2"}, "the form")
    assert set(FIELDS) <= set(fields)
    assert fields["system"]["schema"]["enum"] == sorted(SYSTEMS)
    parse_resources(json.loads(described["ui-field-behaviour"]["placeholders"]["extra"]), "the form")


def test_every_field_may_be_left_empty() -> None:
    (described,) = INFO["connection-types"]
    for name, field in described["conn-fields"].items():
        assert field["description"].endswith(".")
        if name != "system":
            jsonschema.validate(None, field["schema"])


@pytest.mark.parametrize("option", [*INFO["config"]["caf"]["options"].values()])
def test_every_option_is_described(option: dict[str, Any]) -> None:
    assert option["description"].endswith(".")
    assert option["version_added"] <= __version__
    assert isinstance(option["default"], str)


def test_every_option_is_read_somewhere_and_every_one_that_is_read_is_described() -> None:
    package = Path(str(import_module("airflow_provider_caf").__file__)).parent
    text = "".join(
        path.read_text(encoding="utf-8")
        for room in ("factory", "hooks", "operators", "sensors", "site")
        for path in (package / room).glob("*.py")
    )
    read = {part.split('"')[0] for part in text.split('"caf", "')[1:]}
    assert read == set(INFO["config"]["caf"]["options"])
