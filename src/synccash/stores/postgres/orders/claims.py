"""Idempotency claims of requests that open no order, and the cleanup of all claims, by the database clock."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from synccash.payments.case import SURPLUS_SCOPE
from synccash.payments.errors import StoreUnavailableError
from synccash.resilience.claims import (
    ClaimAnswer,
    ClaimDecision,
    ClaimState,
    Granted,
    InProgress,
    Replayed,
    Reused,
)
from synccash.stores.batching import NaturalBatch
from synccash.stores.encryption import Encryption, is_sealed
from synccash.stores.postgres import sealing
from synccash.stores.postgres.database import Database, InDoubtError
from synccash.stores.postgres.orders.order_tables import LEASE_END
from synccash.stores.postgres.orders.rows import to_json

# With one flush for all callers, the processors idle while the disk writes. With several smaller flushes, one
# is processed while another is written.
_MAX_BATCH = 32
_MAX_FLUSHES = 3
_MAX_TRIES = 10

# The insert takes over an expired or failed claim in the same step that finds it; other existing rows are
# only read. The requested names are distinct: see `_claim_together`. OFFSET 0 keeps the read of a row in a
# subquery of its own: it uses the index even in a plan that was made while the table was small, and it is
# skipped for new claims. For a claim that was taken over it returns the row as the former holder left it; the
# fence excludes a row that changed after the snapshot.
_CLAIM = """
WITH asked AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[], $4::float8[])
        AS a(scope, key, fingerprint, lease_s)
),
granted AS (
    INSERT INTO request_claims AS r (scope, key, fingerprint, state, fence, lease_until)
    SELECT scope, key, fingerprint, 'processing', 1, now() + make_interval(secs => lease_s)
    FROM asked ORDER BY scope, key
    ON CONFLICT (scope, key) DO UPDATE SET
        state = 'processing', fence = r.fence + 1, lease_until = excluded.lease_until
    WHERE r.fingerprint = excluded.fingerprint AND r.status IS NULL
        AND (r.state = 'failed' OR r.lease_until <= now())
    RETURNING scope, key, fence
)
SELECT asked.scope, asked.key, granted.fence, r.fingerprint, r.state, r.status, r.headers, r.body,
    extract(epoch FROM r.lease_until - now())::float8 AS held_for_s
FROM asked LEFT JOIN granted USING (scope, key)
LEFT JOIN LATERAL (
    SELECT * FROM request_claims c
    WHERE granted.fence IS DISTINCT FROM 1 AND c.scope = asked.scope AND c.key = asked.key
        AND (granted.fence IS NULL OR c.fence = granted.fence - 1)
    OFFSET 0
) r ON true
"""
_HELD_CLAIM = "scope = $1 AND key = $2 AND fence = $3 AND state = 'processing'"
_RENEW = f"""
UPDATE request_claims SET lease_until = now() + make_interval(secs => $4) WHERE {_HELD_CLAIM} RETURNING fence
"""  # noqa: S608 - put together from constants
# The completions of one flush name distinct rows, and no other statement waits for two of these rows. So any
# order of locks is free of deadlocks.
_COMPLETE = """
UPDATE request_claims r SET
    state = 'completed', status = a.status, headers = a.headers::json, body = a.body
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::int[], $5::text[], $6::bytea[])
    AS a(scope, key, fence, status, headers, body)
WHERE r.scope = a.scope AND r.key = a.key AND r.fence = a.fence AND r.state = 'processing'
RETURNING r.scope, r.key
"""
# Repeated after a lost connection, _COMPLETE matches no row. This finds the response that the first execution
# stored, which counts as success.
_COMPLETED = """
SELECT body FROM request_claims
WHERE scope = $1 AND key = $2 AND fence = $3 AND state = 'completed' AND status = $4
"""
_GIVE_BACK = f"UPDATE request_claims SET state = 'failed' WHERE {_HELD_CLAIM} RETURNING fence"  # noqa: S608

_SWEEP = """
DELETE FROM {table} WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM {table}
    WHERE created_at < now() - make_interval(secs => $1) AND {over}
    LIMIT $2 FOR UPDATE SKIP LOCKED
)) RETURNING 1
"""
_SWEEPS = (
    # The claim of an automatic refund is never deleted, because it prevents a second refund of the debit.
    _SWEEP.format(table="idempotency", over=f"status IS NOT NULL AND scope <> '{SURPLUS_SCOPE}'"),
    _SWEEP.format(table="request_claims", over="(status IS NOT NULL OR lease_until <= now())"),
)

_STATISTICS = f"""
SELECT
    count(*) FILTER (WHERE i.status IS NOT NULL) AS completed,
    count(*) FILTER (WHERE i.status IS NULL) AS processing,
    count(*) FILTER (WHERE i.status IS NULL AND i.lease_until <= now()) AS overdue,
    extract(epoch FROM now() - min(i.created_at) FILTER (WHERE i.status IS NULL))::float8
        AS oldest_processing_s
