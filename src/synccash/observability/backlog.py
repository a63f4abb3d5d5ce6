"""Counts the orders that wait for an operator or are due, in the background, so that a scrape of `/metrics`
runs no query."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from synccash.payments.errors import StoreUnavailableError
from synccash.payments.history import Notice, Waiting
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
    ("payment", "contradiction"),
    ("refund", "under_review"),
    ("refund", "unreadable"),
    ("refund", "contradiction"),
    ("payout", "under_review"),
    ("payout", "risk_review"),
    ("payout", "unreadable"),
    ("payout", "contradiction"),
)
_LISTS = {False: "`synccash payments waiting`", True: "`synccash payments contradictions`"}


class WaitingOrders(Protocol):
    """Counts orders that wait for an operator by kind and reason, and due orders by kind."""

    async def counts(self) -> Mapping[tuple[str, str], Waiting]: ...
    async def due(self) -> Mapping[str, Waiting]: ...


@dataclass(slots=True)
class Backlog:
    """Counts in a loop what waits for an operator, and what is due. `counted` and `due` are the latest
    readings. They are empty while PostgreSQL is unreachable, because an old number would hide new orders.

    `is_reachable`: the latest reading got an answer of PostgreSQL; None before the first."""

    waiting: WaitingOrders
    clock: Clock
    counted: Mapping[tuple[str, str], Waiting] = field(default_factory=dict[tuple[str, str], Waiting])
    due: Mapping[str, Waiting] = field(default_factory=dict[str, Waiting])
    is_reachable: bool | None = None

    async def run(self) -> None:
        """Count until cancelled."""
        while True:
            await self.count()
            await self.clock.sleep(COUNT_S)

    async def count(self) -> None:
        """Count once."""
        self.counted, self.due, self.is_reachable = await self._read()

    def notices(self) -> Sequence[Notice]:
        """Return one notice of all orders that wait for an operator; none while nothing waits."""
        waiting = [(kind, why, one) for (kind, why), one in self.counted.items() if one.count]
        if not waiting:
            return ()
        orders = ", ".join(f"{one.count} {kind}{'s' * (one.count > 1)} {why}" for kind, why, one in waiting)
        oldest_s = max(one.oldest_s for _, _, one in waiting)
        detail = (
            f"Orders wait for an operator: {orders}; the longest for {oldest_s / 60:.0f} min. "
            f"{_lists(why for _, why, _ in waiting)}; docs/operating.md has a section for each reason."
        )
        return ({"what": "orders", "state": "waiting", "detail": detail},)

    async def _read(
        self,
    ) -> tuple[Mapping[tuple[str, str], Waiting], Mapping[str, Waiting], bool]:
        try:
            counted = dict.fromkeys(KINDS, Waiting()) | dict(await self.waiting.counts())
            return counted, await self.waiting.due(), True
        except StoreUnavailableError as error:
            log.debug("count_put_off", reason=str(error))
            return {}, {}, False
        except Exception:
            log.exception("count_failed")
            return {}, {}, True


def _lists(reasons: Iterable[str]) -> str:
    found = {why == "contradiction" for why in reasons}
    commands = [_LISTS[one] for one in sorted(found)]
    return f"{' and '.join(commands)} list{'s' * (len(commands) == 1)} them"
