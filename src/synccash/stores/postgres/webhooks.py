"""Stores webhook endpoints and their pending deliveries, with the database clock."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

import asyncpg
import msgspec
import structlog

from synccash.payments.audit import AuditNote
from synccash.payments.errors import EndpointLimitError
from synccash.payments.history import Waiting
from synccash.payments.request import Tenant
from synccash.payments.webhook import (
    DISABLED_BY_MERCHANT,
    ENDPOINT_VERIFICATION,
    GIVE_UP_AFTER,
    MAX_ENDPOINTS,
    VERIFICATION_DELAY_S,
    Challenge,
    Delivery,
    EndpointStatus,
    FailingEndpoint,
    MerchantShare,
    WebhookEndpoint,
    WebhookSecret,
)
from synccash.stores.encryption import DecryptionError, Encryption
from synccash.stores.postgres import sealing
from synccash.stores.postgres.audit import change_with_note
from synccash.stores.postgres.database import Database, InDoubtError
from synccash.stores.postgres.orders import rows
from synccash.stores.postgres.orders.rows import to_json
from synccash.stores.postgres.parts import new_deliveries

log = structlog.get_logger("synccash.webhooks")

# How many rows a statement changes at most, so that it ends in time however many events are kept or due.
_RELEASED_AT_ONCE = 250
_KEPT_AT_ONCE = 10_000
_ENDED_AT_ONCE = 2_000
_OWN_ENDPOINT = "merchant_id = $1 AND livemode = $2 AND status <> 'removed'"
_ROW = "row_to_json(webhook_endpoints) AS endpoint"


def _challenge(source: str) -> str:
    """Return the steps that write the challenge $8 with the text $9 for the pending endpoint in the step
    `source`. A repeated statement writes nothing more."""
    return f"""
