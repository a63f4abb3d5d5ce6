"""Watches whether webhooks are delivered at all, in the background, so that health runs no query."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from synccash.payments.errors import StoreUnavailableError
from synccash.payments.history import Notice, Waiting
from synccash.payments.ports import Clock
from synccash.payments.webhook import FailingEndpoint

log = structlog.get_logger("synccash.undelivered")

WATCH_S = 15.0
"""Pause between two readings, in seconds."""
OVERDUE_S = 10.0
"""For how many seconds an event has to be due, and no process to deliver, before it is reported."""
SILENT_S = 25.0
"""After this many seconds without a heartbeat, a process that delivers has missed two of them."""


class Deliveries(Protocol):
    """The outbox, as the watch reads it."""

    async def overdue_s(self, than_s: float, silent_s: float) -> float | None: ...
    async def lag(self) -> Waiting: ...
    async def failing(self) -> Sequence[FailingEndpoint]: ...


@dataclass(slots=True)
class UndeliveredWatch:
    """Live: one loop of one process. `overdue_s`, `lag` and `failing` are the latest readings; None and empty
    while PostgreSQL is unreachable."""

    deliveries: Deliveries
    clock: Clock
    overdue_s: float | None = None
    lag: Waiting | None = None
    failing: Sequence[FailingEndpoint] = ()

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            await self.read()
            await self.clock.sleep(WATCH_S)

    async def read(self) -> None:
        """Read once."""
        self.overdue_s, self.lag, self.failing = None, None, ()
        try:
            self.overdue_s = await self.deliveries.overdue_s(OVERDUE_S, SILENT_S)
            self.lag = await self.deliveries.lag()
            self.failing = await self.deliveries.failing()
        except StoreUnavailableError as error:
            log.debug("undelivered_not_read", reason=str(error))
        except Exception:
            log.exception("undelivered_read_failed")

    def warnings(self) -> Sequence[tuple[str, str]]:
        """Return what an operator has to do, as (part of the service, text)."""
        if self.overdue_s is None:
            return ()
        text = f"webhooks have been due for {self.overdue_s:.0f} s and no process delivers them: start "
        return (("webhooks", f"{text}`synccash webhooks`"),)

    def notices(self) -> Sequence[Notice]:
        """Return the merchants' endpoints that fail: merchants repair them, and ask an operator why."""
        shown = [_notice(one) for one in self.failing]
        more = self.failing[0].endpoints - len(shown) if self.failing else 0
        if more:
            detail = f"Deliveries to {more} more webhook endpoints fail."
            shown.append({"what": "webhook_endpoints", "state": "failing", "detail": detail})
        return shown


def _notice(one: FailingEndpoint) -> Notice:
    mode = "live" if one.livemode else "test"
    return {
        "what": f"webhook_endpoint {one.id}",
        "state": "failing",
        "detail": (
            f"The endpoint of {one.merchant_id} ({mode}) has failed for {one.failing_s:.0f} s: "
            f"{one.reason or 'the reason is no longer stored'}. Events that wait for it: {one.waiting}; "
            "they are sent again for up to 72 hours. Tell the merchant; payments and other merchants are not "
            "affected."
        ),
    }
