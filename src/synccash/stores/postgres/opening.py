"""Commit 1: the statements that open orders, each a whole transaction.

They take one JSON argument, an array of openings. Each step reads what the step before returned, so that what
did not happen has no followers.
"""

from synccash.payments.payment import OrderKind
from synccash.stores.postgres.parts import ATTEMPT_COLUMNS, ATTEMPT_VALUES, followers

# The equality tells the planner to expect one row, so that it walks the indexes even while the tables are
# small and its statistics old; without it a plan made on an empty table reads a grown one from end to end.
_ASKED = """
asked AS MATERIALIZED (
    SELECT * FROM json_to_recordset($1) AS a(
        kind text, scope text, key text, fingerprint bytea, order_id text, "order" json,
        lease_s float8, due_in_s float8, status integer, body bytea,
        attempts json, events json, timeline json, merchant_id text, balance json)
    WHERE kind = 'opening'
)"""
_RECOVERING = """recovering AS MATERIALIZED (
    SELECT active, epoch - active::integer AS epoch FROM recovery
)"""

# A refund of a payment that is older than the latest release may be one that was lost and is asked for again,
# also long afterwards: it is opened as if the recovery lasted, and searched for before it is sent.
_RECOVERING_REFUND = """recovering AS MATERIALIZED (
    SELECT held AS active, r.epoch - held::integer AS epoch
    FROM asked JOIN payments p ON p.id = asked."order" ->> 'payment_id', recovery r,
        LATERAL (SELECT r.active OR coalesce(p.created_at < r.released_at, false) AS held) state
)"""

_STANDING = """
LEFT JOIN LATERAL (
    SELECT i.fingerprint, i.order_id, i.status, i.body, coalesce(
        (SELECT p.lease_until FROM payments p WHERE p.id = i.order_id),
        (SELECT r.lease_until FROM refunds r WHERE r.id = i.order_id),
        (SELECT o.lease_until FROM payouts o WHERE o.id = i.order_id)) AS lease_until
    FROM idempotency i WHERE i.scope = asked.scope AND i.key = asked.key
) standing ON opened.order_id IS NULL"""

_ANSWER = """
    opened.order_id IS NOT NULL AS opened, now() AS as_of,
    standing.fingerprint, standing.order_id, standing.status, standing.body,
    coalesce(greatest(0, extract(epoch FROM standing.lease_until - now())), 0)::float8 AS held_for_s,
    (SELECT active FROM recovering) AS sends_held"""

_SUSPENDED = """suspended AS MATERIALIZED (
    SELECT asked.order_id FROM asked JOIN suspended_merchants s USING (merchant_id)
)"""

# In the order of their claims, so that openings that meet never wait for each other in a ring. What is
# refused leaves no claim: its key is free for another try.
_CLAIMED = """claimed AS (
    INSERT INTO idempotency (scope, key, fingerprint, order_id, status, body, completed_at)
    SELECT scope, key, fingerprint, order_id, status, body, CASE WHEN status IS NOT NULL THEN now() END
    FROM asked WHERE order_id NOT IN (SELECT order_id FROM {refused})
        AND (NOT (SELECT active FROM recovering) OR json_array_length(asked.attempts) = 0)
    ORDER BY scope, key
    ON CONFLICT (scope, key) DO NOTHING
    RETURNING order_id
),
opened AS MATERIALIZED (
    SELECT asked.* FROM asked JOIN claimed USING (order_id)
)"""

# One after the other, so that what is left for each is known; under the locks of the balances.
_JUDGED = f"""{_SUSPENDED},
judged AS MATERIALIZED (
    SELECT * FROM judge_openings((
        SELECT json_agg(balance) FROM asked WHERE order_id NOT IN (SELECT order_id FROM suspended)
    ))
),
refused AS (
    SELECT order_id FROM suspended UNION ALL SELECT order_id FROM judged
)"""  # noqa: S608 - put together from constants

_REFUSED = """,
    EXISTS (SELECT FROM suspended WHERE suspended.order_id = asked.order_id) AS suspended"""
_UNCOVERED = f"""{_REFUSED},
    (SELECT greatest(judged.available, 0) FROM judged WHERE judged.order_id = asked.order_id) AS covered,
    (SELECT judged.needed FROM judged WHERE judged.order_id = asked.order_id) AS needed"""  # noqa: S608