challenge_event AS (
    INSERT INTO events (id, merchant_id, livemode, type, created_at, object_id, object_version, data)
    SELECT $8, merchant_id, livemode, '{ENDPOINT_VERIFICATION}', now(), id, 1, json_build_object(
        'id', id, 'object', 'webhook_endpoint', 'status', status, 'challenge', $9::text)
    FROM {source} WHERE status = 'pending' AND $8::text IS NOT NULL
    ON CONFLICT (id) DO NOTHING
),
challenge_delivery AS (
    INSERT INTO deliveries (event_id, endpoint_id, due_at)
    SELECT $8, id, now() + make_interval(secs => {VERIFICATION_DELAY_S})
    FROM {source} WHERE status = 'pending' AND $8::text IS NOT NULL
    ON CONFLICT (event_id, endpoint_id) DO NOTHING
)"""  # noqa: S608 - put together from constants


_ADD = f"""
WITH new_endpoint AS (
    INSERT INTO webhook_endpoints
        (id, merchant_id, livemode, url, types, secrets, status, verified_at, verification_event_id, sealed)
    VALUES ($3, $1, $2, $4, $5, $6, $7, CASE WHEN $7 = 'pending' THEN NULL ELSE now() END, $8, $10)
    ON CONFLICT (id) DO UPDATE SET id = excluded.id
    RETURNING *
),
{_challenge("new_endpoint")}
SELECT row_to_json(new_endpoint) AS endpoint FROM new_endpoint
"""  # noqa: S608 - put together from constants
_ALL = f"SELECT {_ROW} FROM webhook_endpoints WHERE {_OWN_ENDPOINT} ORDER BY created_at, id"  # noqa: S608
_ONE = f"SELECT {_ROW} FROM webhook_endpoints WHERE {_OWN_ENDPOINT} AND id = $3"  # noqa: S608
# The status is decided here, because an endpoint may be verified between its reading and this statement.
_NEW_STATUS = """CASE WHEN $7 = 'disabled' THEN 'disabled'
        WHEN url <> $4 OR verified_at IS NULL THEN 'pending' ELSE 'enabled' END"""
# A pending endpoint's deliveries wait for its verification; the new fence keeps the result of a try that is
# under way from the endpoint, and a former challenge is not sent any more. Deliveries beyond _KEPT_AT_ONCE
# stay due, and wait as well: of a pending endpoint only the challenge is taken.
_CHANGE = f"""
WITH former AS (
    SELECT verification_event_id FROM webhook_endpoints WHERE {_OWN_ENDPOINT} AND id = $3
),
changed AS (
    UPDATE webhook_endpoints SET
        url = $4, types = $5, secrets = $6, sealed = $11, status = {_NEW_STATUS}, updated_at = now(),
        disabled_reason = CASE WHEN $7 = 'disabled' THEN $10 END,
        failing_since = CASE WHEN $7 = 'disabled' THEN failing_since END,
        verified_at = CASE WHEN url = $4 THEN verified_at END,
        verification_event_id = CASE
            WHEN {_NEW_STATUS} = 'pending' THEN coalesce($8, verification_event_id)
            ELSE verification_event_id END
    WHERE {_OWN_ENDPOINT} AND id = $3
    RETURNING *
),
kept AS (
    (SELECT d.event_id FROM changed JOIN deliveries d ON d.endpoint_id = changed.id
    WHERE d.due_at BETWEEN now() AND now() + interval '1 minute')
    UNION (SELECT d.event_id FROM changed JOIN deliveries d ON d.endpoint_id = changed.id
    WHERE d.due_at < 'infinity' ORDER BY d.due_at LIMIT {_KEPT_AT_ONCE})
    UNION SELECT verification_event_id FROM former
),
kept_deliveries AS (
    UPDATE deliveries d SET fence = fence + 1,
        due_at = CASE WHEN e.type <> '{ENDPOINT_VERIFICATION}' THEN 'infinity'::timestamptz END
    FROM changed, kept, events e
    WHERE d.endpoint_id = changed.id AND d.event_id = kept.event_id AND d.due_at IS NOT NULL
        AND e.id = d.event_id AND d.event_id <> $8
        AND changed.status = 'pending' AND $8::text IS NOT NULL
),
{_challenge("changed")}
SELECT row_to_json(changed) AS endpoint FROM changed
"""  # noqa: S608


# The deliveries of a removed or disabled endpoint are not taken, and _END ends them in parts.
_REMOVE = f"""
UPDATE webhook_endpoints SET status = 'removed', secrets = '[]', sealed = NULL, updated_at = now()
WHERE {_OWN_ENDPOINT} AND id = $3 RETURNING id
"""  # noqa: S608

# $4 and $5 limit the deliveries of endpoints that are busy or failing, $6, $7, $8 and $10 those of merchants
# in each mode, so that one slow endpoint or one merchant's endpoints do not take all posts. An endpoint whose
# breaker is open has the limit 0.
#
# Merchants take turns: first those with the fewest posts under way ($9). A merchant with n under way gets one
# more only while more than n posts are free, so that merchants whose endpoints hang cannot use up all posts
# together: `level - 1` posts of the merchant are then under way, and `$1 - (place - 1)` are free.
#
# The cost must not grow with a merchant's backlog. The condition on (endpoint_id, due_at) is a range, because
# only the index deliveries_due_of_endpoint gives its order: with `endpoint_id = w.id`, PostgreSQL may read
# the due deliveries of all endpoints for each endpoint. The 1,000 oldest deliveries tell whether nothing but
# endpoints with the limit 0 is due.
_TAKE = """
WITH held AS MATERIALIZED (SELECT * FROM unnest($4::text[], $5::int[]) AS held (id, room)),
paced AS MATERIALIZED (
    SELECT * FROM unnest($6::text[], $7::boolean[], $8::int[], $9::int[])
        AS paced (merchant_id, livemode, room, under_way)
),
candidates AS MATERIALIZED (
    SELECT first.event_id, first.endpoint_id, first.due_at, coalesce(paced.room, $10) AS room,
        coalesce(paced.under_way, 0) AS under_way,
        row_number() OVER (PARTITION BY w.merchant_id, w.livemode ORDER BY first.due_at) AS turn
    FROM webhook_endpoints w LEFT JOIN held USING (id)
    LEFT JOIN paced ON paced.merchant_id = w.merchant_id AND paced.livemode = w.livemode
    CROSS JOIN LATERAL (
        SELECT * FROM (
            SELECT d.event_id, d.endpoint_id, d.due_at FROM deliveries d
            WHERE w.status = 'enabled' AND d.due_at IS NOT NULL
                AND d.endpoint_id >= w.id AND (d.endpoint_id, d.due_at) <= (w.id, now())
            ORDER BY d.endpoint_id, d.due_at LIMIT least(coalesce(held.room, $2), coalesce(paced.room, $10))
            FOR NO KEY UPDATE SKIP LOCKED
        ) due_deliveries
        UNION ALL SELECT * FROM (
            SELECT d.event_id, d.endpoint_id, d.due_at FROM deliveries d
            WHERE w.status = 'pending' AND d.event_id = w.verification_event_id AND d.endpoint_id = w.id
                AND d.due_at <= now()
            FOR NO KEY UPDATE SKIP LOCKED
        ) challenge
    ) first
    WHERE w.status IN ('enabled', 'pending') AND held.room IS DISTINCT FROM 0
        AND paced.room IS DISTINCT FROM 0 AND (
            SELECT count(*) = 1000 OR bool_or(oldest.endpoint_id NOT IN (SELECT id FROM held WHERE room = 0))
            FROM (
                SELECT d.endpoint_id FROM deliveries d WHERE d.due_at <= now() ORDER BY d.due_at LIMIT 1000
            ) oldest
        )
),
placed AS MATERIALIZED (
    SELECT event_id, endpoint_id, under_way + turn AS level,
        row_number() OVER (ORDER BY under_way + turn, due_at) AS place
    FROM candidates WHERE turn <= room
),
due AS MATERIALIZED (
    SELECT event_id, endpoint_id FROM placed WHERE level - 1 < $1 - (place - 1)
),
taken AS (
    UPDATE deliveries d SET
        tries = d.tries + 1, fence = d.fence + 1, due_at = now() + make_interval(secs => $3)
    FROM due WHERE d.event_id = due.event_id AND d.endpoint_id = due.endpoint_id
    RETURNING d.event_id, d.endpoint_id, d.created_at, d.tries, d.fence
)
SELECT t.tries, t.fence, extract(epoch FROM now() - greatest(t.created_at, w.verified_at))::float8 AS age_s,
    coalesce(extract(epoch FROM now() - w.failing_since), 0)::float8 AS failing_s,
    row_to_json(w) AS endpoint,
    e.id, e.merchant_id, e.livemode, e.type, e.created_at, e.object_id, e.object_version, e.data,
    e.sealed
