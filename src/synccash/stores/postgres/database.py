"""Runs one statement as one transaction under the `database` profile; says what is known when it fails."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from random import random as uniform
from typing import Any, ParamSpec, TypeVar

import asyncpg

from synccash.payments.errors import StoreUnavailableError
from synccash.resilience.budget import RetryBudget
from synccash.resilience.policy import Policy
from synccash.resilience.profiles import DATABASE, Profile
from synccash.resilience.retry import Retryable
from synccash.stores.postgres.pool import CONNECT_TIMEOUT_S, Pool, PooledConnection

TRIES = 3
"""How often what became of a commit is looked for, at most."""

P = ParamSpec("P")
T = TypeVar("T")

_REFUSED = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.TargetServerAttributeNotMatched,
)
_UNREACHED = (asyncpg.PostgresError, asyncpg.InterfaceError)
_ROLLED_BACK = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
_LOST = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
_UNABLE = (asyncpg.InsufficientResourcesError,)


class NothingDoneError(StoreUnavailableError):
    """The statement provably did nothing, and may run again: no connection, a deadlock's victim, or a server
    that takes no writes."""


class InDoubtError(Exception):
    """The connection died while a statement ran: it may have been committed, or be committed yet."""


class Database:
    """Live and shared. A call is one statement, so PostgreSQL makes it one transaction and one round trip.

    `commit` and `repeat` wait between their tries as `profile` says; who sends many callers' work as one
    statement uses `once`, and each of the callers waits for himself in `patiently`. `budget` is the process's
    budget for repeats of statements.
    """

    __slots__ = ("_commits", "_repeats", "pool")

    def __init__(
        self,
        pool: Pool,
        *,
        profile: Profile = DATABASE,
        budget: RetryBudget | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] = uniform,
    ) -> None:
        self.pool = pool
        budget = budget or RetryBudget("database", clock=clock)

        def policy(on: Retryable) -> Policy:
            return Policy(
                "database",
                retry=replace(profile.retry, on=on),
                total_timeout=profile.total_timeout,
                interrupt=False,
                budget=budget,
                clock=clock,
                sleep=sleep,
                random=random,
            )

        self._commits = policy(NothingDoneError)
        self._repeats = policy((NothingDoneError, InDoubtError))

    async def commit(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """Run a statement that must not run twice: again only where it provably did nothing.

        Raises InDoubtError when nobody knows whether it was committed; StoreUnavailableError when it was not.
        """
        return await self._commits.call(self.once, statement, *arguments)

    async def repeat(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """Run a statement that may run twice: a lost connection is answered by another.

        Raises StoreUnavailableError.
        """
        return await self.patiently_repeated(self.once, statement, *arguments)

    async def patiently(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call what sends statements by `once`; call it again where it raises NothingDoneError."""
        return await self._commits.call(fn, *args, **kwargs)

    async def patiently_repeated(
        self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """The same for what may run twice, and so after an InDoubtError too. Raises StoreUnavailableError."""
        try:
            return await self._repeats.call(fn, *args, **kwargs)
        except InDoubtError as error:
            raise StoreUnavailableError(f"PostgreSQL was lost: {error}") from error

    async def once(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """Run a statement once. Raises InDoubtError, NothingDoneError, or another StoreUnavailableError."""
        connection = await self._connection()
        try:
            return await connection.fetch(statement, *arguments)
        except ValueError:
            raise  # asyncpg could not encode an argument: our own mistake, and nothing was sent
        except _ROLLED_BACK as error:
            raise NothingDoneError(f"PostgreSQL rolled the statement back: {_told(error)}") from error
        except asyncpg.ReadOnlySQLTransactionError as error:
            # Each connection of the pool may lead to the former primary of a failover: all are replaced.
            await self.pool.expire_connections()
            raise NothingDoneError(f"PostgreSQL takes no writes now: {_told(error)}") from error
        except _UNABLE as error:
            raise StoreUnavailableError(f"PostgreSQL cannot do it now: {_told(error)}") from error
        except _LOST as error:
            raise InDoubtError(_told(error)) from error
        finally:
            await self.pool.release(connection)

    async def _connection(self) -> PooledConnection:
        try:
            return await self.pool.acquire(timeout=CONNECT_TIMEOUT_S)
        except TimeoutError as error:
            # Whoever has waited this long, for an answer or for a free connection, only adds to the queue.
            raise StoreUnavailableError(f"PostgreSQL gave no connection: {_told(error)}") from error
        except _REFUSED as error:
            raise NothingDoneError(f"PostgreSQL refused the connection: {_told(error)}") from error
        except _UNREACHED as error:
            raise StoreUnavailableError(f"PostgreSQL cannot be reached: {_told(error)}") from error


def _told(error: BaseException) -> str:
    return str(error) or type(error).__name__
