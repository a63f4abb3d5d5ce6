"""Opens the pool of PostgreSQL connections."""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from synccash.payments.errors import StoreUnavailableError
from synccash.settings.secret import Secret, revealed
from synccash.stores.postgres.hosts import HostChoice, host_urls

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
    PooledConnection: TypeAlias = PoolConnectionProxy[asyncpg.Record]
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record] | PooledConnection
else:
    Pool = asyncpg.Pool
    PooledConnection = Connection = asyncpg.Connection

Check = Callable[[Connection], Coroutine[Any, Any, None]]

COMMAND_TIMEOUT_S = 5.0
"""The default time limit of one statement; asyncpg cancels the statement when it is exceeded."""
CONNECT_TIMEOUT_S = 3.0
_PREPARED = 100


async def connect(
    url: Secret | str,
    *,
    min_size: int,
    max_size: int,
    check: Check | None = None,
    statement_timeout_s: float = COMMAND_TIMEOUT_S,
    prepared_statements: bool = True,
) -> Pool:
    """Open a pool. Raises StoreUnavailableError when `min_size` connections cannot be opened.

    A URL with several hosts leads to the one that takes writes, unless its `target_session_attrs` says
    otherwise. When that becomes another host, the connections that were made before are replaced.
    `check` is called with each new connection before its first use; if it raises, the connection is closed.
    `prepared_statements`: keep the plans of statements in each connection. A pooler that gives each
    transaction another connection, and does not know prepared statements, needs False.
    No statement sets session state, so a released connection is not reset, which saves a round trip.
    """

    async def prepare(connection: Connection) -> None:
        await _speak_bytes(connection)
        if check is not None:
            await check(connection)

    async def replace_connections() -> None:
        await pool.expire_connections()

    try:
        urls = host_urls(revealed(url))
        choice: Any = None if len(urls) == 1 else HostChoice(urls, replace_connections).connect
        pool = asyncpg.create_pool(
            urls[0],
            connect=choice,
            min_size=min_size,
            max_size=max_size,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=statement_timeout_s,
            statement_cache_size=_PREPARED if prepared_statements else 0,
            max_cached_statement_lifetime=0,
            init=prepare,
            reset=_keep,
        )
        return await pool
    except (
        OSError,
        TimeoutError,
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        asyncpg.TargetServerAttributeNotMatched,
    ) as error:
        raise StoreUnavailableError(f"cannot connect to PostgreSQL: {error}") from error


async def connect_to_primary(url: Secret | str) -> asyncpg.Connection:
    """Open one connection to the host that takes writes. Raises as `asyncpg.connect` does."""
    return await asyncpg.connect(
        revealed(url), timeout=CONNECT_TIMEOUT_S, target_session_attrs=SessionAttribute.read_write
    )


async def _speak_bytes(connection: Connection) -> None:
    """Pass JSON values as bytes without decoding: msgspec encodes and decodes them."""
    await connection.set_type_codec(
        "json", schema="pg_catalog", encoder=_same, decoder=_same, format="binary"
    )


async def _keep(connection: Connection) -> None:
    del connection


def _same(raw: bytes) -> bytes:
    return raw
