"""Makes one-time links that sign in to the console, with database credentials."""

import secrets
from hashlib import sha256

from synccash.administration.database import database_actor
from synccash.administration.errors import AdministrationError
from synccash.engine.system import SystemIdentities
from synccash.payments.audit import AuditNote
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.operations.operators import PostgresOperators

LOCAL_OPERATOR = "local"
"""The operator of these links. It has no password, so it never counts as a second operator."""
_VALID_S = 3_600.0


async def make_console_link(database: Database, url: str) -> str:
    """Return the address of a link below `url` that signs in once, within an hour, as an admin.

    Raises AdministrationError.
    """
    code, by = secrets.token_urlsafe(24), await database_actor(database)
    note = AuditNote(actor=by, action="operator_link", target=LOCAL_OPERATOR)
    expires_at = await PostgresOperators(database).add_link(
        SystemIdentities().new("op"),
        LOCAL_OPERATOR,
        sha256(code.encode()).digest(),
        _VALID_S,
        by=by,
        note=note,
    )
    if expires_at is None:
        raise AdministrationError(
            f"The operator {LOCAL_OPERATOR} has a password or is disabled, so no link was made. Sign in at "
            f"{url}/console with the name and password of an operator"
        )
    return f"{url}/console/welcome?code={code}"
