"""Reads recent payouts, from which a starting process restores its velocity counters."""

from collections.abc import Sequence
from dataclasses import dataclass

from synccash.payments.rail import Operation
from synccash.payments.risk import RiskInput
from synccash.stores.postgres.database import Database

_RECENT = """
SELECT merchant_id, livemode, reference, payee_msisdn, amount,
    greatest(0, extract(epoch FROM now() - created_at))::float8 AS age_s
FROM payouts
WHERE created_at > now() - make_interval(secs => $1)
    AND last_error ->> 'code' IS DISTINCT FROM 'risk_declined'
ORDER BY created_at DESC LIMIT $2
"""


@dataclass(frozen=True, slots=True)
class PostgresRecentPayouts:
    """Implements `RecentPayouts` of `engine.requests.payout_velocity`. Raises StoreUnavailableError."""

    database: Database

    async def recent(self, window_s: float, *, limit: int) -> Sequence[tuple[RiskInput, float]]:
        """Return all merchants' payouts of the last `window_s` seconds that no rule declined: the newest
        `limit`, oldest first, each with its age in seconds."""
        found = await self.database.repeat(_RECENT, window_s, limit)
        return [
            (
                RiskInput(
                    row["merchant_id"],
                    row["livemode"],
                    row["reference"],
                    row["payee_msisdn"],
                    row["amount"],
                    "",
                    Operation.PAYOUT,
                ),
                row["age_s"],
            )
            for row in reversed(found)
        ]
