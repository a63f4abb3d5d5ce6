"""Which role an operator needs for each of the operator's routes."""

from collections.abc import Mapping

from synccash.payments.access import OperatorRole

_V, _O, _A = OperatorRole

ROUTE_ROLES: Mapping[str, OperatorRole] = {
    "POST /payments/{payment_id}/approve": _O,
    "POST /payments/{payment_id}/decline": _O,
    "POST /payments/{payment_id}/resolve": _O,
    "POST /payments/{payment_id}/return-surplus": _O,
    "POST /refunds/{refund_id}/resolve": _O,
    "POST /payouts/{payout_id}/approve": _O,
    "POST /payouts/{payout_id}/decline": _O,
    "POST /payouts/{payout_id}/resolve": _O,
    "GET /resilience/circuit-breakers": _V,
    "GET /resilience/circuit-breakers/{name}": _V,
    "POST /resilience/circuit-breakers/{name}/reset": _O,
    "POST /resilience/circuit-breakers/{name}/force-open": _O,
    "GET /resilience/rate-limits": _V,
    "GET /resilience/rate-limits/{key}/{endpoint}": _V,
    "DELETE /resilience/rate-limits/{key}/{endpoint}": _O,
    "POST /resilience/rate-limits/{key}/{endpoint}/block": _O,
    "GET /resilience/idempotency/stats": _V,
    "GET /resilience/floats": _V,
    "GET /resilience/health": _V,
    "GET /resilience/routes": _V,
    "POST /resilience/routes/replay": _V,
    "GET /admin/merchants": _V,
    "POST /admin/merchants": _A,
    "POST /admin/merchants/{merchant_id}/suspend": _A,
    "POST /admin/merchants/{merchant_id}/resume": _A,
    "GET /admin/api-keys": _V,
    "POST /admin/api-keys": _A,
    "POST /admin/api-keys/{api_key_id}/rotate": _A,
    "POST /admin/api-keys/{api_key_id}/revoke": _O,
    "GET /admin/balances": _V,
    "POST /admin/balances/credit": _A,
    "POST /admin/balances/confirm": _A,
    "GET /admin/audit": _A,
    "GET /admin/audit/export": _A,
    "GET /admin/payments": _V,
    "GET /admin/payouts": _V,
    "GET /admin/waiting": _V,
    "GET /admin/contradictions": _V,
    "POST /admin/orders/{order_id}/close-contradictions": _O,
    "POST /admin/merchants/{merchant_id}/recover-webhooks": _O,
    "GET /admin/reconciliations": _V,
    "GET /admin/reconciliations/{reconciliation_id}": _V,
    "GET /admin/history": _V,
    "GET /admin/orders/{order_id}": _V,
    "POST /admin/orders/{order_id}/inquire": _O,
    "POST /admin/payments/{payment_id}/cancel": _O,
    "POST /admin/payments/{payment_id}/refund": _O,
    "POST /admin/events/{event_id}/redeliver": _O,
    "GET /approvals": _V,
    "GET /approvals/{approval_id}": _V,
    "POST /approvals/{approval_id}/approve": _O,
    "POST /approvals/{approval_id}/decline": _O,
    "GET /operators": _V,
    "POST /operators": _A,
    "POST /operators/{name}/reset": _A,
    "POST /operators/{name}/disable": _A,
    "POST /operators/{name}/enable": _A,
    "POST /operators/{name}/role": _A,
    "POST /operators/password": _V,
    "POST /operators/sign-out": _V,
    "GET /operators/tokens": _V,
    "POST /operators/tokens": _V,
    "POST /operators/tokens/{token_id}/revoke": _V,
}
"""The role by method and path below the base path. A route that is missing needs the highest role."""

OPERATORS_ONLY = frozenset(
    route
    for route in ROUTE_ROLES
    if route.partition(" ")[2].startswith(("/operators", "/approvals"))
    and route not in {"GET /operators", "GET /approvals", "GET /approvals/{approval_id}"}
)
"""The routes that an admin key cannot use, because a person has to answer for them: its holder could make
operators and be any of them."""


def needed_role(route: str) -> OperatorRole:
    """Return the role that a route needs."""
    return ROUTE_ROLES.get(route, OperatorRole.ADMIN)
