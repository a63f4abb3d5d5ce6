"""Exceptions that the toolkit raises. What a call itself raises is never wrapped: there is no RetryError.

ResilienceError
├── CircuitOpenError                     a breaker refused the call; nothing was sent
├── BulkheadFullError                    too many calls are running already; nothing was sent
├── RateExceededError                    the turn of a call would come too late; nothing was sent
├── DeadlineExceededError(TimeoutError)  the deadline has passed before an attempt could start
└── AttemptTimeoutError(TimeoutError)    one attempt took too long and was interrupted

Each exception has its facts as fields and can be pickled. The message is built only when it is read.
"""

from typing import Any, ClassVar


class ResilienceError(Exception):
    """Base class. `name` is the policy or breaker that raised the exception."""

    FIELDS: ClassVar[tuple[str, ...]] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(getattr(self, field) for field in self.FIELDS) or self.args, self.__dict__


class CircuitOpenError(ResilienceError):
    """The breaker `name` refused the call. `reason`: why it opened.

    `retry_after`: seconds until the breaker may allow a probe; None: it is forced open until an operator
    resets it.
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
    """All `limit` slots of `name` are in use and the queue is full, or the call waited too long in it.

    `queue`: calls that were waiting.
    """

    __slots__ = FIELDS = ("name", "limit", "queue")

    def __init__(self, name: str, limit: int, queue: int) -> None:
        self.name = name
        self.limit = limit
        self.queue = queue

    def __str__(self) -> str:
        return f"{self.name}: {self.limit} calls are running and {self.queue} are waiting"


class RateExceededError(ResilienceError):
    """The turn of a call of `name` would come later than it may wait, or too many calls wait already.

    `retry_after`: seconds until its turn would have come. `queue`: calls that were waiting.
    """

    __slots__ = FIELDS = ("name", "retry_after", "queue")

    def __init__(self, name: str, retry_after: float, queue: int) -> None:
        self.name = name
        self.retry_after = retry_after
        self.queue = queue

    def __str__(self) -> str:
        return f"{self.name}: the turn would come in {self.retry_after:.3g} s; {self.queue} calls are waiting"


class DeadlineExceededError(ResilienceError, TimeoutError):
    """The total time-out or deadline of `name` passed after `attempts` attempts; no further one starts."""

    FIELDS = ("name", "attempts")

    def __init__(self, name: str, attempts: int) -> None:
        super().__init__(name, attempts)
        self.name = name
        self.attempts = attempts

    def __str__(self) -> str:
        return f"{self.name}: deadline exceeded after {self.attempts} attempts"


class AttemptTimeoutError(ResilienceError, TimeoutError):
    """One attempt of `name` was interrupted after `timeout` seconds. It may have taken effect or not."""

    FIELDS = ("name", "timeout")

    def __init__(self, name: str, timeout: float) -> None:
        super().__init__(name, timeout)
        self.name = name
        self.timeout = timeout

    def __str__(self) -> str:
        return f"{self.name}: interrupted after {self.timeout:.3g} s"
