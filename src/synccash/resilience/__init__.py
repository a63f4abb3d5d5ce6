"""The toolkit: retry, circuit breaker, deadlines. Standard library only; nothing else of ours is imported."""

from synccash.resilience.circuit_breaker import BreakerSettings, BreakerState, CircuitBreaker
from synccash.resilience.errors import (
    AttemptTimeoutError,
    BulkheadFullError,
    CircuitOpenError,
    DeadlineExceededError,
    ResilienceError,
)
from synccash.resilience.evidence import Evidence
from synccash.resilience.policy import Policy
from synccash.resilience.retry import Retry
from synccash.resilience.verdict import Outcome, Verdict

__all__ = [
    "AttemptTimeoutError",
    "BreakerSettings",
    "BreakerState",
    "BulkheadFullError",
    "CircuitBreaker",
    "CircuitOpenError",
    "DeadlineExceededError",
    "Evidence",
    "Outcome",
    "Policy",
    "ResilienceError",
    "Retry",
    "Verdict",
]
