"""Builds the client of Valkey (or Redis >= 7) that all parts of a process share."""

# redis-py leaves its keyword arguments untyped.
# pyright: reportUnknownMemberType=false

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Any, ClassVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    MasterDownError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as LostError
from redis.exceptions import TimeoutError as LateError
from redis.maint_notifications import MaintNotificationsConfig

from synccash.settings.secret import URL_HINT, Secret
from synccash.stores.valkey.address import Sentinels, read_address

UNREACHABLE = (RedisError, OSError, TimeoutError)
"""The errors that a client raises when a command to Valkey fails."""

COMMAND_CONNECTIONS = 2
"""How many connections a client opens for commands; a second one keeps a probe lease or a health check from
waiting behind a report. A ChannelListener opens one more."""
_DEADLINE_S = 0.05


def build_client(url: Secret | str, *, deadline_s: float = _DEADLINE_S) -> Redis:
    """Return a client that connects at its first command, and again after a loss at the next one.

    A command waits up to `deadline_s` seconds for a free connection. It is then sent once and answered within
    `deadline_s` seconds, or raises one of UNREACHABLE: redis-py's own ten retries would delay a request for
    seconds, and could count it more than once. When the server is no longer the primary, the client
    disconnects and resolves the address again. With a URL of Sentinels each new connection first asks them
    for the primary.
    Raises ValueError for a URL that `synccash.stores.valkey.address` cannot read.
    """
    return Redis.from_pool(_build_pool(url, deadline_s))


def described_connection(url: Secret | str) -> Any:
    """Return a connection of redis-py for the URL, which is not connected, for its address and options.

    With Sentinels its host and port are right after `locate`.

    The options of the URL are those of `build_client`: `host` and `port`, or `path`; `username`, `password`,
    `db`; for `rediss://` also `ssl_context`, whose `get()` returns the context. Raises the same ValueError.
    """
    return _build_pool(url, _DEADLINE_S).make_connection()


async def locate(connection: Any, deadline_s: float) -> None:
    """Set host and port of a described connection to the present primary, if its URL names Sentinels.

    Raises one of UNREACHABLE.
    """
    sentinels = getattr(connection, "sentinels", None)
    if sentinels is not None:
        connection.host, connection.port = await sentinels.primary(deadline_s)


def _build_pool(url: Secret | str, deadline_s: float) -> BlockingConnectionPool:
    options: dict[str, Any] = {
        "retry": Retry(NoBackoff(), 0),
        "driver_info": None,
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }
    try:
        address = read_address(url, options)
        pool = BlockingConnectionPool.from_url(
            address.url,
            max_connections=COMMAND_CONNECTIONS,
            timeout=deadline_s,
            socket_timeout=deadline_s,
            socket_connect_timeout=deadline_s,
            **options,
        )
    except ValueError:
        # The library's error may quote a part of the password.
        raise ValueError(
            "SYNCCASH_VALKEY_URL cannot be used: expected valkey://, valkeys://, redis://, rediss:// or "
            f"unix://, or valkey+sentinel://HOST,HOST/SERVICE; {URL_HINT}"
        ) from None
    pool.connection_class = _following(pool.connection_class, address.sentinels, deadline_s)
    return pool


class _PrimaryFollowing:
    """Disconnects from a server that is no longer the primary; redis-py would keep the connection.

    Treats every other error of the transport as a lost connection: uvloop raises RuntimeError for a write to
    a closed connection, and redis-py does not handle it.
    """

    sentinels: ClassVar[Sentinels | None] = None
    deadline_s: ClassVar[float] = _DEADLINE_S

    async def _connect(self) -> None:
        await locate(self, self.deadline_s)
        await super()._connect()  # pyright: ignore

    async def read_response(self, *given: Any, **named: Any) -> Any:
        try:
            async with _lost_connections():
                return await super().read_response(*given, **named)  # pyright: ignore
        except (ReadOnlyError, MasterDownError):
            await self.disconnect()
            raise

    async def can_read(self) -> bool:
        async with _lost_connections():
            return await super().can_read()  # pyright: ignore

    async def send_packed_command(self, *given: Any, **named: Any) -> None:
        async with _lost_connections():
            await super().send_packed_command(*given, **named)  # pyright: ignore

    async def disconnect(self, *given: Any, **named: Any) -> None:
        async with _lost_connections():
            await super().disconnect(*given, **named)  # pyright: ignore


@asynccontextmanager
async def _lost_connections() -> AsyncGenerator[None]:
    """Convert every error that is not in UNREACHABLE to redis-py's ConnectionError."""
    try:
        yield
    except UNREACHABLE:
        raise
    except Exception as error:
        raise LostError(f"the connection to Valkey was lost: {error!r}") from error


def _following(
    kind: type[AbstractConnection], sentinels: Sentinels | None, deadline_s: float
) -> type[AbstractConnection]:
    facts = {"sentinels": sentinels, "deadline_s": deadline_s}
    return type(f"Following{kind.__name__}", (_PrimaryFollowing, kind), facts)


class ValkeyState(StrEnum):
    """What Valkey does with a command."""

    OK = "ok"
    AWAY = "away"
    """It accepts no connection, or ends it."""
    SILENT = "silent"
    """It holds the connection and does not answer in time."""
    REFUSED = "refused"
    """It refuses the user, the password or the command."""
    LOADING = "loading"
    """It reads its data from disk, and answers afterwards."""


def failure_state(error: BaseException) -> ValkeyState:
    """Return what one of UNREACHABLE says about the server."""
    if isinstance(error, BusyLoadingError):
        return ValkeyState.LOADING
    if isinstance(error, AuthenticationError | ResponseError):
        return ValkeyState.REFUSED
    # When all connections of the pool wait for an answer, redis-py raises its ConnectionError for the next
    # command, because of a time-out.
    late = (TimeoutError, LateError)
    return (
        ValkeyState.SILENT
        if isinstance(error, late) or isinstance(error.__cause__, late)
        else (ValkeyState.AWAY)
    )


async def valkey_state(client: Redis) -> ValkeyState:
    """Return whether Valkey answers within the client's deadline, and if not, how it fails."""
    try:
        await client.ping()
    except UNREACHABLE as error:
        return failure_state(error)
    return ValkeyState.OK
