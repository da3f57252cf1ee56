"""One real ssh server for the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.ssh_server import SshServer, start_ssh_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    """Start an ssh server on loopback."""
    with start_ssh_server(tmp_path_factory.mktemp("sshd")) as started:
        yield started
