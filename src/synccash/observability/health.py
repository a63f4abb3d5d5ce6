"""Checks PostgreSQL, Valkey and the rails of this process, for load balancers and operators."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, TypeVar

import asyncpg

from synccash.engine.ports import AccountRail, Dispatch
from synccash.payments.errors import StoreUnavailableError
from synccash.payments.history import Notice
from synccash.payments.recovery import Recovery
from synccash.stores.postgres.orders.recovery import Durability
from synccash.stores.postgres.pool import Pool
from synccash.stores.valkey.client import ValkeyState

T = TypeVar("T")

UNCONFIRMED = "unconfirmed"
_TIMEOUT_S = 2.0
# True on a standby too, and when a failover has set `default_transaction_read_only`.
_TAKES_WRITES = "SELECT NOT current_setting('transaction_read_only')::boolean"
_UNREACHABLE = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


class DatabaseState(StrEnum):
    """What PostgreSQL does with a query that asks whether it takes writes."""

    OK = "ok"
    AWAY = "away"
    """It refuses the connection, or ends it."""
    SILENT = "silent"
    """It holds the connection and does not answer in time."""
    READ_ONLY = "read_only"


_abandoned: set[asyncio.Task[Any]] = set()


async def within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of `work`; raise TimeoutError after `seconds`, also if canceling it takes longer.

    A canceled statement first asks PostgreSQL to cancel it, and waits for the answer. A server that hangs
    gives none, so `asyncio.timeout` would wait with it.
    """
    task = asyncio.create_task(work, name="health_check")
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
    finally:
        if not task.done():
            task.cancel()
            _abandoned.add(task)
            task.add_done_callback(_forget)
    if not done:
        raise TimeoutError
    return task.result()


def _forget(task: asyncio.Task[Any]) -> None:
    _abandoned.discard(task)
    if not task.cancelled():
        # Reading the exception keeps asyncio from logging it: the check has reported its time-out.
        task.exception()


@dataclass(frozen=True, slots=True)
class ServiceHealth:
    """Checks each part with a short timeout. `state_of_valkey` is None when the service runs without it.
    `current_warnings` returns what an operator has to do, as (part of the service, text). `draining` tells
    that the process is about to stop; `schema_of` returns what is wrong with the schema."""

    pool: Pool
    state_of_valkey: Callable[[], Awaitable[ValkeyState]] | None
    configured_rails: Mapping[str, AccountRail]
    dispatch: Dispatch
    recovery: Callable[[], Recovery]
    durability_of: Callable[[], Coroutine[Any, Any, Durability]]
    current_warnings: Callable[[], Sequence[tuple[str, str]]] = tuple
    current_notices: Callable[[], Sequence[Notice]] = tuple
    current_silent_rails: Callable[[], Sequence[tuple[str, int]]] = tuple
    draining: Callable[[], bool] = lambda: False
    schema_of: Callable[[], Coroutine[Any, Any, str | None]] | None = None

    async def database_state(self) -> DatabaseState:
        """Return whether PostgreSQL answers a query and takes writes, and if not, how it fails."""
        try:
            takes_writes = await within(_TIMEOUT_S, self._takes_writes())
        except TimeoutError:
            return DatabaseState.SILENT
        except _UNREACHABLE:
            return DatabaseState.AWAY
        return DatabaseState.OK if takes_writes else DatabaseState.READ_ONLY

    async def _takes_writes(self) -> bool:
        takes_writes = bool(await self.pool.fetchval(_TAKES_WRITES))
        if not takes_writes:
            # A process that is not ready gets no requests, so no refused write would replace the pool's
            # connections to the former primary: the check does.
            await self.pool.expire_connections()
        return takes_writes

    async def schema(self) -> str | None:
        """Return why this version cannot work with the schema; None when it can, or while PostgreSQL does
        not answer."""
        if self.schema_of is None:
            return None
        try:
            return await within(_TIMEOUT_S, self.schema_of())
        except (TimeoutError, StoreUnavailableError):
            return None

    async def valkey_state(self) -> ValkeyState:
        """Return whether Valkey answers, and if not, how it fails; `ok` when the service runs without it."""
        if self.state_of_valkey is None:
            return ValkeyState.OK
        found = await self.state_of_valkey()
        # The deadline is that of a request. One late answer, on a busy host say, is no trouble.
        return await self.state_of_valkey() if found is ValkeyState.SILENT else found

    def sends_held(self) -> bool:
        """True while a recovery is under way, and nothing is sent."""
        return self.recovery().active

    async def durability(self) -> dict[str, Any] | None:
        """Return how durable PostgreSQL's commits are, with a text for each way to lose one; None while
        PostgreSQL does not answer."""
        try:
            found = await within(_TIMEOUT_S, self.durability_of())
        except (TimeoutError, StoreUnavailableError):
            return None
        return {**asdict(found), "weaknesses": found.weaknesses()}

    def rails(self) -> dict[str, str]:
        """Return for each rail `ok`, `unconfirmed` when the operator has to confirm its account first, or for
        how long its breakers still refuse new orders."""
        return {name: self._status(name, rail) for name, rail in self.configured_rails.items()}

    def warnings(self) -> Sequence[tuple[str, str]]:
        """Return what works but waits for an operator, as (part of the service, text)."""
        return self.current_warnings()

    def notices(self) -> Sequence[Notice]:
        """Return what an operator should know although the service works."""
        return self.current_notices()

    def silent_rails(self) -> Sequence[tuple[str, int]]:
        """Return the rails whose callbacks do not arrive, each with the number of ends without one."""
        return self.current_silent_rails()

    def _status(self, name: str, rail: AccountRail) -> str:
        if rail.is_unconfirmed:
            return UNCONFIRMED
        refusals = [
            f"{operation.value} refused for {open_for_s:.0f} s"
            for operation in rail.capabilities.operations
            if (open_for_s := self.dispatch.open_for_s(name, operation)) is not None
        ]
        return ", ".join(refusals) or "ok"
