"""Runs one statement as one transaction, and says what is known when it fails."""

from dataclasses import dataclass
from typing import Any

import asyncpg

from synccash.payments.errors import StoreUnavailableError
from synccash.stores.postgres.pool import CONNECT_TIMEOUT_S, Pool

TRIES = 3
"""How often a statement runs at most; only what provably did nothing, or may be repeated, runs again."""

_UNREACHED = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
_ROLLED_BACK = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
_LOST = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
_UNABLE = (asyncpg.InsufficientResourcesError, asyncpg.ReadOnlySQLTransactionError)


class InDoubtError(Exception):
    """The connection died while a statement ran: it may have been committed, or be committed yet."""


@dataclass(frozen=True, slots=True)
class Database:
    """Every call is one statement, so PostgreSQL makes it one transaction and one round trip."""

    pool: Pool

    async def commit(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """Run a statement that must not run twice. A deadlock's victim did nothing and runs again.

        Raises InDoubtError when nobody knows whether it was committed; StoreUnavailableError when it was not.
        """
        reason = ""
        for _ in range(TRIES):
            try:
                return await self._once(statement, arguments)
            except _ROLLED_BACK as error:
                reason = str(error)
        raise StoreUnavailableError(f"PostgreSQL rolled the statement back {TRIES} times: {reason}")

    async def repeat(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """Run a statement that may run twice: a lost connection is answered by another.

        Raises StoreUnavailableError.
        """
        reason = ""
        for _ in range(TRIES):
            try:
                return await self.commit(statement, *arguments)
            except InDoubtError as error:
                reason = str(error)
        raise StoreUnavailableError(f"PostgreSQL was lost {TRIES} times: {reason}")

    async def _once(self, statement: str, arguments: tuple[Any, ...]) -> list[asyncpg.Record]:
        try:
            connection = await self.pool.acquire(timeout=CONNECT_TIMEOUT_S)
        except _UNREACHED as error:
            raise StoreUnavailableError(f"PostgreSQL cannot be reached: {_told(error)}") from error
        try:
            return await connection.fetch(statement, *arguments)
        except ValueError:
            raise  # asyncpg could not encode an argument: our own mistake, and nothing was sent
        except _UNABLE as error:
            raise StoreUnavailableError(f"PostgreSQL cannot do it now: {_told(error)}") from error
        except _LOST as error:
            raise InDoubtError(_told(error)) from error
        finally:
            await self.pool.release(connection)


def _told(error: BaseException) -> str:
    return str(error) or type(error).__name__
