"""The JSON Schema of definition files: editors complete words with it and show what each means."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from airflow_provider_caf.definitions.algorithm import Algorithm
from airflow_provider_caf.definitions.caf import CAF
from airflow_provider_caf.definitions.calibration import (
    Calibration,
    ExternalCommand,
    ImportedPayloads,
    OwnCalibration,
)
from airflow_provider_caf.definitions.collection import CollectorWords
from airflow_provider_caf.definitions.form import Form

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def build_schema() -> dict[str, Any]:
    """Build the schema, draft 2020-12."""
    forms: tuple[type[Form], ...] = (CAF, Calibration, ImportedPayloads, ExternalCommand, OwnCalibration, Algorithm)
    _, schema = models_json_schema([(form, "validation") for form in forms], by_alias=True)
    definitions: dict[str, Any] = schema["$defs"]
    caf = definitions.pop("CAF")
    caf["properties"]["calibrations"]["items"] = {
        "anyOf": [{"$ref": f"#/$defs/{form.__name__}"} for form in forms[1:-1]],
    }
    one = {"anyOf": [{"$ref": "#/$defs/Algorithm"}, {"type": "string", "pattern": "^.+:.+$"}]}
    definitions["Calibration"]["properties"]["algorithms"] |= {"items": one}
    for name, form in (("CAF", caf), *definitions.items()):
        form.pop("title", None)
        words = form["properties"]
        # What a class has from its bases comes first otherwise.
        form["properties"] = {word: words[word] for word in sorted(words, key="name".__ne__)}
        for word, schema in words.items():
            schema.pop("title", None)
            if "description" in schema:
                # It stands as a docstring below the word, whose lines are broken.
                schema["description"] = " ".join(schema["description"].split())
            if name == "Calibration" and word in CollectorWords.model_fields:
                schema["description"] = f"Of the collection `default`. {schema['description']}"
    return {
        "$schema": DIALECT,
        "title": "Definition of airflow-provider-caf",
        **caf,
        "$defs": dict(sorted(definitions.items())),
    }
