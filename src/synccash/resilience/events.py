"""Events of policies and breakers, as immutable values for the hook `on_event`.

>>> policy = Policy("rates", retry=Retry(on=OSError), on_event=print)

`name` is the name of the policy or breaker. `error` is the type of the exception by name; None: the attempt
returned a failure. No event holds the exception itself, because its traceback would keep frames in memory,
and its text may hold personal data. A call that succeeds at once makes no event.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from synccash.resilience.breaker_statistics import Transition
from synccash.resilience.log_events import log_hook_error

__all__ = [
    "AttemptTimedOut",
    "BulkheadFull",
    "CallFailed",
    "CallRecovered",
    "CallRefused",
    "DeadlinePassed",
    "Event",
    "EventHook",
    "RateExceeded",
    "RetryScheduled",
    "Transition",
    "event_kind",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryScheduled:
    """Attempt number `attempt` failed, and another one follows after `wait_s` seconds."""

    name: str
    attempt: int
    error: str | None
    wait_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecovered:
    """A call succeeded after more than one attempt. `seconds`: since its start."""

    name: str
    attempts: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFailed:
    """A call ended with its last failure. `seconds`: since its start. `reason`: why no attempt follows.

    `retryable`: the failure could be retried, but attempts, deadline, budget or breaker did not allow it.
    """

    name: str
    attempts: int
    seconds: float
    error: str | None
    reason: str
    retryable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRefused:
    """The breaker refused the first attempt of a call. `retry_after`: seconds; None: until a reset."""

    name: str
    reason: str
    retry_after: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadlinePassed:
    """A call did not start, because the deadline of its caller had passed."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptTimedOut:
    """An attempt ended with a TimeoutError: the policy's own or one of the function. `seconds`: it took."""

    name: str
    attempt: int
    error: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkheadFull:
    """An attempt got no slot of a bulkhead with `limit` slots. `queue`: calls that were waiting."""

    name: str
    attempt: int
    limit: int
    queue: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RateExceeded:
    """An attempt got no turn of a rate. `retry_after`: seconds until it. `queue`: calls that were waiting."""

    name: str
    attempt: int
    retry_after: float
    queue: int


Event = (
    RetryScheduled
    | CallRecovered
    | CallFailed
    | CallRefused
    | DeadlinePassed
    | AttemptTimedOut
    | BulkheadFull
    | RateExceeded
    | Transition
)
"""Everything that a hook may be given. `Transition`: a breaker changed its state."""

_KINDS: dict[type[Event], str] = {
    RetryScheduled: "retry_scheduled",
    CallRecovered: "call_recovered",
    CallFailed: "call_failed",
    CallRefused: "call_refused",
    DeadlinePassed: "deadline_passed",
    AttemptTimedOut: "attempt_timed_out",
    BulkheadFull: "bulkhead_full",
    RateExceeded: "rate_exceeded",
}

EventHook = Callable[[Event], None]
"""Called in the thread of the call, without a lock. It must not block, because it delays the call."""


def event_kind(event: Event) -> str:
    """Return the name of an event for metrics and traces: `retry_scheduled`, or `breaker_open` and so on."""
    if isinstance(event, Transition):
        return f"breaker_{event.after.value}"
    return _KINDS[type(event)]


def emit(hook: EventHook, event: Event) -> None:
    """Call the hook. An exception that it raises is logged and changes nothing."""
    try:
        hook(event)
    except Exception:
        log_hook_error(event.name, "the event hook")


def checked_hook(hook: EventHook | None) -> EventHook | None:
    """Return the hook. Raises TypeError for what cannot be called, or is `async`."""
    if hook is not None:
        call = cast(object, getattr(hook, "__call__", None))  # noqa: B004 - an object's method may be async
        if not callable(hook) or inspect.iscoroutinefunction(hook) or inspect.iscoroutinefunction(call):
            raise TypeError(f"on_event must be a plain function, or None, not {hook!r}")
    return hook
