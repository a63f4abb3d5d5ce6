"""What the toolkit raises by itself. Whatever a call raised comes through as it is: there is no RetryError.

ResilienceError
├── CircuitOpenError                     a breaker refused the call; nothing was sent
├── BulkheadFullError                    too many calls are under way here; nothing was sent
├── DeadlineExceededError(TimeoutError)  no time is left for (another) attempt
└── AttemptTimeoutError(TimeoutError)    one attempt took too long and was interrupted
"""

from typing import Any


class ResilienceError(Exception):
    """The root. Every error can be pickled and names the policy or breaker that raised it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (type(self), self.args, dict(self.__dict__))


class CircuitOpenError(ResilienceError):
    """The breaker `name` refused. `retry_after`: seconds until it may relent. `reason`: why it opened."""

    def __init__(self, name: str, retry_after: float, reason: str = "") -> None:
        why = f": {reason}" if reason else ""
        super().__init__(f"circuit breaker {name} is open for another {retry_after:.1f} s{why}")
        self.name = name
        self.retry_after = retry_after
        self.reason = reason


class BulkheadFullError(ResilienceError):
    """`limit` calls of `name` are under way and `queue` more are waiting."""

    def __init__(self, name: str, limit: int, queue: int) -> None:
        super().__init__(f"{name}: {limit} calls are under way and {queue} are waiting")
        self.name = name
        self.limit = limit
        self.queue = queue


class DeadlineExceededError(ResilienceError, TimeoutError):
    """Nothing may begin any more: the total time of `name` is used up after `attempts` attempts."""

    def __init__(self, name: str, attempts: int) -> None:
        super().__init__(f"{name}: no time left after {attempts} attempts")
        self.name = name
        self.attempts = attempts


class AttemptTimeoutError(ResilienceError, TimeoutError):
    """One attempt of `name` was interrupted after `timeout` seconds. Nobody knows what it did."""

    def __init__(self, name: str, timeout: float) -> None:
        super().__init__(f"{name}: interrupted after {timeout:.3g} s")
        self.name = name
        self.timeout = timeout


def _rebuilt(kind: type[ResilienceError], args: tuple[Any, ...], state: dict[str, Any]) -> ResilienceError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error
