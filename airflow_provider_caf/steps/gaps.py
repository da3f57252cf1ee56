"""The file `iov_gaps.json`: which runs the payloads leave open, and which gaps were closed.

::

    {"open": {<payload>: {"runs": [[exp, run], …], "gaps": [[exp, run, exp, run], …]}, …},
     "filled": [{"payload": <payload>, "before": <IoV>, "after": <IoV>}, …]}

`runs` are executed runs without a payload, `gaps` lie between neighbouring payloads of an experiment. A payload that
leaves nothing open is not listed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from airflow_provider_caf.core.files import write_json
from airflow_provider_caf.core.json_form import build_json
from airflow_provider_caf.core.payloads import FilledGap, GapReport


def write_gaps(path: Path, gaps: Mapping[str, GapReport], filled: Sequence[FilledGap] = ()) -> None:
    """Write what is open.

    :param gaps: payload → what it leaves open.
    :param filled: which payloads were extended.
    """
    write_json(
        path,
        {
            "open": {
                name: {"runs": build_json(report.uncovered), "gaps": build_json(report.gaps)}
                for name, report in gaps.items()
            },
            "filled": [
                {"payload": gap.name, "before": gap.before.to_json(), "after": gap.after.to_json()} for gap in filled
            ],
        },
    )
