"""The one place that builds clients of Valkey (or Redis >= 7)."""

# redis-py leaves its keyword arguments untyped.
# pyright: reportUnknownMemberType=false

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as LostError
from redis.exceptions import MasterDownError, ReadOnlyError, RedisError
from redis.maint_notifications import MaintNotificationsConfig

UNREACHABLE = (RedisError, OSError, TimeoutError)
"""What a client raises when Valkey does not do what it was told."""

_DEADLINE_S = 0.05


def build_client(url: str, *, deadline_s: float = _DEADLINE_S) -> Redis:
    """Return a client that connects at its first command, and again after a loss at the next one.

    A command is sent once and answered within `deadline_s` seconds, or raises one of UNREACHABLE: redis-py's
    own ten retries would keep a request waiting for seconds, and count it more than once. A server that is
    no longer the primary is left, and looked for anew at its address.
    Raises ValueError for a URL that is none of `redis://`, `rediss://` and `unix://`.
    """
    try:
        client = Redis.from_url(
            url,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=deadline_s,
            socket_connect_timeout=deadline_s,
            driver_info=None,
            maint_notifications_config=MaintNotificationsConfig(enabled=False),
        )
    except ValueError as error:
        # The URL may hold a password: only what is wrong with it is told.
        raise ValueError(f"SYNCCASH_VALKEY_URL cannot be used: {error}") from None
    pool = client.connection_pool
    pool.connection_class = _following(pool.connection_class)
    return client


class _Following:
    """Leaves a server that is no longer the primary: redis-py would stay with it for ever.

    Whatever else its transport raises is a lost connection: uvloop answers a write to a closed one with a
    RuntimeError, which redis-py neither expects nor cleans up after.
    """

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
    """Raise what is none of UNREACHABLE as redis-py's ConnectionError."""
    try:
        yield
    except UNREACHABLE:
        raise
    except Exception as error:
        raise LostError(f"the connection to Valkey was lost: {error!r}") from error


@cache
def _following(kind: type[AbstractConnection]) -> type[AbstractConnection]:
    return type(f"Following{kind.__name__}", (_Following, kind), {})


async def ping(client: Redis) -> bool:
    """Whether Valkey answers within the client's deadline."""
    try:
        return bool(await client.ping())
    except UNREACHABLE:
        return False
