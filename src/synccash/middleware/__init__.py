"""Rate limits and idempotency in front of any ASGI application. Needs no other package.

app = ResilienceMiddleware(
    app,
    endpoints=[Endpoint("POST", "/orders", "order", idempotent="required")],
    identify=one_tenant("shop"),
    claims=MemoryClaims(),
)
"""

from synccash.middleware.idempotency_coordinator import KeyedRequest, nothing_done
from synccash.middleware.identify import one_tenant
from synccash.middleware.matching import Endpoint
from synccash.middleware.memory_guard import MemoryGuard
from synccash.middleware.problem_details import refuse_with_problem
from synccash.middleware.refusal import Refusal
from synccash.middleware.request_guard import Caller, GuardDecision, GuardedRequest
from synccash.middleware.resilience import ResilienceMiddleware
from synccash.resilience.memory_claims import MemoryClaims

__all__ = [
    "Caller",
    "Endpoint",
    "GuardDecision",
    "GuardedRequest",
    "KeyedRequest",
    "MemoryClaims",
    "MemoryGuard",
    "Refusal",
    "ResilienceMiddleware",
    "nothing_done",
    "one_tenant",
    "refuse_with_problem",
]
