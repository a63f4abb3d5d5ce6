"""Who works on what: the statements that find due orders, keep leases and take hints."""

from synccash.stores.postgres.parts import attempts_of

# `due` is the order as it was when its lock was had; the updates look at it first as this statement's
# snapshot has it. A holder who committed in between has written attempts that the snapshot cannot see, so an
# order whose last move differs is left to the next round.
TAKE_DUE = f"""
WITH due_payments AS MATERIALIZED (
    SELECT id, due_at, lease_until, move_id, fence FROM payments WHERE due_at <= now()
    ORDER BY due_at LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED
),
due_refunds AS MATERIALIZED (
    SELECT id, due_at, lease_until, move_id, fence FROM refunds WHERE due_at <= now()
    ORDER BY due_at LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED
),
due AS MATERIALIZED (
    SELECT * FROM due_payments UNION ALL SELECT * FROM due_refunds ORDER BY due_at LIMIT $1
),
payments_taken AS (
    UPDATE payments o SET
        fence = o.fence + 1, hinted = false, lease_until = now() + make_interval(secs => $2),
        due_at = now() + make_interval(secs => $2)
    FROM due WHERE o.id = due.id AND o.move_id = due.move_id AND o.fence = due.fence
    RETURNING o.*, due.due_at AS was_due_at, due.lease_until AS former_lease_end
),
refunds_taken AS (
    UPDATE refunds o SET
        fence = o.fence + 1, hinted = false, lease_until = now() + make_interval(secs => $2),
        due_at = now() + make_interval(secs => $2)
    FROM due WHERE o.id = due.id AND o.move_id = due.move_id AND o.fence = due.fence
    RETURNING o.*, due.due_at AS was_due_at, due.lease_until AS former_lease_end
)
SELECT row_to_json(o) AS payment, NULL::json AS refund, NULL::json AS debit,
    {attempts_of("o.id")} AS attempts, now() AS as_of, o.former_lease_end, o.was_due_at
FROM payments_taken o
UNION ALL
SELECT row_to_json(p), row_to_json(o), row_to_json(d), {attempts_of("o.id")},
    now(), o.former_lease_end, o.was_due_at
FROM refunds_taken o JOIN payments p ON p.id = o.payment_id JOIN attempts d ON d.id = o.attempt_id
ORDER BY was_due_at
"""  # noqa: S608 - put together from constants

RENEW = """
WITH held AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::bigint[]) AS h(id, fence)
),
payments_kept AS (
    UPDATE payments o SET
        lease_until = now() + make_interval(secs => $3), due_at = now() + make_interval(secs => $3)
    FROM held WHERE o.id = held.id AND o.fence = held.fence AND o.lease_until IS NOT NULL
    RETURNING o.id, o.fence
),
refunds_kept AS (
    UPDATE refunds o SET
        lease_until = now() + make_interval(secs => $3), due_at = now() + make_interval(secs => $3)
    FROM held WHERE o.id = held.id AND o.fence = held.fence AND o.lease_until IS NOT NULL
    RETURNING o.id, o.fence
)
SELECT id, fence FROM payments_kept UNION ALL SELECT id, fence FROM refunds_kept
"""

# While somebody holds the order the hint waits for the release: `due_at` stays the end of the lease.
HINT = """
WITH meant AS MATERIALIZED (
    SELECT order_id FROM attempts WHERE callback_token = $1
),
payment AS (
    UPDATE payments o SET
        hinted = true, due_at = CASE WHEN o.lease_until > now() THEN o.due_at ELSE '-infinity' END
    FROM meant WHERE o.id = meant.order_id
),
refund AS (
    UPDATE refunds o SET
        hinted = true, due_at = CASE WHEN o.lease_until > now() THEN o.due_at ELSE '-infinity' END
    FROM meant WHERE o.id = meant.order_id
)
SELECT 1 FROM meant
"""

PAYMENT = f"""
SELECT row_to_json(p) AS payment, {attempts_of("p.id")} AS attempts, now() AS as_of
FROM payments p WHERE p.id = $1
"""  # noqa: S608 - put together from constants

REFUND = f"""
SELECT row_to_json(r) AS refund, row_to_json(p) AS payment, row_to_json(d) AS debit,
    {attempts_of("r.id")} AS attempts, now() AS as_of
FROM refunds r JOIN payments p ON p.id = r.payment_id JOIN attempts d ON d.id = r.attempt_id
WHERE r.id = $1
"""  # noqa: S608 - put together from constants
