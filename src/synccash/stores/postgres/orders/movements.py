"""Reads a rail's attempts, with which reconciliation compares the rail's statement."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from synccash.payments.reconciliation import Direction, OwnMovement
from synccash.stores.postgres.database import Database

_COLUMNS = """
SELECT id, order_id, operation, amount, amount_received, reference::text, provider_transaction_id, state,
    started_at
FROM attempts a WHERE rail = $1
"""
_BETWEEN = f"""{_COLUMNS} AND started_at BETWEEN $2 AND $3 AND (started_at, id) > ($4, $5)
ORDER BY started_at, id LIMIT $6
"""
_BY_REFERENCE = f"{_COLUMNS} AND reference = ANY ($2::uuid[])"
# `provider_transaction_id` has no index, so the time window keeps the scan small.
_BY_ID = f"{_COLUMNS} AND provider_transaction_id = ANY ($2::text[]) AND started_at BETWEEN $3 AND $4"


@dataclass(frozen=True, slots=True)
class PostgresMovements:
    """Reads one rail's attempts. Every method raises StoreUnavailableError without PostgreSQL."""

    database: Database
    rail: str

    async def between(
        self, first: datetime, last: datetime, page: int
    ) -> AsyncIterator[Sequence[OwnMovement]]:
        """Yield the attempts that started between `first` and `last`, both included, in pages of `page`."""
        at, after = first, ""
        while True:
            rows = await self.database.repeat(_BETWEEN, self.rail, first, last, at, after, page)
            if not rows:
                return
            at, after = rows[-1]["started_at"], rows[-1]["id"]
            yield [_movement(row) for row in rows]

    async def of_references(self, references: Sequence[str]) -> Sequence[OwnMovement]:
        """Return the attempts with these references, without a time limit."""
        found = await self.database.repeat(_BY_REFERENCE, self.rail, references) if references else ()
        return [_movement(row) for row in found]

    async def of_ids(self, ids: Sequence[str], first: datetime, last: datetime) -> Sequence[OwnMovement]:
        """Return the attempts with these provider transaction ids that started in this window."""
        found = await self.database.repeat(_BY_ID, self.rail, ids, first, last) if ids else ()
        return [_movement(row) for row in found]


def _movement(row: Any) -> OwnMovement:
    is_in = row["operation"] == "collect"
    return OwnMovement(
        attempt_id=row["id"],
        direction=Direction.IN if is_in else Direction.OUT,
        amount=row["amount_received"] or row["amount"],
        reference=row["reference"],
        provider_id=row["provider_transaction_id"],
        # Money that an attempt received counts, even if the attempt had been closed as failed.
        succeeded=row["state"] == "succeeded" or row["amount_received"] > 0,
        order_id=row["order_id"],
    )
