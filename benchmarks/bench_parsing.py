"""Measure how long Airflow needs to parse the demonstration, a folder of definitions, and large definitions.

    python benchmarks/bench_parsing.py [repetitions]

Each repetition is a fresh Python. The first row is what `import airflow.sdk` with its common names takes, which is not
ours to change; the aim is that the demonstration's file takes under 0.5 s beyond it. The other rows are parsed in a
process in which the package is imported already: a chain of 50 calibrations with 6 passes each, about 1600 tasks; a
folder of 200 copies of the demonstration (aim: 10 s); and one definition with the calibrations of all real scripts
whose shape is known (aim: 3 s).
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

LIMIT_SECONDS = {"demonstration": 0.5, "folder": 10.0, "all scripts": 3.0}
DEFINITIONS = 200
CALIBRATIONS = 50

_TOP = Path(__file__).resolve().parents[1]

_CHILD = f"""
import json, pathlib, sys, tempfile, time
start = time.perf_counter()
import airflow.sdk
from airflow.sdk import DAG, BaseHook, BaseOperator, BaseSensorOperator, Param, SkipMixin, TaskGroup, conf
sdk = time.perf_counter()
import caf_definitions
demo = time.perf_counter()
from airflow_provider_caf import CAF, Calibration, build_dag
calibrations = []
for number in range({CALIBRATIONS}):
    calibrations.append(
        Calibration(f"c{{number}}", "hits:Collector", "hits:Mean", "/data/*.root", depends_on=calibrations[-1:])
    )
begin = time.perf_counter()
dag = build_dag(CAF("many", calibrations))
end = time.perf_counter()
from airflow_provider_caf import build_dags
from tests.script_shapes import build_joined_definition, read_shapes
with tempfile.TemporaryDirectory() as folder:
    source = pathlib.Path(caf_definitions.__file__).with_name("definitions") / "demo_calibration.yaml"
    for number in range({DEFINITIONS}):
        text = source.read_text().replace("name: demo_calibration", f"name: demo_{{number}}")
        pathlib.Path(folder, f"{{number}}.yaml").write_text(text)
    begin_folder = time.perf_counter()
    many = build_dags(folder)
    end_folder = time.perf_counter()
with tempfile.TemporaryDirectory() as folder:
    pathlib.Path(folder, "all.json").write_text(json.dumps(build_joined_definition(read_shapes())))
    begin_all = time.perf_counter()
    (joined,) = build_dags(folder).values()
    end_all = time.perf_counter()
times = [sdk - start, demo - sdk, end - begin, end_folder - begin_folder, end_all - begin_all]
tasks = [len(caf_definitions.demo_calibration.tasks), len(dag.tasks), sum(len(each.tasks) for each in many.values())]
print(json.dumps([*times, *tasks, len(joined.tasks)]))
"""


def measure_once() -> list[float]:
    """Parse in a fresh process and give its times in seconds and the numbers of tasks."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(_TOP / "dags"), str(_TOP)]),
        "PYTHONWARNINGS": "ignore",
    }
    done = subprocess.run([sys.executable, "-c", _CHILD], env=environment, capture_output=True, text=True, check=True)
    times: list[float] = json.loads(done.stdout.splitlines()[-1])
    return times


def main() -> int:
    """Print the table; 1 if the aim was missed."""
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    measure_once()  # compiles the modules
    rows = [measure_once() for _ in range(repetitions)]
    names = (
        "import airflow.sdk",
        "the demonstration, beyond it",
        f"{CALIBRATIONS} calibrations",
        f"{DEFINITIONS} definitions",
        "all scripts in one",
    )
    tasks = ("", *(f"{count:.0f}" for count in rows[0][5:]))
    print(f"{'what':<32}{'tasks':>8}{'median [s]':>12}{'slowest [s]':>13}")
    for name, count, column in zip(names, tasks, list(zip(*rows, strict=True))[:5], strict=True):
        print(f"{name:<32}{count:>8}{statistics.median(column):>12.3f}{max(column):>13.3f}")
    missed = 0
    for (name, limit), place in zip(LIMIT_SECONDS.items(), (1, 3, 4), strict=True):
        median = statistics.median(row[place] for row in rows)
        missed += median > limit
        print(f"{name}: {median:.3f} s, aim: {limit} s")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
