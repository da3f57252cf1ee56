"""Scripts in the shapes of `tests/vectors/script_shapes.json`: `settings, get_calibrations = build_script(name)`.

The collectors and algorithms are those of the stand-in for basf2; an algorithm has the payload name of the real class.
"""

# mypy: ignore-errors

import json
from pathlib import Path

from caf.strategies import AlgorithmStrategy, SequentialRunByRun
from prompt import CalibrationSettings

import basf2 as b2

SHAPES = {
    shape["script"]: shape
    for shape in json.loads((Path(__file__).parents[1] / "vectors" / "script_shapes.json").read_text("utf-8"))
}


class KLMChannelStatus(AlgorithmStrategy):
    """A strategy that runs as a whole."""

    def run(self, iov, iteration, queue):
        """Do nothing: scripts of these shapes are described."""


class KLMStripEfficiency(KLMChannelStatus):
    """Another one."""


class KLMAlignment(SequentialRunByRun):
    """One with settings for each experiment."""

    usable_params = {**SequentialRunByRun.usable_params, "millepede_entries": int, "millepede_entries_exp7": int}  # noqa: RUF012


def build_script(name):
    """Give the settings of a script, and its function."""
    shape = SHAPES[name]
    settings = CalibrationSettings(
        name=name,
        expert_username="expert",
        description=f"A script in the shape of {name}.",
        input_data_formats=["raw"],
        input_data_names=shape["input_data"] or ["data"],
        expert_config=shape["expert_config"],
    )

    def get_calibrations(input_data, **kwargs):
        done = {}
        path = b2.create_path()
        path.add_module("RootInput", entrySequences=["0:99"])
        files = [file for of_name in input_data.values() for file in of_name]
        for form in shape["calibrations"]:
            done[form["name"]] = build_calibration(form, files, path, kwargs["requested_iov"])
            for other in form["depends_on"]:
                done[form["name"]].depends_on(done[other])
        return list(done.values())

    return settings, get_calibrations


def build_calibration(form, files, path, requested):
    """Give a calibration; its collections share a path."""
    from caf import strategies
    from caf.framework import Calibration, Collection
    from ROOT.Belle2 import TestCalibrationAlgorithm

    algorithms = [TestCalibrationAlgorithm() for _ in form["algorithms"]]
    calibration = Calibration(form["name"], algorithms=algorithms)
    for name, collected in form["collections"].items():
        collector = b2.register_module("CaTest")
        collector.param("granularity", collected["granularity"])
        collection = Collection(
            collector=collector,
            input_files=files,
            pre_collector_path=path if collected["reconstruction"] else None,
            max_collector_jobs=collected.get("max_collector_jobs"),
            max_files_per_collector_job=form.get("max_files_per_collector_job"),
            backend_args=form.get("backend_args"),
        )
        if name == "default":
            calibration.collections[name] = collection
        else:
            calibration.add_collection(name, collection)
    values = {
        "apply_iov": requested,
        "iov_coverage": requested,
        "payload_boundaries": [],
        "has_experiment_settings": True,
    }
    for algorithm, wanted in zip(calibration.algorithms, form["algorithms"], strict=True):
        algorithm.algorithm.setPayloadName(wanted["class"].rpartition("::")[2])
        kind = wanted["strategy"].removeprefix("CUSTOM:")
        algorithm.strategy = globals()[kind] if kind != wanted["strategy"] else getattr(strategies, kind)
        algorithm.params = {param: values.get(param, 1000) for param in wanted["params"]}
        if form["pre_algorithm"]:
            algorithm.pre_algorithm = print
    calibration.save_payloads = form["save_payloads"]
    if "max_iterations" in form:
        calibration.max_iterations = form["max_iterations"]
    return calibration
