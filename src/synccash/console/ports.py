"""What the console needs beside the HTTP API: sign-in links, credentials, searches and other reads."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from synccash.middleware.refusal import Scope
from synccash.payments.access import Credential, Principal
from synccash.payments.operator import SignedIn
from synccash.payments.request import Tenant


class ConsoleReading(Protocol):
    """Reads across all merchants that no call of the API has. Raises StoreUnavailableError."""

    async def search(self, text: str) -> Sequence[dict[str, Any]]:
        """Return the orders that an id, a rail's reference or a provider's transaction id names."""
        ...

    async def deliveries(self, order_ids: Sequence[str]) -> Sequence[dict[str, Any]]:
        """Return the events of orders with their deliveries, oldest first."""
        ...

    async def api_calls(self, order_ids: Sequence[str]) -> Sequence[dict[str, Any]]:
        """Return the stored answers of the requests that made orders: scope, status and times."""
        ...

    async def endpoints(self) -> Sequence[dict[str, Any]]:
        """Return the webhook endpoints of all merchants, with how many deliveries wait."""
        ...

    async def undelivered(self, limit: int) -> Sequence[dict[str, Any]]:
        """Return deliveries that wait, the longest due first."""
        ...

    async def recent(self) -> Mapping[str, Any]:
        """Return counts and durations of the payments of the last minutes."""
        ...


class MerchantReading(Protocol):
    """Reads what belongs to one merchant in one mode, beside the API. Raises StoreUnavailableError."""

    async def endpoints(self, tenant: Tenant) -> Sequence[dict[str, Any]]:
        """Return the webhook endpoints, with how many deliveries wait."""
        ...

    async def deliveries(self, tenant: Tenant, limit: int) -> Sequence[dict[str, Any]]:
        """Return the newest events with their deliveries."""
        ...

    async def deliveries_of(self, tenant: Tenant, order_id: str) -> Sequence[dict[str, Any]]:
        """Return the events of an order with their deliveries."""
        ...

    async def keys(self, tenant: Tenant) -> Sequence[dict[str, Any]]:
        """Return the API keys."""
        ...

    async def requests(self, tenant: Tenant, limit: int) -> Sequence[dict[str, Any]]:
        """Return the newest requests that made orders."""
        ...

    async def payouts(self, tenant: Tenant, limit: int) -> Sequence[dict[str, Any]]:
        """Return the newest payouts."""
        ...


class MerchantSessions(Protocol):
    """Sessions of merchants' people. Raises StoreUnavailableError."""

    async def begin(self, key: Principal, tenant: Tenant) -> str:
        """Begin a session for the holder of a merchant's key, and return its token."""
        ...

    async def end(self, token_hash: bytes) -> None:
        """End a session."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleParts:
    """The parts of the process that the console uses.

    `credential` returns who has the key or token with a SHA-256; None if it is not valid from the client's
    address, or if that has tried too many. `use_link` signs in by the code of a one-time link. `waiting`
    returns how many orders wait for an operator, by kind and reason. `settings` are the settings in force:
    name, masked value, source.
    """

    public_url: str
    credential: Callable[[Scope, bytes], Awaitable[Credential | None]]
    use_link: Callable[[Scope, str], Awaitable[SignedIn]]
    waiting: Callable[[], Mapping[tuple[str, str], int]]
    reading: ConsoleReading
    merchant_reading: MerchantReading
    merchant_sessions: MerchantSessions
    settings: Sequence[tuple[str, str, str]]
    success_goal: float
