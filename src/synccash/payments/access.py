"""Who sends a request and what this caller may do: the principal and its scopes."""

from dataclasses import dataclass
from enum import StrEnum

from synccash.payments.request import Role, Tenant
from synccash.resilience.client_address import Network


class AccessScope(StrEnum):
    """What a caller may do. Each route of the API needs exactly one of them."""

    PAYMENTS_READ = "payments:read"
    PAYMENTS_WRITE = "payments:write"
    REFUNDS_WRITE = "refunds:write"
    PAYOUTS_WRITE = "payouts:write"
    WEBHOOKS_WRITE = "webhooks:write"
    ADMIN_READ = "admin:read"
    ADMIN_WRITE = "admin:write"


ADMIN_SCOPES = frozenset({AccessScope.ADMIN_READ, AccessScope.ADMIN_WRITE})
"""What an admin key or an operator may have, and no merchant's key."""

MERCHANT_SCOPES = frozenset(AccessScope) - ADMIN_SCOPES
"""What a merchant's key may have, and no admin key or operator."""


DEFAULT_SCOPES = {Role.MERCHANT: MERCHANT_SCOPES - {AccessScope.PAYOUTS_WRITE}, Role.ADMIN: ADMIN_SCOPES}
"""What a new key may do when no scopes are given: a merchant's key sends no money out."""

SCOPES_OF_ROLE = {Role.MERCHANT: MERCHANT_SCOPES, Role.ADMIN: ADMIN_SCOPES}


class CallerKind(StrEnum):
    """What a caller has authenticated with."""

    MERCHANT_KEY = "merchant_key"
    ADMIN_KEY = "admin_key"
    OPERATOR = "operator"


class OperatorRole(StrEnum):
    """What an operator may do; each role includes those before it.

    A viewer reads, an operator acts on orders, breakers and limits, and an admin also manages operators,
    merchants, keys, credits and rail accounts.
    """

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def includes(self, needed: "OperatorRole") -> bool:
        """Tell whether this role may do what `needed` may do."""
        order = tuple(OperatorRole)
        return order.index(self) >= order.index(needed)

    @property
    def scopes(self) -> frozenset[AccessScope]:
        """The scopes of this role."""
        return frozenset({AccessScope.ADMIN_READ}) if self is OperatorRole.VIEWER else ADMIN_SCOPES


@dataclass(frozen=True, slots=True)
class Principal:
    """The authenticated caller of a request.

    `actor_id` names the caller in the audit log: the id of an API key, or `operator:` and an operator's name.
    `tenant` is the merchant and mode that a merchant's key acts for; None for an admin key or an operator.
    `role` is that of an operator, and None for a key.
    """

    actor_id: str
    kind: CallerKind
    tenant: Tenant | None
    scopes: frozenset[AccessScope]
    role: OperatorRole | None = None


@dataclass(frozen=True, slots=True)
class Credential:
    """A valid API key or token, as it was when it was looked up.

    `expires_in_s`: seconds from the lookup until it expires; None if it never does. `networks`: the client
    addresses that may use it; empty for all.
    """

    principal: Principal
    expires_in_s: float | None = None
    networks: tuple[Network, ...] = ()
