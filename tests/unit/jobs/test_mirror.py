"""Collections whose jobs run on a host that is reached by ssh: with a shared file system, and without one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.batch.polling import Patience
from airflow_provider_caf.batch.verdicts import SubjobStatus
from airflow_provider_caf.core.errors import PollError, TransportError
from airflow_provider_caf.jobs.arrays import read_submitted
from airflow_provider_caf.jobs.mirror import LARGEST_LOG, Mirror, MirroredStatusFolder
from airflow_provider_caf.jobs.transport.ssh import SshTransport
from airflow_provider_caf.steps.collect import CollectionRun
from tests.ssh_server import SshServer
from tests.unit.conftest import Lab
from tests.waiting import wait_until

PATIENCE = Patience(shortest=0.05, grace=1.0)


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    """Give the work folder of the submit host: it has a name of its own."""
    folder = tmp_path / "it's the $(farm)"
    folder.mkdir()
    return folder


@pytest.fixture
def transport(server: SshServer, remote: Path) -> Iterator[SshTransport]:
    """Give the way to a host that does not see our work folder."""
    opened = SshTransport(server.connect, host="farm", remote_work_dir=str(remote))
    yield opened
    opened.close()


@pytest.fixture
def mirror(lab: Lab, transport: SshTransport, remote: Path) -> Mirror:
    """Give the mirror of the work folder."""
    return Mirror(transport, local_root=lab.run.work_dir, remote_root=f"{remote}/")


@pytest.fixture
def far(lab: Lab, transport: SshTransport, mirror: Mirror) -> Callable[[], CollectionRun]:
    """Give a function that opens the collection `default` as a task does."""

    def open_run() -> CollectionRun:
        return CollectionRun(lab.layout(), 0, "default", patience=PATIENCE, transport=transport, mirror=mirror)

    return open_run


def wait(run: CollectionRun) -> None:
    wait_until(
        lambda: all(verdict.status.is_over for verdict in run.observe().verdicts.values()),
        lambda: run.observe().describe(),
    )


def run_all(far: Callable[[], CollectionRun]) -> CollectionRun:
    """Submit all subjobs, and wait for them."""
    run = far()
    run.write_jobs()
    run.submit_missing()
    wait(run)
    return run


def test_a_shared_file_system_needs_no_mirror(lab: Lab, server: SshServer) -> None:
    lab.prepare(lab.calibration(collections={"default": lab.copies()}))
    transport = SshTransport(server.connect, host="farm")
    run = CollectionRun(lab.layout(), 0, "default", patience=PATIENCE, transport=transport)
    run.write_jobs()
    assert run.submit_missing().submitted == (0, 1, 2)
    wait(run)
    assert run.check_done(run.observe()) == ()
    assert (run.folders.array_folder(0) / "remote.lock").exists()
    assert server.count_logins() >= 1
    transport.close()


def test_files_go_there_and_come_back(lab: Lab, far: Callable[[], CollectionRun], mirror: Mirror, remote: Path) -> None:
    lab.prepare(lab.calibration(collections={"default": lab.copies()}))
    run = far()
    run.write_jobs()
    assert run.submit_missing().submitted == (0, 1, 2)
    wait(run)
    observation = run.observe()
    assert run.check_done(observation) == ()
    for number, verdict in observation.verdicts.items():
        (path,) = verdict.outputs
        assert path.is_relative_to(lab.run.work_dir)
        assert path.read_bytes() == lab.files.collected[number].read_bytes()
        record = json.loads(run.folders.exit_record(number, 0).read_text())
        assert record["folder"].startswith(f"{remote}/")
    assert not list(run.folders.output_folder.glob(".incoming*"))
    assert not [path for path in remote.rglob("*") if path.name.startswith(".") or path.name == "submitted.json"]
    # Nothing is submitted again, by nobody.
    again = far()
    again.write_jobs()
    assert again.submit_missing().submitted == ()
    assert [each.subjob for each in again.read_attempts()] == [0, 1, 2]


def test_failed_subjobs_bring_the_ends_of_their_logs(lab: Lab, far: Callable[[], CollectionRun]) -> None:
    script = f"head -c {LARGEST_LOG + 1000} /dev/zero | tr '\\0' x >&2; echo the reason >&2; exit 3"
    lab.prepare(lab.calibration(collections={"default": lab.copies(["sh", "-c", script], max_subjob_retries=0)}))
    run = run_all(far)
    verdict = run.observe().verdicts[0]
    assert verdict.status is SubjobStatus.FAILED
    assert verdict.log is not None
    assert verdict.log.is_relative_to(lab.run.work_dir)
    assert verdict.log.stat().st_size == LARGEST_LOG
    assert verdict.log_tail.endswith("the reason")


def end_three_there(lab: Lab, far: Callable[[], CollectionRun], remote: Path) -> CollectionRun:
    """Run three subjobs to their end on the other host, and fetch nothing."""
    lab.prepare(lab.calibration(collections={"default": lab.copies()}))
    run = far()
    run.write_jobs()
    run.submit_missing()
    wait_until(lambda: len(list(remote.rglob("status/*.json"))) == 3)
    return run


def test_an_output_that_is_late_is_waited_for(
    lab: Lab, far: Callable[[], CollectionRun], mirror: Mirror, remote: Path
) -> None:
    """A network file system may show the record first."""
    run = end_three_there(lab, far, remote)
    (late,) = remote.rglob("00001/attempt_0/CollectorOutput.root")
    late.rename(late.with_name("hidden"))
    mirror.fetch_records(run.folders.status_folder)
    assert sorted(each.subjob for each in run.read_attempts()) == [0, 2]
    late.with_name("hidden").rename(late)
    assert sorted(each.subjob for each in run.read_attempts()) == [0, 1, 2]
    assert run.check_done(run.observe()) == ()


def test_what_died_without_a_record_leaves_its_logs(lab: Lab, far: Callable[[], CollectionRun], remote: Path) -> None:
    script = "echo the last word >&2; kill -9 $PPID; sleep 600"
    lab.prepare(lab.calibration(collections={"default": lab.copies(["sh", "-c", script], lab.files.events[:1])}))
    run = run_all(far)
    verdict = run.observe().verdicts[0]
    assert verdict.record is None
    assert verdict.status is not SubjobStatus.DONE
    assert verdict.log_tail == "the last word"


def test_a_log_that_is_an_output_comes_whole(lab: Lab, far: Callable[[], CollectionRun]) -> None:
    script = f"head -c {LARGEST_LOG + 1000} /dev/zero"
    collection = lab.copies(["sh", "-c", script], lab.files.events[:1], output_patterns=["stdout.log"])
    lab.prepare(lab.calibration(collections={"default": collection}))
    run = run_all(far)
    assert run.check_done(run.observe()) == ()
    (path,) = run.observe().verdicts[0].outputs
    assert path.stat().st_size == LARGEST_LOG + 1000


def test_a_record_of_a_hostile_job_brings_nothing_from_outside(
    lab: Lab, far: Callable[[], CollectionRun], mirror: Mirror, remote: Path
) -> None:
    run = end_three_there(lab, far, remote)
    (status,) = remote.rglob("status")
    record = json.loads((status / "00000.0.json").read_text())
    record["outputs"] = [{"path": "../../../secret", "size": 6}]
    (status / "00000.0.json").write_text(json.dumps(record))
    (output,) = remote.rglob("00001/attempt_0/CollectorOutput.root")
    output.unlink()
    output.symlink_to("/etc/passwd")
    (status / "00007.0.json").write_bytes(b"x" * 2_000_000)
    (status / "00008.0.json").symlink_to("/dev/zero")
    mirror.fetch_records(run.folders.status_folder)
    assert [each.subjob for each in run.read_attempts()] == [2]
    names = {path.name for path in run.folders.status_folder.iterdir()}
    assert names == {"00000.0.json", "00002.0.json"}
    assert not (run.folders.output_folder / "00001" / "attempt_0").exists()
    assert not list(run.folders.output_folder.rglob("secret"))


def test_cancelling_works_there_too(lab: Lab, far: Callable[[], CollectionRun], tmp_path: Path) -> None:
    script = f"touch {tmp_path}/started; exec sleep 600"
    lab.prepare(lab.calibration(collections={"default": lab.copies(["sh", "-c", script])}))
    run = far()
    run.write_jobs()
    run.submit_missing()
    wait_until((tmp_path / "started").exists)
    run.cancel()
    wait(run)
    assert {verdict.status for verdict in run.observe().verdicts.values()} == {SubjobStatus.CANCELLED}


LIST_DATABASE = """
import json, os
with open(os.environ["CAF_JOB"]) as file, open("out.txt", "w") as out:
    path = json.load(file)["database_chain"][0]["path"]
    out.write(f"{path}:{sorted(os.listdir(path))}")
