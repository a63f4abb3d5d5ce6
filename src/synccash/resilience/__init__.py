"""Resilience toolkit: retry, circuit breaker, deadlines, bulkhead and retry budget. Standard library only.

Raises RuntimeError when it is imported on a build of Python without the GIL.

>>> policy = Policy("rates", retry=Retry(on=OSError), breaker=BreakerSettings(), total_timeout=5.0)
>>> rate = await policy.call(fetch_rate, "GHS")
"""

from synccash.resilience._core.gil import require_gil
from synccash.resilience.budget import Budget
from synccash.resilience.bulkhead import Bulkhead
from synccash.resilience.circuit_breaker import BreakerSettings, CircuitBreaker
from synccash.resilience.deadline import remaining
from synccash.resilience.errors import (
    AttemptTimeoutError,
    BulkheadFullError,
    CircuitOpenError,
    DeadlineExceededError,
    ResilienceError,
)
from synccash.resilience.evidence import Evidence
from synccash.resilience.policy import Policy
from synccash.resilience.providers import (
    enhanced_retry_service,
    get_provider_circuit_breaker,
    retry_payment_provider_call,
)
from synccash.resilience.retry import Retry
from synccash.resilience.verdict import Outcome, Verdict

require_gil()

__all__ = [
    "AttemptTimeoutError",
    "BreakerSettings",
    "Budget",
    "Bulkhead",
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
    "enhanced_retry_service",
    "get_provider_circuit_breaker",
    "remaining",
    "retry_payment_provider_call",
]
