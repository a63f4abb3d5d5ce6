"""Seals the audit log in the background. Any number of processes may do it; one seals at a time."""

import asyncio
from dataclasses import dataclass, field

import structlog

from synccash.payments.errors import StoreUnavailableError
from synccash.stores.postgres.operations.audit_chain import PostgresAuditChain

log = structlog.get_logger("synccash.audit")
INTERVAL_S = 30.0


@dataclass(slots=True)
class AuditSealing:
    """Seals new entries in a loop. `seals` counts the seals of this process."""

    chain: PostgresAuditChain
    seals: int = 0
    _stopped: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Seal until stopped. While PostgreSQL is unreachable, try again later."""
        while not self._stopped.is_set():
            await self.seal()
            try:
                async with asyncio.timeout(INTERVAL_S):
                    await self._stopped.wait()
            except TimeoutError:
                continue

    async def seal(self) -> None:
        """Seal once, and log each seal: the log leaves the host, so it has heads that the database's owner
        cannot change."""
        try:
            made = await self.chain.seal()
        except StoreUnavailableError as error:
            log.debug("audit_seal_put_off", reason=str(error))
            return
        for seal in made:
            self.seals += 1
            log.info("audit_sealed", head=seal.head, entries=seal.row_count, last_position=seal.last_position)

    def stop(self) -> None:
        """Stop soon."""
        self._stopped.set()