FROM (
    SELECT i.status, i.created_at, CASE WHEN i.status IS NULL THEN {LEASE_END} END AS lease_until
    FROM idempotency i WHERE i.created_at > now() - make_interval(secs => $1)
    UNION ALL
    SELECT c.status, c.created_at, c.lease_until
    FROM request_claims c WHERE c.created_at > now() - make_interval(secs => $1)
) i
"""  # noqa: S608 - put together from constants


@dataclass(frozen=True, slots=True)
class _PendingClaim:
    """One pending claim."""

    scope: str
    key: str
    fingerprint: bytes
    lease_s: float


@dataclass(frozen=True, slots=True)
class _PendingCompletion:
    """One pending completion of a claim."""

    scope: str
    key: str
    fence: int
    answer: ClaimAnswer


@dataclass(slots=True)
class PostgresClaims:
    """Implements `ClaimStore` in PostgreSQL. Concurrent claims of all tasks are sent in one statement.

    With encryption, keys and fingerprints are stored as keyed hashes, and bodies are sealed.

    Every method raises StoreUnavailableError when PostgreSQL cannot be reached.
    """

    database: Database
    _claims: NaturalBatch[_PendingClaim, ClaimDecision | None] = field(init=False)
    _answers: NaturalBatch[_PendingCompletion, bool] = field(init=False)

    def __post_init__(self) -> None:
        self._claims = NaturalBatch(self._claim_together, max_items=_MAX_BATCH, max_in_flight=_MAX_FLUSHES)
        self._answers = NaturalBatch(
            self._complete_together, max_items=_MAX_BATCH, max_in_flight=_MAX_FLUSHES
        )

    async def claim(self, scope: str, key: str, fingerprint: bytes, *, lease_s: float) -> ClaimDecision:
        """Claim a key, or return the claim that is stored under it.

        Raises StoreUnavailableError also when it is unknown whether the claim was committed: a claim that was
        committed stays in progress until its lease ends.
        """
        encryption = self.database.encryption
        if encryption is not None:
            fingerprint = encryption.digest("request_fingerprint", fingerprint.hex())
        asked = _PendingClaim(scope, self._key(scope, key), fingerprint, lease_s)
        for _ in range(_MAX_TRIES):
            decision = await self.database.commit_with(self._claims.submit, asked)
            if decision is not None:
                return decision
        raise StoreUnavailableError("other holders took over the key at every try; retry the request")

    async def _claim_together(
        self, asked: Sequence[_PendingClaim]
    ) -> Sequence[ClaimDecision | BaseException | None]:
        """Claim each name once: of several requests for one name, only the first may be granted it."""
        first = {(one.scope, one.key): one for one in reversed(asked)}
        names = list(first)
        claims = [first[name] for name in names]
        try:
            found = await self.database.once(
                _CLAIM,
                [scope for scope, _ in names],
                [key for _, key in names],
                [one.fingerprint for one in claims],
                [one.lease_s for one in claims],
            )
        except InDoubtError as error:
            reason = f"PostgreSQL was lost: {error}"
            return [StoreUnavailableError(reason, retry_after_s=one.lease_s) for one in asked]
        except StoreUnavailableError as error:
            return [type(error)(str(error)) for _ in asked]
        rows = {(row["scope"], row["key"]): row for row in found}
        return [
            _decision(rows[one.scope, one.key], one, first[one.scope, one.key], self.database.encryption)
            for one in asked
        ]

    def _key(self, scope: str, key: str) -> str:
        return sealing.claim_key(self.database.encryption, scope, key)

    async def renew(self, scope: str, key: str, fence: int, *, lease_s: float) -> bool:
        """Extend a claim's lease to `lease_s` seconds from now. Returns False if it was lost or has ended."""
        return bool(await self._run(_RENEW, scope, self._key(scope, key), fence, lease_s))

    async def complete(self, scope: str, key: str, fence: int, answer: ClaimAnswer) -> bool:
        """Store the response. Returns False if another holder took over: then discard it and read the stored
        one."""
        key, encryption, plain = self._key(scope, key), self.database.encryption, answer.body
        if encryption is not None and plain is not None:
            answer = replace(answer, body=encryption.seal(_place(scope, key), plain))
        finished = _PendingCompletion(scope, key, fence, answer)
        if await self.database.repeat_with(self._answers.submit, finished):
            return True
        found = await self._run(_COMPLETED, scope, key, fence, answer.status)
        return bool(found) and _body(found[0], scope, key, encryption) == plain

    async def _complete_together(self, asked: Sequence[_PendingCompletion]) -> Sequence[bool | BaseException]:
        arguments = (
            [one.scope for one in asked],
            [one.key for one in asked],
            [one.fence for one in asked],
            [one.answer.status for one in asked],
            [to_json(one.answer.headers).decode() for one in asked],
            [one.answer.body for one in asked],
        )
        try:
            found = await self.database.once(_COMPLETE, *arguments)
        except (InDoubtError, StoreUnavailableError) as error:
            return [type(error)(str(error)) for _ in asked]
        kept = {(row["scope"], row["key"]) for row in found}
        return [(one.scope, one.key) in kept for one in asked]

    async def give_back(self, scope: str, key: str, fence: int) -> bool:
        """Release the claim without a response. Returns False if another holder took over."""
        return bool(await self._run(_GIVE_BACK, scope, self._key(scope, key), fence))

    async def sweep(self, *, older_than_s: float, limit: int) -> int:
        """Delete up to `limit` finished or expired claims of each kind; return the number deleted.

        A small batch that skips locked rows delays no other statement. Orders and references are not deleted.
        """
        return sum([len(await self._run(statement, older_than_s, limit)) for statement in _SWEEPS])

    async def statistics(self, *, window_s: float) -> Mapping[str, Any]:
        """Return statistics of the claims of the last `window_s` seconds."""
        (row,) = await self._run(_STATISTICS, window_s)
        return dict(row.items())

    async def _run(self, statement: str, *arguments: Any) -> list[Any]:
        return await self.database.repeat(statement, *arguments)


