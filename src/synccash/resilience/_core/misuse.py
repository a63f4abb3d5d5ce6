"""Recognises calls that the caller wrote wrongly. They are neither repeated nor counted for the breaker."""

import asyncio
import inspect
from collections.abc import Callable
from contextlib import suppress
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, cast

_LAZY: tuple[type, ...] = (CoroutineType, GeneratorType, AsyncGeneratorType)
_CALLING_FILE = __file__.replace("misuse", "attempt_loop")
_MAX_KNOWN_TYPES = 256


class NotAsyncioError(RuntimeError):
    """A policy was awaited where no asyncio event loop runs."""


def require_asyncio(name: str) -> asyncio.AbstractEventLoop:
    """Return the running event loop. Raises NotAsyncioError."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise NotAsyncioError(
            f"{name}: no asyncio event loop is running here; policies do not run under trio or curio"
        ) from None


def is_misuse(error: Exception) -> bool:
    """True if the call failed because of how it was written, before or instead of running the function.

    A TypeError that this package's own call of the function raised means that the function cannot be called
    like that, or that what it returned cannot be awaited.
    """
    if isinstance(error, NotAsyncioError):
        return True
    traceback = error.__traceback__
    if type(error) is not TypeError or traceback is None:
        return False
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback.tb_frame.f_code.co_filename == _CALLING_FILE


def explain(error: Exception, name: str, fn: Any) -> None:
    """Add a note to the error of a misuse that says what to write instead."""
    hint = ""
    if inspect.iscoroutine(fn):
        fn.close()  # otherwise Python warns that it was never awaited
        called = fn.__qualname__
        hint = f"pass the function and its arguments: policy.call({called}, …), not policy.call({called}(…))"
    elif callable(fn) and not is_async(fn):
        hint = f"{getattr(fn, '__qualname__', fn)} is a plain function? call it with policy.call_sync"
    if hint:
        # A frozen exception class raises when a note is added.
        with suppress(Exception):
            error.add_note(f"{name}: {hint}")


def is_async(fn: Any) -> bool:
    """True if `fn` is a coroutine function, or an object whose `__call__` is one."""
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(type(fn).__call__)


class LazyResults:
    """Finds results of plain functions that have not run yet: awaitables and generators.

    `ready_types` are types of other results, as far as they are known, because the full check takes 0.15 µs.
    """

    __slots__ = ("ready_types",)

    def __init__(self) -> None:
        self.ready_types: set[type] = {type(None), bool, int, float, str, bytes, tuple, list, dict}

    def refuse(self, result: Any, name: str, fn: Callable[..., Any]) -> None:
        """Raise TypeError if nothing has run yet; otherwise remember the type of the result."""
        kind = cast(type[object], type(result))
        if not (issubclass(kind, _LAZY) or hasattr(kind, "__await__")):
            if len(self.ready_types) < _MAX_KNOWN_TYPES:
                self.ready_types.add(kind)
            return
        if issubclass(kind, CoroutineType | GeneratorType):
            result.close()
        called = getattr(fn, "__qualname__", repr(fn))
        if issubclass(kind, CoroutineType):
            raise TypeError(f"{name}: {called} is a coroutine function: use `await policy.call(…)`")
        if issubclass(kind, GeneratorType | AsyncGeneratorType):
            raise TypeError(
                f"{name}: {called} returned a generator, which has not run yet: call what consumes it"
            )
        raise TypeError(
            f"{name}: {called} returned {kind.__name__}, which must be awaited: use `await policy.call(…)`"
        )


LAZY_RESULTS = LazyResults()
"""Shared by all policies of the process."""
