"""The connection to a batch system: which one, where its commands run, and the arguments that every job of it gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook, Connection
from airflow.sdk.exceptions import AirflowException, AirflowNotFoundException

from airflow_provider_caf.batch.arguments import ARGUMENTS, CAF_NAMES
from airflow_provider_caf.batch.polling import Patience
from airflow_provider_caf.batch.spec import parse_resources
from airflow_provider_caf.batch.systems import find_system_name, load_system
from airflow_provider_caf.batch.systems.checks import build_check
from airflow_provider_caf.core.errors import CafError, DefinitionError
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.suggestions import build_word_hint
from airflow_provider_caf.definitions.algorithm import Algorithm
from airflow_provider_caf.definitions.caf import CAF
from airflow_provider_caf.definitions.calibration import Calibration, ExternalCommand
from airflow_provider_caf.definitions.words import INHERIT
from airflow_provider_caf.io.layout import CalibrationLayout, TaskJobsLayout
from airflow_provider_caf.jobs.client import BatchClient
from airflow_provider_caf.jobs.foreign import ForeignJobs
from airflow_provider_caf.jobs.mirror import Mirror
from airflow_provider_caf.jobs.transport.base import Transport
from airflow_provider_caf.jobs.transport.local import LocalTransport
from airflow_provider_caf.site.shared import Shared
from airflow_provider_caf.steps.collect import CollectionRun
from airflow_provider_caf.steps.manifest import CollectionManifest, Target
from airflow_provider_caf.steps.task_jobs import TaskJobs, TaskJobsManifest

if TYPE_CHECKING:
    from airflow_provider_caf.jobs.transport.ssh import Connect, SshTransport

DEFAULT_SYSTEM = "local"
FIELDS = ("remote_work_dir", "ssh_conn_id", "system")
"""The fields of a connection beside the arguments of the jobs."""


@record
class SubmitHost:
    """Where the commands of a batch system run.

    :param ssh_conn_id: the Airflow connection of type `ssh` to it; None: this machine.
    :param work_dir: the folder there that mirrors our work folder; None: that machine sees ours.
    """

    ssh_conn_id: str | None = None
    work_dir: str | None = None


class BatchHook(BaseHook):
    """Read a connection of type `caf_batch`.

    :param caf_batch_conn_id: the connection's id.
    """

    conn_name_attr = "caf_batch_conn_id"
    default_conn_name = "caf_batch_default"
    conn_type = "caf_batch"
    hook_name = "CAF batch system"

    def __init__(self, caf_batch_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.caf_batch_conn_id = caf_batch_conn_id

    def read_system(self) -> str:
        """Return the name of the batch system, as we write it.

        :raises DefinitionError: if there is none of that name.
        """
        return find_system_name(self._read_text("system") or DEFAULT_SYSTEM)

    def read_submit_host(self) -> SubmitHost:
        """Return where the commands run.

        :raises DefinitionError: if there is a folder without a host, or its path is not absolute.
        """
        ssh_conn_id, work_dir = self._read_text("ssh_conn_id"), self._read_text("remote_work_dir")
        if work_dir is not None and ssh_conn_id is None:
            raise DefinitionError(
                f"The connection {self.caf_batch_conn_id!r} has a remote_work_dir but no ssh_conn_id.",
                hint="Name the SSH connection to the machine on which that folder is.",
            )
        if work_dir is not None and (not work_dir.startswith("/") or "\0" in work_dir):
            raise DefinitionError(
                f"The remote_work_dir of connection {self.caf_batch_conn_id!r} is {work_dir!r}.",
                hint="It has to be an absolute path on the submit host, which the jobs see too.",
            )
        return SubmitHost(ssh_conn_id=ssh_conn_id, work_dir=work_dir)

    def read_arguments(self) -> dict[str, Any]:
        """Return the arguments of the connection's extra; they stand below those of a definition.

        :raises DefinitionError: if one is unknown or has a value that it cannot have.
        """
        arguments = {name: value for name, value in self._read_extra().items() if name not in FIELDS}
        parse_resources(arguments, f"connection {self.caf_batch_conn_id!r}")
        return arguments

    def open_transport(self) -> Transport:
        """Return the way to the submit host, the same one for every caller in this process.

        :raises DefinitionError: if the connection cannot be used.
        """
        return _open_ssh(host) if (host := self.read_submit_host()).ssh_conn_id is not None else _HERE

    def test_connection(self) -> tuple[bool, str]:
        """Check what the connection says, and ask the batch system something harmless; no job is submitted."""
        try:
            arguments = ", ".join(sorted(self.read_arguments())) or "none"
            system, transport = self.read_system(), self.open_transport()
            command = build_check(system)
            result = transport.run(command)
        except CafError as error:
            return False, str(error)
        place = f"System {system!r} on {transport.host}, arguments: {arguments}."
        output = (result.stdout.strip() or result.stderr.strip())[:500]
        if result.exit_code != 0:
            return False, f"{place} {command.argv[0]} ended with exit code {result.exit_code}: {output}"
        return True, f"{place} It answers: {output}" if output else f"{place} It answers."

    def _read_text(self, name: str) -> str | None:
        value = self._read_extra().get(name)
        if value is not None and not isinstance(value, str):
            raise DefinitionError(
                f"The {name} of connection {self.caf_batch_conn_id!r} is {value!r}.", hint="It has to be a text."
            )
        return value

    def _read_extra(self) -> dict[str, Any]:
        """Return the fields of the extra. A form gives fields that were left empty, too.

        :raises DefinitionError: if there is no such connection, if it is of another type, or has an unknown field.
        """
        try:
            connection = self.get_connection(self.caf_batch_conn_id)
        except AirflowNotFoundException as error:
            raise DefinitionError(
                f"There is no connection {self.caf_batch_conn_id!r}.",
                hint=f"Define it in Airflow, of type {self.conn_type!r}, or correct the definition's 'connection'.",
            ) from error
        if connection.conn_type != self.conn_type:
            raise DefinitionError(
                f"The connection {self.caf_batch_conn_id!r} is of type {connection.conn_type!r}.",
                hint=f"A batch system needs a connection of type {self.conn_type!r}.",
            )
        known = {*FIELDS, *ARGUMENTS, *CAF_NAMES}
        for name in connection.extra_dejson:
            if name not in known:
                raise DefinitionError(
                    f"The connection {self.caf_batch_conn_id!r} has an unknown argument {name!r}.",
                    hint=build_word_hint(name, known, "arguments"),
                )
        return {name: value for name, value in connection.extra_dejson.items() if value not in (None, "")}


def choose_connection(definition: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the definition of a run, without its connection where that does not lead to the run's backend.

    Where the definition itself names both, `find_backend` refuses: one of them is a mistake.

    :param definition: the params are applied to it already.
    :param params: of the run.
    :raises DefinitionError: if the connection cannot be used; a conf of `{"connection": ""}` does without.
    """
    chosen = dict(definition)
    backend, connection = params.get("backend"), chosen.get("connection")
    if not backend or not connection or params.get("connection"):
        return chosen
    if BatchHook(connection).read_system() != find_system_name(backend):
        del chosen["connection"]
    return chosen


