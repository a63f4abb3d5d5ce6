"""The loop of attempts, for every policy: what comes after a first attempt that failed, or all of them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from synccash.resilience._core.wiring import COROUTINE, Parts
from synccash.resilience.deadline import current, instant_of
from synccash.resilience.errors import AttemptTimeoutError, CircuitOpenError


class Loop:
    """Makes attempts until one is good enough or the judge has heard enough.

    `rest` goes on after `made` attempts, of which the last ended in `last` or `result`: it waits for `wait`
    seconds, looks again whether there is to be another one, and makes it. Nothing was made with `made=0`.
    """

    __slots__ = ("parts",)

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    async def whole(self, fn: Callable[..., Awaitable[Any]], /, *args: Any, **kwargs: Any) -> Any:
        """All attempts of one call."""
        parts = self.parts
        began = parts.clock()
        until = parts.until(began)
        token = None if until is None else current.set(instant_of(until, parts.clock))
        try:
            return await self.rest(0, 0.0, None, None, began, until, fn, args, kwargs)
        finally:
            if token is not None:
                current.reset(token)

    async def rest(
        self,
        made: int,
        wait: float,
        last: Exception | None,
        result: Any,
        began: float,
        until: float | None,
        fn: Callable[..., Awaitable[Any]],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Further attempts, within the deadline that the caller has set."""
        parts = self.parts
        clock, judge = parts.clock, parts.judge
        now = began
        try:
            while True:
                if made:
                    if wait > 0:
                        await parts.sleep(wait)
                    now = clock()
                    if judge.ends(last, now, made, began, until):
                        if last is not None:
                            raise last
                        return result
                try:
                    ticket = parts.enter()
                except CircuitOpenError:
                    if not made:
                        raise
                    judge.refused(last, now, made, began)
                    if last is not None:
                        raise last from None
                    return result
                made += 1
                try:
                    if parts.bulkhead is not None:
                        await parts.bulkhead.acquire(None if until is None else until - now)
                        now = clock()
                    result = await self._attempt(now, until, fn, args, kwargs)
                except Exception as error:
                    again = judge.raised(error, ticket, now, clock(), made, began, until)
                    if again is None:
                        raise
                    last = error
                except BaseException:
                    # Cancelled from outside: it proves nothing, and its place must not stay taken.
                    if parts.breaker is not None:
                        parts.breaker.drop(ticket)
                    raise
                else:
                    again = judge.returned(result, ticket, now, clock(), made, began, until)
                    if again is None:
                        return result
                    last = None
                wait = again
        finally:
            last = None  # an error that is kept here would keep this frame alive

    async def _attempt(
        self,
        now: float,
        until: float | None,
        fn: Callable[..., Awaitable[Any]],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """One attempt with a limit of its own, in a place of the bulkhead that is taken already."""
        parts = self.parts
        limit = parts.limit(now, until)
        try:
            if limit is None:
                return await fn(*args, **kwargs)
            if not parts.interrupt:
                token = current.set(instant_of(now + limit, parts.clock))
                try:
                    return await fn(*args, **kwargs)
                finally:
                    current.reset(token)
            scope = asyncio.timeout(limit)
            try:
                async with scope:
                    return await fn(*args, **kwargs)
            except TimeoutError as error:
                if not scope.expired():
                    raise
                raise AttemptTimeoutError(parts.name, limit) from error
        finally:
            if parts.bulkhead is not None:
                parts.bulkhead.release()

    def whole_sync(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """All attempts of one call of a plain function."""
        parts = self.parts
        began = parts.clock()
        until = parts.until(began)
        token = None if until is None else current.set(instant_of(until, parts.clock))
        try:
            return self.rest_sync(0, 0.0, None, None, began, until, fn, args, kwargs)
        finally:
            if token is not None:
                current.reset(token)

    def rest_sync(
        self,
        made: int,
        wait: float,
        last: Exception | None,
        result: Any,
        began: float,
        until: float | None,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """The same in a thread: what it tells the judge is told under the budget's lock."""
        parts = self.parts
        clock, judge = parts.clock, parts.judge
        now = began
        try:
            while True:
                if made:
                    if wait > 0:
                        parts.sleep_sync(wait)
                    now = clock()
                    with parts.budget.lock:
                        ends = judge.ends(last, now, made, began, until)
                    if ends:
                        if last is not None:
                            raise last
                        return result
                try:
                    ticket = parts.enter()
                except CircuitOpenError:
                    if not made:
                        raise
                    with parts.budget.lock:
                        judge.refused(last, now, made, began)
                    if last is not None:
                        raise last from None
                    return result
                made += 1
                try:
                    if parts.thread_bulkhead is not None:
                        parts.thread_bulkhead.acquire(None if until is None else until - now)
                        now = clock()
                    result = self._attempt_sync(now, until, fn, args, kwargs)
                except Exception as error:
                    with parts.budget.lock:
                        again = judge.raised(error, ticket, now, clock(), made, began, until)
                    if again is None:
                        raise
                    last = error
                except BaseException:
                    if parts.breaker is not None:
                        parts.breaker.drop(ticket)
                    raise
                else:
                    if type(result) is COROUTINE:
                        raise parts.not_made(result, ticket)
                    with parts.budget.lock:
                        again = judge.returned(result, ticket, now, clock(), made, began, until)
                    if again is None:
                        return result
                    last = None
                wait = again
        finally:
            last = None

    def _attempt_sync(
        self,
        now: float,
        until: float | None,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        parts = self.parts
        limit = parts.limit(now, until)
        token = None if limit is None else current.set(instant_of(now + limit, parts.clock))
        try:
            return fn(*args, **kwargs)
        finally:
            if token is not None:
                current.reset(token)
            if parts.thread_bulkhead is not None:
                parts.thread_bulkhead.release()
