"""A policy round a block of code: `async for attempt in policy.attempts(): async with attempt: …`."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Token
from types import TracebackType

from synccash.resilience.bulkhead import AsyncBulkhead
from synccash.resilience.circuit_breaker import CircuitBreaker
from synccash.resilience.deadline import Instant, current
from synccash.resilience.errors import AttemptTimeoutError
from synccash.resilience.judging import Judge


class Attempts:
    """The attempts of one block. The loop ends after the block ran through, or raises what it raised last."""

    def __init__(
        self,
        *,
        name: str,
        judge: Judge,
        breaker: CircuitBreaker | None,
        bulkhead: AsyncBulkhead | None,
        until: Callable[[float], float | None],
        limit: Callable[[float, float | None], float | None],
        interrupt: bool,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._name = name
        self._judge = judge
        self._breaker = breaker
        self._bulkhead = bulkhead
        self._until_of = until
        self._limit = limit
        self._interrupt = interrupt
        self._clock = clock
        self._sleep = sleep
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
            await self._sleep(self._wait)
        self._now = self._clock()
        if self.number == 0:
            self._began, self._until = self._now, self._until_of(self._now)
        elif self._judge.ends(self._last, self._now, self.number, self._began, self._until):
            last, self._last = self._last, None
            raise last or StopAsyncIteration
        self._wait = None
        return self

    async def __aenter__(self) -> int:
        """Begin the attempt; return its number, from 1."""
        self._ticket = 0 if self._breaker is None else self._breaker.enter()
        self.number += 1
        limit = self._limit(self._now, self._until)
        if self._bulkhead is not None:
            try:
                await self._bulkhead.acquire(limit)
            except BaseException:
                if self._breaker is not None:
                    self._breaker.drop(self._ticket)
                raise
            self._now = self._clock()
        if limit is not None:
            self._token = current.set((self._now + limit, self._clock))
            if self._interrupt:
                self._scope = asyncio.timeout(limit)
                await self._scope.__aenter__()
        return self.number

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if self._bulkhead is not None:
            self._bulkhead.release()
        if self._token is not None:
            current.reset(self._token)
            self._token = None
        timed_out: AttemptTimeoutError | None = None
        if self._scope is not None:
            scope, self._scope = self._scope, None
            try:
                await scope.__aexit__(kind, error, trace)
            except TimeoutError:
                timed_out = AttemptTimeoutError(self._name, self._limit(self._now, self._until) or 0.0)
        caught = timed_out or error
        place = (self._ticket, self._now, self._clock(), self.number, self._began, self._until)
        if caught is None:
            self._wait = self._judge.returned(None, *place)
            return False
        if not isinstance(caught, Exception):
            if self._breaker is not None:
                self._breaker.drop(self._ticket)
            return False
        self._wait = self._judge.raised(caught, *place)
        if self._wait is None and timed_out is not None:
            raise timed_out from error
        self._last = caught if self._wait is not None else None
        return self._wait is not None
