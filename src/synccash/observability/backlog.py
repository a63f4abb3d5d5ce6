"""Counts the orders that wait for an operator, in the background, so a scrape of `/metrics` runs no query."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from synccash.payments.errors import StoreUnavailableError
from synccash.payments.ports import Clock

log = structlog.get_logger("synccash.backlog")

COUNT_S = 30.0
"""Pause between two counts, in seconds."""
KINDS = (
    ("payment", "under_review"),
    ("payment", "risk_review"),
    ("payment", "surplus"),
    ("payment", "currency_differs"),
    ("payment", "unreadable"),
    ("refund", "under_review"),
    ("refund", "unreadable"),
    ("payout", "under_review"),
    ("payout", "risk_review"),
    ("payout", "unreadable"),
)


class WaitingOrders(Protocol):
    """Counts waiting orders by kind and reason."""

    async def counts(self) -> Mapping[tuple[str, str], int]: ...


@dataclass(slots=True)
class Backlog:
    """Counts in a loop what waits for an operator. `counted` is the latest reading. It is empty while
    PostgreSQL is unreachable, because an old number would hide new orders."""

    waiting: WaitingOrders
    clock: Clock
    counted: Mapping[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])

    async def run(self) -> None:
        """Count until cancelled."""
        while True:
            await self.count()
            await self.clock.sleep(COUNT_S)

    async def count(self) -> None:
        """Count once."""
        try:
            self.counted = dict.fromkeys(KINDS, 0) | dict(await self.waiting.counts())
        except StoreUnavailableError as error:
            self.counted = {}
            log.debug("count_put_off", reason=str(error))
        except Exception:
            self.counted = {}
            log.exception("count_failed")
