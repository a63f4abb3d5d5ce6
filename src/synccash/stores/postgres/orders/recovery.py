"""Stores whether a recovery is active: the database may have lost commits of money that moved.

See docs/operating.md.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import asyncpg
import structlog

from synccash.payments.errors import StoreUnavailableError
from synccash.payments.recovery import Recovery
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.orders.order_tables import ORDER_TABLES, OrderTable, union
from synccash.stores.postgres.pool import Connection

log = structlog.get_logger("synccash.recovery")

SERVICE = "the service"
"""Who began a recovery that no operator began."""
# A standby cannot report its WAL write position, so the timeline is NULL there.
SERVER = """(
    SELECT system_identifier, left(pg_walfile_name(
        CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_lsn() END), 8) AS timeline
    FROM pg_control_system()
)"""
_EPOCH = f"""
SELECT r.epoch, r.active, (extract(epoch FROM r.entered_at) * 1000000)::bigint AS began,
    (r.system_identifier, r.timeline) = (s.system_identifier, s.timeline) AS is_ours,
    s.system_identifier, s.timeline
FROM recovery r, {SERVER} s
"""  # noqa: S608 - put together from constants
# Every open order has a due time and few ended ones do, so the scan of due_payments and of the partial
# indexes on due times avoids a scan of all orders.
_STATE = f"""
WITH waiting AS (
    {union("SELECT recovery_epoch FROM {table} WHERE {waiting} AND {is_open}")}
)
SELECT epoch, active, reason, entered_by, entered_at, released_by, released_at,
    (SELECT count(*) FROM waiting WHERE recovery_epoch < r.epoch) AS unsearched
FROM recovery r
"""  # noqa: S608 - put together from constants
_START = f"""
UPDATE recovery r SET
    epoch = r.epoch + 1, active = true, reason = $1, entered_by = $2, entered_at = now(),
    system_identifier = s.system_identifier, timeline = s.timeline
