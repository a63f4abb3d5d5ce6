"""The ports of the operator's calls under `/resilience`."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, Protocol

from litestar.params import QueryParameter

from synccash.api.body import optional_body
from synccash.api.calls import AnyRequest
from synccash.api.problem import invalid
from synccash.api.schemas.requests import ReasonBody
from synccash.middleware.refusal import Scope
from synccash.payments.access import OperatorRole, Principal
from synccash.payments.approval import Action, Approval, ApprovalStatus, Executed
from synccash.payments.history import EndedOrders
from synccash.payments.operator import (
    Enrolment,
    IssuedToken,
    Operator,
    OperatorToken,
    SignedIn,
    TotpSecret,
)
from synccash.payments.request import Tenant
from synccash.payments.routing_replay import RecordedOrder
from synccash.resilience.limit_policies import ConfiguredLimits
from synccash.resilience.rate_limiter import BlockedKey, Decision, Demand, Limit


class Breakers(Protocol):
    """The circuit breakers of all processes."""

    async def all(self) -> Sequence[dict[str, Any]]: ...
    async def one(self, name: str) -> dict[str, Any] | None: ...
    async def reset(self, name: str, reason: str) -> Sequence[dict[str, Any]]: ...
    async def force_open(self, name: str, reason: str) -> Sequence[dict[str, Any]]: ...


class Limits(Protocol):
    """The rate limiter, as far as the operator may read and change it."""

    async def peek(self, demands: Sequence[Demand]) -> Decision: ...

    async def block(self, limit: Limit, id: str, duration_s: float) -> bool:  # noqa: A002 - the field's word
        """Block a key. False when the block is in force in this process only."""
        ...

    async def unblock(self, limit: Limit, id: str) -> bool:  # noqa: A002
        """Remove a key's block, violations and use. False when that is in force in this process only."""
        ...

    async def blocked(self, most: int) -> tuple[Sequence[BlockedKey], bool]:
        """Return the keys that are blocked longest. False when they are those of this process only."""
        ...


class Claims(Protocol):
    """Statistics of the idempotency claims of a time window."""

    async def statistics(self, *, window_s: float) -> Any: ...


class Audit(Protocol):
    """The audit log: every manual action is written to it before it is done."""

    async def note(self, *, actor: str, action: str, target: str, reason: str) -> None: ...


class AuditLog(Protocol):
    """Reads the audit log. Raises StoreUnavailableError."""

    async def entries(self, limit: int, **filters: Any) -> dict[str, Any]: ...
    async def export(self, after: int, limit: int) -> dict[str, Any]: ...


class Tenants(Protocol):
    """All merchants in both modes, by the names that user limits have for them."""

    async def tenants(self) -> Sequence[str]: ...


class OperatorAccounts(Protocol):
    """The operators: their enrolment, sign-in, tokens and roles. Raises StoreUnavailableError, the errors of
    `payments.operator`, ObjectNotFoundError and StateConflictError."""

    async def sign_in(self, name: str, password: str, code: str, address: str) -> SignedIn: ...
    async def sign_out(self, name: str, token: bytes) -> None: ...
    async def enrol(self, name: str, code: str, password: str, address: str) -> TotpSecret: ...
    async def change_password(
        self, name: str, password: str, code: str, new: str, *, address: str, token: bytes
    ) -> None: ...
    async def all(self) -> Sequence[Operator]: ...
    async def create(self, name: str, role: OperatorRole, *, by: str, reason: str = "") -> Enrolment: ...
    async def reset(self, name: str, *, by: str, reason: str) -> Enrolment: ...
    async def disable(self, name: str, *, by: str, reason: str) -> Operator: ...
    async def enable(self, name: str, *, by: str, reason: str) -> Operator: ...
    async def set_role(self, name: str, role: OperatorRole, *, by: str, reason: str) -> Operator: ...
    async def tokens(self, name: str) -> Sequence[OperatorToken]: ...
    async def create_token(self, name: str, label: str, days: int, *, token: bytes) -> IssuedToken: ...
    async def revoke_token(self, name: str, token_id: str) -> None: ...


