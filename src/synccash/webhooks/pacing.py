"""Paces deliveries per merchant and mode: bounds those under way at once and those begun in a second."""

from collections.abc import Callable
from dataclasses import dataclass, field

from synccash.payments.request import Tenant
from synccash.payments.webhook import MerchantShare


@dataclass(slots=True)
class _Pace:
    """`tokens`: how many deliveries may begin as of `at`, a time of the clock in seconds."""

    tokens: float
    at: float
    under_way: int = 0


@dataclass(slots=True)
class MerchantPacer:
    """Bounds the deliveries of each merchant in each mode; one per process.

    At most `at_once` are under way. At most `per_s` begin in a second, after a burst of one second's number:
    a token bucket. A merchant's test mode does not use up its live mode's share. The outbox lowers the share
    further while few posts of the process are free.
    """

    at_once: int
    per_s: float
    clock: Callable[[], float]
    _paces: dict[Tenant, _Pace] = field(default_factory=dict[Tenant, _Pace])

    @property
    def most(self) -> int:
        """How many deliveries of a merchant that is not in `shares()` may begin now."""
        return min(self.at_once, int(self._burst))

    @property
    def _burst(self) -> float:
        return max(1.0, self.per_s)

    def shares(self) -> dict[Tenant, MerchantShare]:
        """Return the share of each merchant that has deliveries under way, or may begin fewer than `most`."""
        now = self.clock()
        shares = {
            tenant: MerchantShare(room=self._left(pace, now), under_way=pace.under_way)
            for tenant, pace in self._paces.items()
        }
        self._paces = {
            tenant: pace
            for tenant, pace in self._paces.items()
            if pace.under_way or pace.tokens < self._burst
        }
        return {
            tenant: share for tenant, share in shares.items() if share.under_way or share.room < self.most
        }

    def begin(self, tenant: Tenant) -> None:
        """Count a delivery that begins; the caller must `end` it."""
        now = self.clock()
        pace = self._paces.get(tenant)
        if pace is None:
            pace = self._paces[tenant] = _Pace(self._burst, now)
        self._refill(pace, now)
        pace.tokens -= 1.0
        pace.under_way += 1

    def end(self, tenant: Tenant) -> None:
        """Count the end of a delivery."""
        self._paces[tenant].under_way -= 1

    def _left(self, pace: _Pace, now: float) -> int:
        self._refill(pace, now)
        return max(0, min(self.at_once - pace.under_way, int(pace.tokens)))

    def _refill(self, pace: _Pace, now: float) -> None:
        pace.tokens = min(self._burst, pace.tokens + max(0.0, now - pace.at) * self.per_s)
        pace.at = now
