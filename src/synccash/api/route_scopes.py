"""The scope that each route needs. A route that is not listed here is refused."""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from synccash.middleware.matching import Endpoint, Matcher
from synccash.payments.access import AccessScope

BASE = "/api/v1"
_READ = AccessScope.PAYMENTS_READ
_PAY = AccessScope.PAYMENTS_WRITE
_REFUND = AccessScope.REFUNDS_WRITE
_PAY_OUT = AccessScope.PAYOUTS_WRITE
_WEBHOOKS = AccessScope.WEBHOOKS_WRITE
_SEE = AccessScope.ADMIN_READ
_MANAGE = AccessScope.ADMIN_WRITE
_OPEN = None

ROUTE_SCOPES: Mapping[tuple[str, str], AccessScope | None] = MappingProxyType(
    {
        ("POST", f"{BASE}/payments"): _PAY,
        ("GET", f"{BASE}/payments"): _READ,
        ("GET", f"{BASE}/payments/{{payment_id}}"): _READ,
        ("GET", f"{BASE}/payments/{{payment_id}}/timeline"): _READ,
        ("POST", f"{BASE}/payments/{{payment_id}}/cancel"): _PAY,
        ("POST", f"{BASE}/payments/{{payment_id}}/otp"): _PAY,
        ("POST", f"{BASE}/payments/{{payment_id}}/refunds"): _REFUND,
        ("POST", f"{BASE}/payments/{{payment_id}}/approve"): _MANAGE,
        ("POST", f"{BASE}/payments/{{payment_id}}/decline"): _MANAGE,
        ("POST", f"{BASE}/payments/{{payment_id}}/resolve"): _MANAGE,
        ("POST", f"{BASE}/payments/{{payment_id}}/return-surplus"): _MANAGE,
        ("GET", f"{BASE}/refunds/{{refund_id}}"): _READ,
        ("POST", f"{BASE}/refunds/{{refund_id}}/resolve"): _MANAGE,
        ("POST", f"{BASE}/payouts"): _PAY_OUT,
        ("GET", f"{BASE}/payouts/{{payout_id}}"): _READ,
        ("POST", f"{BASE}/payouts/{{payout_id}}/approve"): _MANAGE,
        ("POST", f"{BASE}/payouts/{{payout_id}}/decline"): _MANAGE,
        ("POST", f"{BASE}/payouts/{{payout_id}}/resolve"): _MANAGE,
        ("GET", f"{BASE}/balance"): _READ,
        ("GET", f"{BASE}/events"): _READ,
        ("POST", f"{BASE}/events/{{event_id}}/redeliver"): _WEBHOOKS,
        # Reading endpoints needs no less: their URLs may hold secrets of the merchant.
        ("GET", f"{BASE}/webhook-endpoints"): _WEBHOOKS,
        ("POST", f"{BASE}/webhook-endpoints"): _WEBHOOKS,
        ("GET", f"{BASE}/webhook-endpoints/{{endpoint_id}}"): _WEBHOOKS,
        ("PATCH", f"{BASE}/webhook-endpoints/{{endpoint_id}}"): _WEBHOOKS,
        ("DELETE", f"{BASE}/webhook-endpoints/{{endpoint_id}}"): _WEBHOOKS,
        ("GET", f"{BASE}/resilience/circuit-breakers"): _SEE,
        ("GET", f"{BASE}/resilience/circuit-breakers/{{name}}"): _SEE,
        ("POST", f"{BASE}/resilience/circuit-breakers/{{name}}/reset"): _MANAGE,
        ("POST", f"{BASE}/resilience/circuit-breakers/{{name}}/force-open"): _MANAGE,
        ("GET", f"{BASE}/resilience/rate-limits"): _SEE,
        ("GET", f"{BASE}/resilience/rate-limits/{{key}}/{{endpoint}}"): _SEE,
        ("DELETE", f"{BASE}/resilience/rate-limits/{{key}}/{{endpoint}}"): _MANAGE,
        ("POST", f"{BASE}/resilience/rate-limits/{{key}}/{{endpoint}}/block"): _MANAGE,
        ("GET", f"{BASE}/resilience/idempotency/stats"): _SEE,
        ("GET", f"{BASE}/resilience/floats"): _SEE,
        ("GET", f"{BASE}/resilience/health"): _SEE,
        ("GET", f"{BASE}/resilience/routes"): _SEE,
        ("POST", f"{BASE}/resilience/routes/replay"): _SEE,
        ("GET", f"{BASE}/admin/merchants"): _SEE,
        ("POST", f"{BASE}/admin/merchants"): _MANAGE,
        ("POST", f"{BASE}/admin/merchants/{{merchant_id}}/suspend"): _MANAGE,
        ("POST", f"{BASE}/admin/merchants/{{merchant_id}}/resume"): _MANAGE,
        ("GET", f"{BASE}/admin/api-keys"): _SEE,
        ("POST", f"{BASE}/admin/api-keys"): _MANAGE,
        ("POST", f"{BASE}/admin/api-keys/{{api_key_id}}/rotate"): _MANAGE,
        ("POST", f"{BASE}/admin/api-keys/{{api_key_id}}/revoke"): _MANAGE,
        ("GET", f"{BASE}/admin/balances"): _SEE,
        ("POST", f"{BASE}/admin/balances/credit"): _MANAGE,
        ("POST", f"{BASE}/admin/balances/confirm"): _MANAGE,
        ("GET", f"{BASE}/admin/payments"): _SEE,
        ("GET", f"{BASE}/admin/payouts"): _SEE,
        ("GET", f"{BASE}/admin/waiting"): _SEE,
        ("GET", f"{BASE}/admin/contradictions"): _SEE,
        ("POST", f"{BASE}/admin/orders/{{order_id}}/close-contradictions"): _MANAGE,
        ("POST", f"{BASE}/admin/merchants/{{merchant_id}}/recover-webhooks"): _MANAGE,
        ("GET", f"{BASE}/admin/reconciliations"): _SEE,
        ("GET", f"{BASE}/admin/reconciliations/{{reconciliation_id}}"): _SEE,
        ("GET", f"{BASE}/admin/history"): _SEE,
        ("GET", f"{BASE}/admin/orders/{{order_id}}"): _SEE,
        ("POST", f"{BASE}/admin/orders/{{order_id}}/inquire"): _MANAGE,
        ("POST", f"{BASE}/admin/payments/{{payment_id}}/cancel"): _MANAGE,
        ("POST", f"{BASE}/admin/payments/{{payment_id}}/refund"): _MANAGE,
        ("POST", f"{BASE}/admin/events/{{event_id}}/redeliver"): _MANAGE,
        ("GET", f"{BASE}/admin/audit"): _SEE,
        ("GET", f"{BASE}/admin/audit/export"): _SEE,
        ("GET", f"{BASE}/approvals"): _SEE,
        ("GET", f"{BASE}/approvals/{{approval_id}}"): _SEE,
        ("POST", f"{BASE}/approvals/{{approval_id}}/approve"): _MANAGE,
        ("POST", f"{BASE}/approvals/{{approval_id}}/decline"): _MANAGE,
        ("GET", f"{BASE}/operators"): _SEE,
        ("POST", f"{BASE}/operators"): _MANAGE,
        ("POST", f"{BASE}/operators/{{name}}/reset"): _MANAGE,
        ("POST", f"{BASE}/operators/{{name}}/disable"): _MANAGE,
        ("POST", f"{BASE}/operators/{{name}}/enable"): _MANAGE,
        ("POST", f"{BASE}/operators/{{name}}/role"): _MANAGE,
        # What concerns the caller alone is for every operator.
        ("POST", f"{BASE}/operators/password"): _SEE,
        ("POST", f"{BASE}/operators/sign-out"): _SEE,
        ("GET", f"{BASE}/operators/tokens"): _SEE,
        ("POST", f"{BASE}/operators/tokens"): _SEE,
        ("POST", f"{BASE}/operators/tokens/{{token_id}}/revoke"): _SEE,
        ("POST", f"{BASE}/operators/sign-in"): _OPEN,
        ("POST", f"{BASE}/operators/enrol"): _OPEN,
        ("POST", f"{BASE}/callbacks/{{rail}}/{{token}}"): _OPEN,
        ("PUT", f"{BASE}/callbacks/{{rail}}/{{token}}"): _OPEN,
        ("GET", "/health/live"): _OPEN,
        ("GET", "/health/ready"): _OPEN,
        ("GET", "/metrics"): _OPEN,
        ("GET", "/openapi.json"): _OPEN,
        ("GET", "/docs"): _OPEN,
        ("GET", "/docs/scalar.js"): _OPEN,
        ("GET", "/docs/problems"): _OPEN,
    }
)
"""The scope by the method and the path template of a route; None for one that needs no key."""


def check_routes(served: Iterable[tuple[str, str]]) -> None:
    """Compare the routes that are served with the table. Raises ValueError for a route without an entry, and
    for an entry without a route."""
    routes = frozenset(served)
    missing, stale = routes - ROUTE_SCOPES.keys(), ROUTE_SCOPES.keys() - routes
    if missing or stale:
        raise ValueError(
            f"ROUTE_SCOPES lacks {sorted(missing)}, and lists {sorted(stale)}, which do not exist"
        )


def scopes_by_path() -> Callable[[str], Mapping[str, str] | None]:
    """Return a function that finds the scopes of a path by method, however the path is spelled; None for a
    path that needs no key. An unknown path needs none, so it gets 404 and not 401."""
    methods: dict[str, dict[str, str]] = {}
    for (method, path), scope in ROUTE_SCOPES.items():
        # Also the paths of open routes, because it takes longest to find that none of all paths fits.
        scopes = methods.setdefault(path, {})
        if scope is not None:
            scopes[method] = scope
    matcher = Matcher([Endpoint("", path, path) for path in methods])

    def scopes_of(path: str) -> Mapping[str, str] | None:
        match = matcher.match("", path)
        return None if match is None else methods[match.endpoint.path] or None

    return scopes_of
