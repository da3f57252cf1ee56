"""Read the two files that the experiment's prompt tool gets: `caf_config.json` and `input_data.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.iov import IoV
from airflow_provider_caf.core.json_form import JsonRecord
from airflow_provider_caf.core.record import record


@record
class CafConfig(JsonRecord):
    """The content of `caf_config.json`, in the words of the experiment's prompt tool.

    :param caf_script: the script, by its path or its name in the release; None where it is named elsewhere.
    :param database_chain: global tags, the last one wins. None: as the script says.
    :param testing_payloads: `database.txt` files, the last one wins; they are looked at before the tags.
    :param backend_args: for all collections that say nothing else; the arguments of the import come before them.
    :param expert_config: over the script's own, option by option.
    """

    noun = "caf_config"

    caf_script: str | None = None
    database_chain: tuple[str, ...] | None = None
    testing_payloads: tuple[str, ...] = ()
    backend_args: Mapping[str, Any] = field(default_factory=dict)
    requested_iov: IoV = IoV(0, 0, -1, -1)
    expert_config: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the form that `from_json` reads, without the script."""
        return {
            "database_chain": self.database_chain,
            "testing_payloads": self.testing_payloads,
            "backend_args": self.backend_args or {},
            "requested_iov": self.requested_iov.to_json(),
            "expert_config": self.expert_config or {},
        }

    @classmethod
    def translate(cls, value: Any) -> Any:
        """Read the tool's own forms, too: one testing payload as a text, an open low end of `requested_iov`."""
        if not isinstance(value, Mapping):
            return value
        found = dict(value)
        if isinstance(found.get("testing_payloads"), str):
            found["testing_payloads"] = [found["testing_payloads"]]
        if "requested_iov" in found:
            found["requested_iov"] = IoV.of_basf2(found["requested_iov"]).to_json()
        return found

    def build_chain(self) -> list[dict[str, str]] | None:
        """Return the chain that counts instead of the script's, in the words of a definition: the first hit wins.

        The tool puts one tag after the other in front of the chain, so the order is the other way round. The local
        databases come last, which is in front of all tags.

        :return: None where the script's counts.
        :raises DefinitionError: if a testing payload is no `database.txt`.
        """
        if self.database_chain is None:
            return None
        return [*self.build_front(), *({"global_tag": tag} for tag in reversed(self.database_chain))]

    def build_front(self) -> list[dict[str, str]]:
        """Return what comes in front of any chain, in the words of a definition.

        :raises DefinitionError: if a testing payload is no `database.txt`.
        """
        for path in self.testing_payloads:
            if not path.startswith("/") or Path(path).name != "database.txt":
                raise DefinitionError(
                    f"testing_payloads names {path!r}.", hint="Give absolute paths of files named database.txt."
                )
        return [{"local": str(Path(path).parent)} for path in reversed(self.testing_payloads)]


_FORMS = {
    "caf_config": "Write an object, as the prompt tool of the experiment reads it.",
    "input_data": 'Write {"name": [["/folder", [exp, run]]]}.',
}


def read_object(value: Any, word: str) -> Mapping[str, Any]:
    """Return what `caf_config.json` or `input_data.json` holds.

    :param value: that object, or the path of the file that holds it.
    :param word: `caf_config` or `input_data`.
    :raises DefinitionError: if the file cannot be read, or holds no object.
    """
    content = value
    if isinstance(value, str):
        try:
            content = json.loads(Path(value).read_text("utf-8"))
        except OSError as error:
            reason = error.strerror
            raise DefinitionError(f"The {word} {value} cannot be read: {reason}.", hint="Check the path.") from error
        except ValueError as error:
            raise DefinitionError(f"The {word} {value} is no JSON: {error}.", hint="Correct it there.") from error
    if not isinstance(content, Mapping):
        raise DefinitionError(f"The {word} {value!r} is no mapping.", hint=_FORMS[word])
    return content
