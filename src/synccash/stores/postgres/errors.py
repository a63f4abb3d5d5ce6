"""Errors of PostgreSQL that are no outage: a broken constraint, and a schema of another version."""

import asyncpg

from synccash.payments.errors import InternalError

OTHER_SCHEMA = (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError, asyncpg.UndefinedFunctionError)
"""What PostgreSQL raises for statements of another version than the schema's."""
MIGRATE = "The database's schema is of another version. Run `synccash migrate`"
"""What to do about `OTHER_SCHEMA`."""


class SchemaNotReadyError(Exception):
    """A process that starts met a schema of another version."""


class InvariantBrokenError(InternalError):
    """A commit would break the schema's constraint named `constraint`; nothing was written.

    When the order store raises it, it is a bug of the service and not an error of the request.
    """

    def __init__(self, constraint: str, reason: str) -> None:
        super().__init__(f"{reason} ({constraint})")
        self.constraint = constraint
