"""What the API asks of the stores beside the engine: who is calling, and what can be read."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

from synccash.payments.balance import Balance, BalanceAccount
from synccash.payments.case import Entry, Event, PaymentCase, PayoutCase, RefundCase, UnreadablePayment
from synccash.payments.payment import PaymentStatus
from synccash.payments.request import Principal, Tenant
from synccash.payments.webhook import WebhookEndpoint


class Keys(Protocol):
    """The API keys, stored as SHA-256 hashes."""

    async def principal(self, secret_hash: bytes) -> Principal | None:
        """Who holds this key; None where it does not exist or was revoked. Raises StoreUnavailableError."""
        ...

    async def good(self) -> Collection[bytes]:
        """The hashes of good keys, as many as a process can keep. Raises StoreUnavailableError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentFilter:
    """Which payments a list shows, newest first. `payer` is the MSISDN as 233…; `after` continues a list
    behind the payment with this creation time and id."""

    status: PaymentStatus | None = None
    reference: str | None = None
    payer: str | None = None
    after: tuple[datetime, str] | None = None
    limit: int = 20


@runtime_checkable
class Reading(Protocol):
    """What a merchant may look at. Nothing of another tenant is ever returned. One order is read whole, or
    raises OrderUnreadableError."""

    async def payment(self, tenant: Tenant, payment_id: str) -> PaymentCase | None: ...

    async def refund(self, tenant: Tenant, refund_id: str) -> RefundCase | None: ...

    async def payout(self, tenant: Tenant, payout_id: str) -> PayoutCase | None: ...

    async def payments(
        self, tenant: Tenant, where: PaymentFilter
    ) -> Sequence[PaymentCase | UnreadablePayment]:
        """At most `where.limit` + 1 payments: the one too many says that there are more."""
        ...

    async def timeline(self, tenant: Tenant, payment_id: str) -> Sequence[Entry] | None:
        """A payment's timeline with its refunds' entries, oldest first; None where there is no payment."""
        ...

    async def events(self, tenant: Tenant, *, after: str | None, limit: int) -> Sequence[Event] | None:
        """Events in the order they were committed, behind the event `after`, at most `limit` + 1; None where
        there is no such event."""
        ...


@runtime_checkable
class Balances(Protocol):
    """Merchants' balances. Every method raises StoreUnavailableError."""

    async def balance(self, account: BalanceAccount, /) -> Balance: ...


@runtime_checkable
class Health(Protocol):
    """How the parts stand, for `/health/ready`."""

    async def database(self) -> bool: ...

    async def valkey(self) -> bool: ...

    def sends_held(self) -> bool:
        """True while a recovery is under way, and nothing is sent."""
        ...

    async def durability(self) -> dict[str, Any] | None:
        """What PostgreSQL keeps of a commit; None while it does not answer."""
        ...

    def rails(self) -> dict[str, str]:
        """Each rail with `ok` or the reason why it takes nothing now."""
        ...

    def warnings(self) -> Sequence[tuple[str, str]]:
        """What works, and waits for an operator: the part of the service, and what to do."""
        ...


@runtime_checkable
class Endpoints(Protocol):
    """A merchant's webhook endpoints. Every method raises StoreUnavailableError."""

    async def add(self, endpoint: WebhookEndpoint) -> WebhookEndpoint:
        """Raises EndpointLimitError."""
        ...

    async def endpoints(self, tenant: Tenant) -> Sequence[WebhookEndpoint]: ...

    async def endpoint(self, tenant: Tenant, endpoint_id: str) -> WebhookEndpoint | None: ...

    async def change(self, tenant: Tenant, endpoint: WebhookEndpoint) -> WebhookEndpoint | None: ...

    async def remove(self, tenant: Tenant, endpoint_id: str) -> bool: ...

    async def redeliver(self, tenant: Tenant, event_id: str) -> int | None:
        """To how many endpoints it goes once more; None where there is no such event."""
        ...
