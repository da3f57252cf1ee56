"""What to do with held jobs: the table of `batch.held`, row by row."""

from __future__ import annotations

import pytest

from airflow_provider_caf.batch.held import (
    DEFAULT_TIMEOUT,
    MOST_RELEASES,
    HeldAction,
    HeldPolicy,
    build_held_policy,
    decide_held,
)
from airflow_provider_caf.batch.spec import parse_resources

WAIT, RELEASE, FAIL = HeldAction.WAIT, HeldAction.RELEASE, HeldAction.FAIL


@pytest.mark.parametrize(
    ("action", "hopeless", "lasted", "releases", "decided"),
    [
        (None, True, 0.0, 0, FAIL),
        (None, False, 0.0, 0, WAIT),
        (None, False, 1e9, 0, WAIT),
        ("wait", True, 1e9, 0, WAIT),
        ("wait", False, 1e9, 0, WAIT),
        ("release", True, 0.0, 0, FAIL),
        ("release", False, 99.9, 0, WAIT),
        ("release", False, 100.0, 0, RELEASE),
        ("release", False, 100.0, MOST_RELEASES - 1, RELEASE),
        ("release", False, 99.9, MOST_RELEASES, WAIT),
        ("release", False, 100.0, MOST_RELEASES, FAIL),
        ("fail", True, 0.0, 0, FAIL),
        ("fail", False, 99.9, 0, WAIT),
        ("fail", False, 100.0, 0, FAIL),
        # A clock that was set back: it is not yet so long.
        ("fail", False, -50.0, 0, WAIT),
    ],
)
def test_the_table(action: str | None, hopeless: bool, lasted: float, releases: int, decided: HeldAction) -> None:
    policy = HeldPolicy(action=action, timeout=100.0)
    assert decide_held(policy, hopeless=hopeless, since=1000.0, now=1000.0 + lasted, releases=releases) is decided


def test_the_policy_is_made_of_two_arguments() -> None:
    assert build_held_policy(parse_resources({}, "x")) == HeldPolicy(action=None, timeout=DEFAULT_TIMEOUT)
    assert build_held_policy(parse_resources({"held": "fail", "held_timeout": "2m"}, "x")) == HeldPolicy(
        action="fail", timeout=120.0
    )
