"""SQL statements that write an order's commits after its opening. One template serves all order tables.

Each statement is one transaction. Its argument is a JSON array of commits (`move` in column names). `held`
locks the orders whose version and fence are those that the commit was computed from; `moved` writes them; the
later steps read what `moved` returned. Attempts are written in sequence, because a unique index requires that
an attempt is closed before the next one is opened.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from synccash.payments.payment import OrderKind
from synccash.stores.postgres.orders.order_tables import ORDER_TABLES, OrderTable, union
from synccash.stores.postgres.parts import ATTEMPT_COLUMNS, ATTEMPT_VALUES, event_steps

# The condition on `kind` makes the planner expect one row; opening.py says why.
_INPUT = """
asked AS MATERIALIZED (
    SELECT * FROM json_to_recordset($1) AS m(
        kind text, move_id text, order_id text, expected_version bigint, expected_fence bigint, "order" json,
        lease_s float8, due_in_s float8, before_expiry boolean, outside_recovery boolean, searched integer,
        contradiction text, status integer, body bytea, sealed_body bytea,
        attempts json, events json, timeline json)
    WHERE kind = 'move'
)"""

# An update never sets `refund_reserved` from the attempt's value: other processes' refunds change it
# concurrently. With `i.status IS NULL`, which the planner takes for rare, it would look for the claims by
# reading all of them, as long as there are few.
_LATER_STEPS = f"""
written_attempts AS (
    INSERT INTO attempts ({ATTEMPT_COLUMNS})
    SELECT {ATTEMPT_VALUES} FROM moved, json_populate_recordset(NULL::attempts, moved.attempts) a
    ORDER BY a.order_id, a.sequence
    ON CONFLICT (id) DO UPDATE SET
        state = excluded.state, evidence = excluded.evidence, sends = excluded.sends,
        inquiries = excluded.inquiries, quiet_since = excluded.quiet_since, latency_ms = excluded.latency_ms,
        provider_code = excluded.provider_code,
        provider_transaction_id = excluded.provider_transaction_id, failure = excluded.failure,
        retry_decision = excluded.retry_decision, amount_received = excluded.amount_received,
        not_founds = excluded.not_founds, moved_at = excluded.moved_at, reversed_at = excluded.reversed_at,
        callback_checked_at = excluded.callback_checked_at
),
{event_steps("moved")},
answered AS (
    UPDATE idempotency i SET status = moved.status, body = moved.body, sealed_body = moved.sealed_body,
        completed_at = now()
    FROM moved
    WHERE i.order_id = moved.order_id AND coalesce(i.status, 0) < 1 AND moved.status IS NOT NULL
),
contradicted AS (
    INSERT INTO contradictions (move_id, order_id, kind, attempts)
    SELECT moved.move_id, moved.order_id, moved.contradiction,
        (SELECT coalesce(json_agg(a ->> 'id'), '[]') FROM json_array_elements(moved.attempts) a)
    FROM moved WHERE moved.contradiction IS NOT NULL
)
"""  # noqa: S608 - put together from constants

# While a recovery is active, the subquery returns NULL, which no order's epoch equals.
_ALLOWED = """
        (NOT asked.outside_recovery OR o.recovery_epoch = (SELECT epoch FROM recovery WHERE NOT active))"""

_HOLD = """
        move_id = asked.move_id,
        recovery_epoch = coalesce(asked.searched, o.recovery_epoch),
        lease_until = now() + make_interval(secs => asked.lease_s),
        due_at = CASE WHEN asked.lease_s IS NULL AND o.hinted THEN '-infinity'
            ELSE now() + make_interval(secs => coalesce(asked.lease_s, asked.due_in_s)) END"""

_RETURNED = """
        o.id AS order_id, asked.move_id, asked.status, asked.body, asked.sealed_body, asked.attempts,
        asked.events, asked.timeline, asked.contradiction"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Effects:
    """SQL that a table's commits need besides writing the order. `set` and `returned` extend the step
    `moved`; `steps` come after it."""

    set: str = ""
    returned: str = ""
    steps: str = ""


# PostgreSQL runs the last step that writes first. `reserved` counts the rows of `repaid` to lock the payment
# before its debit, as the payment's own commits do.
#
# An open refund explains why a rail reports its debit as returned. When the refund has ended without moving
# money, the rail is asked about the debit again, as after a callback.
_ENDED = "p.status IN ('succeeded', 'failed', 'canceled')"

