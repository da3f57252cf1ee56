"""From a definition and what a run was given to what is to be run.

The task `configure` and `airflow caf plan` both go this way: `fill_templates`, then `resolve_run`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jinja2

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.suggestions import build_word_hint
from airflow_provider_caf.definitions.caf import CAF
from airflow_provider_caf.definitions.run_params import CALIBRATIONS, apply_params, check_conf, merge_params
from airflow_provider_caf.definitions.templates import render


@record
class Resolved:
    """A definition as one run has it.

    :param caf: with the run's params applied and its templates filled in.
    :param chosen: the calibrations that run, in the order of the definition.
    """

    caf: CAF
    chosen: tuple[str, ...]


def fill_templates(
    definition: Mapping[str, Any],
    params: Mapping[str, Any],
    variables: Mapping[str, Any],
    environment: jinja2.Environment,
) -> Any:
    """Fill in the templates of a definition in the form of files. One that stands alone keeps the type of its value.

    :param params: of the run.
    :param variables: what templates see beside them.
    :raises DefinitionError: if a template cannot be filled in.
    """
    merged = merge_params(CAF.from_json(definition), params)
    return render(definition, {**variables, "params": merged}, environment)


def resolve_run(
    definition: Mapping[str, Any],
    params: Mapping[str, Any],
    conf: Mapping[str, Any],
    known: Iterable[str],
    choose_connection: Callable[[Mapping[str, Any], Mapping[str, Any]], Mapping[str, Any]],
) -> Resolved:
    """Return what a run does.

    :param definition: in the form of files, its templates filled in.
    :param params: of the run.
    :param conf: what of them was given when the run was triggered.
    :param known: the names of the params that there are.
    :param choose_connection: gets the definition with the params applied, and the params, and returns the definition
        without its connection where that does not lead to the run's batch system: only the edge can read connections.
    :raises DefinitionError: with every mistake found.
    """
    check_conf(CAF.from_json(definition, templates=False), conf, known)
    caf = CAF.from_json(choose_connection(apply_params(definition, params), params), templates=False).resolve()
    return Resolved(caf=caf, chosen=_choose_calibrations(caf, params.get(CALIBRATIONS)))


def _choose_calibrations(caf: CAF, names: Any) -> tuple[str, ...]:
    """Return the calibrations that run: those named, or all."""
    known = [member.name for member in caf.calibrations]
    for name in names or ():
        if name not in known:
            raise DefinitionError(
                f"This run asks for calibration {name!r}, which does not exist.",
                hint=build_word_hint(str(name), known, "calibrations"),
            )
    return tuple(name for name in known if not names or name in names)
