"""Definitions in the shapes of real calibration scripts, as an expert would write them in YAML."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

VECTORS = Path(__file__).parent / "vectors" / "script_shapes.json"
OPEN_IOV = [1, 0, -1, -1]

_VALUES: Mapping[str, Any] = {
    "apply_iov": OPEN_IOV,
    "iov_coverage": OPEN_IOV,
    "payload_boundaries": [],
}
"""What a script sets the parameter of a strategy to; all others are numbers."""


def read_shapes() -> list[dict[str, Any]]:
    """Read the shapes of all scripts."""
    shapes: list[dict[str, Any]] = json.loads(VECTORS.read_text(encoding="utf-8"))
    return shapes


def build_definition(shape: Mapping[str, Any], *, with_ignored_params: bool = False) -> dict[str, Any]:
    """Give the definition of one script.

    :param with_ignored_params: whether also the parameters that the strategy would ignore are there, as in the script.
    """
    names = [_slug(name) for name in shape["input_data"]] or ["data"]
    definition: dict[str, Any] = {
        "name": shape["script"],
        "input_data": {name: [f"/data/{name}/**/*.root"] for name in names},
        "calibrations": [
            _build_calibration(calibration, names[number % len(names) :] + names, with_ignored_params)
            for number, calibration in enumerate(shape["calibrations"])
        ],
    }
    collections = [each for calibration in definition["calibrations"] for each in calibration["collections"].values()]
    if collections:
        # What no other collection reads, the last one does.
        read = {each["input_data"] for each in collections}
        collections[-1]["input_data"] = [collections[-1]["input_data"], *(each for each in names if each not in read)]
    if shape["expert_config"]:
        definition["expert_config"] = shape["expert_config"]
        for calibration in definition["calibrations"]:
            for algorithm in calibration["algorithms"]:
                algorithm["settings"] = {"options": "{{ params.expert_config }}"}
    if shape["budget"]:
        definition["job_budget"] = 1000
    return definition


def build_joined_definition(shapes: Iterable[Mapping[str, Any]], name: str = "all_scripts") -> dict[str, Any]:
    """Give one definition with the calibrations of all scripts, each behind the name of its script."""
    joined: dict[str, Any] = {"name": name, "input_data": {}, "expert_config": {}, "calibrations": []}
    for shape in shapes:
        definition = build_definition(shape)
        joined["input_data"] |= definition["input_data"]
        joined["expert_config"] |= definition.get("expert_config", {})
        for calibration in definition["calibrations"]:
            calibration["name"] = f"{shape['script']}-{calibration['name']}"
            if "depends_on" in calibration:
                calibration["depends_on"] = [f"{shape['script']}-{other}" for other in calibration["depends_on"]]
            joined["calibrations"].append(calibration)
    return joined


def _build_calibration(shape: Mapping[str, Any], data: list[str], with_ignored_params: bool) -> dict[str, Any]:
    collections = {
        name: _build_collection(name, collection, data[index % len(data)])
        for index, (name, collection) in enumerate(shape["collections"].items())
    }
    calibration: dict[str, Any] = {"name": shape["name"], "collections": collections}
    if "max_files_per_collector_job" in shape:
        for collection in collections.values():
            collection["max_files_per_collector_job"] = shape["max_files_per_collector_job"]
    calibration["algorithms"] = [
        _build_algorithm(algorithm, shape, with_ignored_params) for algorithm in shape["algorithms"]
    ]
    if shape["depends_on"]:
        calibration["depends_on"] = shape["depends_on"]
    if not shape["save_payloads"]:
        calibration["save_payloads"] = False
    for word in ("max_iterations", "backend_args"):
        if word in shape:
            calibration[word] = shape[word]
    return calibration


def _build_collection(name: str, shape: Mapping[str, Any], data: str) -> dict[str, Any]:
    collection: dict[str, Any] = {
        "collector": f"modules:{_slug(shape['collectors'][0])}",
        "input_data": data,
        "granularity": shape["granularity"],
    }
    if shape["reconstruction"]:
        collection["pre_collector"] = f"reconstruction:prepare_{_slug(name)}"
    if "max_collector_jobs" in shape:
        collection["max_collector_jobs"] = shape["max_collector_jobs"]
    return collection


def _build_algorithm(
    shape: Mapping[str, Any], calibration: Mapping[str, Any], with_ignored_params: bool
) -> dict[str, Any]:
    own = shape["strategy"].startswith("CUSTOM:")
    algorithm: dict[str, Any] = {
        "algorithm": f"algorithms:{shape['class'].rpartition('::')[2]}",
        "strategy": f"strategies:{shape['strategy'].removeprefix('CUSTOM:')}" if own else shape["strategy"],
    }
    if with_ignored_params or not shape["params_ignored"]:
        params = {name: _VALUES.get(name, 1000) for name in shape["params"]}
        if params:
            algorithm["params"] = params
    if calibration["pre_algorithm"]:
        algorithm["pre_algorithm"] = "side_files:correct_paths"
    return algorithm


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name).strip("_") or "data"
