"""Caches the access token of one product, renews it before it expires, and requests it once at a time."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from synccash.payments.causes import Cause
from synccash.payments.failure import Failure
from synccash.rails.pacer import Clock
from synccash.resilience.evidence import Evidence
from synccash.settings.secret import Secret


@dataclass(frozen=True, slots=True)
class Granted:
    """A token as the rail granted it. `lifetime_s` counts from when it was asked for."""

    text: Secret
    lifetime_s: float


@dataclass(frozen=True, slots=True)
class NotGranted:
    """The reason why there is no token, reported for the request that needed it.

    `evidence` is what is known of that request: it was not sent, or was rejected because of its former token.
    """

    failure: Failure
    provider_code: str
    retry_after_s: float | None = None
    evidence: Evidence = Evidence.NOT_SENT
    cause: Cause | None = field(default=None, compare=False)


@dataclass(slots=True)
class Token:
    """A token with its times on the monotonic clock."""

    text: Secret
    renew_at: float
    ends_at: float


Ask = Callable[[float], Awaitable[Granted | NotGranted]]
"""Asks the rail for a token within so many seconds."""

_RENEW_AGAIN_S = 10.0


class BearerTokens:
    """Requests and renews the access token of one product.

    `renew_before_s`: how long before its end a token is renewed, at most half of its life. While the old
    token is valid, a renewal that fails or hangs delays only the caller that requests it.
    """

    def __init__(self, ask: Ask, clock: Clock, *, renew_before_s: float) -> None:
        self._ask = ask
        self._clock = clock
        self._renew_before_s = renew_before_s
        self._lock = asyncio.Lock()
        self._held: Token | None = None
        self._last: Token | NotGranted | None = None
        self._rounds = 0

    async def get(self, timeout_s: float) -> Token | NotGranted | None:
        """Return a token that is good now, or why there is none; None where the time ran out."""
        held = self._good()
        if held is not None and (self._clock.monotonic() < held.renew_at or self._lock.locked()):
            return held
        rounds = self._rounds
        began = self._clock.monotonic()
        try:
            async with asyncio.timeout(timeout_s):
                await self._lock.acquire()
        except TimeoutError:
            return None
        try:
            # If another caller renewed the token while this one waited, both share the result.
            if self._rounds == rounds:
                self._last = await self._renewed(timeout_s - (self._clock.monotonic() - began))
                self._rounds += 1
            return self._last
        finally:
            self._lock.release()

    def discard(self, token: Token) -> None:
        """Forget a token that the rail no longer takes; a newer one stays."""
        if self._held is token:
            self._held = None

    def _good(self) -> Token | None:
        held = self._held
        return held if held is not None and self._clock.monotonic() < held.ends_at else None

    async def _renewed(self, timeout_s: float) -> Token | NotGranted:
        asked_at = self._clock.monotonic()
        granted = await self._ask(timeout_s)
        if isinstance(granted, NotGranted):
            held = self._good()
            if held is None:
                return granted
            held.renew_at = self._clock.monotonic() + _RENEW_AGAIN_S
            return held
        ends_at = asked_at + granted.lifetime_s
        early_s = min(self._renew_before_s, granted.lifetime_s / 2)
        self._held = Token(granted.text, ends_at - early_s, ends_at)
        return self._held
