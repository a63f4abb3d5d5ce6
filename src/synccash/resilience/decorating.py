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
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise TypeError(f"{policy.name}: a generator can't be tried again once it has yielded")
    if inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(type(fn).__call__):

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
