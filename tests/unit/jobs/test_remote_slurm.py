"""A batch system of another host, with its commands there only: the fake Slurm behind a real ssh server."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from airflow_provider_caf.batch.polling import Patience
from airflow_provider_caf.jobs.transport.ssh import SshTransport
from airflow_provider_caf.steps.collect import CollectionRun
from airflow_provider_caf.steps.manifest import Target
from tests.ssh_server import start_ssh_server
from tests.unit.conftest import Lab
from tests.waiting import wait_until

FAKES = Path(__file__).parents[2] / "fakes"


def test_slurm_on_another_host(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "fake").mkdir()
    # The profile would set a PATH of its own.
    variables = {
        "FAKE_BATCH": str(tmp_path / "fake"),
        "FAKE_SYSTEM": "slurm",
        "PATH": f"{FAKES / 'bin'}:{os.environ['PATH']}",
    }
    shell = shlex.join(["exec", "env", *(f"{name}={value}" for name, value in variables.items()), "/bin/sh", "-s"])
    words = ["sh", "-c", "test $CAF_SUBJOB != 1 || exit 3; echo data > CollectorOutput.root"]
    lab.prepare(lab.calibration(collections={"default": lab.copies(words)}), target=Target(backend="slurm"))
    with start_ssh_server(tmp_path / "sshd", f"ForceCommand {shell}") as server:
        transport = SshTransport(server.connect, host="farm")
        patience = Patience(shortest=0.05, grace=5.0)
        run = CollectionRun(lab.layout(), 0, "default", patience=patience, transport=transport)
        run.write_jobs()
        assert run.submit_missing().submitted == (0, 1, 2)
        wait_until(lambda: run.observe().is_over)
        verdicts = run.observe().verdicts
        assert [verdict.status.value for verdict in verdicts.values()] == ["done", "failed", "done"]
        record = verdicts[1].record
        assert record is not None
        assert record.exit_code == 3
        assert run.submit_missing().submitted == (1,)
        run.cancel()
        transport.close()
