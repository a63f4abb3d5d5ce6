"""Records when each API key was last used: in the background, in batches."""

import asyncio
import contextlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from synccash.payments.access import Credential
from synccash.payments.errors import StoreUnavailableError
from synccash.payments.ports import Clock

log = structlog.get_logger("synccash.keys")

WRITE_S = 60.0
"""Seconds between two writes. A key in use is looked up every few seconds, so this is the error of the time
that is shown."""
_LAST_WRITE_S = 2.0


class KeyStore(Protocol):
    """The API keys in the database."""

    async def credential(self, secret_hash: bytes) -> Credential | None: ...
    async def good(self) -> Collection[bytes]: ...
    async def record_use(self, seconds_ago: Mapping[str, float]) -> None: ...


@dataclass(slots=True)
class KeyUsage:
    """Live: one per process, between the cache of keys and their store.

    A key in use leaves the cache every few seconds and is looked up again, so lookups show which keys are in
    use, and a request costs nothing.
    """

    store: KeyStore
    clock: Clock
    _used: dict[str, float] = field(default_factory=dict[str, float])

    async def credential(self, secret_hash: bytes) -> Credential | None:
        """Return a valid key, and note its use; None for any other. Raises StoreUnavailableError."""
        found = await self.store.credential(secret_hash)
        if found is not None:
            self._used[found.principal.actor_id] = self.clock.monotonic()
        return found

    async def good(self) -> Collection[bytes]:
        """Return the hashes of valid keys. Raises StoreUnavailableError."""
        return await self.store.good()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self.clock.sleep(WRITE_S)
            await self.write()

    async def write(self) -> None:
        """Write the uses since the last write. While PostgreSQL is unreachable, keep them for the next."""
        if not self._used:
            return
        used, self._used = self._used, {}
        now = self.clock.monotonic()
        try:
            await self.store.record_use({key_id: now - at for key_id, at in used.items()})
        except StoreUnavailableError as error:
            self._used = used | self._used
            log.debug("key_use_not_recorded", reason=str(error))

    async def close(self) -> None:
        """Write what is left, within two seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WRITE_S):
                await self.write()
