"""What a run does: its templates filled in, its params applied, and all of it checked again."""

from __future__ import annotations

from typing import Any

import jinja2
import pytest

from airflow_provider_caf import CAF, Collection
from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.definitions.resolve import Resolved, fill_templates, resolve_run
from airflow_provider_caf.definitions.run_params import describe_params
from tests.unit.definitions.making import ALGORITHM, COLLECTOR, DATA, make_calibration


def run(caf: CAF, **conf: Any) -> Resolved:
    known = describe_params(caf)
    params = {**{name: schema["default"] for name, schema in known.items()}, **conf}
    filled = fill_templates(caf.to_json(), params, {}, jinja2.Environment(undefined=jinja2.StrictUndefined))
    return resolve_run(filled, params, conf, known, lambda definition, _: definition)


def make_caf() -> CAF:
    collection = Collection(COLLECTOR, DATA, output_patterns=["{{ params.out }}"], granularity="{{ params.how }}")
    calibration = make_calibration(collector=None, input_files=[], collections={"hits": collection})
    params = {"out": {"default": "*.root"}, "how": {"default": "run"}}
    return CAF("demo", [calibration, make_calibration("other", algorithms=ALGORITHM)], params=params)


def test_what_a_template_gives_stands_in_the_definition() -> None:
    resolved = run(make_caf(), out="x.root")
    collection = resolved.caf.calibrations[0].collections["hits"]
    assert (collection.output_patterns, collection.granularity) == (["x.root"], "run")
    assert resolved.chosen == ("vertex", "other")
    assert run(make_caf(), calibrations=["other"]).chosen == ("other",)


def test_what_a_template_gives_is_checked_like_what_is_written() -> None:
    """A definition is checked when it is parsed, but a text from `--conf` comes in later."""
    with pytest.raises(DefinitionError) as caught:
        run(make_caf(), out="../../../stolen", how="sometimes")
    text = str(caught.value)
    assert "2 mistakes in CAF 'demo'" in text
    assert "collection 'hits' of calibration 'vertex': The output pattern '../../../stolen' leaves the subjob's" in text
    assert "There is no granularity 'sometimes'" in text


def test_a_calibration_that_there_is_not_is_refused() -> None:
    with pytest.raises(DefinitionError, match="calibrations of this run has 'othr'") as caught:
        run(make_caf(), calibrations=["othr"])
    assert "Did you mean 'other'" in str(caught.value.hint)