FROM taken t JOIN events e ON e.id = t.event_id JOIN webhook_endpoints w ON w.id = t.endpoint_id
ORDER BY e.xact, e.position
"""

_DELIVERED = """
WITH settled AS (
    UPDATE deliveries SET due_at = NULL, delivered_at = now(), last_status = $4, last_error = NULL
    WHERE event_id = $1 AND endpoint_id = $2 AND fence = $3
    RETURNING endpoint_id
),
recovered_endpoint AS (
    UPDATE webhook_endpoints w SET failing_since = NULL
    FROM settled WHERE w.id = settled.endpoint_id AND w.failing_since IS NOT NULL
)
SELECT endpoint_id FROM settled
"""
_VERIFIED = """
WITH settled AS (
    UPDATE deliveries SET due_at = NULL, delivered_at = now(), last_status = $4, last_error = NULL
    WHERE event_id = $1 AND endpoint_id = $2 AND fence = $3
    RETURNING event_id, endpoint_id
),
verified AS (
    UPDATE webhook_endpoints w SET
        status = 'enabled', verified_at = now(), updated_at = now(), failing_since = NULL
    FROM settled
    WHERE w.id = settled.endpoint_id AND w.status = 'pending' AND w.verification_event_id = settled.event_id
    RETURNING w.id
)
SELECT endpoint_id FROM settled
"""
# Ends a part of what is due for disabled and removed endpoints. An endpoint that its merchant disabled may be
# enabled again, so its deliveries are kept as long as they would be retried. The recursion reads one row of
# the index for each endpoint that has anything due, so that endpoints which were removed long ago cost
# nothing. A delivery that an order's commit adds after the removal is found too.
_END = f"""
WITH RECURSIVE owed AS (
    (SELECT endpoint_id FROM deliveries WHERE due_at IS NOT NULL ORDER BY endpoint_id LIMIT 1)
    UNION ALL
    SELECT (
        SELECT d.endpoint_id FROM deliveries d WHERE d.due_at IS NOT NULL AND d.endpoint_id > owed.endpoint_id
        ORDER BY d.endpoint_id LIMIT 1
    ) FROM owed WHERE owed.endpoint_id IS NOT NULL
),
useless AS MATERIALIZED (
    SELECT part.ctid AS part_ctid FROM owed JOIN webhook_endpoints w ON w.id = owed.endpoint_id
    CROSS JOIN LATERAL (
        SELECT d.ctid FROM deliveries d WHERE d.endpoint_id = w.id AND d.due_at IS NOT NULL
        LIMIT {_ENDED_AT_ONCE} FOR NO KEY UPDATE SKIP LOCKED
    ) part
    WHERE w.status = 'removed' OR (w.status = 'disabled' AND (
        w.disabled_reason IS DISTINCT FROM '{DISABLED_BY_MERCHANT}'
        OR w.updated_at < now() - make_interval(secs => {GIVE_UP_AFTER.total_seconds():.0f})
    ))
    LIMIT {_ENDED_AT_ONCE}
),
ended AS (
    UPDATE deliveries d SET due_at = NULL
    WHERE d.ctid = ANY (ARRAY (SELECT part_ctid FROM useless))
    RETURNING d.event_id
)
SELECT count(*) AS ended FROM ended
"""  # noqa: S608 - put together from constants
# The kept deliveries of an endpoint become due in parts. An order's commit that saw the endpoint pending may
# also end after its verification: its delivery is found here.
_HEARTBEAT = f"""
WITH heartbeat AS (
    INSERT INTO webhook_heartbeat (seen_at) VALUES (now())
    ON CONFLICT (only_row) DO UPDATE SET seen_at = now()
),
kept AS MATERIALIZED (
    SELECT part.ctid AS part_ctid FROM webhook_endpoints w CROSS JOIN LATERAL (
        SELECT d.ctid FROM deliveries d
        WHERE d.endpoint_id <= w.id AND (d.endpoint_id, d.due_at) >= (w.id, 'infinity'::timestamptz)
            AND d.due_at IS NOT NULL
        ORDER BY d.endpoint_id, d.due_at LIMIT {_RELEASED_AT_ONCE}
        FOR NO KEY UPDATE SKIP LOCKED
    ) part
    WHERE w.status = 'enabled'
),
released AS (
    UPDATE deliveries d SET due_at = now(), created_at = now()
    WHERE d.ctid = ANY (ARRAY (SELECT part_ctid FROM kept))
    RETURNING d.event_id
)
SELECT count(*) AS released FROM released
"""  # noqa: S608 - put together from constants
_OVERDUE = """
SELECT extract(epoch FROM now() - min(d.due_at))::float8 AS overdue_s
FROM deliveries d JOIN webhook_endpoints w ON w.id = d.endpoint_id
WHERE d.due_at < now() - make_interval(secs => $1)
    AND (w.status = 'enabled' OR (w.status = 'pending' AND d.event_id = w.verification_event_id))
    AND NOT EXISTS (SELECT FROM webhook_heartbeat WHERE seen_at > now() - make_interval(secs => $2))