class SecondOperator(Protocol):
    """Executes operators' actions, at once or once a second operator has approved them. Raises
    StoreUnavailableError, RequestError, and what the actions raise."""

    async def notice(self) -> str | None: ...
    async def perform(self, action: Action, caller: Principal) -> Executed | Approval: ...
    async def approvals(self, status: ApprovalStatus | None, limit: int) -> Sequence[Approval]: ...
    async def approval(self, approval_id: str) -> Approval: ...
    async def approve(self, approval_id: str, caller: Principal, reason: str) -> Executed: ...
    async def decline(self, approval_id: str, caller: Principal, reason: str) -> Approval: ...


class Administration(Protocol):
    """Work on merchants, balances and orders of all merchants. Raises StoreUnavailableError,
    ObjectNotFoundError and StateConflictError."""

    async def merchants(self) -> Sequence[dict[str, Any]]: ...
    async def add_merchant(self, name: str, *, by: str) -> dict[str, Any]: ...
    async def suspend_merchant(self, merchant_id: str, *, by: str, reason: str) -> dict[str, Any]: ...
    async def resume_merchant(self, merchant_id: str, *, by: str, reason: str) -> dict[str, Any]: ...
    async def keys(self) -> Sequence[dict[str, Any]]: ...
    async def revoke_key(self, key_id: str, *, by: str) -> dict[str, Any]: ...
    async def balances(self, merchant_id: str | None) -> Sequence[dict[str, Any]]: ...
    async def list_orders(
        self, kind: Literal["payments", "payouts"], *, by: str, limit: int, **filters: Any
    ) -> dict[str, Any]: ...
    async def waiting(self, limit: int) -> Sequence[dict[str, Any]]: ...
    async def contradictions(self, limit: int) -> Sequence[dict[str, Any]]: ...
    async def close_contradictions(self, order_id: str, *, by: str, reason: str) -> dict[str, Any]: ...
    async def reconciliations(self, limit: int) -> Sequence[dict[str, Any]]: ...
    async def reconciliation(self, reconciliation_id: str) -> dict[str, Any]: ...
    async def recover_webhooks(
        self, tenant: Tenant, since: datetime, *, by: str, reason: str
    ) -> dict[str, Any]: ...
    async def routed_orders(self, limit: int) -> Sequence[RecordedOrder]: ...
    async def history(self, start: datetime, end: datetime, step: timedelta) -> Sequence[EndedOrders]: ...
    async def order(self, order_id: str, *, by: str) -> dict[str, Any]: ...
    async def inquire(self, order_id: str, *, by: str, reason: str) -> dict[str, Any]: ...
    async def payment_owner(self, payment_id: str) -> Tenant: ...
    async def event_owner(self, event_id: str) -> Tenant: ...


def plain_user(tenant: str, user: str) -> str:
    """Return the id under which limits count a user where nothing is hashed."""
    return f"{tenant}:{user}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Management:
    """The parts that the operator's calls use. `counted` returns the idempotency counts of this process,
    `floats` the known float of each rail that pays out, `role_notice` what to do about a database role that
    may do more than it should, `address_of` the client's address of a request,
    `limited_user` the id under which limits count a user of a merchant."""

    breakers: Breakers
    limits: Limits
    book: ConfiguredLimits
    claims: Claims
    audit: Audit
    audit_log: AuditLog
    tenants: Tenants
    counted: Callable[[], dict[str, int]]
    floats: Callable[[], list[dict[str, Any]]]
    role_notice: Callable[[], Awaitable[str | None]]
    operators: OperatorAccounts
    four_eyes: SecondOperator
    administration: Administration
    address_of: Callable[[Scope], str]
    limited_user: Callable[[str, str], str] = plain_user


ReasonParameter = Annotated[
    str | None,
    QueryParameter(max_length=500, description='For the audit log; a body {"reason": …} does the same'),
]


async def reason_of(request: AnyRequest, text: str | None) -> str:
    """Return the optional reason of an operator: from the body `{"reason": …}`, else the query, else "".

    Raises ProblemError 400, 415 or 422.
    """
    if text is not None and not text.isprintable():
        raise invalid(("reason", "expected printable characters"))
    body = await optional_body(request, ReasonBody)
    return (None if body is None else body.reason) or text or ""
