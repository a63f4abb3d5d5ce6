"""A PostgresOrderStore on a database of its own, for tests."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from synccash.payments.balance import BalanceAccount
from synccash.payments.case import Entry, Event
from synccash.stores.postgres.balances import PostgresBalances
from synccash.stores.postgres.errors import InvariantBrokenError
from synccash.stores.postgres.operations.merchants import PostgresKeys
from synccash.stores.postgres.orders.order_store import PostgresOrderStore
from synccash.stores.postgres.orders.reading import entry_of
from synccash.stores.postgres.orders.rows import event_of
from synccash.stores.postgres.pool import Pool


@dataclass(frozen=True)
class PostgresWorld:
    """Time goes on by shifting every moment that the order store compares with its clock."""

    pool: Pool
    order_store: PostgresOrderStore
    refusal: type[Exception] = InvariantBrokenError

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def skip(self, seconds: float) -> None:
        back = "make_interval(secs => $1)"
        for table, columns in (
            ("payments", ("lease_until", "due_at", "expires_at")),
            ("refunds", ("lease_until", "due_at")),
            ("payouts", ("lease_until", "due_at", "expires_at")),
        ):
            changes = ", ".join(f"{column} = {column} - {back}" for column in columns)
            await self.pool.execute(f"UPDATE {table} SET {changes}", seconds)

    async def events(self) -> list[Event]:
        found = await self.pool.fetch("SELECT * FROM events ORDER BY xact, position")
        return [event_of(row, self.order_store.database.encryption) for row in found]

    async def timeline(self, order_id: str) -> list[Entry]:
        found = await self.pool.fetch(
            "SELECT * FROM timeline WHERE order_id = $1 ORDER BY position", order_id
        )
        return [entry_of(row, self.order_store.database.encryption) for row in found]

    async def grant(self, merchant_id: str, amount: int) -> None:
        account = BalanceAccount(merchant_id=merchant_id, livemode=False, currency="GHS")
        await PostgresBalances(self.order_store.database).grant(account, amount, f"credit:{uuid4().hex}")

    async def suspend(self, merchant_id: str, *, suspended: bool = True) -> None:
        keys = PostgresKeys(self.order_store.database)
        await keys.ensure_merchant(merchant_id, merchant_id)
        assert await (keys.suspend(merchant_id, "a test") if suspended else keys.resume(merchant_id))

    async def contradictions(self, order_id: str) -> list[str]:
        rows = await self.pool.fetch("SELECT kind FROM contradictions WHERE order_id = $1", order_id)
        return [row["kind"] for row in rows]

    async def value(self, query: str, *arguments: Any) -> Any:
        return await self.pool.fetchval(query, *arguments)
