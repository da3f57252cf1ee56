"""Change what was collected before the algorithm sees it, with a function that is made when the script is called."""

# mypy: ignore-errors

import json
from pathlib import Path

from prompt import CalibrationSettings

import basf2 as b2

settings = CalibrationSettings("Pre Algorithm", "expert", __doc__, ["cdst"], ["mumu"], expert_config={"factor": 2.0})


def scale_histograms(folder, factor):
    """Scale all histograms below a folder of a ROOT file, and give the sum of their contents."""
    import ROOT

    total = 0.0
    for name in sorted({key.GetName() for key in folder.GetListOfKeys()}):
        item = folder.Get(name)
        if isinstance(item, ROOT.TDirectory):
            total += scale_histograms(item, factor)
        elif isinstance(item, ROOT.TH1):
            item.Scale(factor)
            total += item.GetSumOfWeights()
            folder.WriteTObject(item, name, "Overwrite")
    return total


def build_functions(algorithm, factor):
    """Give what takes over the collected files, and what changes them. They share a list."""
    side_files = []

    def take_files(paths):
        side_files[:] = [path for path in paths if path.endswith(".mille")]
        algorithm.setInputFileNames([path for path in paths if path.endswith("CollectorOutput.root")])

    def scale(algorithm, iteration):
        import ROOT

        lines = sum(len(Path(path).read_text().splitlines()) for path in side_files)
        total = 0.0
        for path in algorithm.getInputFileNames():
            file = ROOT.TFile.Open(str(path), "UPDATE")
            total += scale_histograms(file, factor)
            file.Close()
        b2.B2INFO(f"Pass {iteration}: {lines} lines of side files, {total:g} entries after scaling.")
        report = {"iteration": iteration, "side_files": len(side_files), "lines": lines, "total": total}
        Path(f"pre_algorithm_{iteration}.json").write_text(json.dumps(report))

    return take_files, scale


def get_calibrations(input_data, **kwargs):
    """Give one calibration whose collector leaves side files."""
    from caf.framework import Calibration, Collection
    from caf.strategies import SingleIOV
    from ROOT.Belle2 import TestCalibrationAlgorithm

    collector = b2.register_module("CaTest")
    collector.param("granularity", "all")
    collector.param("sideFile", "events.mille")
    collection = Collection(
        collector=collector,
        input_files=sorted(input_data["mumu"]),
        output_patterns=["CollectorOutput.root", "*.mille"],
        max_files_per_collector_job=1,
    )

    algorithm = TestCalibrationAlgorithm()
    algorithm.setMinEntries(1)
    # Another pass is asked for once: the second one has to find the files as they were collected.
    algorithm.setIterations(1)
    take_files, scale = build_functions(algorithm, kwargs["expert_config"]["factor"])

    calibration = Calibration("TestPreAlgorithm", algorithms=[algorithm])
    calibration.add_collection("mumu", collection)
    calibration.strategies = SingleIOV
    calibration.algorithms[0].data_input = take_files
    calibration.pre_algorithms = scale
    calibration.max_iterations = 1
    return [calibration]
