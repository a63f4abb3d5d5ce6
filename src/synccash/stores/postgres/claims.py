"""Claims of requests that open no order, and the age of all claims. The clock is the database's."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from synccash.payments.errors import StoreUnavailableError
from synccash.resilience.claims import Answer, Decision, Granted, InProgress, Replayed, Reused
from synccash.stores.postgres.database import TRIES, Database, InDoubtError
from synccash.stores.postgres.pool import Pool
from synccash.stores.postgres.rows import to_json

# A former holder's row is taken over in the same step that finds it; a row that cannot be had is only read.
_CLAIM = """
WITH granted AS (
    INSERT INTO request_claims AS r (scope, key, fingerprint, state, fence, lease_until)
    VALUES ($1, $2, $3, 'processing', 1, now() + make_interval(secs => $4))
    ON CONFLICT (scope, key) DO UPDATE SET
        state = 'processing', fence = r.fence + 1, lease_until = excluded.lease_until
    WHERE r.fingerprint = excluded.fingerprint AND r.status IS NULL
        AND (r.state = 'failed' OR r.lease_until <= now())
    RETURNING fence
)
SELECT granted.fence, r.fingerprint, r.status, r.headers, r.body,
    extract(epoch FROM r.lease_until - now())::float8 AS held_for_s
FROM (SELECT 1) one LEFT JOIN granted ON true
LEFT JOIN request_claims r ON granted.fence IS NULL AND r.scope = $1 AND r.key = $2
"""
_MINE = "scope = $1 AND key = $2 AND fence = $3 AND state = 'processing'"
_RENEW = f"""
UPDATE request_claims SET lease_until = now() + make_interval(secs => $4) WHERE {_MINE} RETURNING fence
"""  # noqa: S608 - put together from constants
# Repeated after a lost connection it finds its own answer, which is success too.
_COMPLETE = f"""
WITH completed AS (
    UPDATE request_claims SET state = 'completed', status = $4, headers = $5, body = $6
    WHERE {_MINE} RETURNING fence
)
SELECT fence FROM completed
UNION ALL
SELECT fence FROM request_claims
WHERE scope = $1 AND key = $2 AND fence = $3 AND state = 'completed' AND status = $4
    AND body IS NOT DISTINCT FROM $6
"""  # noqa: S608
_GIVE_BACK = f"UPDATE request_claims SET state = 'failed' WHERE {_MINE} RETURNING fence"  # noqa: S608

_SWEEP = """
DELETE FROM {table} WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM {table}
    WHERE created_at < now() - make_interval(secs => $1) AND {over}
    LIMIT $2 FOR UPDATE SKIP LOCKED
)) RETURNING 1
"""
_SWEEPS = (
    _SWEEP.format(table="idempotency", over="status IS NOT NULL"),
    _SWEEP.format(table="request_claims", over="(status IS NOT NULL OR lease_until <= now())"),
)

_STATISTICS = """
SELECT
    count(*) FILTER (WHERE i.status IS NOT NULL) AS completed,
    count(*) FILTER (WHERE i.status IS NULL) AS processing,
    count(*) FILTER (WHERE i.status IS NULL AND i.lease_until <= now()) AS overdue,
    extract(epoch FROM now() - min(i.created_at) FILTER (WHERE i.status IS NULL))::float8
        AS oldest_processing_s
FROM (
    SELECT i.status, i.created_at, coalesce(
        (SELECT p.lease_until FROM payments p WHERE i.status IS NULL AND p.id = i.order_id),
        (SELECT r.lease_until FROM refunds r WHERE i.status IS NULL AND r.id = i.order_id)) AS lease_until
    FROM idempotency i WHERE i.created_at > now() - make_interval(secs => $1)
    UNION ALL
    SELECT c.status, c.created_at, c.lease_until
    FROM request_claims c WHERE c.created_at > now() - make_interval(secs => $1)
) i
"""


@dataclass(frozen=True, slots=True)
class PostgresClaims:
    """A ClaimStore. Every method raises StoreUnavailableError when PostgreSQL is out of reach."""

    pool: Pool

    async def claim(self, scope: str, key: str, fingerprint: bytes, *, lease_s: float) -> Decision:
        """Become the holder of a key, or learn what stands under it.

        A claim whose commit is in doubt is not given away: it is in progress until its lease ends.
        """
        for _ in range(TRIES):
            try:
                found = await Database(self.pool).commit(_CLAIM, scope, key, fingerprint, lease_s)
            except InDoubtError as error:
                raise StoreUnavailableError(f"PostgreSQL was lost: {error}", retry_after_s=lease_s) from error
            (row,) = found
            if row["fence"] is not None:
                return Granted(row["fence"], taken_over=row["fence"] > 1)
            if row["fingerprint"] is None:
                continue  # its first holder committed after this statement began: look again
            if row["fingerprint"] != fingerprint:
                return Reused()
            if row["status"] is not None:
                headers = tuple(tuple(pair) for pair in msgspec.json.decode(row["headers"]))
                return Replayed(Answer(row["status"], headers, row["body"]))
            return InProgress(max(0.0, row["held_for_s"]))
        raise StoreUnavailableError("the key changes hands too often; ask again")

    async def renew(self, scope: str, key: str, fence: int, *, lease_s: float) -> bool:
        """Keep a claim for `lease_s` more seconds. False: it was lost or is over."""
        return bool(await self._run(_RENEW, scope, key, fence, lease_s))

    async def complete(self, scope: str, key: str, fence: int, answer: Answer) -> bool:
        """Keep the answer. False: another took over; discard yours and ask again."""
        headers = to_json(answer.headers)
        return bool(await self._run(_COMPLETE, scope, key, fence, answer.status, headers, answer.body))

    async def give_back(self, scope: str, key: str, fence: int) -> bool:
        """End the work without an answer. False: another took over."""
        return bool(await self._run(_GIVE_BACK, scope, key, fence))

    async def sweep(self, *, older_than_s: float, limit: int) -> int:
        """Forget at most `limit` finished claims of each kind that are older; return how many went.

        Small batches that skip what is locked: nobody waits for them. Orders and references stay for ever.
        """
        return sum([len(await self._run(statement, older_than_s, limit)) for statement in _SWEEPS])

    async def statistics(self, *, window_s: float) -> Mapping[str, Any]:
        """What the claims of the last `window_s` seconds have come to."""
        (row,) = await self._run(_STATISTICS, window_s)
        return dict(row.items())

    async def _run(self, statement: str, *arguments: Any) -> list[Any]:
        return await Database(self.pool).repeat(statement, *arguments)
