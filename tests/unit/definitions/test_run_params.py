"""The params of a run: what the form asks for, what is refused, and how the definition of the run looks."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from airflow_provider_caf.batch.arguments import AMOUNTS, ARGUMENTS, CAF_NAMES
from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.definitions.caf import CAF
from airflow_provider_caf.definitions.run_params import apply_params, check_conf, describe_params, merge_params

DEFINITION: dict[str, Any] = {
    "name": "demo",
    "input_data": {"muons": ["/data/m.root"], "electrons": ["/data/e.root"]},
    "expert_config": {"least": 3, "flag": True, "cuts": {"chi2": 5.0, "hits": 6}, "names": ["a"], "any": None},
    "database_chain": [{"local": "/db"}, {"global_tag": "main"}],
    "ignored_runs": ["1.1"],
    "max_iterations": 4,
    "backend": "slurm",
    "backend_args": {"queue": "short", "memory": "2 GB"},
    "calibrations": [
        {
            "name": "first",
            "collector": "hits:C",
            "input_data": ["muons", "electrons"],
            "algorithms": [{"algorithm": "hits:A", "settings": {"options": "{{ params.expert_config }}"}}],
            "requested_iov": [1, 0, 1, -1],
        },
        {"name": "second", "algorithms": ["hits:B"], "depends_on": ["first"], "max_iterations": 1},
    ],
}


def apply(**params: Any) -> dict[str, Any]:
    caf = CAF.from_json(DEFINITION)
    defaults = {name: schema["default"] for name, schema in describe_params(caf).items()}
    changed = apply_params(DEFINITION, {**defaults, **params})
    CAF.from_json(changed)
    return changed


def test_without_params_the_definition_is_what_it_was() -> None:
    assert apply() == {word: value for word, value in DEFINITION.items() if word != "expert_config"}


def test_every_param_has_its_effect() -> None:
    run = apply(
        input_data={"muons": ["/new.root"]},
        requested_iov=[2, 0, 2, 5],
        ignored_runs=[[2, 1]],
        global_tags=["newer", "main"],
        backend_args={"queue": "long"},
        max_iterations=2,
    )
    assert run["input_data"] == {"muons": ["/new.root"], "electrons": ["/data/e.root"]}
    assert run["requested_iov"] == [2, 0, 2, 5]
    assert run["ignored_runs"] == ["1.1", [2, 1]]
    assert run["database_chain"] == [{"local": "/db"}, {"global_tag": "newer"}, {"global_tag": "main"}]
    assert run["backend_args"] == {"queue": "long", "memory": "2 GB"}
    first, second = run["calibrations"]
    # No calibration repeats more often than the run says, and none more often than it could.
    assert (first["max_iterations"], second["max_iterations"]) == (2, 1)
    assert "requested_iov" not in first
    assert DEFINITION["calibrations"][0]["requested_iov"] == [1, 0, 1, -1]


def test_a_connection_says_the_system_itself() -> None:
    assert "backend" not in apply(connection="farm")
    assert apply(connection="farm", backend="lsf")["backend"] == "lsf"


def test_expert_options_are_merged_over_the_defaults() -> None:
    caf = CAF.from_json(DEFINITION)
    merged = merge_params(caf, {"expert_config": {"least": 7, "cuts": {"hits": 9}}, "other": 1})
    assert merged["expert_config"] == {
        "least": 7,
        "flag": True,
        "cuts": {"chi2": 5.0, "hits": 9},
        "names": ["a"],
        "any": None,
    }
    assert merged["other"] == 1
    assert merge_params(caf, {"expert_config": None})["expert_config"] == DEFINITION["expert_config"]


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("input_data", {"muons": ["/a"]}, {"muon": ["/a"]}),
        ("requested_iov", [1, 0, 1, -1], [1, 0]),
        ("ignored_runs", [[1, 2], "1.3"], [[1]]),
        ("global_tags", ["a"], "a"),
        ("backend", "slurm", "slurn"),
        ("backend_args", {"queue": "x"}, {"queu": "x"}),
        ("max_iterations", 4, 5),
        ("expert_config", {"cuts": {"hits": 1}}, {"cuts": {"hit": 1}}),
        ("expert_config", {"any": "thing"}, {"flag": "yes"}),
        ("calibrations", ["second"], ["third"]),
    ],
)
def test_the_schema_refuses_when_a_run_is_triggered(name: str, good: Any, bad: Any) -> None:
    schema = describe_params(CAF.from_json(DEFINITION))[name]
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(schema["default"])
    validator.validate(good)
    assert list(validator.iter_errors(bad))


def test_words_that_nobody_reads_are_refused() -> None:
    caf = CAF.from_json(DEFINITION)
    check_conf(caf, {"max_iterations": 1, "mine": 2}, [*describe_params(caf), "mine"])
    with pytest.raises(DefinitionError) as caught:
        check_conf(
            caf, {"max_iteration": 1, "calibrations": ["frist"], "input_data": {"muon": []}}, describe_params(caf)
        )
    assert [str(each.hint).partition("?")[0] for each in caught.value.causes] == [
        "Did you mean 'max_iterations'",
        "Did you mean 'muons'",
        "Did you mean 'first'",
    ]


def test_a_run_can_do_without_the_connection_of_the_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DEFINITION, "connection", "farm")
    assert apply()["connection"] == "farm"
    # Airflow's form gives null where nobody has filled in a thing.
    assert apply(connection=None)["connection"] == "farm"
    assert "connection" not in apply(connection="")
    assert apply(connection="")["backend"] == "slurm"


EXECUTED = sorted(set(ARGUMENTS) - AMOUNTS)


@pytest.mark.parametrize("name", EXECUTED)
def test_what_is_executed_is_chosen_by_the_definition_alone(name: str) -> None:
    conf = {"backend_args": {name: "x"}}
    caf = CAF.from_json(DEFINITION)
    schema = describe_params(caf)["backend_args"]
    assert list(jsonschema.Draft202012Validator(schema).iter_errors(conf["backend_args"]))
    with pytest.raises(DefinitionError, match=f"The conf of this run sets '{name}'") as caught:
        check_conf(caf, conf, describe_params(caf))
    assert f"run_options: [{name}]" in str(caught.value.hint)
    allowed = CAF.from_json({**DEFINITION, "run_options": [name]})
    check_conf(allowed, conf, describe_params(allowed))
    jsonschema.validate(conf["backend_args"], describe_params(allowed)["backend_args"])


@pytest.mark.parametrize("name", [*sorted(AMOUNTS), *CAF_NAMES])
def test_how_much_is_asked_for_may_be_chosen_by_every_run(name: str) -> None:
    caf = CAF.from_json(DEFINITION)
    check_conf(caf, {"backend_args": {name: 1}}, describe_params(caf))
    jsonschema.validate({name: 1}, describe_params(caf)["backend_args"])


def test_a_connection_is_chosen_by_the_definition_alone_but_not_that_there_is_none() -> None:
    caf = CAF.from_json(DEFINITION)
    for free in ("", None):
        check_conf(caf, {"connection": free}, describe_params(caf))
        jsonschema.validate(free, describe_params(caf)["connection"])
    with pytest.raises(DefinitionError, match="The conf of this run sets 'connection'"):
        check_conf(caf, {"connection": "farm"}, describe_params(caf))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate("farm", describe_params(caf)["connection"])
    allowed = CAF.from_json({**DEFINITION, "run_options": ["connection"]})
    check_conf(allowed, {"connection": "farm"}, describe_params(allowed))
    jsonschema.validate("farm", describe_params(allowed)["connection"])


@pytest.mark.parametrize(
    ("files", "is_inside"),
    [
        ("/data/2026/a.root", True),
        (["/data/2026/*.root", "file:///data/b.root"], True),
        ({"/data/a.root": [1, 1]}, True),
        ({"filemap": "/data/map.json"}, True),
        (["root://host//store/a.root"], True),
        ("/database/a.root", False),
        ("/data/../etc/passwd", False),
        ("/data", False),
        (["/data/a.root", "/home/other/*"], False),
        ({"/etc/shadow": [1, 1]}, False),
        ({"filemap": "/tmp/map.json"}, False),
        (["root://host//storage/a.root"], False),
        (["file:///etc/passwd"], False),
        ("a.root", False),
    ],
)
def test_files_of_a_run_lie_below_the_roots_of_the_definition(files: Any, is_inside: bool) -> None:
    caf = CAF.from_json({**DEFINITION, "data_roots": ["/data/", "root://host//store"]})
    conf = {"input_data": {"muons": files}}
    check_conf(CAF.from_json(DEFINITION), conf, describe_params(caf))
    if is_inside:
        check_conf(caf, conf, describe_params(caf))
        return
    with pytest.raises(DefinitionError, match="in none of the definition's data_roots"):
        check_conf(caf, conf, describe_params(caf))


def test_an_option_of_a_run_that_there_is_not_is_a_mistake() -> None:
    with pytest.raises(DefinitionError, match="There is no option 'setups' of a run") as caught:
        CAF.from_json({**DEFINITION, "run_options": ["setups"]})
    assert "setup" in str(caught.value.hint)
