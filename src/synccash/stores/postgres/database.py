"""Runs PostgreSQL statements with retries; its errors tell whether a statement may have been committed."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from random import random as uniform
from typing import Any, ParamSpec, TypeVar

import asyncpg

from synccash.payments.errors import StoreUnavailableError
from synccash.resilience.budget import RetryBudget
from synccash.resilience.events import EventHook
from synccash.resilience.policy import Policy
from synccash.resilience.profiles import DATABASE, Profile
from synccash.resilience.retry import Retryable
from synccash.stores.encryption import Encryption
from synccash.stores.postgres.pool import CONNECT_TIMEOUT_S, Pool, PooledConnection

TRIES = 3
"""How often a commit is tried, and its result looked up while it is in doubt, at most."""

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
# Transactional, so that it has a commit of its own; the message itself is read by nobody.
_EMPTY_COMMIT = "SELECT pg_logical_emit_message(true, 'synccash', '')::text"
_UNABLE = (asyncpg.InsufficientResourcesError,)


class NothingDoneError(StoreUnavailableError):
    """The statement had no effect, so it is safe to repeat: no connection, a deadlock or serialization
    failure, or a read-only server."""


class InDoubtError(Exception):
    """The connection was lost while a statement ran: it may have been committed, or may still commit."""


class Database:
    """Runs statements on a pool, shared by all tasks. One statement is one transaction and one round trip.

    `commit` and `repeat` retry with the back-off of `profile`. A batch of several callers' work is sent by
    `once`, and each caller retries its own item by `commit_with`. `budget` limits the retries of the process.
    `on_event` gets the events of retries (`synccash.resilience.events`). `encryption`: the keys of stored
    personal data; without them rows are written as they are, and encrypted ones cannot be read.
    """

    __slots__ = ("_commits", "_repeats", "encryption", "pool")

    def __init__(
        self,
        pool: Pool,
        *,
        encryption: Encryption | None = None,
        profile: Profile = DATABASE,
        budget: RetryBudget | None = None,
        on_event: EventHook | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] = uniform,
    ) -> None:
        self.pool = pool
        self.encryption = encryption
        budget = budget or RetryBudget("database", clock=clock)

        def policy(on: Retryable) -> Policy:
            return Policy(
                "database",
                retry=replace(profile.retry, on=on),
                total_timeout=profile.total_timeout,
                interrupt=False,
                budget=budget,
                on_event=on_event,
                clock=clock,
                sleep=sleep,
                random=random,
            )

        self._commits = policy(NothingDoneError)
        self._repeats = policy((NothingDoneError, InDoubtError))

    async def commit(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """Run a statement that must not be committed twice; retry it only after NothingDoneError.

        Raises InDoubtError when it may have been committed, StoreUnavailableError when it was not.
        """
        return await self._commits.call(self.once, statement, *arguments)

    async def repeat(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """Run a statement that is safe to commit twice; retry it after a lost connection too.

        Raises StoreUnavailableError.
        """
        return await self.repeat_with(self.once, statement, *arguments)

    async def commit_with(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function that sends statements by `once`, and retry it after NothingDoneError."""
        return await self._commits.call(fn, *args, **kwargs)

    async def repeat_with(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function that is safe to run twice, and retry it after NothingDoneError and InDoubtError.

        Raises StoreUnavailableError.
        """
        try:
            return await self._repeats.call(fn, *args, **kwargs)
        except InDoubtError as error:
            raise StoreUnavailableError(f"PostgreSQL was lost: {error}") from error

    async def confirm_durable(self) -> None:
        """Return once all that this process has read is as durable as its own commits.

        A commit that waits for a synchronous standby can be read as soon as its wait is cancelled, as a
        time-out does, although the standby does not have it. This commit waits for the standby, and so for
        all commits before it. Call it before anything relies on a commit that was in doubt and was found.
        Raises StoreUnavailableError while the standby does not answer.
        """
        await self.repeat(_EMPTY_COMMIT)

    async def once(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """Run a statement once. Raises InDoubtError, NothingDoneError, or another StoreUnavailableError."""
        return await self.once_with(lambda connection: connection.fetch(statement, *arguments))

    async def once_with(self, work: Callable[[PooledConnection], Awaitable[T]]) -> T:
        """Call `work` once with a connection of the pool, for what needs several statements.

        `work` opens the transaction. Raises as `once` does.
        """
        connection = await self._connection()
        try:
            return await work(connection)
        except ValueError:
            raise  # asyncpg could not encode an argument: a bug of the caller, and nothing was sent
        except _ROLLED_BACK as error:
            raise NothingDoneError(f"PostgreSQL rolled the statement back: {_error_text(error)}") from error
        except asyncpg.ReadOnlySQLTransactionError as error:
            # After a failover any connection of the pool may lead to the former primary: replace all of them.
            await self.pool.expire_connections()
            raise NothingDoneError(f"PostgreSQL takes no writes now: {_error_text(error)}") from error
        except _UNABLE as error:
            raise StoreUnavailableError(f"PostgreSQL cannot do it now: {_error_text(error)}") from error
        except _LOST as error:
            raise InDoubtError(_error_text(error)) from error
        finally:
            # asyncpg ends a connection that does not say whether a statement was cancelled, and raises. That
            # must not hide what became of the statement.
            with contextlib.suppress(*_LOST):
                await self.pool.release(connection)

    async def _connection(self) -> PooledConnection:
        try:
            return await self.pool.acquire(timeout=CONNECT_TIMEOUT_S)
        except TimeoutError as error:
            # A retry after such a long wait, for the server or for a free connection, would add to the load.
            raise StoreUnavailableError(f"PostgreSQL gave no connection: {_error_text(error)}") from error
        except _REFUSED as error:
            raise NothingDoneError(f"PostgreSQL refused the connection: {_error_text(error)}") from error
        except _UNREACHED as error:
            raise StoreUnavailableError(f"PostgreSQL cannot be reached: {_error_text(error)}") from error


def _error_text(error: BaseException) -> str:
    return str(error) or type(error).__name__
