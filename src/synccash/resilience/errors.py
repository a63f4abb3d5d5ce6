"""What the toolkit raises by itself. Whatever a call raised comes through as it is: there is no RetryError.

ResilienceError
├── CircuitOpenError                     a breaker refused the call; nothing was sent
├── BulkheadFullError                    too many calls are under way here; nothing was sent
├── DeadlineExceededError(TimeoutError)  no time is left for (another) attempt
└── AttemptTimeoutError(TimeoutError)    one attempt took too long and was interrupted

Each keeps its facts as fields and survives pickling; its text is only made when somebody reads it.
"""

from typing import Any, ClassVar


class ResilienceError(Exception):
    """The root. `name` is the policy or breaker that raised it."""

    FIELDS: ClassVar[tuple[str, ...]] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(getattr(self, field) for field in self.FIELDS) or self.args, self.__dict__


class CircuitOpenError(ResilienceError):
    """The breaker `name` refused. `reason`: why it opened.

    `retry_after`: seconds until it may relent; None: it was forced open, until somebody resets it.
    """

    __slots__ = FIELDS = ("name", "retry_after", "reason")

    def __init__(self, name: str, retry_after: float | None, reason: str = "") -> None:
        self.name = name
        self.retry_after = retry_after
        self.reason = reason

    def __str__(self) -> str:
        why = f": {self.reason}" if self.reason else ""
        left = "until it is reset" if self.retry_after is None else f"for another {self.retry_after:.1f} s"
        return f"circuit breaker {self.name} is open {left}{why}"


class BulkheadFullError(ResilienceError):
    """`limit` calls of `name` are under way and `queue` more are waiting, or waiting took too long."""

    __slots__ = FIELDS = ("name", "limit", "queue")

    def __init__(self, name: str, limit: int, queue: int) -> None:
        self.name = name
        self.limit = limit
        self.queue = queue

    def __str__(self) -> str:
        return f"{self.name}: {self.limit} calls are under way and {self.queue} are waiting"


class DeadlineExceededError(ResilienceError, TimeoutError):
    """Nothing may begin any more: the total time of `name` is used up after `attempts` attempts."""

    FIELDS = ("name", "attempts")

    def __init__(self, name: str, attempts: int) -> None:
        super().__init__(name, attempts)
        self.name = name
        self.attempts = attempts

    def __str__(self) -> str:
        return f"{self.name}: no time left after {self.attempts} attempts"


class AttemptTimeoutError(ResilienceError, TimeoutError):
    """One attempt of `name` was interrupted after `timeout` seconds. Nobody knows what it did."""

    FIELDS = ("name", "timeout")

    def __init__(self, name: str, timeout: float) -> None:
        super().__init__(name, timeout)
        self.name = name
        self.timeout = timeout

    def __str__(self) -> str:
        return f"{self.name}: interrupted after {self.timeout:.3g} s"
