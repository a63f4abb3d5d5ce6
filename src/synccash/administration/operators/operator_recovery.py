"""Adds the first operator, or resets one, with database credentials: where no admin can sign in."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from synccash.administration.database import BREAK_GLASS, database_actor, with_database
from synccash.administration.errors import AdministrationError
from synccash.administration.operators.operators import Operators
from synccash.administration.operators.passwords import PasswordHashes
from synccash.engine.system import SystemClock, SystemIdentities
from synccash.payments.access import OperatorRole
from synccash.payments.errors import ObjectNotFoundError, StateConflictError
from synccash.payments.operator import Enrolment, NewOperatorName
from synccash.settings.loader import Settings
from synccash.stores.postgres.audit import PostgresAudit
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.operations.operators import PostgresOperators


def has_no_operator(settings: Settings) -> bool:
    """Tells whether the database has no operator yet; False if this shell cannot read the database."""

    async def read(database: Database) -> bool:
        return not await PostgresOperators(database).all()

    try:
        return with_database(settings, read)
    except AdministrationError:
        return False


def create_operator(settings: Settings, name: str, role: str, reason: str) -> dict[str, Any]:
    """Adds an operator and returns the enrolment code. Raises AdministrationError."""
    try:
        msgspec.convert(name, NewOperatorName)
    except msgspec.ValidationError as error:
        raise AdministrationError(
            f"{name}: expected 2 to 40 lower-case letters, digits, dots or hyphens, beginning with a letter, "
            "and none of enrol, password, sign-in, sign-out, tokens"
        ) from error
    return _enrolment(
        settings,
        lambda operators, by: operators.create(
            name, OperatorRole(role), by=by, reason=f"{BREAK_GLASS}: {reason}"
        ),
    )


def reset_operator(settings: Settings, name: str, reason: str) -> dict[str, Any]:
    """Resets an operator and returns a new enrolment code. Raises AdministrationError."""
    return _enrolment(
        settings, lambda operators, by: operators.reset(name, by=by, reason=f"{BREAK_GLASS}: {reason}")
    )


def _enrolment(settings: Settings, work: Callable[[Operators, str], Awaitable[Enrolment]]) -> dict[str, Any]:
    async def run(database: Database) -> Enrolment:
        passwords = PasswordHashes()
        try:
            operators = Operators(
                PostgresOperators(database),
                PostgresAudit(database),
                passwords,
                SystemClock(),
                SystemIdentities(),
            )
            return await work(operators, await database_actor(database))
        finally:
            passwords.close()

    try:
        made = with_database(settings, run)
    except ObjectNotFoundError as error:
        raise AdministrationError(f"No operator has the name {error.object_id}") from error
    except StateConflictError as error:
        raise AdministrationError(str(error)) from error
    return {"name": made.name, "enrolment_code": made.code, "expires_at": made.expires_at}
