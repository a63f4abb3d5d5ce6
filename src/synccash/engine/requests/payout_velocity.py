"""Counts the payouts of the last days again when a process starts: a restart gives no new allowance."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from synccash.payments.errors import StoreUnavailableError
from synccash.payments.ports import Clock
from synccash.payments.risk import ALLOWED, RiskInput, VelocityCounters

log = structlog.get_logger("synccash.risk")

RECALLED_MAX = 100_000
_RETRY_S = 1.0


class RecentPayouts(Protocol):
    """Where payouts are kept."""

    async def recent(self, window_s: float, *, limit: int) -> Sequence[tuple[RiskInput, float]]:
        """Return the payouts of the last `window_s` seconds that no rule declined, oldest first, each with
        its age in seconds; the newest `limit` of them."""
        ...


@dataclass(frozen=True, slots=True)
class PayoutVelocityLoader:
    """Runs once at the start of a process. What is decided meanwhile is counted once all the same."""

    risk: VelocityCounters
    payouts: RecentPayouts
    clock: Clock

    async def run(self) -> None:
        """Read and count; a store out of reach is waited for: until it answers no payout can be opened."""
        # A window that slides looks at the one before it too.
        window_s = 2 * self.risk.payouts.longest_window_s
        if window_s == 0:
            return
        while True:
            try:
                found = await self.payouts.recent(window_s, limit=RECALLED_MAX)
                break
            except StoreUnavailableError as error:
                log.debug("payout_recall_put_off", reason=str(error))
                await self.clock.sleep(_RETRY_S)
        now = self.clock.monotonic()
        for sighting, age_s in found:
            self.risk.heard(sighting, ALLOWED, now - age_s)
