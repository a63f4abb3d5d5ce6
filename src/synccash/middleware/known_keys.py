"""Caches API keys in the process: few requests reach the store, and guessed keys cannot load it."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Protocol

from synccash.middleware.refusal import Refusal
from synccash.resilience.client_address import Network

_MAX_KEYS = 10_000
_MAX_LOOKUPS = 4


class Caller(Protocol):
    """Who uses a key."""

    @property
    def scopes(self) -> Collection[str]:
        """What the caller may do."""
        ...


class ValidKey(Protocol):
    """A key that was valid when it was looked up."""

    @property
    def principal(self) -> Caller:
        """Who uses the key."""
        ...

    @property
    def expires_in_s(self) -> float | None:
        """Seconds from the lookup until the key expires; None if it never does."""
        ...

    @property
    def networks(self) -> tuple[Network, ...]:
        """The client addresses that may use the key; empty for all."""
        ...


class ApiKeyStore(Protocol):
    """The API keys, by the SHA-256 of their secrets. Its errors are answered as unavailable."""

    async def credential(self, secret_hash: bytes) -> ValidKey | None:
        """Return a valid key; None when it does not exist, has expired or was revoked."""
        ...

    async def good(self) -> Collection[bytes]:
        """Return the hashes of the keys that are valid now, as many as a process can keep."""
        ...


LookupCheck = Callable[[], Awaitable[Refusal | None]]
"""Decides whether a key that was never valid in this process may be looked up: None, or the refusal."""


@dataclass(slots=True)
class KnownKeys:
    """Caches which API keys are valid. One per process, for one event loop.

    A valid key is cached for `valid_s` seconds, so a revoked one may pass for that long; a key that expires
    is cached no longer than until then. An unknown key is refused without a lookup for `invalid_s`, so one
    that was tried before it was created works that much later.

    A key that was valid here before is always looked up. For any other key the `LookupCheck` decides, by the
    sender's address. When it refuses, the key is compared with all valid keys, which are fetched at most once
    in `valid_s`. So guessing keys does not reach the store, and does not lock out a caller who sends a
    valid key from the same address.
    """

    keyring: ApiKeyStore
    valid_s: float = 5.0
    invalid_s: float = 2.0
    clock: Callable[[], float] = time.monotonic
    _valid: OrderedDict[bytes, tuple[float, ValidKey]] = field(
        default_factory=OrderedDict[bytes, tuple[float, ValidKey]]
    )
    _invalid: OrderedDict[bytes, float] = field(default_factory=OrderedDict[bytes, float])
    _all_valid: Collection[bytes] = frozenset()
    _all_valid_at: float | None = None
    _fetching_all: asyncio.Lock = field(default_factory=asyncio.Lock)
    _lookups: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_MAX_LOOKUPS))
    _running: dict[bytes, asyncio.Task[Any]] = field(default_factory=dict[bytes, asyncio.Task[Any]])

    async def find(self, secret_hash: bytes, check: LookupCheck) -> ValidKey | Refusal | None:
        """Return the key; None for an unknown one; the Refusal when no lookup is allowed.

        Raises the errors of the store.
        """
        known = self._valid.get(secret_hash)
        if known is not None and known[0] > self.clock():
            return known[1]
        if self._invalid.get(secret_hash, 0.0) > self.clock():
            return None
        task = self._running.get(secret_hash)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._look_up(secret_hash, check), name="key")
            self._running[secret_hash] = task
            task.add_done_callback(lambda done: self._ended(secret_hash, done))
        # Requests with the same key share one lookup, which goes on when one of them is cancelled.
        return await asyncio.shield(task)

    def _ended(self, secret_hash: bytes, task: asyncio.Task[Any]) -> None:
        del self._running[secret_hash]
        if not task.cancelled():
            task.exception()  # retrieved, so asyncio does not log it when every waiter was cancelled

    async def _look_up(self, secret_hash: bytes, check: LookupCheck) -> ValidKey | Refusal | None:
        if secret_hash in self._valid:
            return await self._read(secret_hash)
        refusal = await check()
        if refusal is not None and not await self._is_any_valid_key(secret_hash):
            return refusal
        # The check limits each address; this limits lookups from many addresses together.
        async with self._lookups:
            return await self._read(secret_hash)

    async def _is_any_valid_key(self, secret_hash: bytes) -> bool:
        """Tell whether the key is one of all valid keys, also one that this process has not seen."""
        async with self._fetching_all:
            now = self.clock()
            if self._all_valid_at is None or now >= self._all_valid_at + self.valid_s:
                self._all_valid_at = now
                self._all_valid = await self.keyring.good()
        return secret_hash in self._all_valid

    async def _read(self, secret_hash: bytes) -> ValidKey | None:
        # The expiry counts from before the lookup, so that a slow answer prolongs no key.
        began = self.clock()
        found = await self.keyring.credential(secret_hash)
        now = self.clock()
        if found is None:
            self._valid.pop(secret_hash, None)
            _put(self._invalid, secret_hash, now + self.invalid_s)
            return None
        until = now + self.valid_s
        if found.expires_in_s is not None:
            until = min(until, began + found.expires_in_s)
        _put(self._valid, secret_hash, (until, found))
        return found


def _put(cache: OrderedDict[bytes, Any], secret_hash: bytes, value: Any) -> None:
    cache[secret_hash] = value
    cache.move_to_end(secret_hash)
    if len(cache) > _MAX_KEYS:
        cache.popitem(last=False)
