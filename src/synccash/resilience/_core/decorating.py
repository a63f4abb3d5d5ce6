"""Implements `@policy`: wraps a function so that each call runs under the policy.

A wrapper holds its policy's `call` itself, because reading it at each call takes 5 % longer. So a policy that
gets other parts tells its wrappers: see `follow`.
"""

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, Protocol, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")
NO_INTERRUPT = (
    "a plain function can't be interrupted: pass interrupt=False, and hand remaining() to what it calls"
)

_FOLLOW = "_follow_policy"


class _Policy(Protocol):
    name: str

    def call(self, fn: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> Awaitable[R]: ...

    def call_sync(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...


def decorate(policy: _Policy, fn: Callable[P, R], *, interrupts: bool) -> Callable[P, R]:
    """Return a wrapper of `fn` with the same signature that calls it under the policy.

    `interrupts`: whether the policy cancels calls. Raises TypeError for what cannot be wrapped: generators,
    static and class methods, objects that are not callable, and plain functions if `interrupts` is True.
    """
    kind: type = type(fn)
    if kind in (staticmethod, classmethod):
        raise TypeError(f"{policy.name}: put the policy below @{kind.__name__}, next to the function")
    if not callable(fn):
        raise TypeError(f"{policy.name}: only a function can be called under a policy, not {fn!r}")
    if _is_kind(inspect.isgeneratorfunction, fn) or _is_kind(inspect.isasyncgenfunction, fn):
        raise TypeError(f"{policy.name}: a generator can't be tried again once it has yielded")
    if _is_kind(inspect.iscoroutinefunction, fn):
        call = policy.call
        coroutine_function = cast(Callable[P, Awaitable[Any]], fn)

        @functools.wraps(fn)
        async def async_wrapper(*args: P.args, **kwargs: P.kwargs) -> Any:
            return await call(coroutine_function, *args, **kwargs)

        def read_call() -> None:
            nonlocal call
            call = policy.call

        setattr(async_wrapper, _FOLLOW, read_call)
        return cast(Callable[P, R], async_wrapper)
    if interrupts:
        raise TypeError(f"{policy.name}: {NO_INTERRUPT}")

    call_sync = policy.call_sync

    @functools.wraps(fn)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        return call_sync(fn, *args, **kwargs)

    def read_call_sync() -> None:
        nonlocal call_sync
        call_sync = policy.call_sync

    setattr(wrapper, _FOLLOW, read_call_sync)
    return wrapper


def follow(wrapper: Callable[..., object]) -> None:
    """Let a wrapper use the `call` that its policy has now."""
    getattr(wrapper, _FOLLOW)()


def _is_kind(kind: Callable[[object], bool], fn: Any) -> bool:
    """True if `kind` holds for the function, for what a partial wraps, or for an object's `__call__`."""
    while isinstance(fn, functools.partial):
        fn = cast(Any, fn).func
    return kind(fn) or kind(type(fn).__call__)
