"""What is particular to the local system: its pool can be killed, alone and with its subjobs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_caf.batch.spec import Resources, SubmittedArray
from airflow_provider_caf.batch.verdicts import SubjobStatus
from airflow_provider_caf.core.errors import SubmitError

if TYPE_CHECKING:
    from tests.contract.batch_site import Site

DONE, FAILED, CANCELLED, LOST = (
    SubjobStatus.DONE,
    SubjobStatus.FAILED,
    SubjobStatus.CANCELLED,
    SubjobStatus.LOST,
)
RUNNING, QUEUED = SubjobStatus.RUNNING, SubjobStatus.QUEUED
COPY = ["sh", "-c", "echo data > out.dat"]

pytestmark = pytest.mark.only_on("local")


def test_a_killed_pool_leaves_its_subjobs_lost_and_only_these_run_again(site: Site, tmp_path: Path) -> None:
    # It notes its number and goes on for ever, unless the flag is there.
    flag = tmp_path / "flag"
    pids = tmp_path / "pids"
    slow = ["sh", "-c", f"echo data > out.dat; test -e {flag} || {{ echo $$ >> {pids}; exec sleep 600; }}"]
    job = site.make_job([COPY, slow, slow], outputs=["out.dat"], resources=Resources(max_processes=1))
    arrays = site.submit(job).arrays
    site.wait(job, lambda seen: site.statuses(seen) == [DONE, RUNNING, QUEUED] and pids.exists())
    orphan = int(pids.read_text())
    kill_pool(arrays[0])
    observed = site.wait(job)
    assert site.statuses(observed) == [DONE, LOST, LOST]
    assert "in no queue and no history, and has left no exit record" in str(observed.verdicts[1].reason)
    assert is_running(orphan)
    flag.touch()
    again = site.submit(job)
    assert again.submitted == (1, 2)
    assert not is_running(orphan), "the orphan went on beside the new one"
    assert site.statuses(site.wait(job)) == [DONE, DONE, DONE]
    assert site.started(job) == [
        "00000/attempt_0",
        "00001/attempt_0",
        "00001/attempt_1",
        # The next one is made ready beforehand; it never ran.
        "00002/attempt_0",
        "00002/attempt_1",
    ]


def test_orphans_in_sessions_of_their_own_are_found(site: Site, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    # One in another session, with its mark; one in the job's session that has cleared its environment.
    script = (
        f"setsid sh -c 'echo $$ >> {pids}; exec sleep 600' & env -i sh -c 'echo $$ >> {pids}; exec sleep 600' & wait"
    )
    job = site.make_job([["sh", "-c", script]])
    arrays = site.submit(job).arrays
    wait_for(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    kill_pool(arrays[0])
    found = [int(word) for word in pids.read_text().split()]
    assert all(map(is_running, found))
    site.client.cancel(arrays)
    assert not any(map(is_running, found))
    assert site.statuses(site.look(job)) == [CANCELLED]


def test_an_ended_record_counts_although_the_pool_was_killed(site: Site) -> None:
    job = site.make_job([COPY, ["sleep", "600"]], resources=Resources(max_processes=2))
    arrays = site.submit(job).arrays
    site.wait(job, lambda seen: site.statuses(seen) == [DONE, RUNNING])
    kill_pool(arrays[0])
    # The journal's last words are cut off, as by a full disk.
    journal = Path(arrays[0].array.folder) / "pool" / "journal"
    journal.write_bytes(journal.read_bytes()[:9])
    assert site.statuses(site.look(job)) == [DONE, LOST]


def test_a_dead_pool_is_not_started_again(site: Site) -> None:
    job = site.make_job([["sleep", "600"]])
    arrays = site.submit(job).arrays
    site.wait(job, lambda seen: site.statuses(seen) == [RUNNING])
    kill_pool(arrays[0])
    for name in ("submitted.json", "array.json"):
        (Path(arrays[0].array.folder) / name).unlink()
    assert site.client.submit(arrays[0].array).ids == arrays[0].ids
    assert site.started(job) == ["00000/attempt_0"]


def test_two_pools_for_one_array_cannot_be(site: Site) -> None:
    job = site.make_job([COPY] * 3)
    array = job.build_array(site.client.system, [(each,) for each in job.subjobs], attempt=0)
    Path(array.folder).mkdir(parents=True)
    Path(array.array_file).write_text(json.dumps(array.to_json()))
    argv = [site.python, str(site.app), "pool", "submit", array.array_file]
    started = [subprocess.Popen(argv, stdout=subprocess.PIPE) for _ in range(8)]
    said = {process.communicate()[0] for process in started}
    assert [process.returncode for process in started] == [0] * 8
    assert len(said) == 1
    site.client.submit(array)
    assert site.statuses(site.wait(job)) == [DONE] * 3
    assert site.started(job) == [f"{subjob:05d}/attempt_0" for subjob in range(3)]


def test_the_pool_runs_with_nothing_but_its_app(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the oldest Python that experiments have, where it is installed."""
    job = site.make_job([COPY, ["sh", "-c", "exit 4"]], outputs=["out.dat"])
    array = job.build_array(site.client.system, [(each,) for each in job.subjobs], attempt=0)
    Path(array.folder).mkdir(parents=True)
    Path(array.array_file).write_text(json.dumps(array.to_json()))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    argv = [find_old_python(), "-I", str(site.app), "pool", "submit", array.array_file]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, cwd="/")
    site.submit(job)
    assert site.statuses(site.wait(job)) == [DONE, FAILED]