FROM {SERVER} s WHERE NOT r.active OR (r.system_identifier, r.timeline) <> (s.system_identifier, s.timeline)
"""  # noqa: S608 - put together from constants
_HOLD = f"""
WITH held AS ({_START} RETURNING r.epoch),
audited AS (
    INSERT INTO audit (actor, action, target, reason) SELECT $2, 'recovery_start', 'database', $1 FROM held
)
SELECT epoch FROM held
"""  # noqa: S608 - put together from constants
# A row is missing, or finds its payment too late, where payments was written without its triggers. Setting
# look_at lets the trigger write the row anew, and is also right for a payment that is changed meanwhile.
_REPAIR = """
WITH page AS MATERIALIZED (
    SELECT id, due_at, merchant_id, livemode, status, created_at,
        coalesce(status_detail IN ('under_review', 'risk_review'), false) AS in_review
    FROM payments WHERE id > $1 ORDER BY id LIMIT $2
),
repaired AS (
    UPDATE payments p SET look_at = NULL FROM page
    WHERE p.id = page.id AND page.due_at IS NOT NULL AND NOT EXISTS (
        SELECT FROM due_payments d
        WHERE d.payment_id = page.id AND d.look_at <= page.due_at AND d.in_review = page.in_review
    )
    RETURNING p.id
),
listed AS (
    INSERT INTO unsuccessful_payments (merchant_id, livemode, status, created_at, payment_id)
    SELECT merchant_id, livemode, status, created_at, id FROM page WHERE status IN ('failed', 'canceled')
    ON CONFLICT DO NOTHING
)
SELECT (SELECT max(id) FROM page) AS last, (SELECT count(*) FROM repaired) AS repaired
"""
# The ids of attempts increase with time.
_LATEST_KEY = """
SELECT reference_key FROM (SELECT id, reference_key FROM attempts ORDER BY id DESC LIMIT 1000) latest
WHERE reference_key IS NOT NULL ORDER BY id DESC LIMIT 1
"""


def _made_due(table: OrderTable) -> str:
    return f"""
{table.name}_due AS (
    UPDATE {table.name} o SET due_at = now() FROM released
    WHERE {table.waiting} AND {table.is_open} AND o.lease_until IS NULL
)"""  # noqa: S608 - put together from constants


_RELEASE = f"""
WITH released AS (
    UPDATE recovery SET active = false, released_by = $1, released_at = now() WHERE active RETURNING epoch
),
{",".join(map(_made_due, ORDER_TABLES.values()))},
counted AS (
    UPDATE witnesses SET synchronous = false FROM released WHERE synchronous IS NULL
)
SELECT epoch FROM released
"""  # noqa: S608 - put together from constants
_DURABILITY = """
SELECT current_setting('synchronous_commit') AS synchronous_commit,
    current_setting('fsync')::boolean AS fsync,
    current_setting('synchronous_standby_names') AS synchronous_standby_names,
    (SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')) AS synchronous_standbys
"""

SERVER_CHANGED = (
    "the data is served by another PostgreSQL server than before (a restored backup, or a standby that was "
    "promoted), so commits may be missing"
)


@dataclass(frozen=True, slots=True)
class RecoveryState:
    """The recovery row. `unsearched`: the open orders that no rail has been asked about since it began."""

    epoch: int
    active: bool
    reason: str | None
    entered_by: str | None
    entered_at: datetime | None
    released_by: str | None
    released_at: datetime | None
    unsearched: int


@dataclass(frozen=True, slots=True)
class Durability:
    """The settings of PostgreSQL that decide whether a commit survives a failure. `synchronous_standbys`: how
    many are connected; 0 also if the service's role may not see them (it needs `pg_monitor`)."""

    synchronous_commit: str
    fsync: bool
    synchronous_standby_names: str
    synchronous_standbys: int

    def weaknesses(self) -> list[str]:
        """Return messages that tell what a failure of the server could lose, and what to do about it."""
        found: list[str] = []
        if not self.fsync:
            found.append("fsync is off: a crash of the host loses commits; set fsync = on")
        if self.synchronous_commit in ("off", "local") and (
            self.synchronous_commit == "off" or self.synchronous_standby_names
        ):
            found.append(
                f"synchronous_commit is {self.synchronous_commit}: a failure loses commits whose money has "
                "moved; set synchronous_commit = on"
            )
        if not self.synchronous_standby_names:
            found.append(
                "no synchronous standby is named: if this server's disk is lost, the commits since the last "
                "backup are too; set synchronous_standby_names, or keep the recovery procedure at hand"
            )
        return found


@dataclass(frozen=True, slots=True)
class PostgresRecovery:
    """Reads and changes the recovery row. Every method raises StoreUnavailableError without PostgreSQL."""

    database: Database

    async def recovery(self) -> Recovery:
        """Return the epoch, and whether sends are held. Starts a recovery if PostgreSQL is another server
        than before: behind a proxy, a connection outlives its server."""
        [row] = await self.database.repeat(_EPOCH)
        if row["is_ours"] is False:
            _log_start(await self.database.repeat(_HOLD, SERVER_CHANGED, SERVICE))
            [row] = await self.database.repeat(_EPOCH)
        name = f"{row['epoch']}.{row['began']}" if row["epoch"] else ""
        return Recovery(epoch=row["epoch"], active=row["active"], name=name)

    async def latest_key(self) -> str | None:
        """Return the id of the installation key of the latest derived reference, searched among the latest
        1,000 attempts; None if there is none."""
        rows = await self.database.repeat(_LATEST_KEY)
        return rows[0]["reference_key"] if rows else None

    async def state(self) -> RecoveryState:
        """Return the whole row. It counts open orders, so it is for operators and too slow for loops."""
        [row] = await self.database.repeat(_STATE)
        return RecoveryState(**dict(row))

    async def start(self, *, by: str, reason: str) -> RecoveryState:
        """Start a recovery, which holds all sends. Does nothing if one is active on this server."""
        await self.database.repeat(_START, reason, by)
        return await self.state()

    async def repair_due_payments(self, *, at_once: int = 10_000) -> int:
        """Write the missing rows of due_payments, without which no worker finds a payment; return how many.
        Write those of unsuccessful_payments too, without which lists by status lack a payment.

        It reads all payments, `at_once` with each statement. While a recovery is active, nothing is sent for
        what it finds.
        """
        repaired, last = 0, ""
        while True:
            [row] = await self.database.repeat(_REPAIR, last, at_once)
            if row["last"] is None:
                return repaired
            repaired, last = repaired + row["repaired"], row["last"]

    async def release(self, *, by: str) -> RecoveryState:
        """End the recovery: sends are allowed, and each open order is due now and inquired about first."""
        await self.database.repeat(_RELEASE, by)
        return await self.state()

    async def durability(self) -> Durability:
        """Return the settings of PostgreSQL that decide whether a commit survives a failure."""
        [row] = await self.database.repeat(_DURABILITY)
        return Durability(**dict(row))


@dataclass(slots=True)
class ServerCheck:
    """Checks each new connection of a pool before its first use, because it may lead to another server than
    the connections before."""

    _latest: tuple[int, str] | None = field(default=None, init=False)

    async def __call__(self, connection: Connection) -> None:
        """Hold all sends if this connection leads to another server than the one on record.

        Raises TargetServerAttributeNotMatched at a standby, which is read-only, and at a former primary that
        runs again: what is committed there is lost when it follows the new one.
        """
        if await connection.fetchval("SELECT pg_is_in_recovery()"):
            raise asyncpg.TargetServerAttributeNotMatched("the server is a standby and takes no commits")
        try:
            row: Any = await connection.fetchrow(_EPOCH)
        except asyncpg.UndefinedTableError:
            # The database is not migrated yet.
            return
        self._refuse_former_primary(row["system_identifier"], row["timeline"])
        if row["is_ours"] is False:
            _log_start(await connection.fetch(_HOLD, SERVER_CHANGED, SERVICE))

    def _refuse_former_primary(self, system: int, timeline: str) -> None:
        # Timelines of one system are hexadecimal numbers of a fixed length, and only grow.
        if self._latest is not None and self._latest[0] == system and timeline < self._latest[1]:
            log.warning("former_primary_refused", timeline=timeline, latest=self._latest[1])
            raise asyncpg.TargetServerAttributeNotMatched(
                f"the server is a former primary: its timeline is {timeline}, and this process has seen "
                f"{self._latest[1]}. Stop it, and let it follow the new one (pg_rewind)"
            )
        self._latest = (system, timeline)


async def hold_statement(connection: Connection, reason: str) -> str:
    """Return the statement that starts a recovery, with `reason` in it, for a script that restores rows."""
    quoted = await connection.fetchrow(
        "SELECT quote_literal($1::text) AS reason, quote_literal('database:' || session_user) AS by", reason
    )
    if quoted is None:
        raise StoreUnavailableError("PostgreSQL gave no answer")
    values = {"$1": quoted["reason"], "$2": quoted["by"]}
    return re.sub(r"\$[12]", lambda found: values[found[0]], _START)


def _log_start(started: Sequence[asyncpg.Record]) -> None:
    if started:
        log.warning("recovery_began", recovery=started[0]["epoch"], reason=SERVER_CHANGED)
