"""Deletes idempotency claims after their retention, in batches. Any number of processes may do it at once."""

import asyncio
from dataclasses import dataclass, field

import structlog

from synccash.payments.errors import StoreUnavailableError
from synccash.stores.postgres.claims import PostgresClaims

log = structlog.get_logger("synccash.housekeeping")

_BATCH = 500
_IDLE_PAUSE_S = 60.0
_BATCH_PAUSE_S = 0.2


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
            await self._pause(_BATCH_PAUSE_S if swept >= _BATCH else _IDLE_PAUSE_S)

    def stop(self) -> None:
        """Stop soon."""
        self._stopped.set()

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopped.wait()
        except TimeoutError:
            return
