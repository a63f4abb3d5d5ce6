"""What one process knows of API keys, so that few requests ask the store and no stranger can make it work."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Protocol

from synccash.middleware.refusal import Refusal

_MOST = 10_000
_LOOKUPS = 4


class ApiKeyStore(Protocol):
    """The keys, by the SHA-256 of their secrets. What it raises is answered as unavailable."""

    async def principal(self, secret_hash: bytes) -> Any | None:
        """Who holds a key; None where it does not exist or was revoked."""
        ...

    async def good(self) -> Collection[bytes]:
        """The hashes of the keys that are good now, as many as a process can keep."""
        ...


Stranger = Callable[[], Awaitable[Refusal | None]]
"""Whether the sender of a key that was never seen here may have it looked up: None, or why not."""


@dataclass(slots=True)
class KnownKeys:
    """Live: one per process, for one event loop.

    A good key is believed for `good_s` seconds, so a revoked one may pass for that long; an unknown one is
    refused without asking for `bad_s`, so a key that was tried before it was made works that much later. A
    key that was good here once is always looked up. One that never was is a stranger's: its sender has to
    have leave; without leave it is held against all good keys, which are fetched at most once in `good_s`.
    So whoever guesses keys is stopped before the store, and nobody who holds one is stopped with him.
    """

    keyring: ApiKeyStore
    good_s: float = 5.0
    bad_s: float = 2.0
    clock: Callable[[], float] = time.monotonic
    _good: OrderedDict[bytes, tuple[float, Any]] = field(
        default_factory=OrderedDict[bytes, tuple[float, Any]]
    )
    _bad: OrderedDict[bytes, float] = field(default_factory=OrderedDict[bytes, float])
    _vouched: Collection[bytes] = frozenset()
    _vouched_at: float | None = None
    _vouching: asyncio.Lock = field(default_factory=asyncio.Lock)
    _lookups: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_LOOKUPS))
    _asking: dict[bytes, asyncio.Task[Any]] = field(default_factory=dict[bytes, asyncio.Task[Any]])

    async def find(self, secret_hash: bytes, stranger: Stranger) -> Any | Refusal | None:
        """The principal; None for an unknown key; a Refusal where nobody was asked. Raises what it raises."""
        known = self._good.get(secret_hash)
        if known is not None and known[0] > self.clock():
            return known[1]
        if self._bad.get(secret_hash, 0.0) > self.clock():
            return None
        task = self._asking.get(secret_hash)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._find(secret_hash, stranger), name="key")
            self._asking[secret_hash] = task
            task.add_done_callback(lambda done: self._asked(secret_hash, done))
        # Those who ask for the same key wait for one answer; one of them who leaves takes it from nobody.
        return await asyncio.shield(task)

    def _asked(self, secret_hash: bytes, task: asyncio.Task[Any]) -> None:
        del self._asking[secret_hash]
        if not task.cancelled():
            task.exception()  # its askers may all have left: an error that nobody sees is no news

    async def _find(self, secret_hash: bytes, stranger: Stranger) -> Any | Refusal | None:
        if secret_hash in self._good:
            return self._remembered(secret_hash, await self.keyring.principal(secret_hash))
        refusal = await stranger()
        if refusal is not None and not await self._is_vouched(secret_hash):
            return refusal
        # Senders from a thousand addresses have leave together: they wait for each other, not the store.
        async with self._lookups:
            return self._remembered(secret_hash, await self.keyring.principal(secret_hash))

    async def _is_vouched(self, secret_hash: bytes) -> bool:
        async with self._vouching:
            now = self.clock()
            if self._vouched_at is None or now >= self._vouched_at + self.good_s:
                self._vouched_at = now
                self._vouched = await self.keyring.good()
        return secret_hash in self._vouched

    def _remembered(self, secret_hash: bytes, principal: Any | None) -> Any | None:
        now = self.clock()
        if principal is None:
            self._good.pop(secret_hash, None)
            _put(self._bad, secret_hash, now + self.bad_s)
        else:
            _put(self._good, secret_hash, (now + self.good_s, principal))
        return principal


def _put(kept: OrderedDict[bytes, Any], secret_hash: bytes, value: Any) -> None:
    kept[secret_hash] = value
    kept.move_to_end(secret_hash)
    if len(kept) > _MOST:
        kept.popitem(last=False)
