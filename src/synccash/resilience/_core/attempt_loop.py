"""Builds the functions behind `Policy.call` and `Policy.call_sync`: all attempts of a call, in one frame.

The attempt is written once for coroutines and once for plain functions. `Policy.attempts()` runs the former,
and a decorated function calls one of them. Most calls succeed at once, so a first attempt costs one frame: it
reads the clock, acquires a permit, calls and counts. After a failure the RetryDecider decides.

A fast success is counted without a lock. The counts stay exact because CPython switches threads only at calls
and at backward jumps, and there is neither between the check of the permit and the last count. The package
refuses to start on a build without the GIL.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from synccash.resilience._core.deadline_cell import DeadlineCell, current_deadline, end_deadline
from synccash.resilience._core.decorating import NO_INTERRUPT
from synccash.resilience._core.misuse import LAZY_RESULTS, require_asyncio
from synccash.resilience._core.retry_decision import CallProgress
from synccash.resilience._core.wiring import AsyncCall, PolicyParts, SyncCall
from synccash.resilience.verdict import Outcome

_OK = Outcome.OK
_get_deadline, _set_deadline, _reset_deadline = (
    current_deadline.get,
    current_deadline.set,
    current_deadline.reset,
)


def build_async_call(parts: PolicyParts) -> AsyncCall:
    """Return the function behind `policy.call`."""
    # Each variable costs time at every call, and from 512 bytes on Python allocates memory for the coroutine
    # 0.2 µs slower. So what only a failure or a rare part needs is read from `parts`.
    clock, breaker, budget = parts.clock, parts.breaker, parts.budget
    total_s, classifies = parts.total_timeout, parts.classifies
    # False at first, because the other branch also checks once that an asyncio event loop runs.
    is_plain = False

    async def call(fn: Callable[..., Awaitable[Any]], /, *args: Any, **kwargs: Any) -> Any:
        nonlocal is_plain
        started_at = clock()
        deadline_at = None if total_s is None else started_at + total_s
        outer = _get_deadline()
        if outer is not None:
            if outer[0] is None:
                outer = None  # an ended deadline: see end_deadline
            else:
                outer, deadline_at = parts.nest(outer, started_at, deadline_at)
        permit = 0 if breaker is None else breaker.closed_permit or parts.acquire_permit()
        progress = None
        try:
            while True:
                try:
                    if not is_plain:
                        if parts.start is not None:
                            progress = progress or CallProgress(started_at)
                            await parts.start(started_at, deadline_at)
                            started_at = clock()
                        result = await _run_limited(parts, outer, started_at, deadline_at, fn, args, kwargs)
                        is_plain = parts.is_plain
                    elif deadline_at is None:
                        result = await (fn(*args, **kwargs) if kwargs else fn(*args))
                    else:
                        cell: DeadlineCell = [deadline_at, clock]
                        token = _set_deadline(cell)
                        try:
                            result = await (fn(*args, **kwargs) if kwargs else fn(*args))
                        finally:
                            cell[0] = outer  # inlined: end_deadline
                            if outer is not None:
                                try:  # noqa: SIM105 - `suppress` would cost 0.2 µs
                                    _reset_deadline(token)
                                except ValueError:
                                    pass
                except Exception as error:
                    progress = parts.decider.after_error(progress, error, permit, started_at, deadline_at, fn)
                    if progress is None:
                        raise
                except BaseException:
                    # A cancelled call says nothing about the dependency, and must not keep a probe slot.
                    if breaker is not None:
                        breaker.release(permit)
                    raise
                else:
                    if progress is None and not classifies:
                        if breaker is not None:
                            ended_at = clock()
                            duration_s = ended_at - started_at
                            if (
                                permit == breaker.closed_permit
                                and duration_s < breaker.fast_below_s
                                and ended_at < breaker.window_step_at
                            ):
                                breaker.fast_successes += 1
                                breaker.seconds += duration_s
                            else:
                                breaker.record(permit, _OK, duration_s)
                        budget.successes += 1
                        return result
                    progress = parts.decider.after_result(
                        progress, result, permit, started_at, deadline_at, classifies=classifies
                    )
                    if progress is None:
                        return result
                if progress.wait_s > 0 or parts.sleeps_always:
                    await parts.sleep(progress.wait_s)
                started_at = clock()
                if not parts.decider.starts_next(progress, started_at, deadline_at):
                    return progress.end()
                permit = progress.permit
        finally:
            progress = None  # breaks the reference cycle between this frame and an error's traceback

    return call


async def _run_limited(
    parts: PolicyParts,
    outer: DeadlineCell | None,
    started_at: float,
    deadline_at: float | None,
    fn: Callable[..., Awaitable[Any]],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Make one attempt with its own time limit. Releases the bulkhead slot that the caller acquired."""
    cell = token = None
    try:
        if parts.timer is None and not parts.in_thread:  # a timer checks it too
            require_asyncio(parts.name)
        due_at = parts.due_at(started_at, deadline_at)
        if due_at is None:
            return await fn(*args, **kwargs)
        cell = [due_at, parts.clock]
        token = _set_deadline(cell)
        if parts.timer is None:
            return await fn(*args, **kwargs)
        with parts.timer.scope(due_at - started_at):
            return await fn(*args, **kwargs)
    finally:
        if cell is not None and token is not None:
            end_deadline(cell, outer, token)
        if parts.bulkhead is not None:
            parts.bulkhead.release()


