"""Retry settings: number of attempts, backoff and jitter, and which exceptions are retryable."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Literal, get_args

from synccash.resilience._core.misuse import is_async
from synccash.resilience._core.numbers import require_int, require_number

Strategy = Literal["exponential", "linear", "fixed", "immediate"]
Jitter = Literal["full", "equal", "none"]
Retryable = type[Exception] | tuple[type[Exception], ...] | Callable[[BaseException], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often and after which wait to retry. Times in seconds.

    `attempts` includes the first one. `base`: the first wait; `cap`: the longest. `on`: the exceptions that
    may be retried, as classes or as a function; without it the policy needs `classify`, because what is safe
    to repeat has no default. Cancellation and other exceptions outside Exception are never retried.

    A wait is at least as long as the dependency asked for (`Verdict.retry_after`). If it asked for more than
    `retry_after_cap`, the call ends at once: it neither waits that long nor tries too early.
    """

    attempts: int = 3
    base: float = 0.5
    cap: float = 30.0
    strategy: Strategy = "exponential"
    jitter: Jitter = "full"
    on: Retryable | None = None
    retry_after_cap: float = 60.0

    def __post_init__(self) -> None:
        require_int(attempts=self.attempts)
        require_number(base=self.base, cap=self.cap, retry_after_cap=self.retry_after_cap)
        if self.attempts < 1:
            raise ValueError("attempts must be at least 1: the first attempt counts")
        if self.retry_after_cap < 0:
            raise ValueError("retry_after_cap must be at least 0")
        if not 0 <= self.base <= self.cap or self.base == inf:
            raise ValueError("expected 0 <= base <= cap, and a finite base")
        for name, value, known in (
            ("strategy", self.strategy, get_args(Strategy)),
            ("jitter", self.jitter, get_args(Jitter)),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, not {value!r}")
        check_retryable("on", self.on)

    def delay(self, failed: int, chance: float) -> float:
        """Return the seconds to wait after `failed` failures (1 or more); `chance` is uniform in [0, 1)."""
        full_s = self._full_delay(failed)
        if self.jitter == "full":
            return full_s * chance
        if self.jitter == "equal":
            return full_s / 2 + full_s / 2 * chance
        return full_s

    def _full_delay(self, failed: int) -> float:
        if self.strategy == "exponential":
            # Limits the exponent, because a float overflows at 2.0 ** 1024.
            return min(self.cap, self.base * 2.0 ** min(failed - 1, 1_000))
        if self.strategy == "linear":
            return min(self.cap, self.base * failed)
        return self.base if self.strategy == "fixed" else 0.0

    def wants(self, error: BaseException) -> bool:
        """True if `on` allows a retry after this error."""
        return self.on is not None and matches(self.on, error)


def matches(which: Retryable, error: BaseException) -> bool:
    """True if `which`, exception classes or a function, selects the error."""
    if not isinstance(which, type) and callable(which):
        return bool(which(error))
    return isinstance(error, which)


def check_retryable(setting: str, which: Retryable | None) -> None:
    """Check that a setting selects exceptions. Raises TypeError."""
    if callable(which) and not isinstance(which, type) and is_async(which):
        # A coroutine is true, so it would select every exception.
        raise TypeError(f"{setting} must be a plain function, not the coroutine function {which!r}")
    if which is None or (callable(which) and not isinstance(which, type)):
        return
    kinds: tuple[object, ...] = which if isinstance(which, tuple) else (which,)
    if not kinds or not all(map(_is_exception, kinds)):
        raise TypeError(
            f"{setting} must be an Exception class, a tuple of them or a function, not {which!r}; "
            "cancellation and KeyboardInterrupt are never retried"
        )


def _is_exception(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Exception)
