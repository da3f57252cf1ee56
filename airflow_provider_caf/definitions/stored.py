"""Read the resolved definitions that stand in the files and in the catalog of a run, also those of earlier releases.

Those had a form of their own: `{"name", "collector", "command", "splitting": {…}, …}` for a collection, a list of such
in a calibration, `{"kind", "type", "options"}` for a step, `ending` in the CAF.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from airflow_provider_caf.core.json_form import read_with
from airflow_provider_caf.definitions.caf import CAF
from airflow_provider_caf.definitions.calibration import Calibration, CalibrationBase, choose_type
from airflow_provider_caf.definitions.collection import Collection

_M = TypeVar("_M", bound=CalibrationBase)


def read_caf(value: Any) -> CAF:
    """Read a resolved CAF.

    :raises DefinitionError: if a word is missing, unknown or wrong.
    """
    caf = CAF.from_json(_renew_caf(value))
    for member in caf.calibrations:
        _name_collections(member)
    return caf


def read_stored_member(value: Any) -> CalibrationBase:
    """Read a resolved calibration or step.

    :raises DefinitionError: as `read_caf`.
    """
    renewed = _renew_member(value)
    return _name_collections(choose_type(renewed).from_json(renewed))


def read_calibration(value: Any) -> Calibration:
    """Read a resolved calibration.

    :raises DefinitionError: as `read_caf`.
    """
    return _name_collections(Calibration.from_json(_renew_member(value)))


def read_collection(value: Any) -> Collection:
    """Read a resolved collection, without its name.

    :raises DefinitionError: as `read_caf`.
    """
    return Collection.from_json(_renew_collection(value))


StoredCaf = Annotated[CAF, read_with(read_caf)]
StoredCalibration = Annotated[Calibration, read_with(read_calibration)]
StoredCollection = Annotated[Collection, read_with(read_collection)]


def _name_collections(member: _M) -> _M:
    if isinstance(member, Calibration):
        member.collections = {name: collection.rename(name) for name, collection in member.collections.items()}
    return member


def _renew_caf(value: Any) -> Any:
    if not isinstance(value, Mapping) or "ending" not in value:
        return value
    words = {**value, **value["ending"], "calibrations": [_renew_member(member) for member in value["calibrations"]]}
    return _drop(words, "ending")


def _renew_member(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    if "kind" in value:
        words = {**value, **value["options"], "type": value["type"] or value["kind"]}
        return _drop(words, "kind", "options")
    if isinstance(value.get("collections"), list):
        collections = {member["name"]: _renew_collection(member) for member in value["collections"]}
        return _drop({**value, "collections": collections})
    return value


def _renew_collection(value: Any) -> Any:
    if not isinstance(value, Mapping) or "splitting" not in value:
        return value
    before = value["pre_collector"]
    words = {
        **value,
        **value["splitting"],
        "collector": value["collector"] or value["command"],
        "pre_collector": None if before is None else next(iter(before.values())),
    }
    return _drop(words, "name", "command", "splitting")


def _drop(words: Mapping[str, Any], *gone: str) -> dict[str, Any]:
    """Leave out what is no word any more, and write the database chain as definitions do."""
    chain = [{entry["kind"]: entry["value"]} for entry in words.get("database_chain", ())]
    return {**{word: value for word, value in words.items() if word not in gone}, "database_chain": chain}
