"""Stores the identities of rail accounts and the operators' confirmations of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from synccash.payments.errors import StoreUnavailableError
from synccash.payments.rail import Environment, RailAccount, RecordedAccount
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.orders.order_tables import PAYMENTS, PAYOUTS, REFUNDS, OrderTable

_REGISTER = "SELECT register_rail_account($1, $2, $3, $4)"
_ALL = """
SELECT rail, label, identity, environment, first_seen, confirmed_at, confirmed_by
FROM rail_accounts ORDER BY position
"""
# A row under another label is not changed: these credentials are recorded as another account.
_CONFIRM = """
INSERT INTO rail_accounts AS a (rail, label, identity, environment, confirmed_at, confirmed_by)
VALUES ($1, $2, $3, $4, now(), $5)
ON CONFLICT (rail, identity) DO UPDATE SET
    environment = excluded.environment,
    confirmed_at = CASE WHEN a.environment = excluded.environment AND a.confirmed_at IS NOT NULL
        THEN a.confirmed_at ELSE excluded.confirmed_at END,
    confirmed_by = CASE WHEN a.environment = excluded.environment AND a.confirmed_at IS NOT NULL
        THEN a.confirmed_by ELSE excluded.confirmed_by END
WHERE a.label = excluded.label AND (a.environment = excluded.environment OR $6)
RETURNING confirmed_at
"""


def _resumed(table: OrderTable, attempt: str) -> str:
    return f"""
{table.name}_resumed AS (
    UPDATE {table.name} o SET due_at = now()
    WHERE {table.in_review} AND o.status_detail = 'under_review'
        AND o.lease_until IS NULL AND o.due_at > now() AND EXISTS (
        SELECT FROM attempts a WHERE {attempt} AND a.rail = $1 AND a.account = $2
    )
    RETURNING o.id
)"""  # noqa: S608 - put together from constants


# Only few orders wait for an operator, so those of the account are all made due at once.
_RESUME = f"""
WITH {_resumed(PAYMENTS, "a.order_id = o.id")},
{_resumed(PAYOUTS, "a.order_id = o.id")},
{_resumed(REFUNDS, "a.id = o.attempt_id")}
SELECT id FROM payments_resumed
UNION ALL SELECT id FROM payouts_resumed
UNION ALL SELECT id FROM refunds_resumed
"""  # noqa: S608 - put together from constants


@dataclass(frozen=True, slots=True)
class PostgresRailAccounts:
    """Records and confirms identities. Every method raises StoreUnavailableError without PostgreSQL."""

    database: Database

    async def register(self, account: RailAccount, environment: Environment) -> None:
        """Record the identity if it is new; the first of its label and environment counts as confirmed."""
        try:
            await self.database.repeat(
                _REGISTER, account.rail, account.account, account.identity, environment.value
            )
        except asyncpg.UndefinedFunctionError as error:
            raise StoreUnavailableError("the schema is older than this version") from error

    async def all(self) -> Sequence[dict[str, Any]]:
        """Return all identities with their times, in the order in which they were recorded."""
        try:
            return [dict(row.items()) for row in await self.database.repeat(_ALL)]
        except asyncpg.UndefinedTableError as error:
            raise StoreUnavailableError("the schema is older than this version") from error

    async def recorded(self) -> Sequence[RecordedAccount]:
        """Return all identities, in the order in which they were recorded."""
        return [
            RecordedAccount(
                rail=row["rail"],
                label=row["label"],
                identity=row["identity"],
                environment=Environment(row["environment"]),
                confirmed=row["confirmed_at"] is not None,
            )
            for row in await self.all()
        ]

    async def confirm(
        self, account: RailAccount, environment: Environment, *, by: str, may_correct: bool = True
    ) -> bool:
        """Record that the identity belongs to the account of its label, in this environment. Makes the
        label's orders that wait for an operator due now. `may_correct` allows overwriting a recorded
        environment.

        Returns False if the identity is recorded under another label, or in another environment without
        `may_correct`.
        """
        facts = (account.rail, account.account, account.identity, environment.value)
        if not await self.database.repeat(_CONFIRM, *facts, by, may_correct):
            return False
        await self.database.repeat(_RESUME, account.rail, account.account)
        return True
