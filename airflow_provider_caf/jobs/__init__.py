"""Run commands on a batch system, or on this machine: submit what is missing, once; poll; judge; cancel; mirror.

Usable alone: nothing but the standard library is imported, no Airflow and no definition of a calibration is needed.
The names below are loaded when they are first used.

The words
=========
subjob
    A command with a job file, and a number in its set. It is what is judged and retried.
element
    What a batch system sees as one job: one subjob, or several that run one after the other.
array
    Elements that are submitted together (`ArraySpec`). Once a system has taken it, it has ids (`SubmittedArray`).
submission
    How an array is given to a system: the command and the files that it reads (`Submission`).
attempt
    One try of a subjob. All arrays of a round have the same number of the attempt.
round
    One call of `submit_missing`, and what it has done (`Round`).
exit record
    The file that a subjob leaves when it has ended, whatever the batch system says (`ExitRecord`).
verdict
    What is true of a subjob by all witnesses (`Verdict`, `SubjobStatus`); `batch.verdicts` has the table.
observation
    The verdicts on all subjobs at one moment (`Observation`).

A `SubjobSet` says what is to be run, a `BatchClient` where, and a `SubjobRun` does it. `ForeignJobs` are jobs that
somebody else submitted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_caf.core.lazy import load_lazily

if TYPE_CHECKING:
    from airflow_provider_caf.batch.evidence import ExitRecord
    from airflow_provider_caf.batch.foreign.watch import ForeignJob
    from airflow_provider_caf.batch.polling import Patience
    from airflow_provider_caf.batch.spec import ArraySpec, Resources, SubmittedArray, parse_resources
    from airflow_provider_caf.batch.systems import load_system
    from airflow_provider_caf.batch.systems.base import Submission
    from airflow_provider_caf.batch.verdicts import SubjobStatus, Verdict
    from airflow_provider_caf.core.job_app import write_job_app
    from airflow_provider_caf.core.job_folders import JobFolders
    from airflow_provider_caf.jobs.client import BatchClient
    from airflow_provider_caf.jobs.foreign import ForeignJobs, ForeignObservation
    from airflow_provider_caf.jobs.mirror import Mirror
    from airflow_provider_caf.jobs.observation import Observation
    from airflow_provider_caf.jobs.rounds import Round
    from airflow_provider_caf.jobs.run import SubjobRun
    from airflow_provider_caf.jobs.subjob_set import SubjobSet, build_job
    from airflow_provider_caf.jobs.transport.local import LocalTransport
    from airflow_provider_caf.jobs.transport.ssh import SshTransport

_HOMES = {
    "ArraySpec": "batch.spec",
    "BatchClient": "jobs.client",
    "ExitRecord": "batch.evidence",
    "ForeignJob": "batch.foreign.watch",
    "ForeignJobs": "jobs.foreign",
    "ForeignObservation": "jobs.foreign",
    "JobFolders": "core.job_folders",
    "LocalTransport": "jobs.transport.local",
    "Mirror": "jobs.mirror",
    "Observation": "jobs.observation",
    "Patience": "batch.polling",
    "Resources": "batch.spec",
    "Round": "jobs.rounds",
    "SshTransport": "jobs.transport.ssh",
    "SubjobRun": "jobs.run",
    "SubjobSet": "jobs.subjob_set",
    "SubjobStatus": "batch.verdicts",
    "Submission": "batch.systems.base",
    "SubmittedArray": "batch.spec",
    "Verdict": "batch.verdicts",
    "build_job": "jobs.subjob_set",
    "load_system": "batch.systems",
    "parse_resources": "batch.spec",
    "write_job_app": "core.job_app",
}

__all__ = [
    "ArraySpec",
    "BatchClient",
    "ExitRecord",
    "ForeignJob",
    "ForeignJobs",
    "ForeignObservation",
    "JobFolders",
    "LocalTransport",
    "Mirror",
    "Observation",
    "Patience",
    "Resources",
    "Round",
    "SshTransport",
    "SubjobRun",
    "SubjobSet",
    "SubjobStatus",
    "Submission",
    "SubmittedArray",
    "Verdict",
    "build_job",
    "load_system",
    "parse_resources",
    "write_job_app",
]

__getattr__, __dir__ = load_lazily(__name__, _HOMES)