def find_backend(caf: CAF, calibration: Calibration) -> Target:
    """Return where the collectors of a calibration run.

    :raises DefinitionError: if system and connection do not fit together, or the connection cannot be used.
    """
    backend, connection = caf.backend, caf.connection
    if calibration.backend or calibration.connection:
        # The CAF's connection is to the CAF's system.
        backend, connection = calibration.backend, calibration.connection
    return choose_target(backend, connection, f"calibration {calibration.name!r}")


def find_job_target(words: Algorithm | ExternalCommand, inherited: Callable[[], Target], where: str) -> Target | None:
    """Return where the job runs that an algorithm or a step asks for; None: it names nothing.

    :param inherited: returns what `inherit` stands for.
    :param where: whose it is, for messages.
    :raises DefinitionError: if system and connection do not fit together, if the connection cannot be used, or if the
        machines of the batch system do not see the work folder.
    """
    if words.backend is None and words.connection is None:
        return None
    target = inherited() if words.backend == INHERIT else choose_target(words.backend, words.connection, where)
    connection = target.connection
    if connection is not None and BatchHook(connection).read_submit_host().work_dir is not None:
        raise DefinitionError(
            f"The {where} cannot run as a job by the connection {connection!r}: it reads and writes in the work "
            "folder, which that submit host does not see.",
            hint="Leave out its backend, or name a connection without remote_work_dir.",
        )
    return target


def choose_target(backend: str | None, connection: str | None, where: str) -> Target:
    """Return the batch system that a backend and a connection name.

    :param where: whose they are, for messages.
    :raises DefinitionError: if they do not fit together, or the connection cannot be used.
    """
    wanted = find_system_name(backend) if backend else None
    if not connection:
        return Target(backend=wanted or DEFAULT_SYSTEM)
    hook = BatchHook(connection)
    system = hook.read_system()
    if wanted not in (None, system):
        raise DefinitionError(
            f"{where[0].upper()}{where[1:]} runs on {wanted!r}, but its connection {connection!r} is to {system!r}.",
            hint="Change the backend, or leave it out, or change the connection; a run of a CAF does without a "
            'connection by the conf {"connection": ""}.',
        )
    hook.read_submit_host()
    return Target(backend=system, connection=connection, connection_args=hook.read_arguments())


