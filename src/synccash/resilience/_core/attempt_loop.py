"""The retry loop of a policy, for coroutines and for plain functions."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from synccash.resilience._core.wiring import COROUTINE_TYPE, PolicyParts
from synccash.resilience.deadline import current_deadline, to_instant
from synccash.resilience.errors import AttemptTimeoutError, CircuitOpenError


class AttemptLoop:
    """Makes attempts until one succeeds or the RetryDecider stops.

    `run` makes all attempts of a call. `resume` continues a call after `attempts` attempts, the last of which
    ended in `last_error` or `result`: it waits `wait_s` seconds, checks again whether another attempt is
    allowed, and makes it. `attempts=0` means that no attempt was made yet. Times are seconds of the policy's
    clock; `deadline_at` is None without a deadline.
    """

    __slots__ = ("parts",)

    def __init__(self, parts: PolicyParts) -> None:
        self.parts = parts

    async def run(self, fn: Callable[..., Awaitable[Any]], /, *args: Any, **kwargs: Any) -> Any:
        """Make all attempts of one call. Raises DeadlineExceededError."""
        parts = self.parts
        call_start = parts.clock()
        deadline_at = parts.deadline_at(call_start)
        token = None if deadline_at is None else current_deadline.set(to_instant(deadline_at, parts.clock))
        try:
            return await self.resume(0, 0.0, None, None, call_start, deadline_at, fn, args, kwargs)
        finally:
            if token is not None:
                current_deadline.reset(token)

    async def resume(
        self,
        attempts: int,
        wait_s: float,
        last_error: Exception | None,
        result: Any,
        call_start: float,
        deadline_at: float | None,
        fn: Callable[..., Awaitable[Any]],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Make the remaining attempts of a call whose deadline is already in `current_deadline`."""
        parts = self.parts
        clock, decider = parts.clock, parts.decider
        attempt_start = call_start
        try:
            while True:
                if attempts:
                    if wait_s > 0:
                        await parts.sleep(wait_s)
                    attempt_start = clock()
                    if decider.stops_after_wait(last_error, attempt_start, attempts, call_start, deadline_at):
                        if last_error is not None:
                            raise last_error
                        return result
                try:
                    permit = parts.acquire_permit()
                except CircuitOpenError:
                    if not attempts:
                        raise
                    decider.after_refusal(last_error, attempt_start, attempts, call_start)
                    if last_error is not None:
                        raise last_error from None
                    return result
                attempts += 1
                try:
                    if parts.bulkhead is not None:
                        await parts.bulkhead.acquire(
                            None if deadline_at is None else deadline_at - attempt_start
                        )
                        attempt_start = clock()
                    result = await self._attempt(attempt_start, deadline_at, fn, args, kwargs)
                except Exception as error:
                    next_wait_s = decider.after_error(
                        error, permit, attempt_start, clock(), attempts, call_start, deadline_at
                    )
                    if next_wait_s is None:
                        raise
                    last_error = error
                except BaseException:
                    # A cancelled call says nothing about the dependency, and must not keep a probe slot.
                    if parts.breaker is not None:
                        parts.breaker.release(permit)
                    raise
                else:
                    next_wait_s = decider.after_result(
                        result, permit, attempt_start, clock(), attempts, call_start, deadline_at
                    )
                    if next_wait_s is None:
                        return result
                    last_error = None
                wait_s = next_wait_s
        finally:
            last_error = None  # breaks the reference cycle between this frame and the error's traceback

    async def _attempt(
        self,
        attempt_start: float,
        deadline_at: float | None,
        fn: Callable[..., Awaitable[Any]],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Make one attempt with its own time limit. Releases the bulkhead slot that the caller acquired."""
        parts = self.parts
        limit_s = parts.attempt_limit(attempt_start, deadline_at)
        try:
            if limit_s is None:
                return await fn(*args, **kwargs)
            if not parts.interrupt:
                token = current_deadline.set(to_instant(attempt_start + limit_s, parts.clock))
                try:
                    return await fn(*args, **kwargs)
                finally:
                    current_deadline.reset(token)
            scope = asyncio.timeout(limit_s)
            try:
                async with scope:
                    return await fn(*args, **kwargs)
            except TimeoutError as error:
                if not scope.expired():
                    raise
                raise AttemptTimeoutError(parts.name, limit_s) from error
        finally:
            if parts.bulkhead is not None:
                parts.bulkhead.release()

    def run_sync(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Make all attempts of one call of a plain function. Raises DeadlineExceededError."""
        parts = self.parts
        call_start = parts.clock()
        deadline_at = parts.deadline_at(call_start)
        token = None if deadline_at is None else current_deadline.set(to_instant(deadline_at, parts.clock))
        try:
            return self.resume_sync(0, 0.0, None, None, call_start, deadline_at, fn, args, kwargs)
        finally:
            if token is not None:
                current_deadline.reset(token)

    def resume_sync(
        self,
        attempts: int,
        wait_s: float,
        last_error: Exception | None,
        result: Any,
        call_start: float,
        deadline_at: float | None,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Like `resume`, for a plain function in any thread: the decider runs under the budget's lock."""
        parts = self.parts
        clock, decider = parts.clock, parts.decider
        attempt_start = call_start
        try:
            while True:
                if attempts:
                    if wait_s > 0:
                        parts.sleep_sync(wait_s)
                    attempt_start = clock()
                    with parts.budget.lock:
                        stops = decider.stops_after_wait(
                            last_error, attempt_start, attempts, call_start, deadline_at
                        )
                    if stops:
                        if last_error is not None:
                            raise last_error
                        return result
                try:
                    permit = parts.acquire_permit()
                except CircuitOpenError:
                    if not attempts:
                        raise
                    with parts.budget.lock:
                        decider.after_refusal(last_error, attempt_start, attempts, call_start)
                    if last_error is not None:
                        raise last_error from None
                    return result
                attempts += 1
                try:
                    if parts.thread_bulkhead is not None:
                        parts.thread_bulkhead.acquire(
                            None if deadline_at is None else deadline_at - attempt_start
                        )
                        attempt_start = clock()
                    result = self._attempt_sync(attempt_start, deadline_at, fn, args, kwargs)
                except Exception as error:
                    with parts.budget.lock:
                        next_wait_s = decider.after_error(
                            error, permit, attempt_start, clock(), attempts, call_start, deadline_at
                        )
                    if next_wait_s is None:
                        raise
                    last_error = error
                except BaseException:
                    if parts.breaker is not None:
                        parts.breaker.release(permit)
                    raise
                else:
                    if type(result) is COROUTINE_TYPE:
                        raise parts.coroutine_error(result, permit)
                    with parts.budget.lock:
                        next_wait_s = decider.after_result(
                            result, permit, attempt_start, clock(), attempts, call_start, deadline_at
                        )
                    if next_wait_s is None:
                        return result
                    last_error = None
                wait_s = next_wait_s
        finally:
            last_error = None

    def _attempt_sync(
        self,
        attempt_start: float,
        deadline_at: float | None,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        parts = self.parts
        limit_s = parts.attempt_limit(attempt_start, deadline_at)
        token = (
            None
            if limit_s is None
            else current_deadline.set(to_instant(attempt_start + limit_s, parts.clock))
        )
        try:
            return fn(*args, **kwargs)
        finally:
            if token is not None:
                current_deadline.reset(token)
            if parts.thread_bulkhead is not None:
                parts.thread_bulkhead.release()
