"""The ports of the API beside the engine: API keys, read access, balances, health and webhook endpoints."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

from synccash.middleware.refusal import Refusal
from synccash.payments.access import Credential
from synccash.payments.audit import AuditNote
from synccash.payments.balance import Balance, BalanceAccount
from synccash.payments.case import Entry, Event, PaymentCase, PayoutCase, RefundCase, UnreadablePayment
from synccash.payments.history import Notice
from synccash.payments.payment import PaymentStatus
from synccash.payments.request import Tenant
from synccash.payments.webhook import Challenge, WebhookEndpoint


class Keys(Protocol):
    """The API keys, stored as SHA-256 hashes."""

    async def credential(self, secret_hash: bytes) -> Credential | None:
        """Return a valid key; None for any other. Raises StoreUnavailableError."""
        ...

    async def good(self) -> Collection[bytes]:
        """Return the hashes of valid keys, as many as a process can keep. Raises StoreUnavailableError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentFilter:
    """Selects the payments of a list, newest first. `payer` is the MSISDN as 233…; `after` continues a list
    after the payment with this creation time and id."""

    status: PaymentStatus | None = None
    reference: str | None = None
    payer: str | None = None
    after: tuple[datetime, str] | None = None
    limit: int = 20


@runtime_checkable
class Reading(Protocol):
    """Reads what a merchant may see; nothing of another tenant is returned. Reading one order raises
    OrderUnreadableError when this version cannot read its row."""

    async def payment(self, tenant: Tenant, payment_id: str) -> PaymentCase | None: ...

    async def refund(self, tenant: Tenant, refund_id: str) -> RefundCase | None: ...

    async def payout(self, tenant: Tenant, payout_id: str) -> PayoutCase | None: ...

    async def payments(
        self, tenant: Tenant, where: PaymentFilter
    ) -> Sequence[PaymentCase | UnreadablePayment]:
        """Return at most `where.limit` + 1 payments; the extra one tells that there is a next page."""
        ...

    async def timeline(self, tenant: Tenant, payment_id: str) -> Sequence[Entry] | None:
        """Return the timeline of a payment and its refunds, oldest first; None for an unknown payment."""
        ...

    async def events(self, tenant: Tenant, *, after: str | None, limit: int) -> Sequence[Event] | None:
        """Return at most `limit` + 1 events after the event `after`, in the order of their commits; None when
        there is no such event."""
        ...


@runtime_checkable
class Balances(Protocol):
    """Merchants' balances. Every method raises StoreUnavailableError."""

    async def balance(self, account: BalanceAccount, /) -> Balance: ...


@runtime_checkable
class Health(Protocol):
    """The state of each part, for `/health/ready`."""

    async def database_state(self) -> str:
        """Return `ok`, or how PostgreSQL fails: `away`, `silent` or `read_only`."""
        ...

    async def schema(self) -> str | None:
        """Return why this version cannot work with the database's schema; None when it can."""
        ...

    async def valkey_state(self) -> str:
        """Return `ok`, or how Valkey fails: `away`, `silent`, `refused` or `loading`."""
        ...

    def draining(self) -> bool:
        """True once the process was asked to stop."""
        ...

    def sends_held(self) -> bool:
        """True while a recovery is under way, and nothing is sent."""
        ...

    async def durability(self) -> dict[str, Any] | None:
        """Return how durable PostgreSQL's commits are; None while it does not answer."""
        ...

    def rails(self) -> dict[str, str]:
        """Return for each rail `ok`, or the reason why it takes no orders now."""
        ...

    def warnings(self) -> Sequence[tuple[str, str]]:
        """Return what works but waits for an operator, as (part of the service, what to do)."""
        ...

    def notices(self) -> Sequence[Notice]:
        """Return what an operator should know although the service works."""
        ...

    def silent_rails(self) -> Sequence[tuple[str, int]]:
        """Return the rails whose callbacks do not arrive, each with the number of ends without one."""
        ...


@runtime_checkable
class WalletLimits(Protocol):
    """Limits of a wallet at endpoints where the request itself does not name it."""

    async def check_otp(self, tenant: Tenant, msisdn: str) -> Refusal | None:
        """Count one password for the wallet; return the refusal when that is one too many."""
        ...


class NoWalletLimits:
    """Satisfies WalletLimits without any limit."""

    async def check_otp(self, tenant: Tenant, msisdn: str) -> Refusal | None:
        del tenant, msisdn
        return None


@runtime_checkable
class Endpoints(Protocol):
    """A merchant's webhook endpoints. Every method raises StoreUnavailableError.

    `note` is the entry of the change in the audit log.
    """

    async def add(
        self,
        endpoint: WebhookEndpoint,
        challenge: Challenge | None = None,
        *,
        note: AuditNote | None = None,
    ) -> WebhookEndpoint:
        """Raises EndpointLimitError."""
        ...

    async def endpoints(self, tenant: Tenant) -> Sequence[WebhookEndpoint]: ...

    async def endpoint(self, tenant: Tenant, endpoint_id: str) -> WebhookEndpoint | None: ...

    async def change(
        self,
        tenant: Tenant,
        endpoint: WebhookEndpoint,
        challenge: Challenge | None = None,
        *,
        note: AuditNote | None = None,
    ) -> WebhookEndpoint | None: ...

    async def remove(self, tenant: Tenant, endpoint_id: str, *, note: AuditNote | None = None) -> bool: ...

    async def redeliver(self, tenant: Tenant, event_id: str) -> int | None:
        """Return to how many endpoints the event is sent again; None when there is no such event."""
        ...
