"""The demonstration: four calibrations of a small detector, which depend on one another.

`make demo` runs it. To run it on an Airflow of your own, make the data with `python dags/demo_detector.py FOLDER` and
trigger it with `airflow dags trigger demo_calibration --conf '{"data_folder": "FOLDER"}'`.
"""

from __future__ import annotations

from airflow.sdk import Param

from airflow_provider_caf import CAF, Algorithm, Calibration, Collection, build_dag

MUONS = "{{ params.data_folder }}/*_muons.root"
ELECTRONS = "{{ params.data_folder }}/*_electrons.root"

# A beam spot for each run; a run with few tracks is joined with its neighbour.
beam_spot = Calibration(
    "beam_spot",
    "demo_calibrators:VertexCollector",
    Algorithm("demo_calibrators:BeamSpotAlgorithm", "SequentialRunByRun"),
    MUONS,
    max_collector_jobs=4,
    max_iterations=0,
)

# One offset for all time, found in a few passes: each collects again around the offset found before.
alignment = Calibration(
    "alignment",
    "demo_calibrators:HitCollector",
    Algorithm("demo_calibrators:AlignmentAlgorithm", "SingleIOV", {"apply_iov": [0, 0, -1, -1]}),
    MUONS,
    max_collector_jobs=4,
    max_iterations=4,
    depends_on=[beam_spot],
)

# A time offset for every run, however few tracks it has.
time_offset = Calibration(
    "time_offset",
    "demo_calibrators:TimeCollector",
    Algorithm("demo_calibrators:TimeOffsetAlgorithm", "SimpleRunByRun"),
    MUONS,
    max_files_per_collector_job=4,
    max_iterations=0,
)

# A gain for each setting of the high voltage. The algorithm finds where it changed.
gain = Calibration(
    "gain",
    collections={
        "muons": Collection(
            "demo_calibrators:MuonChargeCollector",
            MUONS,
            max_collector_jobs=3,
            settings={"expected_charge": 80.0},
        ),
        "electrons": Collection(
            "demo_calibrators:ElectronChargeCollector",
            ELECTRONS,
            max_collector_jobs=3,
            settings={"expected_charge": 100.0},
        ),
    },
    algorithms=Algorithm("demo_calibrators:GainAlgorithm", "SequentialBoundaries"),
    max_iterations=0,
    depends_on=[alignment, time_offset],
)

caf = CAF("demo_calibration", [beam_spot, alignment, time_offset, gain])

dag = build_dag(
    caf,
    description="Four calibrations of a small detector whose truth is known",
    tags=["caf", "demonstration"],
    params={"data_folder": Param("/tmp/caf-demo-data", type="string", title="Folder of the data")},  # noqa: S108
)
