"""Airflow assets: what says to other DAGs that payloads are ready."""

from __future__ import annotations

from airflow.sdk import Asset

from airflow_provider_caf.core.names import check_name


def find_asset(caf: str, calibration: str | None = None) -> Asset:
    """Return the asset of a calibration, or of the whole result of a CAF.

    :param caf: the name of the CAF.
    :param calibration: None: the joined result, after sign-off and publication where there are some.
    :raises DefinitionError: if a name has letters that it may not have.
    """
    check_name("CAF", caf)
    if calibration is None:
        return Asset(name=f"caf.{caf}", uri=f"caf://{caf}")
    return Asset(name=f"caf.{caf}.{check_name('calibration', calibration)}", uri=f"caf://{caf}/{calibration}")


def parse_asset(text: str) -> Asset:
    """Return the asset that a definition names as `caf` or `caf.calibration`.

    :raises DefinitionError: if a name has letters that it may not have.
    """
    caf, dot, calibration = text.partition(".")
    return find_asset(caf, calibration if dot else None)
