"""A policy round a block of code: `async for attempt in policy.attempts(): async with attempt: …`."""

import asyncio
from contextvars import Token
from types import TracebackType

from synccash.resilience._core.wiring import Parts
from synccash.resilience.deadline import Instant, current, instant_of
from synccash.resilience.errors import AttemptTimeoutError, CircuitOpenError


class Attempts:
    """The attempts of one block. The loop ends after the block ran through, or raises what it raised last."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._wait: float | None = 0.0
        self._last: Exception | None = None
        self._ticket = 0
        self._began = self._now = 0.0
        self._until: float | None = None
        self._scope: asyncio.Timeout | None = None
        self._token: Token[Instant | None] | None = None
        self.number = 0

    def __aiter__(self) -> "Attempts":
        return self

    async def __anext__(self) -> "Attempts":
        if self._wait is None:
            raise StopAsyncIteration
        if self._wait > 0:
            await self._parts.sleep(self._wait)
        self._now = self._parts.clock()
        if self.number == 0:
            self._began, self._until = self._now, self._parts.until(self._now)
        elif self._parts.judge.ends(self._last, self._now, self.number, self._began, self._until):
            last, self._last = self._last, None
            raise last or StopAsyncIteration
        self._wait = None
        return self

    async def __aenter__(self) -> int:
        """Begin the attempt; return its number, from 1."""
        try:
            self._ticket = self._parts.enter()
        except CircuitOpenError:
            last, self._last = self._last, None
            if last is None:
                raise
            self._parts.judge.refused(last, self._now, self.number, self._began)
            raise last from None
        self.number += 1
        limit = self._parts.limit(self._now, self._until)
        if self._parts.bulkhead is not None:
            try:
                await self._parts.bulkhead.acquire(limit)
            except BaseException:
                if self._parts.breaker is not None:
                    self._parts.breaker.drop(self._ticket)
                raise
            self._now = self._parts.clock()
        if limit is not None:
            self._token = current.set(instant_of(self._now + limit, self._parts.clock))
            if self._parts.interrupt:
                self._scope = asyncio.timeout(limit)
                await self._scope.__aenter__()
        return self.number

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if self._parts.bulkhead is not None:
            self._parts.bulkhead.release()
        if self._token is not None:
            current.reset(self._token)
            self._token = None
        timed_out: AttemptTimeoutError | None = None
        if self._scope is not None:
            scope, self._scope = self._scope, None
            try:
                await scope.__aexit__(kind, error, trace)
            except TimeoutError:
                timed_out = AttemptTimeoutError(
                    self._parts.name, self._parts.limit(self._now, self._until) or 0.0
                )
        caught = timed_out or error
        place = (self._ticket, self._now, self._parts.clock(), self.number, self._began)
        if caught is None:
            self._parts.judge.ran_through(*place)
            return False
        if not isinstance(caught, Exception):
            if self._parts.breaker is not None:
                self._parts.breaker.drop(self._ticket)
            return False
        self._wait = self._parts.judge.raised(caught, *place, self._until)
        if self._wait is None and timed_out is not None:
            raise timed_out from error
        self._last = caught if self._wait is not None else None
        return self._wait is not None
