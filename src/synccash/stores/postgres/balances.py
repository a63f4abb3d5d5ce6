"""Merchants' balances: reads them from checkpoints and later entries, and writes credits and fees.

The commits of payments, refunds and payouts write their own entries: see commits.py and the triggers of the
schema.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import asyncpg

from synccash.payments.audit import AuditNote
from synccash.payments.balance import BY_MIGRATION, CONFIRMED, Balance, BalanceAccount, credit_source
from synccash.payments.errors import InternalError, StoreUnavailableError
from synccash.stores.postgres.audit import change_with_note
from synccash.stores.postgres.database import Database

_KINDS = ("collected", "refunded", "paid_out", "reserved", "credit", "fees")
_SUMS = ", ".join(
    f"coalesce(sum(amount) FILTER (WHERE kind = '{kind}'), 0)::bigint AS {kind}" for kind in _KINDS
)
# One statement reads one snapshot, so an entry is counted either in the checkpoint or after it.
_BALANCES = f"""
SELECT merchant_id, livemode, currency, {_SUMS} FROM (
    SELECT merchant_id, livemode, currency, kind, amount FROM balance_checkpoints {{where}}
    UNION ALL
    SELECT merchant_id, livemode, currency, kind, amount FROM balance_entries
    {{where}} {{joined}} id > (SELECT folded_to FROM balance_folding)
) entries GROUP BY merchant_id, livemode, currency ORDER BY merchant_id, livemode, currency
"""  # noqa: S608 - put together from constants
_ONE = _BALANCES.format(where="WHERE merchant_id = $1 AND livemode = $2 AND currency = $3", joined="AND")
_OF_MERCHANT = _BALANCES.format(where="WHERE merchant_id = $1", joined="AND")
_ALL = _BALANCES.format(where="", joined="WHERE")

# A negative credit lowers the balance, so it takes the lock under which payouts and refunds check it.
_GRANT = """
WITH granted AS (
    INSERT INTO balance_entries (merchant_id, livemode, currency, kind, amount, source)
    SELECT $1, $2, $3, 'credit', $4, $5 FROM (SELECT lock_balance($1, $2, $3)) locked
    ON CONFLICT (source) WHERE kind = 'credit' DO NOTHING
    RETURNING amount
)
SELECT amount, true AS is_new FROM granted
UNION ALL
SELECT amount, false FROM balance_entries WHERE source = $5 AND kind = 'credit'
"""
_UNCONFIRMED = f"""
SELECT e.merchant_id, e.livemode, e.currency, e.amount FROM balance_entries e
WHERE e.kind = 'credit' AND e.source LIKE '{BY_MIGRATION}:%' AND NOT EXISTS (
    SELECT FROM balance_entries c
    WHERE c.kind = 'credit' AND c.source = '{CONFIRMED}' || substr(e.source, {len(BY_MIGRATION) + 1})
)
ORDER BY e.merchant_id, e.livemode, e.currency
"""  # noqa: S608 - put together from constants
# One statement reads one snapshot, so concurrent commits cause no difference. Fees are not compared: each was
# charged by the rate at its time, and former rates are not stored.
_DIFFERENCES = """
SELECT merchant_id, livemode, currency, kind, source,
    sum(expected)::bigint AS expected, sum(found)::bigint AS found