OPEN_PAYMENTS = f"""
WITH {_ASKED},
{_RECOVERING},
{_SUSPENDED},
{_CLAIMED.format(refused="suspended")},
made AS (
    INSERT INTO payments (
        id, merchant_id, livemode, reference, amount, currency, payer_msisdn, payer_network, created_at,
        updated_at, expires_at, status, status_detail, pinned_rail, rail, provider_transaction_id,
        next_action, last_error, amount_received, amount_refunded, attempt_count, description, metadata,
        routing, version, fence, recovery_epoch, lease_until, due_at, move_id)
    SELECT
        p.id, p.merchant_id, p.livemode, p.reference, p.amount, p.currency, p.payer_msisdn, p.payer_network,
        p.created_at, p.updated_at, p.expires_at, p.status, p.status_detail, p.pinned_rail, p.rail,
        p.provider_transaction_id, p.next_action, p.last_error, p.amount_received, p.amount_refunded,
        p.attempt_count, p.description, p.metadata, p.routing, p.version, p.fence,
        (SELECT epoch FROM recovering),
        now() + make_interval(secs => opened.lease_s),
        now() + make_interval(secs => coalesce(opened.lease_s, opened.due_in_s)),
        p.id
    FROM opened, json_populate_record(NULL::payments, opened."order") p
    ORDER BY p.merchant_id, p.livemode, p.reference
),
tried AS (
    INSERT INTO attempts ({ATTEMPT_COLUMNS})
    SELECT {ATTEMPT_VALUES} FROM opened, json_populate_recordset(NULL::attempts, opened.attempts) a
),
{followers("opened")}
SELECT asked.order_id AS asked_id, {_ANSWER}{_REFUSED}
FROM asked LEFT JOIN opened USING (order_id) {_STANDING}
"""  # noqa: S608 - put together from constants

OPEN_PAYOUTS = f"""
WITH {_ASKED},
{_RECOVERING},
{_JUDGED},
{_CLAIMED.format(refused="refused")},
made AS (
    INSERT INTO payouts (
        id, merchant_id, livemode, reference, amount, currency, payee_msisdn, payee_network, payee_name,
        created_at, updated_at, expires_at, status, status_detail, pinned_rail, rail,
        provider_transaction_id, last_error, attempt_count, description, metadata, routing, version, fence,
        recovery_epoch, lease_until, due_at, move_id)
    SELECT
        p.id, p.merchant_id, p.livemode, p.reference, p.amount, p.currency, p.payee_msisdn, p.payee_network,
        p.payee_name, p.created_at, p.updated_at, p.expires_at, p.status, p.status_detail, p.pinned_rail,
        p.rail, p.provider_transaction_id, p.last_error, p.attempt_count, p.description, p.metadata,
        p.routing, p.version, p.fence, (SELECT epoch FROM recovering),
        now() + make_interval(secs => opened.lease_s),
        now() + make_interval(secs => coalesce(opened.lease_s, opened.due_in_s)),
        p.id
    FROM opened, json_populate_record(NULL::payouts, opened."order") p
    ORDER BY p.merchant_id, p.livemode, p.reference
),
tried AS (
    INSERT INTO attempts ({ATTEMPT_COLUMNS})
    SELECT {ATTEMPT_VALUES} FROM opened, json_populate_recordset(NULL::attempts, opened.attempts) a
),
{followers("opened")}
SELECT asked.order_id AS asked_id, {_ANSWER}{_UNCOVERED}
FROM asked LEFT JOIN opened USING (order_id) {_STANDING}
"""  # noqa: S608 - put together from constants

