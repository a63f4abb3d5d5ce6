"""What the console needs beside the HTTP API: sign-in links, credentials, searches and other reads."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from synccash.middleware.refusal import Scope
from synccash.payments.access import Credential
from synccash.payments.operator import SignedIn


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleParts:
    """The parts of the process that the console uses.

    `credential` returns the operator of a token's SHA-256; None if it is not valid, or if the client of the
    request has tried too many. `use_link` signs in by the code of a one-time link. `waiting` returns how many
    orders wait for an operator, by kind and reason. `settings` are the settings in force: name, masked value,
    source.
    """

    public_url: str
    credential: Callable[[Scope, bytes], Awaitable[Credential | None]]
    use_link: Callable[[Scope, str], Awaitable[SignedIn]]
    waiting: Callable[[], Mapping[tuple[str, str], int]]
    reading: ConsoleReading
    settings: Sequence[tuple[str, str, str]]
    success_goal: float
