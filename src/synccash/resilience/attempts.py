"""Runs a block of code under a policy: `async for attempt in policy.attempts(): async with attempt: …`."""

import asyncio
from contextvars import Token
from types import TracebackType

from synccash.resilience._core.wiring import PolicyParts
from synccash.resilience.deadline import Instant, current_deadline, to_instant
from synccash.resilience.errors import AttemptTimeoutError, CircuitOpenError


class Attempts:
    """The attempts at one block of code. The loop ends when the block ends without an exception, or raises
    the last exception of the block.
    """

    def __init__(self, parts: PolicyParts) -> None:
        self._parts = parts
        self._wait_s: float | None = 0.0
        self._last_error: Exception | None = None
        self._permit = 0
        self._call_start = self._attempt_start = 0.0
        self._deadline_at: float | None = None
        self._timeout: asyncio.Timeout | None = None
        self._token: Token[Instant | None] | None = None
        self.number = 0

    def __aiter__(self) -> "Attempts":
        return self

    async def __anext__(self) -> "Attempts":
        if self._wait_s is None:
            raise StopAsyncIteration
        if self._wait_s > 0:
            await self._parts.sleep(self._wait_s)
        self._attempt_start = self._parts.clock()
        if self.number == 0:
            self._call_start, self._deadline_at = (
                self._attempt_start,
                self._parts.deadline_at(self._attempt_start),
            )
        elif self._parts.decider.stops_after_wait(
            self._last_error, self._attempt_start, self.number, self._call_start, self._deadline_at
        ):
            last, self._last_error = self._last_error, None
            raise last or StopAsyncIteration
        self._wait_s = None
        return self

    async def __aenter__(self) -> int:
        """Start the attempt. Returns its number, from 1. Raises CircuitOpenError and BulkheadFullError."""
        try:
            self._permit = self._parts.acquire_permit()
        except CircuitOpenError:
            last, self._last_error = self._last_error, None
            if last is None:
                raise
            self._parts.decider.after_refusal(last, self._attempt_start, self.number, self._call_start)
            raise last from None
        self.number += 1
        limit_s = self._parts.attempt_limit(self._attempt_start, self._deadline_at)
        if self._parts.bulkhead is not None:
            try:
                await self._parts.bulkhead.acquire(limit_s)
            except BaseException:
                if self._parts.breaker is not None:
                    self._parts.breaker.release(self._permit)
                raise
            self._attempt_start = self._parts.clock()
        if limit_s is not None:
            self._token = current_deadline.set(to_instant(self._attempt_start + limit_s, self._parts.clock))
            if self._parts.interrupt:
                self._timeout = asyncio.timeout(limit_s)
                await self._timeout.__aenter__()
        return self.number

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if self._parts.bulkhead is not None:
            self._parts.bulkhead.release()
        if self._token is not None:
            current_deadline.reset(self._token)
            self._token = None
        timed_out: AttemptTimeoutError | None = None
        if self._timeout is not None:
            scope, self._timeout = self._timeout, None
            try:
                await scope.__aexit__(kind, error, trace)
            except TimeoutError:
                timed_out = AttemptTimeoutError(
                    self._parts.name, self._parts.attempt_limit(self._attempt_start, self._deadline_at) or 0.0
                )
        caught = timed_out or error
        measured = (self._permit, self._attempt_start, self._parts.clock(), self.number, self._call_start)
        if caught is None:
            self._parts.decider.after_block(*measured)
            return False
        if not isinstance(caught, Exception):
            if self._parts.breaker is not None:
                self._parts.breaker.release(self._permit)
            return False
        self._wait_s = self._parts.decider.after_error(caught, *measured, self._deadline_at)
        if self._wait_s is None and timed_out is not None:
            raise timed_out from error
        self._last_error = caught if self._wait_s is not None else None
        return self._wait_s is not None
