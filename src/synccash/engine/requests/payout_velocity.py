"""Loads recent payouts into the velocity counters when a process starts: a restart resets no limit."""

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
    """Reads stored payouts."""

    async def recent(self, window_s: float, *, limit: int) -> Sequence[tuple[RiskInput, float]]:
        """Return the payouts of the last `window_s` seconds that no rule declined, oldest first, each with
        its age in seconds; the newest `limit` of them."""
        ...


@dataclass(frozen=True, slots=True)
class PayoutVelocityLoader:
    """Runs once when a process starts. A payout that is decided during the load is counted only once."""

    risk: VelocityCounters
    payouts: RecentPayouts
    clock: Clock

    async def run(self) -> None:
        """Read and count the payouts. Retries while the store is unavailable: no payout can be opened then
        anyway."""
        # A sliding window also uses the counts of the window before it.
        window_s = 2 * self.risk.payouts.longest_window_s
        if window_s == 0:
            return
        while True:
            try:
                found = await self.payouts.recent(window_s, limit=RECALLED_MAX)
                break
            except StoreUnavailableError as error:
                log.debug("payout_history_unavailable", reason=str(error))
                await self.clock.sleep(_RETRY_S)
        now = self.clock.monotonic()
        for payout, age_s in found:
            self.risk.receive(payout, ALLOWED, now - age_s)
