"""The first attempt of a call, in a single frame: nearly every call is good at once, and pays for no more.

A frame is made when its policy is, and holds the parts as its own: it tells the time, asks the breaker,
calls and counts. What follows trouble is decided by the judge and done by the loop.

A good and quick call is counted without the lock. That is exact: CPython lets another thread in at a call or
at a jump backwards, and between the look at the ticket and the last count there is neither.
"""

from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

from synccash.resilience._core.attempt_loop import Loop
from synccash.resilience._core.attempt_timeout import Watch
from synccash.resilience._core.decorating import NO_INTERRUPT
from synccash.resilience._core.wiring import COROUTINE, AsyncCall, Parts, SyncCall
from synccash.resilience.circuit_breaker import CircuitBreaker
from synccash.resilience.deadline import current
from synccash.resilience.verdict import Outcome

_OK = Outcome.OK
_outer, _hand_on, _take_back = current.get, current.set, current.reset


def async_call(parts: Parts) -> AsyncCall:
    """The frame of `await policy.call(…)`; a policy of rarer parts has its first attempt in the loop too."""
    loop = Loop(parts)
    if parts.bulkhead is not None or (parts.attempt_timeout is not None and not parts.interrupt):
        return loop.whole
    # A frame copies each of these at every call: what only trouble needs is reached through the loop.
    clock, breaker, budget = parts.clock, parts.breaker, parts.budget
    judged, total_s = parts.judged, parts.total_timeout
    asked = judged or parts.interrupt
    if breaker is not None and breaker.untimed and clock is monotonic and not asked:
        return _usual(loop, breaker, total_s)
    watch = Watch(parts.name, parts.shortest) if parts.interrupt else None

    async def call(fn: Callable[..., Awaitable[Any]], /, *args: Any, **kwargs: Any) -> Any:
        now = clock()
        until = None if total_s is None else now + total_s
        if _outer() is not None:
            if watch is not None:
                return await loop.whole(fn, *args, **kwargs)  # there, a limit may differ from call to call
            until = loop.parts.until(now)
        ticket = 0 if breaker is None else breaker.ticket or loop.parts.enter()
        token = None
        if until is not None:
            token = _hand_on(until if clock is monotonic else (until, clock))
        last = None
        try:
            try:
                if watch is None:
                    result = await (fn(*args, **kwargs) if kwargs else fn(*args))
                else:
                    with watch.scope():
                        result = await fn(*args, **kwargs)
            except Exception as error:
                wait = loop.parts.judge.raised(error, ticket, now, clock(), 1, now, until)
                if wait is None:
                    raise
                last, result = error, None
            except BaseException:
                # Cancelled from outside: it proves nothing, and its place must not stay taken.
                if breaker is not None:
                    breaker.drop(ticket)
                raise
            else:
                if judged:
                    wait = loop.parts.judge.returned(result, ticket, now, clock(), 1, now, until)
                    if wait is None:
                        return result
                else:
                    if breaker is not None:
                        ended = clock()
                        took = ended - now
                        if ticket == breaker.ticket and took < breaker.quick_s and ended < breaker.mark_at:
                            breaker.quick += 1
                            breaker.seconds += took
                        else:
                            breaker.leave(ticket, _OK, took)
                    budget.successes += 1
                    return result
            return await loop.rest(1, wait, last, result, now, until, fn, args, kwargs)
        finally:
            last = None  # an error that is kept here would keep this frame alive
            if token is not None:
                _take_back(token)

    return call


def _usual(loop: Loop, breaker: CircuitBreaker, total_s: float | None) -> AsyncCall:
    """The same for the commonest parts, with no question asked that they have answered."""
    clock, budget = monotonic, loop.parts.budget

    async def call(fn: Callable[..., Awaitable[Any]], /, *args: Any, **kwargs: Any) -> Any:
        now = clock()
        until = None if total_s is None else now + total_s
        if _outer() is not None:
            until = loop.parts.until(now)
        ticket = breaker.ticket or loop.parts.enter()
        token = None if until is None else _hand_on(until)
        last: Exception | None
        try:
            try:
                result = await (fn(*args, **kwargs) if kwargs else fn(*args))
            except Exception as error:
                wait = loop.parts.judge.raised(error, ticket, now, clock(), 1, now, until)
                if wait is None:
                    raise
                last = error
            except BaseException:
                breaker.drop(ticket)
                raise
            else:
                took = clock() - now
                if ticket == breaker.ticket and took < breaker.quick_s:
                    breaker.quick += 1
                    breaker.seconds += took
                else:
                    breaker.leave(ticket, _OK, took)
                budget.successes += 1
                return result
            return await loop.rest(1, wait, last, None, now, until, fn, args, kwargs)
        finally:
            last = None
            if token is not None:
                _take_back(token)

    return call


def sync_call(parts: Parts) -> SyncCall:
    """The frame of `policy.call_sync(…)`, for any thread."""
    if parts.interrupt:
        return _refusing(parts)
    loop = Loop(parts)
    if parts.thread_bulkhead is not None or parts.attempt_timeout is not None:
        return loop.whole_sync
    clock, breaker, budget = parts.clock, parts.breaker, parts.budget
    judged, total_s = parts.judged, parts.total_timeout

    def call(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        now = clock()
        until = None if total_s is None else now + total_s
        if _outer() is not None:
            until = loop.parts.until(now)
        ticket = 0 if breaker is None else breaker.ticket or loop.parts.enter()
        token = None
        if until is not None:
            token = _hand_on(until if clock is monotonic else (until, clock))
        last = None
        try:
            try:
                result = fn(*args, **kwargs) if kwargs else fn(*args)
            except Exception as error:
                with budget.lock:
                    wait = loop.parts.judge.raised(error, ticket, now, clock(), 1, now, until)
                if wait is None:
                    raise
                last, result = error, None
            except BaseException:
                if breaker is not None:
                    breaker.drop(ticket)
                raise
            else:
                if type(result) is COROUTINE:
                    raise loop.parts.not_made(result, ticket)
                if judged:
                    with budget.lock:
                        wait = loop.parts.judge.returned(result, ticket, now, clock(), 1, now, until)
                    if wait is None:
                        return result
                else:
                    if breaker is not None:
                        ended = clock()
                        took = ended - now
                        if ticket == breaker.ticket and took < breaker.quick_s and ended < breaker.mark_at:
                            breaker.quick += 1
                            breaker.seconds += took
                        else:
                            breaker.leave(ticket, _OK, took)
                    budget.successes += 1
                    return result
            return loop.rest_sync(1, wait, last, result, now, until, fn, args, kwargs)
        finally:
            if token is not None:
                _take_back(token)
            last = None

    return call


def _refusing(parts: Parts) -> SyncCall:
    def call(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG001
        raise TypeError(f"{parts.name}: {NO_INTERRUPT}")

    return call