_EFFECTS: Mapping[OrderKind, _Effects] = {
    OrderKind.PAYOUT: _Effects(),
    # The attempt that paid may be recorded as reversed, and this statement may revoke the reversal: then the
    # trigger on attempts writes the difference to the balance.
    OrderKind.PAYMENT: _Effects(
        set="balance_recorded = o.balance_recorded OR n.status = 'succeeded',",
        returned=""",
        o.merchant_id, o.livemode, o.currency, o.rail, o.amount_received, o.paid_by,
        held.old_status <> 'succeeded' AND o.status = 'succeeded' AS pays""",
        steps="""
collected AS (
    INSERT INTO balance_entries (merchant_id, livemode, currency, kind, amount, source)
    SELECT p.merchant_id, p.livemode, p.currency, entry.kind, entry.amount, p.order_id
    FROM moved p CROSS JOIN LATERAL (
        SELECT 'collected' AS kind, p.amount_received AS amount
        UNION ALL
        SELECT 'fees', (p.amount_received * f.bps + 5000) / 10000 FROM balance_fees f
        WHERE f.rail = p.rail AND f.operation = 'collect'
    ) entry
    WHERE p.pays AND entry.amount > 0
        AND NOT EXISTS (SELECT FROM attempts a WHERE a.id = p.paid_by AND a.reversed_at IS NOT NULL)
),""",
    ),
    # The reservation stays when the refund moved the money, and is released when it did not. `money_moved`:
    # an attempt of the refund moved it, whatever the refund's status. When a rail reports success after
    # failure, the amount is reserved again, up to what other refunds have left. The refund of a surplus does
    # not count into the payment's `amount_refunded`, because the surplus is not part of the payment.
    OrderKind.REFUND: _Effects(
        returned=""",
        o.payment_id, o.attempt_id, o.amount, o.surplus, o.updated_at, o.status AS new_status,
        held.old_status,
        coalesce(
            (SELECT true FROM attempts a WHERE a.order_id = o.id AND a.amount_received > 0 LIMIT 1), false
        ) AS had_moved_money,
        EXISTS (
            SELECT FROM json_array_elements(asked.attempts) a WHERE (a ->> 'amount_received')::bigint > 0
        ) AS moves_money""",
        steps=f"""
settled AS (
    SELECT payment_id, attempt_id, amount, surplus, updated_at,
        old_status = 'failed' AS late,
        new_status = 'succeeded' OR had_moved_money OR moves_money AS money_moved
    FROM moved
    WHERE (old_status = 'processing' AND new_status <> 'processing')
        OR (old_status = 'failed' AND moves_money AND NOT had_moved_money)
),
repaid AS (
    UPDATE payments p SET
        amount_refunded = least(p.amount_received, p.amount_refunded + sums.amount),
        version = p.version + (sums.amount > 0)::int, updated_at = greatest(p.updated_at, sums.updated_at),
        hinted = p.hinted OR (sums.released AND {_ENDED}),
        due_at = CASE WHEN sums.released AND {_ENDED} AND (p.lease_until IS NULL OR p.lease_until <= now())
            THEN '-infinity' ELSE p.due_at END
    FROM (
        SELECT payment_id, coalesce(sum(amount) FILTER (WHERE money_moved AND NOT surplus), 0) AS amount,
            max(updated_at) FILTER (WHERE money_moved AND NOT surplus) AS updated_at,
            bool_or(NOT money_moved) AS released
        FROM settled GROUP BY payment_id
    ) sums WHERE p.id = sums.payment_id
    RETURNING p.id
),
reserved AS (
    UPDATE attempts a SET refund_reserved = least(a.amount_received, a.refund_reserved + sums.amount)
    FROM (
        SELECT attempt_id, sum(CASE WHEN late THEN amount ELSE -amount END) AS amount
        FROM settled WHERE late = money_moved GROUP BY attempt_id
    ) sums WHERE a.id = sums.attempt_id AND (SELECT count(*) FROM repaid) IS NOT NULL
),""",  # noqa: S608 - put together from constants
    ),
}


def _move(table: OrderTable) -> str:
    effects = _EFFECTS[table.kind]
    changed = ", ".join(f"{column} = n.{column}" for column in table.changed)
    in_time = " AND (NOT asked.before_expiry OR clock_timestamp() < o.expires_at)" if table.expires else ""
    return f"""
WITH {_INPUT},
held AS MATERIALIZED (
    SELECT o.id, asked.move_id, o.status AS old_status FROM asked JOIN {table.name} o ON o.id = asked.order_id
    WHERE o.version = asked.expected_version AND o.fence = asked.expected_fence
        AND o.move_id <> asked.move_id AND {_ALLOWED}
    ORDER BY o.id FOR NO KEY UPDATE OF o
),
moved AS (
    UPDATE {table.name} o SET {changed}, {effects.set} {_HOLD}
    FROM held JOIN asked USING (move_id), json_populate_record(NULL::{table.name}, asked."order") n
    WHERE o.id = held.id{in_time}
    RETURNING {_RETURNED}{effects.returned}
),{effects.steps}
{_LATER_STEPS}
SELECT move_id, EXISTS (SELECT FROM new_deliveries) AS delivers FROM moved
"""  # noqa: S608 - put together from constants


MOVE: Mapping[OrderKind, str] = {table.kind: _move(table) for table in ORDER_TABLES.values()}

LAST_MOVE = union("SELECT move_id FROM {table} WHERE id = $1")
