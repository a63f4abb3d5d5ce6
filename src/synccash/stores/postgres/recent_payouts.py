"""Reads recent payouts, from which a starting process restores its velocity counters."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from synccash.payments.rail import Operation
from synccash.payments.risk import RiskInput
from synccash.stores.encryption import DecryptionError, Encryption
from synccash.stores.postgres import sealing
from synccash.stores.postgres.database import Database

log = structlog.get_logger("synccash.risk")

_RECENT = """
SELECT id, merchant_id, livemode, reference, payee_msisdn, amount, sealed,
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
        # In a thread, because decrypting a full answer takes seconds.
        return await asyncio.to_thread(_inputs, found, self.database.encryption)


def _inputs(found: Sequence[Any], encryption: Encryption | None) -> list[tuple[RiskInput, float]]:
    inputs: list[tuple[RiskInput, float]] = []
    for row in reversed(found):
        try:
            personal = sealing.open_columns(encryption, "payouts", row)
        except DecryptionError as error:
            log.error("payout_not_counted", order_id=row["id"], error=str(error))
            continue
        risk_input = RiskInput(
            row["merchant_id"],
            row["livemode"],
            personal["reference"],
            personal["payee_msisdn"],
            row["amount"],
            "",
            Operation.PAYOUT,
        )
        inputs.append((risk_input, row["age_s"]))
    return inputs
