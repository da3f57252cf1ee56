"""The JSON Schema of definition files: editors complete words with it and show what each means."""

from __future__ import annotations

import ast
import inspect
from itertools import pairwise
from typing import Any

from pydantic.json_schema import models_json_schema

from airflow_provider_caf.definitions.algorithm import Algorithm
from airflow_provider_caf.definitions.caf import CAF, DagOptions, Publish, SignOff, Upload
from airflow_provider_caf.definitions.calibration import (
    Calibration,
    ExternalCommand,
    ImportedPayloads,
    OwnCalibration,
)
from airflow_provider_caf.definitions.collection import Collection, CollectorWords, Selection
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
    parts: tuple[type[Form], ...] = (Collection, Selection, DagOptions, SignOff, Publish, Upload)
    texts = {form.__name__: _read_docstrings(form) for form in (*forms, *parts)}
    for name, form in (("CAF", caf), *definitions.items()):
        form.pop("title", None)
        words = form["properties"]
        # What a class has from its bases comes first otherwise.
        form["properties"] = {word: words[word] for word in sorted(words, key="name".__ne__)}
        for word, schema in words.items():
            schema.pop("title", None)
            if text := texts[name].get(word):
                is_short = name == "Calibration" and word in CollectorWords.model_fields
                schema["description"] = f"Of the collection `default`. {text}" if is_short else text
    return {
        "$schema": DIALECT,
        "title": "Definition of airflow-provider-caf",
        **caf,
        "$defs": dict(sorted(definitions.items())),
    }


def _read_docstrings(form: type[Form]) -> dict[str, str]:
    """Return what stands below the words of a form and its bases.

    Pydantic's `use_attribute_docstrings` reads it whenever a class is made, which every DAG file would wait for.
    """
    texts = {}
    for cls in reversed([cls for cls in form.__mro__ if issubclass(cls, Form)]):
        (tree,) = ast.parse(inspect.getsource(cls)).body
        assert isinstance(tree, ast.ClassDef)
        for word, text in pairwise(tree.body):
            if isinstance(word, ast.AnnAssign) and isinstance(text, ast.Expr):
                texts[ast.unparse(word.target)] = " ".join(ast.literal_eval(text.value).split())
    return {form.model_fields[word].alias or word: text for word, text in texts.items() if word in form.model_fields}
