"""Write the tables of words in docs/reference/definitions.md, from the schema of definition files.

`python scripts/write_reference.py` after a word has changed. A test runs it with `--check`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow_provider_caf.definitions.schema import build_schema

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "definitions.md"

_MARKED = re.compile(r"(<!-- words of (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_NAMES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "object": "mapping",
    "array": "list",
}


def fill_page(text: str) -> str:
    """Return the page with fresh tables between its markers."""
    schema = build_schema()
    forms = {"CAF": schema, **schema["$defs"]}
    return _MARKED.sub(lambda match: match[1] + build_table(forms[match[2]]) + match[3], text)


def build_table(form: Mapping[str, Any]) -> str:
    """Return the table of the words of one form."""
    required = form.get("required", ())
    rows = ["| word | type | default | meaning |", "|---|---|---|---|"]
    for word, schema in form["properties"].items():
        default = "required" if word in required else _show(schema.get("default"))
        cells = (f"`{word}`", describe_type(schema), default, str(schema.get("description", "")))
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def describe_type(schema: Mapping[str, Any]) -> str:
    """Say in words what may be written."""
    kinds = dict.fromkeys(_list_kinds(schema))
    return ", ".join(kinds) or "anything"


def _list_kinds(schema: Mapping[str, Any]) -> list[str]:
    if "$ref" in schema:
        return [f"[{schema['$ref'].rpartition('/')[2]}](#{schema['$ref'].rpartition('/')[2].lower()})"]
    if "const" in schema:
        return [f"`{schema['const']}`"]
    if "enum" in schema:
        return [f"`{value}`" for value in schema["enum"] if value is not None]
    if "anyOf" in schema:
        return [kind for member in schema["anyOf"] for kind in _list_kinds(member)]
    if "pattern" in schema:
        patterns = {r"\{\{[\s\S]*\}\}": [], r"^.+:.+$": ["code"], ":": ["code"]}
        return patterns.get(schema["pattern"], ["text"])
    kinds = schema.get("type", ())
    names = [_NAMES[kind] for kind in ([kinds] if isinstance(kinds, str) else kinds) if kind != "null"]
    if names == ["list"] and "items" in schema:
        items = [kind for kind in _list_kinds(schema["items"]) if kind != "anything"]
        return [f"list of {' or '.join(dict.fromkeys(items))}" if items else "list"]
    extra = schema.get("additionalProperties")
    if names == ["mapping"] and isinstance(extra, Mapping) and "$ref" in extra:
        return [f"mapping: name → {_list_kinds(extra)[0]}"]
    return names


def _show(value: Any) -> str:
    return "" if value in (None, [], {}) else f"`{json.dumps(value, ensure_ascii=False)}`"


def main() -> int:
    """Write the page, or with `--check` say whether it is as it should be."""
    text = PAGE.read_text("utf-8")
    if "--check" in sys.argv[1:]:
        return int(fill_page(text) != text)
    PAGE.write_text(fill_page(text), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