# The debit is locked before anything is claimed: who waits here sees what is really left. The balance is
# locked behind it, always in this order. Money that came too much was never part of it: that is not judged.
OPEN_REFUND = f"""
WITH {_ASKED},
{_RECOVERING_REFUND},
debit AS MATERIALIZED (
    SELECT CASE WHEN a.reversed_at IS NULL THEN a.amount_received - a.refund_reserved ELSE 0 END AS available
    FROM asked JOIN attempts a ON a.id = asked."order" ->> 'attempt_id'
    WHERE a.operation = 'collect' AND a.order_id = asked."order" ->> 'payment_id'
    FOR NO KEY UPDATE OF a
),
{_SUSPENDED},
judged AS MATERIALIZED (
    SELECT j.* FROM asked, debit, judge_openings(CASE
        WHEN debit.available >= (asked."order" ->> 'amount')::bigint AND asked.balance IS NOT NULL
            THEN json_build_array(asked.balance)
    END) j
    WHERE asked.order_id NOT IN (SELECT order_id FROM suspended)
),
claimed AS (
    INSERT INTO idempotency (scope, key, fingerprint, order_id)
    SELECT scope, key, fingerprint, order_id FROM asked, debit
    WHERE debit.available >= (asked."order" ->> 'amount')::bigint
        AND (NOT (SELECT active FROM recovering) OR json_array_length(asked.attempts) = 0)
        AND order_id NOT IN (SELECT order_id FROM suspended UNION ALL SELECT order_id FROM judged)
    ON CONFLICT (scope, key) DO NOTHING
    RETURNING order_id
),
opened AS MATERIALIZED (
    SELECT asked.* FROM asked JOIN claimed USING (order_id)
),
reserved AS (
    UPDATE attempts a SET refund_reserved = a.refund_reserved + (opened."order" ->> 'amount')::bigint
    FROM opened WHERE a.id = opened."order" ->> 'attempt_id'
    RETURNING a.*
),
made AS (
    INSERT INTO refunds (
        id, merchant_id, livemode, payment_id, attempt_id, amount, currency, created_at, updated_at, status,
        status_detail, rail, reason, last_error, surplus, exclusive, identity, version, fence,
        recovery_epoch, lease_until, due_at, move_id)
    SELECT
        r.id, r.merchant_id, r.livemode, r.payment_id, r.attempt_id, r.amount, r.currency, r.created_at,
        r.updated_at, r.status, r.status_detail, r.rail, r.reason, r.last_error, r.surplus, r.exclusive,
        r.identity, r.version, r.fence, (SELECT epoch FROM recovering),
        now() + make_interval(secs => opened.lease_s),
        now() + make_interval(secs => coalesce(opened.lease_s, opened.due_in_s)),
        r.id
    FROM opened, json_populate_record(NULL::refunds, opened."order") r
),
tried AS (
    INSERT INTO attempts ({ATTEMPT_COLUMNS})
    SELECT {ATTEMPT_VALUES} FROM opened, json_populate_recordset(NULL::attempts, opened.attempts) a
),
{followers("opened")}
SELECT asked.order_id AS asked_id, {_ANSWER}{_UNCOVERED},
    (SELECT available FROM debit) AS available,
    (SELECT row_to_json(reserved) FROM reserved) AS debit,
    (SELECT row_to_json(p) FROM payments p WHERE p.id = asked."order" ->> 'payment_id') AS payment
FROM asked LEFT JOIN opened USING (order_id) {_STANDING}
"""  # noqa: S608 - put together from constants

CLAIMED = """
SELECT i.fingerprint, i.order_id, i.status, i.body, coalesce(greatest(0, extract(epoch FROM coalesce(
    (SELECT p.lease_until FROM payments p WHERE p.id = i.order_id),
    (SELECT r.lease_until FROM refunds r WHERE r.id = i.order_id),
    (SELECT o.lease_until FROM payouts o WHERE o.id = i.order_id)) - now())), 0)::float8 AS held_for_s
FROM idempotency i WHERE i.scope = $1 AND i.key = $2
"""

# Usually the commit that let the order go has stored the answer, and nothing is left to write.
ANSWER = """
WITH given AS (
    UPDATE idempotency SET status = $2, body = $3, completed_at = now()
    WHERE order_id = $1 AND status IS NULL
    RETURNING status, body
)
SELECT status, body FROM given
UNION ALL
SELECT status, body FROM idempotency WHERE order_id = $1 AND status IS NOT NULL
"""

OWNER = {
    OrderKind.PAYMENT: "SELECT id FROM payments WHERE merchant_id = $1 AND livemode = $2 AND reference = $3",
    OrderKind.PAYOUT: "SELECT id FROM payouts WHERE merchant_id = $1 AND livemode = $2 AND reference = $3",
    OrderKind.REFUND: "SELECT id FROM refunds WHERE payment_id = $1 AND identity = $2",
}
"""The order that a reference belongs to, and the refund that an identity belongs to."""
