"""What the processes know of a failover: whether the new server has the commits that were acknowledged.

Commits reach a standby in the order of the former server's log. So a process that finds the latest commits
that were acknowledged to it also has all earlier ones. When all processes that were running find theirs, and
commits waited for a synchronous standby, nothing is lost, and the recovery is over without an operator.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from synccash.stores.postgres.database import Database
from synccash.stores.postgres.orders.order_tables import ORDER_TABLES
from synccash.stores.postgres.orders.recovery import SERVER, SERVICE

log = structlog.get_logger("synccash.recovery")

COMPLETE = "every process found all commits that were acknowledged to it, and commits were synchronous"
_SYNCHRONOUS = """(
    current_setting('synchronous_standby_names') <> ''
    AND current_setting('synchronous_commit') IN ('on', 'remote_apply') AND current_setting('fsync')::boolean
)"""
_OURS = "(r.system_identifier, r.timeline) = (s.system_identifier, s.timeline)"
_NAME = "r.epoch || '.' || (extract(epoch FROM r.entered_at) * 1000000)::bigint"
# During a recovery the rows are the evidence of what the former server had, so they are not refreshed.
_BEAT = f"""
INSERT INTO witnesses (process, synchronous)
SELECT $1, CASE WHEN NOT r.active THEN {_SYNCHRONOUS} END FROM recovery r, {SERVER} s WHERE {_OURS}
ON CONFLICT (process) DO UPDATE SET seen_at = now(), synchronous = excluded.synchronous
    WHERE NOT (SELECT active FROM recovery)
"""  # noqa: S608 - put together from constants
_FORGET = """
DELETE FROM witnesses WHERE seen_at < now() - interval '1 hour' AND NOT (SELECT active FROM recovery)
"""
_LEAVE = "DELETE FROM witnesses WHERE process = $1"
_FOUND = " OR ".join(
    f"EXISTS (SELECT FROM {table.name} o WHERE o.id = known.id AND o.version >= known.version)"
    for table in ORDER_TABLES.values()
)
_MISSING = f"SELECT id FROM unnest($1::text[], $2::bigint[]) known(id, version) WHERE NOT ({_FOUND})"  # noqa: S608
_VOUCH = "UPDATE witnesses SET vouched_for = $2 WHERE process = $1 RETURNING process"
# A process that was last seen a minute before the others had ended by then: what was acknowledged to it is
# older than what was acknowledged to those that vouch. Without a former witness nothing proves anything: a
# backup may be from a time when no process ran.
_CONFIRM = f"""
WITH former AS MATERIALIZED (
    SELECT synchronous, vouched_for IS NOT DISTINCT FROM $1 AS vouches FROM witnesses
    WHERE synchronous IS NOT NULL AND seen_at > (
        SELECT max(seen_at) FROM witnesses WHERE synchronous IS NOT NULL
    ) - interval '1 minute'
),
confirmed AS (
    UPDATE recovery r SET active = false, epoch = r.epoch - 1
    FROM {SERVER} s
    WHERE r.active AND {_NAME} = $1 AND r.entered_by = '{SERVICE}' AND {_OURS}
        AND (SELECT coalesce(bool_and(synchronous AND vouches), false) FROM former)
    RETURNING r.epoch
),
counted AS (
    UPDATE witnesses SET synchronous = false FROM confirmed WHERE synchronous IS NULL
),
audited AS (
    INSERT INTO audit (actor, action, target, reason)
    SELECT '{SERVICE}', 'recovery_confirm', 'database', '{COMPLETE}' FROM confirmed
)
SELECT epoch FROM confirmed
"""  # noqa: S608 - put together from constants


@dataclass(frozen=True, slots=True)
class PostgresWitnesses:
    """Implements the engine's `Witnesses`, which specifies each method."""

    database: Database

    async def beat(self, process: str, *, is_first: bool) -> None:
        """Record that the process runs. Raises StoreUnavailableError, as all methods do."""
        if is_first:
            await self.database.repeat(_FORGET)
        await self.database.repeat(_BEAT, process)

    async def missing(self, commits: Sequence[tuple[str, int]]) -> Sequence[str]:
        """Return the ids of the orders of which the database lacks the commit with this version."""
        ids, versions = [order_id for order_id, _ in commits], [version for _, version in commits]
        return [row["id"] for row in await self.database.repeat(_MISSING, ids, versions)]

    async def vouch(self, process: str, recovery: str) -> None:
        """Record that the database has all commits that were acknowledged to the process."""
        await self.database.repeat(_VOUCH, process, recovery)

    async def confirm(self, recovery: str) -> bool:
        """End the recovery if the processes prove that no commit is lost; return whether it was ended."""
        found = await self.database.repeat(_CONFIRM, recovery)
        if found:
            log.warning("recovery_confirmed", recovery=recovery, detail=COMPLETE)
        return bool(found)

    async def leave(self, process: str) -> None:
        """Record that the process commits nothing more."""
        await self.database.repeat(_LEAVE, process)
