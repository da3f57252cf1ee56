"""The last tasks of a DAG: join, sign-off, publication."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from airflow.sdk import BaseOperator, Param

from airflow_provider_caf.core.task_ids import JOIN, PUBLISH, REPORT, SIGN_OFF
from airflow_provider_caf.definitions.caf import CAF, SignOff
from airflow_provider_caf.factory.assets import find_asset
from airflow_provider_caf.operators.ending import (
    JoinOperator,
    PublishOperator,
    ReportOperator,
    SignOffOperator,
)


def add_ending(caf: CAF, after: Iterable[BaseOperator]) -> None:
    """Add what happens when all calibrations have ended. The last task says that the result is ready.

    The report is written beside that, also where a calibration failed. It hides no failure: the run fails with `join`.
    """
    asset = find_asset(caf.name)
    is_short = caf.sign_off is None and caf.publish is None
    last: BaseOperator = JoinOperator(
        task_id=JOIN, trigger_rule="none_failed_min_one_success", outlets=[asset] if is_short else []
    )
    before = list(after)
    before >> last
    before >> ReportOperator(task_id=REPORT, trigger_rule="all_done")
    if caf.sign_off is not None:
        sign_off = _build_sign_off(caf.name, caf.sign_off)
        last >> sign_off
        last = sign_off
    if not is_short:
        last >> PublishOperator(task_id=PUBLISH, outlets=[asset])


def _build_sign_off(name: str, sign_off: SignOff) -> SignOffOperator:
    message = f"{sign_off.message}\n\n" if sign_off.message else ""
    return SignOffOperator(
        task_id=SIGN_OFF,
        subject=f"Sign off the result of {name}",
        body=message + "{{ ti.xcom_pull(task_ids='" + JOIN + "')['summary'] }}",
        params={"comment": Param("", type=["string", "null"], title="Comment")},
        assigned_users=[{"id": user, "name": user} for user in sign_off.users] or None,
        response_timeout=None if sign_off.timeout is None else timedelta(seconds=sign_off.timeout),
    )
