"""An option, a param or a data set that nobody reads is a mistake."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.definitions.caf import CAF


def build(template: str = "x", **changes: Any) -> None:
    calibration = {
        "name": "first",
        "collector": "hits:C",
        "input_data": "events",
        "algorithms": [{"algorithm": "hits:A", "settings": {"value": template}}],
    }
    definition = {"name": "demo", "input_data": {"events": ["/data/*.root"]}, "calibrations": [calibration]}
    CAF.from_json({**definition, **changes}).resolve()


@pytest.mark.parametrize(
    "template",
    [
        "{{ params.expert_config.memory }}",
        "{{ params.expert_config['memory'] }}",
        "at least {{ params['expert_config'][\"memory\"] + 1 }} MB",
        "{{ params.expert_config }}",
        "{{ params.expert_config.get('memory') }}",
        "{% if params.expert_config.memory > 3 %}much{% endif %}",
    ],
)
def test_an_option_that_a_template_reads(template: str) -> None:
    build(template, expert_config={"memory": 4})


def test_an_option_that_nobody_reads() -> None:
    with pytest.raises(DefinitionError) as caught:
        build("{{ params.expert_config.least }}", expert_config={"memory": 4, "least": 1})
    assert caught.value.what == "The expert option 'memory' has no effect: no template reads it."
    assert caught.value.where == ("expert_config", "memory")


def test_a_param_that_nobody_reads() -> None:
    params = {"campaign": {"type": "string", "default": "prompt"}}
    build("{{ params.campaign }}", params=params)
    build("{{ params['campaign'] }}", params=params)
    with pytest.raises(DefinitionError, match="The param 'campaign' has no effect"):
        build("{{ params.campagne }}", params=params)


def test_a_data_set_that_nobody_reads() -> None:
    data = {"events": ["/data/*.root"], "cosmics": ["/cosmics/*.root"]}
    with pytest.raises(DefinitionError, match="The data set 'cosmics' has no effect"):
        build(input_data=data)
    build("{{ params.folder }}", input_data={"events": ["{{ params.folder }}/*.root"]})
