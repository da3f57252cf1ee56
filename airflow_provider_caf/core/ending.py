"""What happens when all calibrations of a CAF have ended: gaps, sign-off, publication."""

from __future__ import annotations

from typing import Any

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.json_form import (
    ObjectReader,
    read_list,
    read_number,
    read_optional,
    read_text,
    read_with,
)
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.suggestions import build_word_hint

GAP_POLICIES = ("report", "fill", "fail")

_TEXTS = read_list(read_text)


@record
class SignOff:
    """An expert approves or rejects the result.

    :param message: what the expert reads above the summary.
    :param users: who may answer; none given: everybody who may edit the run.
    :param timeout: in seconds; without an answer until then the task fails. None: it waits for ever.
    """

    message: str = ""
    users: tuple[str, ...] = ()
    timeout: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Give the form that `from_json` reads."""
        return {"message": self.message, "users": list(self.users), "timeout": self.timeout}

    @classmethod
    def from_json(cls, value: Any) -> SignOff:
        """Read what `to_json` gave.

        :raises DefinitionError: if a field is unknown or wrong.
        """
        reader = ObjectReader(value, "sign_off")
        sign_off = cls(
            message=reader.take_or("message", read_text, ""),
            users=reader.take_or("users", _TEXTS, ()),
            timeout=reader.take_or("timeout", read_optional(read_number), None),
        )
        reader.finish()
        return sign_off


@record
class Publish:
    """The joined local database is copied to a folder, or handed to a command of the site.

    :param folder: absolute; the database goes into a folder of its own there.
    :param command: an argv list in which `{database}` stands for the local database's folder.
    :raises DefinitionError: unless one of the two is given.
    """

    folder: str | None = None
    command: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if (self.folder is None) == (self.command is None):
            raise DefinitionError("publish has neither or both of folder and command.", hint="Give one of them.")

    def to_json(self) -> dict[str, Any]:
        """Give the form that `from_json` reads."""
        return {"folder": self.folder, "command": None if self.command is None else list(self.command)}

    @classmethod
    def from_json(cls, value: Any) -> Publish:
        """Read what `to_json` gave.

        :raises DefinitionError: if a field is unknown or wrong.
        """
        reader = ObjectReader(value, "publish")
        publish = cls(
            folder=reader.take_or("folder", read_optional(read_text), None),
            command=reader.take_or("command", read_optional(_TEXTS), None),
        )
        reader.finish()
        return publish


@record
class Ending:
    """The last steps of a CAF.

    :param gaps: what gaps in the joined local database lead to: `report`, `fill` (a payload is extended up to the
        next), or `fail`.
    :param sign_off: None: nobody is asked.
    :param publish: None: the result stays in the folder of the run.
    :raises DefinitionError: if `gaps` is something else.
    """

    gaps: str = "report"
    sign_off: SignOff | None = None
    publish: Publish | None = None

    def __post_init__(self) -> None:
        if self.gaps not in GAP_POLICIES:
            raise DefinitionError(
                f"gaps is {self.gaps!r}.", hint=build_word_hint(str(self.gaps), GAP_POLICIES, "policies")
            )

    def to_json(self) -> dict[str, Any]:
        """Give the form that `from_json` reads."""
        return {
            "gaps": self.gaps,
            "sign_off": None if self.sign_off is None else self.sign_off.to_json(),
            "publish": None if self.publish is None else self.publish.to_json(),
        }

    @classmethod
    def from_json(cls, value: Any) -> Ending:
        """Read what `to_json` gave.

        :raises DefinitionError: if a field is unknown or wrong.
        """
        reader = ObjectReader(value, "ending")
        ending = cls(
            gaps=reader.take_or("gaps", read_text, "report"),
            sign_off=reader.take_or("sign_off", read_optional(read_with(SignOff.from_json)), None),
            publish=reader.take_or("publish", read_optional(read_with(Publish.from_json)), None),
        )
        reader.finish()
        return ending
