"""Puts a policy round a function: `@policy`."""

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, Protocol, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")
NO_INTERRUPT = (
    "a plain function can't be interrupted: pass interrupt=False, and hand remaining() to what it calls"
)


class _Policy(Protocol):
    name: str

    async def call(self, fn: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> R: ...

    def call_sync(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...


def decorated(policy: _Policy, fn: Callable[P, R], *, interrupts: bool) -> Callable[P, R]:
    """Return `fn` under the policy, with the same signature. Raises TypeError for what can't be honoured."""
    kind: type = type(fn)
    if kind in (staticmethod, classmethod):
        raise TypeError(f"{policy.name}: put the policy below @{kind.__name__}, next to the function")
    if not callable(fn):
        raise TypeError(f"{policy.name}: only a function can be called under a policy, not {fn!r}")
    if _is(inspect.isgeneratorfunction, fn) or _is(inspect.isasyncgenfunction, fn):
        raise TypeError(f"{policy.name}: a generator can't be tried again once it has yielded")
    if _is(inspect.iscoroutinefunction, fn):

        @functools.wraps(fn)
        async def calls(*args: P.args, **kwargs: P.kwargs) -> Any:
            return await policy.call(cast(Callable[P, Awaitable[Any]], fn), *args, **kwargs)

        return cast(Callable[P, R], calls)
    if interrupts:
        raise TypeError(f"{policy.name}: {NO_INTERRUPT}")

    @functools.wraps(fn)
    def calls_sync(*args: P.args, **kwargs: P.kwargs) -> R:
        return policy.call_sync(fn, *args, **kwargs)

    return calls_sync


def _is(kind: Callable[[object], bool], fn: Any) -> bool:
    """True for such a function, for a partial of one, and for an object that is called like one."""
    while isinstance(fn, functools.partial):
        fn = cast(Any, fn).func
    return kind(fn) or kind(type(fn).__call__)