"""
_LAG_MAX = 1_000
# The deliveries of each endpoint are a range of deliveries_due_of_endpoint, so a backlog costs no more.
_LAG = f"""
SELECT coalesce(sum(d.n), 0)::bigint AS n, coalesce(max(d.age_s), 0)::float8 AS oldest_s
FROM webhook_endpoints w CROSS JOIN LATERAL (
    SELECT count(*) AS n, extract(epoch FROM now() - min(due_at)) AS age_s FROM (
        SELECT d.due_at FROM deliveries d
        WHERE d.due_at IS NOT NULL AND d.endpoint_id >= w.id AND (d.endpoint_id, d.due_at) <= (w.id, now())
        ORDER BY d.endpoint_id, d.due_at LIMIT {_LAG_MAX}
    ) of_endpoint
) d
WHERE w.status = 'enabled'
"""  # noqa: S608 - put together from constants
FAILING_SHOWN = 5
_WAITING_MAX = 1_000
# The endpoints are few, and the deliveries of each are a range of deliveries_due_of_endpoint.
_FAILING = f"""
SELECT w.id, w.merchant_id, w.livemode, extract(epoch FROM now() - w.failing_since)::float8 AS failing_s,
    (
        SELECT d.last_error FROM deliveries d
        WHERE d.endpoint_id = w.id AND d.due_at IS NOT NULL AND d.last_error IS NOT NULL
        ORDER BY d.due_at LIMIT 1
    ) AS reason,
    (
        SELECT count(*) FROM (
            SELECT FROM deliveries d WHERE d.endpoint_id = w.id AND d.due_at IS NOT NULL LIMIT {_WAITING_MAX}
        ) waiting
    ) AS waiting,
    count(*) OVER () AS endpoints
