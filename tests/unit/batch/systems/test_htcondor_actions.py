"""HTCondor: what it says of removals and releases, and that what it did not do is no success."""

from __future__ import annotations

import pytest

from airflow_provider_caf.core.errors import PollError
from tests.unit.batch.arrays import answer
from tests.unit.batch.systems.test_htcondor import DOWN, SYSTEM, submitted

TOTALS = "{} Succeeded, {} Failed, {} Not Found, 0 Bad Status, {} Already Done, {} Permission Denied\n"


@pytest.mark.parametrize(
    ("stdout", "stderr", "exit_code"),
    [
        (TOTALS.format(3, 0, 0, 0, 0) + "All jobs in cluster 5 have been marked for removal\n", "", 0),
        (TOTALS.format(0, 0, 0, 0, 0), "\nCouldn't find/remove all jobs in cluster 5\n", 1),
        (TOTALS.format(0, 0, 0, 2, 0), "\nCouldn't find/remove all jobs in cluster 5\n", 1),
        (TOTALS.format(0, 0, 0, 0, 0), "condor_rm:0:There are no jobs in the queue\n", 0),
    ],
)
def test_a_cluster_that_is_over_already_is_no_error(stdout: str, stderr: str, exit_code: int) -> None:
    (command,) = SYSTEM.build_cancel(submitted(5), None)
    SYSTEM.parse_action(submitted(5), answer(stdout, stderr, exit_code, command.argv), "cancelled")


@pytest.mark.parametrize(
    ("stdout", "stderr", "exit_code"),
    [
        # The jobs are somebody else's: without the numbers it is what is said of jobs that are not there.
        (TOTALS.format(0, 0, 0, 0, 3), "\nCouldn't find/remove all jobs in cluster 5\n", 1),
        (TOTALS.format(2, 0, 0, 0, 1) + "All jobs in cluster 5 have been marked for removal\n", "", 0),
        (TOTALS.format(2, 1, 0, 0, 0) + "All jobs in cluster 5 have been marked for removal\n", "", 0),
        ("", f"{DOWN}\nCouldn't find/remove all jobs in cluster 5\n", 1),
        ("", "\nCouldn't find/remove all jobs in cluster 5\n", 1),
        ("All jobs in cluster 5 have been marked for removal\n", "", 0),
        ("", "condor_rm: (null)\n", 1),
        ("", "", 0),
    ],
)
def test_a_cluster_that_was_not_removed_is_an_error(stdout: str, stderr: str, exit_code: int) -> None:
    (command,) = SYSTEM.build_cancel(submitted(5), None)
    with pytest.raises(PollError, match="could not be cancelled"):
        SYSTEM.parse_action(submitted(5), answer(stdout, stderr, exit_code, command.argv), "cancelled")


@pytest.mark.parametrize(
    ("stdout", "stderr", "exit_code"),
    [
        ("Job 5.0 marked for removal\n", "\nJob 5.3 not found\n", 0),
        ("", "\nJob 5.0 not found\n\nJob 5.1 not found\n", 1),
        ("", "\nJob 5.0 already marked for removal\n", 1),
        ("", "\nJob 5.0 not held to be released\n", 1),
    ],
)
def test_what_is_over_already_is_no_error(stdout: str, stderr: str, exit_code: int) -> None:
    SYSTEM.parse_action(submitted(5), answer(stdout, stderr, exit_code), "cancelled")
    SYSTEM.parse_action(submitted(5), answer(stdout, stderr, exit_code), "released")


@pytest.mark.parametrize(
    ("stderr", "exit_code"),
    [
        ("condor_rm: (null)\n", 1),
        (DOWN, 1),
        (f"{DOWN}\nNo result found for job 5.0\n", 1),
        ("", 1),
        ("\nJob 5.0 not found\nPermission denied to remove job 5.1\n", 1),
        ("Permission denied to remove job 5.1\n", 0),
        ("\nCouldn't find/remove all jobs in cluster 5\n", 1),
        ("AUTHENTICATE:1003: the key was not found\n", 1),
    ],
)
def test_an_action_that_was_not_taken_is_an_error(stderr: str, exit_code: int) -> None:
    with pytest.raises(PollError, match="could not be cancelled"):
        SYSTEM.parse_action(submitted(5), answer("", stderr, exit_code), "cancelled")
    with pytest.raises(PollError, match="could not be released"):
        SYSTEM.parse_action(submitted(5), answer("", stderr, exit_code), "released")
