"""Any command as jobs of a batch system: an example of the operators that need no calibration.

It draws random points in a square in several jobs, counts those in the circle, and estimates pi. Choose where the jobs
run when you trigger it.
"""

from __future__ import annotations

from airflow.sdk import DAG, Param, task

from airflow_provider_caf.operators import BatchJobOperator, BatchSubmitOperator
from airflow_provider_caf.sensors import BatchJobSensor

DRAW = """
import random, sys
draw = random.Random(int(sys.argv[1])).random
inside = sum(draw() ** 2 + draw() ** 2 < 1 for _ in range(int(sys.argv[2])))
print(inside, sys.argv[2], file=open("counts.txt", "w"))
"""

with DAG(
    "caf_batch_jobs",
    schedule=None,
    description="An example: commands and a Python function as jobs of a batch system",
    tags=["caf", "example"],
    params={
        "backend": Param("local", enum=["local", "htcondor", "slurm", "pbs", "torque", "lsf"], description="Where."),
        "conn_id": Param(None, type=["null", "string"], description="A connection of type caf_batch, in its place."),
        "points": Param(20_000, type="integer", minimum=1, description="Points of each job."),
    },
    default_args={
        "retries": 2,
        "backend": "{{ '' if params.conn_id else params.backend }}",
        "conn_id": "{{ params.conn_id or '' }}",
    },
) as dag:
    draw = BatchJobOperator(
        task_id="draw",
        command=["python3", "-c", DRAW, "{seed}", "{{ params.points }}"],
        arguments=[{"seed": seed} for seed in range(4)],
        outputs=["counts.txt"],
    )
    # The same in two tasks: one that submits, and one that waits. The handle goes from one to the other.
    check = BatchSubmitOperator(task_id="check", commands=[["python3", "--version"], ["uname", "-a"]])
    wait = BatchJobSensor(task_id="wait", handle=check.output)

    @task.batch
    def estimate(outputs_file: str) -> float:
        """Add up what the jobs have counted; this is a job too."""
        import json
        from pathlib import Path

        jobs = json.loads(Path(outputs_file).read_text())["jobs"]
        counts = [Path(files[0]).read_text().split() for files in jobs.values()]
        return 4 * sum(int(inside) for inside, _ in counts) / sum(int(total) for _, total in counts)

    wait >> estimate("{{ ti.xcom_pull(task_ids='draw')['outputs_file'] }}") << draw