FROM webhook_endpoints w
WHERE w.failing_since IS NOT NULL AND w.status IN ('enabled', 'pending')
ORDER BY w.failing_since, w.id LIMIT {FAILING_SHOWN}
"""  # noqa: S608 - put together from constants
_FAILED = """
WITH settled AS (
    UPDATE deliveries SET due_at = now() + make_interval(secs => $6), last_status = $4, last_error = $5
    WHERE event_id = $1 AND endpoint_id = $2 AND fence = $3
    RETURNING endpoint_id
),
failing_endpoint AS (
    UPDATE webhook_endpoints w SET failing_since = now()
    FROM settled WHERE w.id = settled.endpoint_id AND w.failing_since IS NULL
)
SELECT endpoint_id FROM settled
"""
_POSTPONE = """
UPDATE deliveries SET tries = tries - 1, fence = fence + 1, due_at = now() + make_interval(secs => $4)
WHERE event_id = $1 AND endpoint_id = $2 AND fence = $3
RETURNING endpoint_id
"""
_DISABLE = f"""
WITH disabled AS (
    UPDATE webhook_endpoints SET status = 'disabled', disabled_reason = $2, updated_at = now()
    WHERE id = $1 AND status IN ('pending', 'enabled') RETURNING merchant_id, livemode
),
new_events AS (
    INSERT INTO events (id, merchant_id, livemode, type, created_at, object_id, object_version, data)
    SELECT $3, merchant_id, livemode, 'webhook_endpoint.disabled', now(), $1, 1,
        json_build_object('id', $1::text, 'object', 'webhook_endpoint', 'status', 'disabled',
            'disabled_reason', $2::text)
    FROM disabled RETURNING id, merchant_id, livemode, type
),
{new_deliveries("new_events", "w.id <> $1")}
SELECT id FROM new_events
"""  # noqa: S608
# The new fence invalidates a try that is under way, so that its result does not settle the new delivery.
_REDELIVER = f"""
WITH event AS (
    SELECT id, merchant_id, livemode, type FROM events
    WHERE merchant_id = $1 AND livemode = $2 AND id = $3
),
new_deliveries AS (
    INSERT INTO deliveries (event_id, endpoint_id, due_at)
    SELECT event.id, w.id, now() FROM event JOIN webhook_endpoints w USING (merchant_id, livemode)
    WHERE w.status = 'enabled' AND event.type <> '{ENDPOINT_VERIFICATION}'
    ON CONFLICT (event_id, endpoint_id) DO UPDATE SET
        due_at = now(), created_at = now(), tries = 0, delivered_at = NULL, fence = deliveries.fence + 1
    RETURNING endpoint_id
)
SELECT event.id, (SELECT count(*) FROM new_deliveries) AS endpoints FROM event
"""  # noqa: S608 - put together from constants

_RECOVERED_AT_ONCE = 1_000
_RECOVERY_EVENTS = 20_000
# No index has a merchant's events by time, but their order of commits is nearly that of time. So the newest
# are read, and the cost does not grow with the events that are stored. A delivery that waits for a first try,
# or for the verification of its endpoint, has not failed.
_RECOVER = f"""
WITH newest AS MATERIALIZED (
    SELECT id, type, created_at, xact, position FROM events
    WHERE merchant_id = $1 AND livemode = $2 ORDER BY xact DESC, position DESC LIMIT {_RECOVERY_EVENTS}
),
failed AS MATERIALIZED (
    SELECT d.event_id, d.endpoint_id FROM newest e JOIN deliveries d ON d.event_id = e.id
    JOIN webhook_endpoints w ON w.id = d.endpoint_id
    WHERE e.created_at >= $3 AND e.type <> '{ENDPOINT_VERIFICATION}' AND w.status = 'enabled'
        AND d.delivered_at IS NULL
        AND (d.due_at IS NULL OR (d.tries > 0 AND d.due_at > now() AND isfinite(d.due_at)))
    ORDER BY e.xact, e.position, d.endpoint_id LIMIT {_RECOVERED_AT_ONCE + 1}
),
recovered AS (
    UPDATE deliveries d SET
        due_at = now(), created_at = now(), tries = 0, fence = d.fence + 1
    FROM (SELECT * FROM failed LIMIT {_RECOVERED_AT_ONCE}) f
    WHERE d.event_id = f.event_id AND d.endpoint_id = f.endpoint_id
    RETURNING d.event_id
)
SELECT (SELECT count(*) FROM recovered) AS deliveries,
    (SELECT count(*) > {_RECOVERED_AT_ONCE} FROM failed) AS has_more,
    (SELECT CASE WHEN count(*) = {_RECOVERY_EVENTS} AND min(created_at) > $3 THEN min(created_at) END
        FROM newest) AS looked_since