def open_collection(
    layout: CalibrationLayout, iteration: int, collection: str, *, patience: Patience | None = None
) -> CollectionRun:
    """Return the subjobs of a collection with the way to their submit host. It blocks; an event loop needs a thread.

    :raises InputError: if the calibration was not prepared.
    :raises DefinitionError: if the connection cannot be used.
    """
    manifest = CollectionManifest.read(layout.iteration(iteration).collection(collection))
    # <work_dir>/<dag>/<run>/<calibration>, see `io.layout`.
    transport, mirror = _open_host(manifest.connection, layout.run_folder.parent.parent)
    return CollectionRun(
        layout, iteration, collection, patience=patience, transport=transport, mirror=mirror, manifest=manifest
    )


def open_jobs(layout: TaskJobsLayout, *, patience: Patience | None = None) -> TaskJobs:
    """Return the jobs of a task with the way to their submit host. It blocks; an event loop needs a thread.

    :raises InputError: if nothing was submitted there.
    :raises DefinitionError: if the connection cannot be used.
    """
    manifest = TaskJobsManifest.read(layout)
    transport, mirror = _open_host(manifest.connection, Path(manifest.root))
    return TaskJobs(layout, manifest=manifest, patience=patience, transport=transport, mirror=mirror)


def open_foreign(
    backend: str | None, connection: str | None, *, patience: Patience | None = None, **which: Any
) -> ForeignJobs:
    """Return jobs that somebody else submitted, with the way to their submit host.

    :param which: as for `ForeignJobs`: `ids`, `name`, `memory`.
    :raises DefinitionError: if the connection cannot be used, or an id or the name cannot be one.
    """
    target = choose_target(backend, connection, "the wait for jobs")
    transport, _ = _open_host(target.connection, Path("/"))
    return ForeignJobs(BatchClient(load_system(target.backend), transport, patience=patience), **which)


def _open_host(connection: str | None, work_dir: Path) -> tuple[Transport, Mirror | None]:
    """Return the way to the submit host of a connection, and what carries files where it does not see ours.

    :param work_dir: the folder that the host's own one mirrors.
    """
    host = SubmitHost() if connection is None else BatchHook(connection).read_submit_host()
    if host.ssh_conn_id is None:
        return _HERE, None
    remote = _open_ssh(host)
    return remote, None if host.work_dir is None else Mirror(remote, local_root=work_dir, remote_root=host.work_dir)


def _open_ssh(host: SubmitHost) -> SshTransport:
    """Return the transport to a submit host; a new one after somebody has changed the SSH connection.

    :raises DefinitionError: if the SSH connection cannot be used.
    """
    from airflow_provider_caf.jobs.transport.ssh import SshTransport

    assert host.ssh_conn_id is not None
    if find_spec("paramiko") is None:
        raise DefinitionError(
            f"A batch connection names the SSH connection {host.ssh_conn_id!r}, but ssh is not installed here.",
            hint="pip install 'airflow-provider-caf[ssh]' for the workers, the triggerer and the API server.",
        )
    try:
        connection = BaseHook.get_connection(host.ssh_conn_id)
    except AirflowNotFoundException as error:
        raise DefinitionError(
            f"The SSH connection {host.ssh_conn_id!r} could not be read: {error}.",
            hint="Define it in Airflow, or correct ssh_conn_id in the batch connection.",
        ) from error
    connect, name = _build_connect(host.ssh_conn_id), _build_host_name(connection, host.work_dir)
    return _SSH.find(
        host, connection.get_uri(), lambda: SshTransport(connect, host=name, remote_work_dir=host.work_dir)
    )


def _build_host_name(connection: Connection, work_dir: str | None) -> str:
    """Return a name that differs where the way to the host or the view of its files does: waiters share polls by it."""
    login = "" if not connection.login else f"{connection.login}@"
    port = "" if connection.port in (None, 22) else f":{connection.port}"
    return f"{login}{connection.host}{port}" + ("" if work_dir is None else f":{work_dir}")


def _build_connect(ssh_conn_id: str) -> Connect:
    def connect() -> Any:
        from airflow.providers.ssh.hooks.ssh import SSHHook  # the extra may not be installed

        try:
            # It checks the host's key as the SSH connection says.
            return SSHHook(ssh_conn_id=ssh_conn_id).get_conn()
        except (AirflowException, ValueError) as error:
            raise DefinitionError(
                f"The SSH connection {ssh_conn_id!r} cannot be used: {error}.", hint="Correct it in Airflow."
            ) from error

    return connect


_HERE = LocalTransport()
_SSH: Shared[SubmitHost, SshTransport] = Shared()