def test_sigterm_first_then_sigkill(site: Site, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    kind = ["sh", "-c", f"trap 'echo bye > last; exit 0' TERM; echo $$ >> {pids}; sleep 600 & wait"]
    deaf = [sys.executable, "-c", deaf_program(pids)]
    job = site.make_job([kind, deaf], outputs=[], resources=Resources(max_processes=2))
    arrays = site.submit(job).arrays
    wait_for(lambda: pids.exists() and len(pids.read_text().split()) == 3)
    begin = time.monotonic()
    site.client.cancel(arrays)
    observed = site.wait(job)
    assert time.monotonic() - begin > 4
    assert site.statuses(observed) == [CANCELLED, CANCELLED]
    assert (job.folders.attempt_folder(0, 0) / "last").read_text() == "bye\n"
    records = [observed.verdicts[subjob].record for subjob in (0, 1)]
    assert [(end.exit_code, end.signal, end.reason) for end in records if end] == [
        (0, None, "cancelled"),
        (None, 9, "cancelled"),
    ]
    assert not any(is_running(int(pid)) for pid in pids.read_text().split())


def test_a_stopped_pool_ends_its_subjobs_and_says_so(site: Site) -> None:
    job = site.make_job([["sleep", "600"]] * 2, resources=Resources(max_processes=1))
    arrays = site.submit(job).arrays
    site.wait(job, lambda seen: site.statuses(seen) == [RUNNING, QUEUED])
    os.kill(read_pool(arrays[0])["pid"], signal.SIGTERM)
    observed = site.wait(job)
    assert site.statuses(observed) == [FAILED, LOST]
    assert observed.verdicts[0].reason == "the local pool was ended by SIGTERM"


def test_what_a_subjob_leaves_running_ends_with_it(site: Site, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    job = site.make_job([["sh", "-c", f"sleep 600 & echo $! > {pids}"]])
    site.submit(job)
    assert site.statuses(site.wait(job)) == [DONE]
    wait_for(lambda: not is_running(int(pids.read_text())))


def test_a_removed_folder_is_lost_and_harms_no_other(site: Site) -> None:
    first = site.make_job([["sleep", "600"]], name="first")
    second = site.make_job([["sleep", "600"]], name="second")
    gone, kept = (site.submit(each).arrays[0] for each in (first, second))
    wait_for(lambda: site.client.poll([kept]).read([kept])[0].state.name == "RUNNING")
    pid = read_pool(gone)["pid"]
    Path(gone.array.folder).rename(site.work / "elsewhere")
    snapshot = site.client.poll([gone, kept])
    assert snapshot.read([gone])[0].state.name == "LOST"
    assert snapshot.read([kept])[0].state.name == "RUNNING"
    (site.work / "elsewhere").rename(gone.array.folder)
    os.kill(pid, signal.SIGTERM)


def test_another_machines_pool_is_seen_and_ended(site: Site) -> None:
    arrays = site.submit(site.make_job([["sleep", "600"]])).arrays
    file = Path(arrays[0].array.folder) / "pool" / "id.json"
    identity = {**json.loads(file.read_text()), "host": "far.example.org", "boot": "another"}
    file.write_text(json.dumps(identity))
    wait_for(lambda: site.client.poll(arrays).read(arrays)[0].state.name == "RUNNING")
    site.client.cancel(arrays)
    wait_for(lambda: site.client.poll(arrays).read(arrays)[0].state.name == "CANCELLED")


def test_another_machines_pool_of_an_earlier_version_is_no_loss(site: Site) -> None:
    arrays = site.submit(site.make_job([["sleep", "600"]])).arrays
    file = Path(arrays[0].array.folder) / "pool" / "id.json"
    told = file.read_text()
    identity = {**json.loads(told), "host": "far.example.org", "boot": "another"}
    del identity["beat"]
    file.write_text(json.dumps(identity))
    snapshot = site.client.poll(arrays)
    assert "of host far.example.org has no beat; ask it there" in str(snapshot.describe_problems(arrays))
    assert snapshot.read(arrays)[0].state.name == "UNKNOWN"
    file.write_text(told)


def test_setup_that_fails_is_told(site: Site) -> None:
    job = site.make_job([COPY], resources=Resources(setup=("echo no such site >&2", "exit 7")))
    with pytest.raises(SubmitError, match=r"was not started \(exit code 7\): no such site\n.*run\.sh by hand"):
        site.submit(job)


def test_a_container_is_refused(site: Site) -> None:
    job = site.make_job([COPY], resources=Resources(container="/images/site.sif"))
    with pytest.raises(AirflowFailException, match=r"local system cannot run the container '/images/site.sif'"):
        site.submit(job)


def deaf_program(pids: Path) -> str:
    """Ignore SIGTERM, and have a child in a process group of its own that does the same."""
    return (
        "import os, signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "if os.fork() == 0:\n    os.setpgid(0, 0)\n"
        f"file = os.open({str(pids)!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)\n"
        "os.write(file, b'%d\\n' % os.getpid())\n"
        "time.sleep(600)\n"
    )


def find_old_python() -> str:
    """Give a Python 3.9 that really starts, or skip."""
    on_path = (Path(folder) / "python3.9" for folder in os.environ["PATH"].split(":"))
    for python in (*on_path, *(Path.home() / ".pyenv" / "versions").glob("3.9.*/bin/python3.9")):
        if python.exists():
            done = subprocess.run([python, "-c", ""], check=False, capture_output=True)
            if done.returncode == 0:
                return str(python)
    pytest.skip("no Python 3.9 here")


def read_pool(array: SubmittedArray) -> dict[str, Any]:
    identity: dict[str, Any] = json.loads((Path(array.array.folder) / "pool" / "id.json").read_text())
    return identity


def kill_pool(array: SubmittedArray) -> None:
    pid = read_pool(array)["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not is_running(pid))


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_for(is_so: Callable[[], bool], limit: float = 120.0) -> None:
    deadline = time.monotonic() + limit
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)