def _place(scope: str, key: str) -> str:
    return f"request_claims:{scope}:{key}"


def _body(row: Any, scope: str, key: str, encryption: Encryption | None) -> bytes | None:
    """Return the stored body of an answer. Raises DecryptionError."""
    body: bytes | None = row["body"]
    if body is None or encryption is None or not is_sealed(body):
        return body
    return encryption.open(_place(scope, key), body)


def _decision(
    row: Any, asked: _PendingClaim, first: _PendingClaim, encryption: Encryption | None
) -> ClaimDecision | None:
    """Return the decision that a row means for a claim. None: another holder committed its claim after this
    statement's snapshot was taken, so the row must be read again. Raises DecryptionError."""
    if row["fence"] is not None and asked is first:
        return Granted(
            row["fence"], taken_over=row["fence"] > 1, given_back=row["state"] == ClaimState.FAILED.value
        )
    if row["fence"] is not None:
        return InProgress(first.lease_s) if asked.fingerprint == first.fingerprint else Reused()
    if row["fingerprint"] is None:
        return None
    if row["fingerprint"] != asked.fingerprint:
        return Reused()
    if row["status"] is not None:
        headers = tuple(tuple(pair) for pair in msgspec.json.decode(row["headers"]))
        body = _body(row, asked.scope, asked.key, encryption)
        return Replayed(ClaimAnswer(row["status"], headers, body))
    return InProgress(max(0.0, row["held_for_s"]))