"""


def test_local_databases_go_there(lab: Lab, far: Callable[[], CollectionRun], tmp_path: Path) -> None:
    database = tmp_path / "constants"
    database.mkdir()
    (database / "database.txt").write_text("")
    (database / "dbstore_Gain_rev_0123456789abcdef.root").write_bytes(b"payload")
    words = [sys.executable, "-c", LIST_DATABASE]
    chain = [{"local": str(database)}]
    collection = lab.copies(words, output_patterns=["out.txt"], database_chain=chain)
    lab.prepare(lab.calibration(collections={"default": collection}))
    run = run_all(far)
    (path,) = run.observe().verdicts[0].outputs
    text = path.read_text()
    assert "elsewhere" in text
    assert text.endswith("/constants:['database.txt', 'dbstore_Gain_rev_0123456789abcdef.root']")


class Broken:
    """A host that has gone, until it is back."""

    def __init__(self, host: SshTransport) -> None:
        self.host = host
        self.is_broken = True

    def use_files(self, action: Any) -> Any:
        if self.is_broken:
            raise TransportError("farm could not be reached", hint="Wait.")
        return self.host.use_files(action)


def test_records_that_cannot_be_fetched_let_nothing_fail(lab: Lab, transport: SshTransport, remote: Path) -> None:
    """The queue says that all is over, and sftp does not work: what ran well must not run again."""
    lab.prepare(lab.calibration(collections={"default": lab.copies()}))
    host = Broken(transport)
    host.is_broken = False
    mirror = Mirror(host, local_root=lab.run.work_dir, remote_root=str(remote))
    run = CollectionRun(lab.layout(), 0, "default", patience=PATIENCE, transport=transport, mirror=mirror)
    run.write_jobs()
    run.submit_missing()
    host.is_broken = True
    wait_until(lambda: len(list(remote.rglob("status/*.json"))) == 3)
    for _ in range(3):
        seen = run.observe()
        assert {verdict.status for verdict in seen.verdicts.values()} <= {SubjobStatus.RUNNING, SubjobStatus.QUEUED}
        assert seen.problem is not None
        assert "farm could not be reached" in seen.problem
        time.sleep(0.5)
    host.is_broken = False
    wait(run)
    seen = run.observe()
    assert (run.check_done(seen), seen.problem) == ((), None)


def test_a_host_that_is_gone_for_too_long_is_an_error(lab: Lab, transport: SshTransport, tmp_path: Path) -> None:
    host = Broken(transport)
    now = [0.0]
    mirror = Mirror(host, local_root=tmp_path, remote_root="/r")
    folder = MirroredStatusFolder(tmp_path / "status", mirror, deadline=600.0, clock=lambda: now[0])
    assert folder.scan() == ()
    assert folder.problem == "farm could not be reached"
    now[0] = 599.0
    folder.scan()
    now[0] = 600.0
    with pytest.raises(PollError, match=r"could not be fetched for 600 s: farm could not be reached\n.*Wait"):
        folder.scan()


def test_what_lies_elsewhere_has_a_place_of_its_own(tmp_path: Path) -> None:
    mirror = Mirror(Broken(None), local_root=Path("/w/caf"), remote_root="/r/")  # type: ignore[arg-type]
    assert mirror.find_remote("/w/caf") == "/r"
    assert mirror.find_remote("/w/caf/a/b") == "/r/a/b"
    one, other = mirror.find_remote("/w/caf2/db"), mirror.find_remote("/home/db")
    assert one.startswith("/r/elsewhere/")
    assert one.endswith("/db")
    assert one != other


SUBMITTER = textwrap.dedent(
    """
    import json, os, signal, sys
    from dataclasses import replace
    from pathlib import Path
    from airflow_provider_caf.batch.spec import ArraySpec
    from airflow_provider_caf.batch.systems import load_system
    from airflow_provider_caf.jobs.client import BatchClient
    from airflow_provider_caf.jobs.mirror import Mirror
    from airflow_provider_caf.jobs.transport.ssh import SshTransport
    from tests.ssh_server import SshServer

    folder, port, array, remote, local, out = sys.argv[1:]
    transport = SshTransport(SshServer(Path(folder), int(port)).connect, host="farm", remote_work_dir=remote or None)
    mirror = Mirror(transport, local_root=Path(local), remote_root=remote) if remote else None
    run = transport.run

    def run_slowly(command, *, hold=None):
        if hold is None:
            return run(command)
        slow = ("sh", "-c", 'sleep 0.7; "$@"; code=$?; sleep 0.7; exit $code', "slow", *command.argv)
        result = run(replace(command, argv=slow), hold=hold)
        os.kill(os.getpid(), signal.SIGKILL)  # the latest moment, if nobody has killed it before
        return result

    transport.run = run_slowly
    client = BatchClient(load_system("local"), transport, mirror=mirror)
    client.submit(ArraySpec.from_json(json.loads(Path(array).read_text())))
    Path(out).touch()
    """
)


@pytest.mark.parametrize("is_shared", [True, False])
@pytest.mark.parametrize("moment", [0.0, 0.2, 0.5, 0.9, 1.2, 1.4])
def test_a_kill_between_submit_and_record_gives_one_job(
    lab: Lab, server: SshServer, remote: Path, tmp_path: Path, is_shared: bool, moment: float
) -> None:
    script = f"echo $CAF_SUBJOB >> {tmp_path}/ran; echo x > CollectorOutput.root"
    lab.prepare(lab.calibration(collections={"default": lab.copies(["sh", "-c", script])}))
    root = "" if is_shared else str(remote)
    transport = SshTransport(server.connect, host="farm", remote_work_dir=root or None)
    mirror = None if is_shared else Mirror(transport, local_root=lab.run.work_dir, remote_root=root)
    run = CollectionRun(lab.layout(), 0, "default", patience=PATIENCE, transport=transport, mirror=mirror)
    run.write_jobs()
    array = run.subjob_set.build_array(run.client.system, [(0,), (1,), (2,)], attempt=0)
    (tmp_path / "array.json").write_text(json.dumps(array.to_json()))
    words = (str(server.folder), str(server.port), f"{tmp_path}/array.json", root, str(lab.run.work_dir))
    process = subprocess.Popen([sys.executable, "-c", SUBMITTER, *words, f"{tmp_path}/out"])
    wait_until(Path(array.array_file).exists)
    time.sleep(moment)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out").exists()
    assert read_submitted(Path(array.folder)) is None
    run.submit_missing()
    wait(run)
    time.sleep(1.0)
    assert run.check_done(run.observe()) == ()
    assert sorted((tmp_path / "ran").read_text().split()) == ["0", "1", "2"]
    transport.close()
