"""When to try again: a value and its arithmetic. Nothing here waits."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Literal, get_args

from synccash.resilience._core.numbers import number, whole

Strategy = Literal["exponential", "linear", "fixed", "immediate"]
Jitter = Literal["full", "equal", "none"]
Retryable = type[Exception] | tuple[type[Exception], ...] | Callable[[BaseException], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often and how soon. Times in seconds.

    `attempts` counts the first one. `on` is the shorthand for a classifier: the exceptions that may be tried
    again; without it the policy needs `classify`, since what is safe to repeat has no default. A cancellation
    and the like, which are no Exception, are never tried again.
    """

    attempts: int = 3
    base: float = 0.5
    cap: float = 30.0
    strategy: Strategy = "exponential"
    jitter: Jitter = "full"
    on: Retryable | None = None

    def __post_init__(self) -> None:
        whole(attempts=self.attempts)
        number(base=self.base, cap=self.cap)
        if self.attempts < 1:
            raise ValueError("attempts must be at least 1, the first one")
        if not 0 <= self.base <= self.cap or self.base == inf:
            raise ValueError("expected 0 <= base <= cap, and a finite base")
        for name, value, known in (
            ("strategy", self.strategy, get_args(Strategy)),
            ("jitter", self.jitter, get_args(Jitter)),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, not {value!r}")
        _check_on(self.on)

    def delay(self, failed: int, chance: float) -> float:
        """Return the wait after `failed` failed attempts (1 or more); `chance` is uniform in [0, 1)."""
        whole = self._whole(failed)
        if self.jitter == "full":
            return whole * chance
        if self.jitter == "equal":
            return whole / 2 + whole / 2 * chance
        return whole

    def _whole(self, failed: int) -> float:
        if self.strategy == "exponential":
            # An exponent that a float cannot hold is far beyond any cap.
            return min(self.cap, self.base * 2.0 ** min(failed - 1, 1_000))
        if self.strategy == "linear":
            return min(self.cap, self.base * failed)
        return self.base if self.strategy == "fixed" else 0.0

    def wants(self, error: BaseException) -> bool:
        """True when `on` names the error."""
        if self.on is None:
            return False
        if not isinstance(self.on, type) and callable(self.on):
            return self.on(error)
        return isinstance(error, self.on)


def _check_on(on: Retryable | None) -> None:
    if on is None or (callable(on) and not isinstance(on, type)):
        return
    kinds: tuple[object, ...] = on if isinstance(on, tuple) else (on,)
    if not kinds or not all(map(_is_exception, kinds)):
        raise TypeError(
            "on must be an Exception class, a tuple of them or a function; a cancellation, KeyboardInterrupt"
            f" and the like are never tried again; not {on!r}"
        )


def _is_exception(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Exception)
