"""When to try again: a value and its arithmetic. Nothing here waits."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Strategy = Literal["exponential", "linear", "fixed", "immediate"]
Jitter = Literal["full", "equal", "none"]
Retryable = type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often and how soon. Times in seconds.

    `attempts` counts the first one. `on` is the shorthand for a classifier: the exceptions that may be tried
    again; without it the policy needs `classify`, since what is safe to repeat has no default.
    """

    attempts: int = 3
    base: float = 0.5
    cap: float = 30.0
    strategy: Strategy = "exponential"
    jitter: Jitter = "full"
    on: Retryable | None = None

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError("attempts must be at least 1, the first one")
        if self.base < 0 or self.cap < self.base:
            raise ValueError("expected 0 <= base <= cap")

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
