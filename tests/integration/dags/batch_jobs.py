"""Jobs of a task that wait for a file, with a Python function behind them."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param, task

from airflow_provider_caf.operators import BatchJobOperator

JOB = """
echo "$$" >> "$1/$2.started"
for _ in $(seq 6000); do
    if [ -e "$1/fail.$2" ]; then echo "told to fail" >&2; exit 3; fi
    if [ -e "$1/go" ]; then echo "$2" > out.txt; exit; fi
    sleep 0.2
done
exit 9
"""

with DAG(
    "batch_jobs",
    schedule=None,
    params={"folder": Param("/nowhere", type="string"), "backend": Param("local", type="string")},
    default_args={"retries": 2, "retry_delay": timedelta(seconds=2), "backend": "{{ params.backend }}"},
):
    jobs = BatchJobOperator(
        task_id="jobs",
        command=["bash", "-c", JOB, "-", "{{ params.folder }}", "{number}"],
        arguments=[{"number": number} for number in range(3)],
        outputs=["out.txt"],
        max_retries=0,
    )

    @task.batch
    def add(handle: dict[str, str], names: list[str]) -> dict[str, object]:
        import json
        from pathlib import Path

        files = json.loads(Path(handle["outputs_file"]).read_text())["jobs"].values()
        return {"sum": sum(int(Path(path).read_text()) for (path,) in files), "names": names}

    @task.batch
    def square(number: int) -> int:
        return number**2

    square.expand(number=[2, 3]) << jobs
    add(jobs.output, ["a", "b"])  # type: ignore[arg-type]