FROM (
    SELECT merchant_id, livemode, currency, kind, source, amount AS expected, 0 AS found FROM balance_books
    WHERE $1::text IS NULL OR merchant_id = $1
    UNION ALL
    SELECT merchant_id, livemode, currency, kind, source, 0, amount FROM balance_entries
    WHERE kind NOT IN ('credit', 'fees') AND ($1::text IS NULL OR merchant_id = $1)
) of_orders
GROUP BY merchant_id, livemode, currency, kind, source HAVING sum(expected) <> sum(found)
UNION ALL
SELECT merchant_id, livemode, currency, kind, 'checkpoint', sum(expected)::bigint, sum(found)::bigint
FROM (
    SELECT merchant_id, livemode, currency, kind, amount AS expected, 0 AS found FROM balance_entries
    WHERE id <= (SELECT folded_to FROM balance_folding) AND ($1::text IS NULL OR merchant_id = $1)
    UNION ALL
    SELECT merchant_id, livemode, currency, kind, 0, amount FROM balance_checkpoints
    WHERE $1::text IS NULL OR merchant_id = $1
) of_checkpoints
GROUP BY merchant_id, livemode, currency, kind HAVING sum(expected) <> sum(found)
ORDER BY 1, 2, 3, 5, 4
"""
_DIFFERENCES_TIMEOUT_S = 3_600.0
"""The comparison reads all orders; the pool's own limit is for the statements of requests."""
_CHANGED_FEES = """
WITH new_fees AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::integer[]) AS w(rail, operation, bps)
),
removed AS (
    DELETE FROM balance_fees f
    WHERE NOT EXISTS (SELECT FROM new_fees w WHERE (w.rail, w.operation) = (f.rail, f.operation))
)
INSERT INTO balance_fees AS f (rail, operation, bps) SELECT rail, operation, bps FROM new_fees
ON CONFLICT (rail, operation) DO UPDATE SET bps = excluded.bps WHERE f.bps <> excluded.bps
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnconfirmedCredit:
    """A credit that a migration granted and that no operator has confirmed. `amount` in pesewas."""

    account: BalanceAccount
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceDifference:
    """A difference between the orders (`expected`) and the balance entries (`found`), in pesewas.

    `source` is the id of the payment, refund or payout. `source` is `checkpoint` where a checkpoint (`found`)
    differs from the sum of its entries (`expected`).
    """

    account: BalanceAccount
    kind: str
    source: str
    expected: int
    found: int


@dataclass(frozen=True, slots=True)
class PostgresBalances:
    """Reads and adjusts balances. Every method raises StoreUnavailableError without PostgreSQL."""

    database: Database

    async def balance(self, account: BalanceAccount) -> Balance:
        """Return one balance; its amounts are zero if it has no entries."""
        named = (account.merchant_id, account.livemode, account.currency)
        found = await self.database.repeat(_ONE, *named)
        if found:
            return Balance(**dict(found[0].items()))
        merchant_id, livemode, currency = named
        return Balance(merchant_id=merchant_id, livemode=livemode, currency=currency)

    async def balances(self, merchant_id: str | None = None) -> Sequence[Balance]:
        """Return all balances that have entries, or only those of one merchant."""
        found = await (
            self.database.repeat(_ALL)
            if merchant_id is None
            else self.database.repeat(_OF_MERCHANT, merchant_id)
        )
        return [Balance(**dict(row.items())) for row in found]

    async def grant(
        self, account: BalanceAccount, amount: int, source: str, *, note: AuditNote | None = None
    ) -> tuple[int, bool]:
        """Grant a credit of `amount` pesewas under the unique name `source`. A negative one revokes credit.

        Returns the amount that is stored under this name, and whether this call stored it. If it did, the
        audit log gets `note` in the same transaction.
        """
        named = (account.merchant_id, account.livemode, account.currency)
        for _ in range(2):
            found = await change_with_note(
                self.database, note, _GRANT, *named, amount, source, has_changed=_is_new
            )
            if found:
                return found[0]["amount"], found[0]["is_new"]
        raise InternalError("a credit with this key exists, but its row cannot be read")

    async def unconfirmed(self) -> Sequence[UnconfirmedCredit]:
        """Return the credits that a migration granted and that no operator has confirmed."""
        return [
            UnconfirmedCredit(
                account=BalanceAccount(
                    merchant_id=row["merchant_id"], livemode=row["livemode"], currency=row["currency"]
                ),
                amount=row["amount"],
            )
            for row in await self.database.repeat(_UNCONFIRMED)
        ]

    async def confirm(self, credit: UnconfirmedCredit, amount: int, *, note: AuditNote | None = None) -> bool:
        """Replace a migration's credit by `amount` pesewas. Returns False if it was already confirmed."""
        source = credit_source(CONFIRMED, credit.account)
        _, is_new = await self.grant(credit.account, amount - credit.amount, source, note=note)
        return is_new

    async def differences(self, merchant_id: str | None = None) -> Sequence[BalanceDifference]:
        """Compare all balances, or those of one merchant, with the orders and with their own entries.

        It reads all orders, so it is for operators and too slow for requests of the API.
        """
        try:
            async with self.database.pool.acquire() as connection:
                found = await connection.fetch(_DIFFERENCES, merchant_id, timeout=_DIFFERENCES_TIMEOUT_S)
        except (OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError) as error:
            raise StoreUnavailableError(f"PostgreSQL cannot be reached: {error}") from error
        return [
            BalanceDifference(
                account=BalanceAccount(
                    merchant_id=row["merchant_id"], livemode=row["livemode"], currency=row["currency"]
                ),
                kind=row["kind"],
                source=row["source"],
                expected=row["expected"],
                found=row["found"],
            )
            for row in found
        ]

    async def fold(self) -> None:
        """Add the settled entries to the checkpoints. Call it every few seconds."""
        await self.database.repeat("SELECT fold_balance_entries()")

    async def set_fees(self, fees: Mapping[tuple[str, str], int]) -> None:
        """Set the fees in basis points by rail and operation; an operation without an entry is free."""
        rails, operations = [key[0] for key in fees], [key[1] for key in fees]
        await self.database.repeat(_CHANGED_FEES, rails, operations, list(fees.values()))


def _is_new(granted: Sequence[asyncpg.Record]) -> bool:
    return any(row["is_new"] for row in granted)
