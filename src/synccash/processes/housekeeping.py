"""Deletes idempotency claims, removed webhook endpoints and ended approvals, and erases the personal data of
orders, after their retention; counts ended orders by minute. In batches; any number of processes may do it
at once."""

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, field

import structlog

from synccash.payments.errors import StoreUnavailableError
from synccash.stores.encryption import DecryptionError
from synccash.stores.postgres.operations.approvals import PostgresApprovals
from synccash.stores.postgres.operations.erasure import PostgresErasure
from synccash.stores.postgres.operations.removed_endpoints import PostgresRemovedEndpoints
from synccash.stores.postgres.operations.rollups import RollupStore
from synccash.stores.postgres.orders.claims import PostgresClaims

log = structlog.get_logger("synccash.housekeeping")

_BATCH = 500
_IDLE_PAUSE_S = 60.0
_BATCH_PAUSE_S = 0.2
_RETENTION_PAUSE_S = 3_600.0
ROLLUP_PAUSE_S = 10.0
"""Pause between two counts of ended orders, in seconds."""


@dataclass(slots=True)
class Housekeeping:
    """Deletes claims older than `retention_s` seconds in a loop. `swept` counts the deleted ones."""

    claims: PostgresClaims
    retention_s: float
    swept: int = 0
    _stopped: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Delete old claims until stopped. While PostgreSQL is unreachable, try again later."""
        while not self._stopped.is_set():
            swept = 0
            try:
                swept = await self.claims.sweep(older_than_s=self.retention_s, limit=_BATCH)
            except StoreUnavailableError as error:
                log.debug("sweep_put_off", reason=str(error))
            self.swept += swept
            await _pause(self._stopped, _BATCH_PAUSE_S if swept >= _BATCH else _IDLE_PAUSE_S)

    def stop(self) -> None:
        """Stop soon."""
        self._stopped.set()


@dataclass(slots=True)
class RetentionLoop:
    """Live: one per worker. Every hour erases the personal data of orders, and deletes removed webhook
    endpoints and ended approvals, that are older than the retention; `erased` and `deleted` count the orders
    and the endpoints."""

    erasure: PostgresErasure
    endpoints: PostgresRemovedEndpoints
    approvals: PostgresApprovals
    erased: int = 0
    deleted: int = 0
    _done: dict[str, str] = field(default_factory=lambda: {"payments": "", "payouts": ""})
    _stopped: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Erase until stopped. While PostgreSQL is unreachable, try again later."""
        while not self._stopped.is_set():
            try:
                await self.erase_old()
                await self.delete_endpoints()
                await self.delete_approvals()
            except (StoreUnavailableError, DecryptionError) as error:
                log.warning("retention_put_off", reason=str(error))
            await _pause(self._stopped, _RETENTION_PAUSE_S)

    def stop(self) -> None:
        """Stop soon."""
        self._stopped.set()

    async def erase_old(self) -> None:
        """Erase all that is due. A later run begins behind the orders that have all been erased."""
        for table, begin in self._done.items():
            after: str | None = begin
            is_complete = True
            while after is not None:
                erased, more, done = await self.erasure.erase_old(table, after=after, limit=_BATCH)
                self.erased += erased
                if is_complete:
                    self._done[table] = done
                is_complete = is_complete and done == more
                after = more
                if self._stopped.is_set():
                    return
                await _pause(self._stopped, _BATCH_PAUSE_S)
        if self.erased:
            log.info("personal_data_erased", orders=self.erased)

    async def delete_endpoints(self) -> None:
        """Delete all removed endpoints that are due."""
        async with aclosing(self.endpoints.delete_old()) as steps:
            async for deleted in steps:
                self.deleted += deleted
                if deleted:
                    log.info("removed_endpoints_deleted", endpoints=deleted)
                if self._stopped.is_set():
                    return
                await _pause(self._stopped, _BATCH_PAUSE_S)

    async def delete_approvals(self) -> None:
        """Delete all ended approvals that are due."""
        deleted = await self.approvals.delete_ended(older_than_days=self.endpoints.retention_days)
        if deleted:
            log.info("ended_approvals_deleted", approvals=deleted)


@dataclass(slots=True)
class RollupLoop:
    """Live: one per worker. Counts ended orders by minute, and deletes old counts. `counted` counts the
    orders."""

    store: RollupStore
    counted: int = 0
    _stopped: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Count until stopped. While PostgreSQL is unreachable, try again later."""
        while not self._stopped.is_set():
            has_more = False
            try:
                orders, has_more = await self.store.roll_up()
                self.counted += orders
                if not has_more:
                    await self.store.delete_old()
            except StoreUnavailableError as error:
                log.debug("rollup_put_off", reason=str(error))
            await _pause(self._stopped, _BATCH_PAUSE_S if has_more else ROLLUP_PAUSE_S)

    def stop(self) -> None:
        """Stop soon."""
        self._stopped.set()


async def _pause(stopped: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stopped.wait()
    except TimeoutError:
        return
