"""What happens when all calibrations of a CAF have ended: gaps, sign-off, publication."""

from __future__ import annotations

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.json_form import JsonRecord
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.suggestions import build_word_hint

GAP_POLICIES = ("report", "fill", "fail")


@record
class SignOff(JsonRecord):
    """An expert approves or rejects the result.

    :param message: what the expert reads above the summary.
    :param users: who may answer; none given: everybody who may edit the run.
    :param timeout: in seconds; without an answer until then the task fails. None: it waits for ever.
    """

    noun = "sign_off"

    message: str = ""
    users: tuple[str, ...] = ()
    timeout: float | None = None


@record
class Publish(JsonRecord):
    """The joined local database is copied to a folder, or handed to a command of the site.

    :param folder: absolute; the database goes into a folder of its own there.
    :param command: an argv list in which `{database}` stands for the local database's folder.
    :raises DefinitionError: unless one of the two is given.
    """

    noun = "publish"

    folder: str | None = None
    command: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if (self.folder is None) == (self.command is None):
            raise DefinitionError("publish has neither or both of folder and command.", hint="Give one of them.")


@record
class Ending(JsonRecord):
    """The last steps of a CAF.

    :param gaps: what gaps in the joined local database lead to: `report`, `fill` (a payload is extended up to the
        next), or `fail`.
    :param sign_off: None: nobody is asked.
    :param publish: None: the result stays in the folder of the run.
    :raises DefinitionError: if `gaps` is something else.
    """

    noun = "ending"

    gaps: str = "report"
    sign_off: SignOff | None = None
    publish: Publish | None = None

    def __post_init__(self) -> None:
        if self.gaps not in GAP_POLICIES:
            raise DefinitionError(
                f"gaps is {self.gaps!r}.", hint=build_word_hint(str(self.gaps), GAP_POLICIES, "policies")
            )
