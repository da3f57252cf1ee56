"""Summarise the constants of the simple example in a text file."""

# mypy: ignore-errors

import json
from pathlib import Path

from prompt import ValidationSettings

settings = ValidationSettings(
    name="Example Simple",
    description=__doc__,
    download_files=["*.txt"],
    expert_config={"title": "Constants"},
)


def run_validation(job_path, input_data_path, requested_iov, expert_config):
    """Write the names and IoVs of all payloads."""
    config = json.loads(expert_config)
    database = Path(job_path) / "TestCalibration" / "outputdb" / "database.txt"
    lines = [f"{config['title']} of {tuple(requested_iov)}, made from {input_data_path}"]
    for line in database.read_text().splitlines():
        if line.strip():
            name, revision, iov = line.split()
            lines.append(f"{name.rpartition('/')[2]} {revision}: {iov}")
    plots = Path("plots")
    plots.mkdir(exist_ok=True)
    (plots / "summary.txt").write_text("\n".join(lines) + "\n")
    print(f"{len(lines) - 1} payloads")
