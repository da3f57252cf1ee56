"""Upload the joined local database into a global tag of the conditions database, by the experiment's own tool.

The tool is `b2conditionsdb upload TAG database.txt` (`conditions_db/cli_upload.py` of basf2). What is there already it
leaves alone, so an upload that was broken off is simply begun again. It finds its token, which no command line and no
log has, in the file `$HOME/b2cdb_$BELLE2_USER.token`, or where `$BELLE2_CDB_AUTH_TOKEN` says.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from airflow_provider_caf.batch.spec import Resources
from airflow_provider_caf.batch.wrapper import build_site_argv
from airflow_provider_caf.core.errors import DatabaseError, JobFailed
from airflow_provider_caf.core.file_names import DATABASE_FILE
from airflow_provider_caf.core.files import PRIVATE, write_text
from airflow_provider_caf.core.record import record
from airflow_provider_caf.definitions.caf import Upload
from airflow_provider_caf.io.local_database import LocalDatabase
from airflow_provider_caf.jobs.processes import run_logged

_TOOL = ("b2conditionsdb", "upload")
_SHOWN = 20


@record
class Access:
    """With what the tool gets to the conditions database.

    :param user: the name in the experiment.
    :param token: a JSON Web Token.
    :param resources: whose `setup` sets up the experiment's software.
    """

    user: str
    token: str
    resources: Resources

    def __repr__(self) -> str:
        """Return it without the token."""
        return f"Access(user={self.user!r})"


def check_upload(database: LocalDatabase) -> int:
    """Check that a global tag says the same as a local database, and return the number of its lines.

    In the text of a local database the last line that holds a run wins. The tool sorts the lines by name and IoV, and
    of lines with one name and IoV takes the last one; beyond that a global tag has no order.

    :raises DatabaseError: if a payload is damaged, or the order of lines decides which of two payloads a run has.
    """
    database.verify()
    conflicts = [
        f"\n  {earlier.name}: {earlier.iov} and {later.iov}"
        for earlier, later in database.find_overlaps()
        if earlier.revision != later.revision and earlier.iov != later.iov
    ]
    if conflicts:
        more = f"\n  … and {len(conflicts) - _SHOWN} more" if len(conflicts) > _SHOWN else ""
        raise DatabaseError(
            f"{len(conflicts)} pairs of payloads of {database.folder} overlap. There the later line wins; a global tag "
            f"has no lines:{''.join(conflicts[:_SHOWN])}{more}",
            hint="Let strategies and algorithms give IoVs that do not overlap, or upload another calibration alone.",
        )
    return len(database.entries())


def upload_database(database: LocalDatabase, order: Upload, access: Access, log: Path) -> str:
    """Upload a database, and return what was done.

    :param log: gets what the tool prints.
    :raises DatabaseError: see `check_upload`.
    :raises JobFailed: if the tool fails.
    """
    count = check_upload(database)
    if order.dry_run:
        return f"checked for {order.global_tag}, {count} lines; a dry run uploads nothing"
    # On this machine alone, and of this user alone; a killed worker leaves it there until the token has expired.
    with tempfile.TemporaryDirectory(prefix="caf_upload_") as folder:
        token = Path(folder) / f"b2cdb_{access.user}.token"
        write_text(token, access.token, mode=PRIVATE)
        variables = (f"HOME={folder}", f"BELLE2_USER={access.user}", f"BELLE2_CDB_AUTH_TOKEN={token}")
        # Behind the setup lines, which may want the real home.
        words = ("env", *variables, *_TOOL, order.global_tag, str(database.folder / DATABASE_FILE))
        argv = build_site_argv(access.resources, words)
        ended = run_logged("The upload", argv, log, variables=access.resources.environment)
    if ended.exit_code != 0:
        raise JobFailed(
            f"The upload into {order.global_tag} failed with exit code {ended.exit_code}.",
            hint="Mend the cause and clear this task: what has arrived is not uploaded again. Is the token valid?",
            log=str(log),
            log_tail=ended.tail,
        )
    return f"uploaded into {order.global_tag}, {count} lines"
