"""The attempts of a rail, as a statement is compared with them."""

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
# The rail's ids have no index of their own: the window keeps the search small.
_BY_ID = f"{_COLUMNS} AND provider_transaction_id = ANY ($2::text[]) AND started_at BETWEEN $3 AND $4"


@dataclass(frozen=True, slots=True)
class PostgresMovements:
    """Every method raises StoreUnavailableError when PostgreSQL is out of reach."""

    database: Database
    rail: str

    async def between(
        self, first: datetime, last: datetime, page: int
    ) -> AsyncIterator[Sequence[OwnMovement]]:
        """The attempts that began in this time, both ends included, `page` at a time."""
        at, after = first, ""
        while True:
            rows = await self.database.repeat(_BETWEEN, self.rail, first, last, at, after, page)
            if not rows:
                return
            at, after = rows[-1]["started_at"], rows[-1]["id"]
            yield [_movement(row) for row in rows]

    async def of_references(self, references: Sequence[str]) -> Sequence[OwnMovement]:
        """The attempts with these references, whenever they began."""
        found = await self.database.repeat(_BY_REFERENCE, self.rail, references) if references else ()
        return [_movement(row) for row in found]

    async def of_ids(self, ids: Sequence[str], first: datetime, last: datetime) -> Sequence[OwnMovement]:
        """The attempts with these ids of the rail that began in this time."""
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
        # Money that came on an attempt which was called dead has come all the same.
        succeeded=row["state"] == "succeeded" or row["amount_received"] > 0,
        order_id=row["order_id"],
    )
