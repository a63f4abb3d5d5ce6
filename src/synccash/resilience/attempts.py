"""Runs a block of code under a policy: `async for attempt in policy.attempts(): async with attempt: …`.

In a thread the same without `async`.

The block takes the place of the function of `policy.call`: the same coroutine makes the attempts, and is
suspended while the block runs. So both forms have the same semantics.
"""

import warnings
from collections.abc import Coroutine, Generator
from dataclasses import replace
from enum import Enum
from types import TracebackType
from typing import Any, TypeVar, cast

from synccash.resilience._core.attempt_loop import build_async_call
from synccash.resilience._core.decorating import NO_INTERRUPT
from synccash.resilience._core.wiring import AsyncCall, PolicyParts

R = TypeVar("R")


class _Stop(Enum):
    """Where the coroutine of a call stops: inside an attempt, and before and after the wait for the next."""

    BLOCK = 1
    WAIT = 2
    READY = 3


class _StopHere:
    """Suspends the coroutine of a call until the next `_Resume`."""

    __slots__ = ("_stop",)

    def __init__(self, stop: _Stop) -> None:
        self._stop = stop

    def __await__(self) -> Generator[_Stop]:
        yield self._stop


def build_block_call(parts: PolicyParts) -> AsyncCall:
    """Return the function that runs the attempts at a block, which has no result to classify."""

    async def sleep(seconds: float) -> None:
        await _StopHere(_Stop.WAIT)
        if seconds > 0:
            await parts.sleep(seconds)
        await _StopHere(_Stop.READY)

    return build_async_call(replace(parts, classifies=False, sleep=sleep, sleeps_always=True))


def build_thread_call(parts: PolicyParts) -> AsyncCall:
    """Return the same for a block in a thread: whatever it waits for, it waits for in the thread."""

    async def sleep(seconds: float) -> None:
        await _StopHere(_Stop.WAIT)
        if seconds > 0:
            parts.sleep_sync(seconds)
        await _StopHere(_Stop.READY)

    async def start(now: float, deadline_at: float | None) -> None:
        if parts.start_sync is not None:
            parts.start_sync(now, deadline_at)

    return build_async_call(
        replace(
            parts,
            classifies=False,
            sleep=sleep,
            sleeps_always=True,
            start=None if parts.start_sync is None else start,
            in_thread=True,
        )
    )


async def _run_block() -> None:
    await _StopHere(_Stop.BLOCK)


class _Resume:
    """Runs the coroutine of a call until its next stop, or to its end: then the value is None.

    `error`: the exception of the block, which is raised where the coroutine stopped.
    """

    __slots__ = ("_call", "_error")

    def __init__(self, call: Coroutine[Any, Any, None], error: BaseException | None = None) -> None:
        self._call = call
        self._error = error

    def __await__(self) -> Generator[Any, Any, _Stop | None]:
        call, error, self._error = self._call, self._error, None
        try:
            yielded = call.send(None) if error is None else call.throw(error)
            while not isinstance(yielded, _Stop):
                # What the call itself waits for, such as a free slot of the bulkhead: the event loop's to do.
                try:
                    sent = yield yielded
                except BaseException as thrown:
                    yielded = call.throw(thrown)
                else:
                    yielded = call.send(sent)
        except StopIteration:
            return None
        finally:
            del error
        return yielded


class Attempts:
    """The attempts at one block of code. The loop ends when the block ends without an exception, or raises
    the last exception of the block. Serves one loop, of a task or of a thread. Raises RuntimeError if `with`
    is left out.
    """

    def __init__(self, parts: PolicyParts, block_call: AsyncCall, thread_call: AsyncCall) -> None:
        self._parts = parts
        self._name = parts.name
        self._calls = (block_call, thread_call)
        self._call: Coroutine[Any, Any, None] | None = None
        self._state = "new"
        self.number = 0
        """The number of the last attempt that started, from 1."""

    def _begin(self, call: AsyncCall) -> "Attempts":
        if self._state != "new":
            raise RuntimeError(f"{self._name}: attempts() serves one loop: call it again for the next one")
        self._call = cast(Coroutine[Any, Any, None], call(_run_block))
        self._state = "waiting"
        return self

    def __aiter__(self) -> "Attempts":
        return self._begin(self._calls[0])

    def __iter__(self) -> "Attempts":
        """Serve a loop in a thread. Raises TypeError if the policy interrupts."""
        if self._parts.interrupt:
            raise TypeError(f"{self._name}: {NO_INTERRUPT}")
        return self._begin(self._calls[1])

    async def __anext__(self) -> "Attempts":
        if self._state == "ended":
            raise StopAsyncIteration
        self._check_entered()
        if self.number:
            await self._resume()
        self._state = "handed out"
        return self

    def __next__(self) -> "Attempts":
        if self._state == "ended":
            raise StopIteration
        self._check_entered()
        if self.number:
            _run_to_end(self._resume())
        self._state = "handed out"
        return self

    def _check_entered(self) -> None:
        if self._state == "handed out":
            raise RuntimeError(f"{self._name}: {_NOT_ENTERED}")

    async def __aenter__(self) -> int:
        """Start the attempt. Returns its number, from 1. Raises CircuitOpenError, RateExceededError and
        BulkheadFullError.
        """
        if self._state != "handed out":
            raise RuntimeError(f"{self._name}: use an attempt once, in the loop over attempts()")
        self._state = "entered"
        stop = await self._resume()
        while stop is not _Stop.BLOCK:
            # The attempt ended before the block began, because no slot or turn was free, and is repeated.
            self.number += stop is _Stop.WAIT
            stop = await self._resume()
        self.number += 1
        return self.number

    def __enter__(self) -> int:
        """Like `async with`, in a thread."""
        return _run_to_end(self.__aenter__())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        try:
            stop = await self._resume(error)
        except BaseException as raised:
            if error is None or raised is not error:
                raise
            # Python raises it again, without the frames of this module.
            error.__traceback__ = trace
            return False
        self._state = "ended" if stop is None else "waiting"
        return error is not None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        return _run_to_end(self.__aexit__(kind, error, trace))

    async def _resume(self, error: BaseException | None = None) -> _Stop | None:
        if self._call is None:
            raise RuntimeError(f"{self._name}: use an attempt in a loop over attempts()")
        try:
            return await _Resume(self._call, error)
        except BaseException:
            self._state = "ended"
            raise

    def __del__(self) -> None:
        if self._call is not None:
            self._call.close()
        if self._state == "handed out":
            warnings.warn(f"{self._name}: {_NOT_ENTERED}", RuntimeWarning, stacklevel=2, source=self)


def _run_to_end(step: Coroutine[Any, Any, R]) -> R:
    """Run a step that waits for nothing in an event loop, because all its waiting is done in the thread."""
    try:
        step.send(None)
    except StopIteration as stop:
        return cast(R, stop.value)
    step.close()
    raise RuntimeError("a block in a thread cannot wait for an event loop: use `async for` and `async with`")


_NOT_ENTERED = (
    "the block ran without the policy: write `async with attempt:` (`with` in a thread) in the loop"
)
