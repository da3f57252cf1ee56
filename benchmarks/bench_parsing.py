"""Measure how long Airflow needs to parse the DAG of the demonstration, and one of many calibrations.

    python benchmarks/bench_parsing.py [repetitions]

Each repetition is a fresh Python. The first column is what `import airflow.sdk` with its common names takes, which is
not ours to change; the aim is that the demonstration's file takes under 0.5 s beyond it. The last row is a chain of 50
calibrations with 6 passes each, about 1600 tasks, parsed in a process in which the package is imported already.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

LIMIT_SECONDS = 0.5
CALIBRATIONS = 50

_TOP = Path(__file__).resolve().parents[1]

_CHILD = f"""
import json, time
start = time.perf_counter()
import airflow.sdk
from airflow.sdk import DAG, BaseHook, BaseOperator, BaseSensorOperator, Param, SkipMixin, TaskGroup, conf
sdk = time.perf_counter()
import demo_calibration
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
print(json.dumps([sdk - start, demo - sdk, end - begin, len(demo_calibration.dag.tasks), len(dag.tasks)]))
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
    names = ("import airflow.sdk", "the demonstration, beyond it", f"{CALIBRATIONS} calibrations")
    tasks = ("", f"{rows[0][3]:.0f}", f"{rows[0][4]:.0f}")
    print(f"{'what':<32}{'tasks':>8}{'median [s]':>12}{'slowest [s]':>13}")
    for name, count, column in zip(names, tasks, list(zip(*rows, strict=True))[:3], strict=True):
        print(f"{name:<32}{count:>8}{statistics.median(column):>12.3f}{max(column):>13.3f}")
    median = statistics.median(row[1] for row in rows)
    print(f"\nthe demonstration: {median:.3f} s, aim: {LIMIT_SECONDS} s")
    return int(median > LIMIT_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