"""  # noqa: S608 - put together from constants


class _Secret(msgspec.Struct):
    text: str
    until: datetime | None = None


class _Endpoint(msgspec.Struct):
    id: str
    merchant_id: str
    livemode: bool
    url: str
    types: list[str] | None
    secrets: msgspec.Raw
    status: EndpointStatus
    disabled_reason: str | None
    failing_since: datetime | None
    created_at: datetime
    updated_at: datetime
    sealed: str | None = None


NO_LIMITS: Mapping[str, int] = MappingProxyType({})
NO_SHARES: Mapping[Tenant, MerchantShare] = MappingProxyType({})
_endpoint_row = msgspec.json.Decoder(_Endpoint)
_secrets = msgspec.json.Decoder(list[_Secret]).decode


@dataclass(frozen=True, slots=True)
class PostgresWebhooks:
    """Stores endpoints and deliveries. Every method raises StoreUnavailableError without PostgreSQL.

    A `note` is written to the audit log in the transaction of the change, if anything is changed.
    """

    database: Database

    async def add(
        self,
        endpoint: WebhookEndpoint,
        challenge: Challenge | None = None,
        *,
        note: AuditNote | None = None,
    ) -> WebhookEndpoint:
        """Create an endpoint; each new event of a type that it subscribes to is delivered to it.

        A pending endpoint gets them after it has answered `challenge`; any other counts as verified. Raises
        EndpointLimitError when the merchant has MAX_ENDPOINTS others.
        """
        tenant = Tenant(endpoint.merchant_id, endpoint.livemode)
        written, sealed = _written(tenant, endpoint, challenge, self.database.encryption)
        try:
            values = (*written, sealed)
            found = await change_with_note(self.database, note, _ADD, *values)
        except asyncpg.CheckViolationError as error:
            if error.constraint_name != "webhook_endpoints_limit":
                raise
            raise EndpointLimitError(
                f"{endpoint.merchant_id} has {MAX_ENDPOINTS} webhook endpoints"
            ) from error
        return self._endpoint(found[0])

    async def endpoints(self, tenant: Tenant) -> Sequence[WebhookEndpoint]:
        """Return all endpoints of a merchant, oldest first."""
        return [self._endpoint(row) for row in await self._run(_ALL, tenant.merchant_id, tenant.livemode)]

    async def endpoint(self, tenant: Tenant, endpoint_id: str) -> WebhookEndpoint | None:
        """Return one endpoint of a merchant; None if it does not exist."""
        found = await self._run(_ONE, tenant.merchant_id, tenant.livemode, endpoint_id)
        return self._endpoint(found[0]) if found else None

    async def change(
        self,
        tenant: Tenant,
        endpoint: WebhookEndpoint,
        challenge: Challenge | None = None,
        *,
        note: AuditNote | None = None,
    ) -> WebhookEndpoint | None:
        """Write an endpoint's URL, types, secrets and status. Returns None if it no longer exists.

        An endpoint that is not disabled is pending until its URL is verified; `challenge` is then sent to
        it, and replaces a former one.
        """
        written, sealed = _written(tenant, endpoint, challenge, self.database.encryption)
        values = (*written, endpoint.disabled_reason, sealed)
        found = await change_with_note(self.database, note, _CHANGE, *values)
        return self._endpoint(found[0]) if found else None

    async def remove(self, tenant: Tenant, endpoint_id: str, *, note: AuditNote | None = None) -> bool:
        """Remove an endpoint: stop its deliveries and delete its secrets. Returns False if there is none."""
        values = (tenant.merchant_id, tenant.livemode, endpoint_id)
        return bool(await change_with_note(self.database, note, _REMOVE, *values))

    async def redeliver(self, tenant: Tenant, event_id: str) -> int | None:
        """Deliver an event again to each enabled endpoint; return their number, or None without such an
        event."""
        found = await self._run(_REDELIVER, tenant.merchant_id, tenant.livemode, event_id)
        return found[0]["endpoints"] if found else None

    async def recover(self, tenant: Tenant, since: datetime, *, note: AuditNote) -> dict[str, Any]:
        """Make due now what was not delivered of a merchant's events since a time: at most 1,000 deliveries
        to enabled endpoints, of the newest 20,000 events.

        `has_more`: there are more, and a repeat takes them. `looked_since`: no older event was looked at.
        """
        values = (tenant.merchant_id, tenant.livemode, since)
        found = await change_with_note(self.database, note, _RECOVER, *values)
        return dict(found[0].items())

    async def take(
        self,
        *,
        free: int,
        each: int,
        lease_s: float,
        room: Mapping[str, int] = NO_LIMITS,
        merchant_each: int | None = None,
        shares: Mapping[Tenant, MerchantShare] = NO_SHARES,
    ) -> Sequence[Delivery]:
        """Lease due deliveries; a delivery that is not settled is due again after its lease.

        Takes at most `room[id]` deliveries for one endpoint, or `each` if `room` does not have its id; and
        at most `shares[tenant].room` for a merchant in one mode, or `merchant_each`. `free` is the number of
        posts that the process may begin. Merchants take turns, and none gets more posts than it leaves free.
        """
        try:
            found = await self.database.commit(
                _TAKE,
                free,
                each,
                lease_s,
                list(room),
                list(room.values()),
                [tenant.merchant_id for tenant in shares],
                [tenant.livemode for tenant in shares],
                [share.room for share in shares.values()],
                [share.under_way for share in shares.values()],
                free if merchant_each is None else merchant_each,
            )
        except InDoubtError:
            return []  # deliveries that were leased are due again after their leases
        return [delivery for row in found if (delivery := self._delivery(row)) is not None]

    async def lag(self) -> Waiting:
        """Return the deliveries that are due, at most `_LAG_MAX` of an endpoint, and for how long the oldest
        has been. A failed delivery is due again after its pause."""
        found = await self._run(_LAG)
        return Waiting(found[0]["n"], found[0]["oldest_s"])

    async def failing(self) -> Sequence[FailingEndpoint]:
        """Return the endpoints to which deliveries fail now, those that fail longest first; at most
        `FAILING_SHOWN`, each with the number of all."""
        return [FailingEndpoint(**dict(row.items())) for row in await self._run(_FAILING)]

    async def heartbeat(self) -> int:
        """Record that a process takes deliveries, and make due a part of what was kept for endpoints verified
        since; return the number of these deliveries."""
        return (await self._run(_HEARTBEAT))[0]["released"]

    async def end_useless(self) -> int:
        """End a part of the deliveries that are due for disabled and removed endpoints; return their
        number."""
        return (await self._run(_END))[0]["ended"]

    async def overdue_s(self, than_s: float, silent_s: float) -> float | None:
        """Return for how many seconds the oldest delivery is due if no process takes deliveries.

        None if none is due for `than_s` seconds, or if a process has sent a heartbeat in the last `silent_s`.
        """
        return (await self._run(_OVERDUE, than_s, silent_s))[0]["overdue_s"]

    async def verified(self, delivery: Delivery, status: int) -> bool:
        """Record that an endpoint answered its challenge; the next heartbeats make its kept deliveries due.
        Returns False if another dispatcher has leased the challenge since."""
        return bool(await self._run(_VERIFIED, *_name(delivery), status))

    async def delivered(self, delivery: Delivery, status: int) -> bool:
        """Record a successful delivery. Returns False if another dispatcher has leased it since."""
        return bool(await self._run(_DELIVERED, *_name(delivery), status))

    async def failed(
        self, delivery: Delivery, *, status: int | None, error: str, due_in_s: float | None
    ) -> bool:
        """Record a failed try; the next one is due after `due_in_s` seconds, or never if it is None."""
        return bool(await self._run(_FAILED, *_name(delivery), status, error, due_in_s))

    async def postpone(self, delivery: Delivery, *, due_in_s: float) -> bool:
        """Make a delivery that was not sent due in `due_in_s` seconds, without counting a try."""
        return bool(await self._run(_POSTPONE, *_name(delivery), due_in_s))

    async def disable(self, endpoint_id: str, *, reason: str, event_id: str) -> bool:
        """Disable an endpoint and write the event about it. Returns False if it was disabled already."""
        return bool(await self._run(_DISABLE, endpoint_id, reason, event_id))

    def _endpoint(self, row: asyncpg.Record) -> WebhookEndpoint:
        return _endpoint(row, self.database.encryption)

    def _delivery(self, row: asyncpg.Record) -> Delivery | None:
        """Return a delivery; None for one that cannot be decrypted, so that it delays no other."""
        try:
            return _delivery(row, self.database.encryption)
        except DecryptionError as error:
            log.error("delivery_unreadable", event_id=row["id"], error=str(error))
            return None

    async def _run(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        return await self.database.repeat(statement, *arguments)


def _lists(
    endpoint: WebhookEndpoint, encryption: Encryption | None
) -> tuple[bytes | None, bytes, bytes | None]:
    """Return the columns `types`, `secrets` and `sealed`. While the secrets are sealed, `secrets` is no list,
    so that a process of an earlier release fails instead of sending events without a signature."""
    types = None if endpoint.types is None else to_json(endpoint.types)
    plain, sealed = sealing.seal_value(
        encryption,
        secrets_place(endpoint.id),
        to_json([{"text": one.text, "until": one.until} for one in endpoint.secrets]),
    )
    return types, b"{}" if plain is None else plain, sealed


def secrets_place(endpoint_id: str) -> str:
    return f"webhook_endpoints:{endpoint_id}"


def _written(
    tenant: Tenant, endpoint: WebhookEndpoint, challenge: Challenge | None, encryption: Encryption | None
) -> tuple[tuple[Any, ...], bytes | None]:
    """Return the arguments $1 to $9 of the statements that write an endpoint, and the sealed secrets."""
    types, secrets, sealed = _lists(endpoint, encryption)
    written = (
        tenant.merchant_id,
        tenant.livemode,
        endpoint.id,
        endpoint.url,
        types,
        secrets,
        endpoint.status.value,
        challenge and challenge.event_id,
        challenge and challenge.text,
    )
    return written, sealed


def _name(delivery: Delivery) -> tuple[str, str, int]:
    return delivery.event.id, delivery.endpoint.id, delivery.fence


def _endpoint(row: asyncpg.Record, encryption: Encryption | None) -> WebhookEndpoint:
    """Read an endpoint. Raises DecryptionError."""
    found = _endpoint_row.decode(row["endpoint"])
    sealed = None if found.sealed is None else sealing.from_text(found.sealed)
    secrets = _secrets(sealing.either(encryption, secrets_place(found.id), found.secrets, sealed))
    return WebhookEndpoint(
        id=found.id,
        merchant_id=found.merchant_id,
        livemode=found.livemode,
        url=found.url,
        types=None if found.types is None else tuple(found.types),
        secrets=tuple(WebhookSecret(secret.text, secret.until) for secret in secrets),
        status=found.status,
        created_at=found.created_at,
        updated_at=found.updated_at,
        disabled_reason=found.disabled_reason,
        failing_since=found.failing_since,
    )


def _delivery(row: asyncpg.Record, encryption: Encryption | None) -> Delivery:
    return Delivery(
        endpoint=_endpoint(row, encryption),
        event=rows.event_of(row, encryption),
        fence=row["fence"],
        tries=row["tries"],
        age_s=row["age_s"],
        failing_s=row["failing_s"],
    )