def build_sync_call(parts: PolicyParts) -> SyncCall:
    """Return the function behind `policy.call_sync`, which may be called in any thread."""
    if parts.interrupt:
        return _build_rejecting_call(parts)
    clock, breaker, budget = parts.clock, parts.breaker, parts.budget
    total_s, classifies, is_plain = parts.total_timeout, parts.classifies, parts.is_plain
    ready_types = LAZY_RESULTS.ready_types

    def call(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        started_at = clock()
        deadline_at = None if total_s is None else started_at + total_s
        outer = _get_deadline()
        if outer is not None:
            if outer[0] is None:
                outer = None  # an ended deadline: see end_deadline
            else:
                outer, deadline_at = parts.nest(outer, started_at, deadline_at)
        permit = 0 if breaker is None else breaker.closed_permit or parts.acquire_permit()
        progress = None
        try:
            while True:
                try:
                    if not is_plain:
                        if parts.start_sync is not None:
                            progress = progress or CallProgress(started_at)
                            parts.start_sync(started_at, deadline_at)
                            started_at = clock()
                        result = _run_limited_sync(parts, outer, started_at, deadline_at, fn, args, kwargs)
                    elif deadline_at is None:
                        result = fn(*args, **kwargs) if kwargs else fn(*args)
                    else:
                        cell: DeadlineCell = [deadline_at, clock]
                        token = _set_deadline(cell)
                        try:
                            result = fn(*args, **kwargs) if kwargs else fn(*args)
                        finally:
                            cell[0] = outer  # inlined: end_deadline
                            if outer is not None:
                                try:  # noqa: SIM105 - `suppress` would cost 0.2 µs
                                    _reset_deadline(token)
                                except ValueError:
                                    pass
                except Exception as error:
                    progress = parts.decider.after_error(progress, error, permit, started_at, deadline_at, fn)
                    if progress is None:
                        raise
                except BaseException:
                    if breaker is not None:
                        breaker.release(permit)
                    raise
                else:
                    if type(result) not in ready_types:
                        _check_ready(parts, result, fn, permit)
                    if progress is None and not classifies:
                        if breaker is not None:
                            ended_at = clock()
                            duration_s = ended_at - started_at
                            if (
                                permit == breaker.closed_permit
                                and duration_s < breaker.fast_below_s
                                and ended_at < breaker.window_step_at
                            ):
                                breaker.fast_successes += 1
                                breaker.seconds += duration_s
                            else:
                                breaker.record(permit, _OK, duration_s)
                        budget.successes += 1
                        return result
                    progress = parts.decider.after_result(
                        progress, result, permit, started_at, deadline_at, classifies=classifies
                    )
                    if progress is None:
                        return result
                if progress.wait_s > 0:
                    parts.sleep_sync(progress.wait_s)
                started_at = clock()
                if not parts.decider.starts_next(progress, started_at, deadline_at):
                    return progress.end()
                permit = progress.permit
        finally:
            progress = None

    return call


def _run_limited_sync(
    parts: PolicyParts,
    outer: DeadlineCell | None,
    started_at: float,
    deadline_at: float | None,
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Like `_run_limited`, for a plain function, which cannot be interrupted."""
    cell = token = None
    try:
        due_at = parts.due_at(started_at, deadline_at)
        if due_at is not None:
            cell = [due_at, parts.clock]
            token = _set_deadline(cell)
        return fn(*args, **kwargs)
    finally:
        if cell is not None and token is not None:
            end_deadline(cell, outer, token)
        if parts.bulkhead is not None:
            parts.bulkhead.release()


def _check_ready(parts: PolicyParts, result: Any, fn: Callable[..., Any], permit: int) -> None:
    """Refuse a result that has not run yet, which says nothing about the dependency."""
    try:
        LAZY_RESULTS.refuse(result, parts.name, fn)
    except TypeError:
        if parts.breaker is not None:
            parts.breaker.release(permit)
        raise


def _build_rejecting_call(parts: PolicyParts) -> SyncCall:
    def call(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG001
        raise TypeError(f"{parts.name}: {NO_INTERRUPT}")

    return call
