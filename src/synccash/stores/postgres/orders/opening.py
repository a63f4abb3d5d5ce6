"""SQL statements that open orders. One template serves all order tables.

Each statement is one transaction. Its argument is a JSON array of openings. Each step reads what the previous
step returned, so nothing is written for an opening that was refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from synccash.payments.payment import OrderKind
from synccash.stores.postgres.orders.order_tables import (
    LEASE_END,
    ORDER_TABLES,
    PAYMENTS,
    PAYOUTS,
    REFUNDS,
    OrderTable,
)
from synccash.stores.postgres.parts import ATTEMPT_COLUMNS, ATTEMPT_VALUES, event_steps

# The condition on `kind` makes the planner expect one row, so the plan uses indexes even if it is made while
# the tables are small. Without it, a plan made on an empty table scans the whole table when it has grown.
_INPUT = """
asked AS MATERIALIZED (
    SELECT * FROM json_to_recordset($1) AS a(
        kind text, scope text, key text, plain_key text, plain_reference text, fingerprint bytea,
        order_id text, "order" json, lease_s float8, look_s float8, due_in_s float8, status integer,
        body bytea, sealed_body bytea, attempts json, events json, timeline json, merchant_id text,
        balance json)
    WHERE kind = 'opening'
)"""

_STANDING = f"""
LEFT JOIN LATERAL (
    SELECT i.fingerprint, i.order_id, i.status, i.body, i.sealed_body,
        {LEASE_END} AS lease_until
    FROM idempotency i
    WHERE opened.order_id IS NULL AND i.scope = asked.scope AND i.key IN (asked.key, asked.plain_key) LIMIT 1
) standing ON true"""  # noqa: S608 - put together from constants

_SUSPENDED = """
suspended AS MATERIALIZED (
    SELECT asked.order_id FROM asked JOIN suspended_merchants s USING (merchant_id)
)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Checks:
    """SQL that differs between the openings of the order tables.

    `recovering` returns whether a recovery holds the sends, and the epoch in which the order was last
    searched for. `steps` come before the claims and end with the step `refused`: the ids of the orders that
    are not opened. `source` and `allowed` select the openings whose keys are claimed. `reserved` reserves a
    refund on its debit. `returned` adds columns to the result.
    """

    steps: str
    returned: str
    recovering: str = "SELECT active, epoch - active::integer AS epoch FROM recovery"
    source: str = "asked"
    allowed: str = "true"
    reserved: str = ""


_RETURNS_SUSPENDED = """
    EXISTS (SELECT FROM suspended WHERE suspended.order_id = asked.order_id) AS suspended"""
_RETURNS_BALANCE = f"""{_RETURNS_SUSPENDED},
    (SELECT greatest(judged.available, 0) FROM judged WHERE judged.order_id = asked.order_id) AS covered,
    (SELECT judged.needed FROM judged WHERE judged.order_id = asked.order_id) AS needed"""  # noqa: S608
_REFUSED = """
refused AS (
    SELECT order_id FROM suspended UNION ALL SELECT order_id FROM judged
)"""

_CHECKS: Mapping[OrderKind, _Checks] = {
    OrderKind.PAYMENT: _Checks(
        steps=f"{_SUSPENDED}, refused AS (SELECT order_id FROM suspended)",  # noqa: S608
        returned=_RETURNS_SUSPENDED,
    ),
    # `judge_openings` checks the openings of a statement one after the other under the locks of the balances,
    # so that each is checked against what the previous ones left.
    OrderKind.PAYOUT: _Checks(
        steps=f"""{_SUSPENDED},
judged AS MATERIALIZED (
    SELECT * FROM judge_openings((
        SELECT json_agg(balance) FROM asked WHERE order_id NOT IN (SELECT order_id FROM suspended)
    ))
),{_REFUSED}""",  # noqa: S608 - put together from constants
        returned=_RETURNS_BALANCE,
    ),
    # The debit is locked before the claim, so a refund that waited for the lock sees the amount that is left.
    # The balance is always locked after the debit, to avoid deadlocks. A surplus is not part of the balance,
    # so its refund is not checked against it.
    OrderKind.REFUND: _Checks(
        # A refund of a payment from before the end of the latest recovery may have been lost and requested
        # again, even long afterwards. It is opened as in a recovery, and searched for before it is sent.
        recovering="""SELECT held AS active, r.epoch - held::integer AS epoch
    FROM asked JOIN payments p ON p.id = asked."order" ->> 'payment_id', recovery r,
        LATERAL (SELECT r.active OR coalesce(p.created_at < r.released_at, false) AS held) state""",
        steps=f"""
debit AS MATERIALIZED (
    SELECT CASE WHEN a.reversed_at IS NULL THEN a.amount_received - a.refund_reserved ELSE 0 END AS available
    FROM asked JOIN attempts a ON a.id = asked."order" ->> 'attempt_id'
    WHERE a.operation = 'collect' AND a.order_id = asked."order" ->> 'payment_id'
    FOR NO KEY UPDATE OF a
),{_SUSPENDED},
judged AS MATERIALIZED (
    SELECT j.* FROM asked, debit, judge_openings(CASE
        WHEN debit.available >= (asked."order" ->> 'amount')::bigint AND asked.balance IS NOT NULL
            THEN json_build_array(asked.balance)
    END) j
    WHERE asked.order_id NOT IN (SELECT order_id FROM suspended)
),{_REFUSED}""",  # noqa: S608 - put together from constants
        source="asked, debit",
        allowed="""debit.available >= (asked."order" ->> 'amount')::bigint""",
        reserved="""
reserved AS (
    UPDATE attempts a SET refund_reserved = a.refund_reserved + (opened."order" ->> 'amount')::bigint
    FROM opened WHERE a.id = opened."order" ->> 'attempt_id'
    RETURNING a.*
),""",
        returned=f"""{_RETURNS_BALANCE},
    (SELECT available FROM debit) AS available,
    (SELECT row_to_json(reserved) FROM reserved) AS debit,
    (SELECT row_to_json(p) FROM payments p WHERE p.id = asked."order" ->> 'payment_id') AS payment""",  # noqa: S608
    ),
}


def _of_json(column: str) -> str:
    value = f"""asked."order" ->> '{column}'"""
    return f"({value})::boolean" if column == "livemode" else value


def _used_before(table: OrderTable) -> str:
    """Return the SELECT of the order that has the plain reference of an opening.

    A range, in the order of the unique index: of several indexes that begin with the same columns, a plan
    that is made while the table is small may choose any for equal values, and would then read all orders of
    the merchant for each opening.
    """
    *fixed, _ = table.reference
    columns = ", ".join(f"o.{column}" for column in table.reference)
    values = ", ".join((*map(_of_json, fixed), "asked.plain_reference"))
    return f"""
    SELECT o.id FROM {table.name} o WHERE ({columns}) >= ({values}) AND ({columns}) <= ({values})
    ORDER BY {columns} LIMIT 1"""  # noqa: S608 - put together from constants


def _open(table: OrderTable) -> str:
    checks, columns = _CHECKS[table.kind], ", ".join(table.columns)
    values = ", ".join(f"o.{column}" for column in table.columns)
    in_order = ", ".join(f"o.{column}" for column in table.reference)
    # With the look at the time when the order will be due, its first commit need not move it.
    look = (", look_at", ", now() + make_interval(secs => opened.look_s)") if table.looks else ("", "")
    # `used_before`: the key or the reference was used in a row that is not encrypted yet, where the unique
    # indexes, which hold the hashes, do not find it.
    # An EXISTS in its place may be answered from a hash of all claims, in a plan made while there are few.
    # Claims are inserted in the order of their keys, so that concurrent openings do not deadlock. A refused
    # opening leaves no claim, so its key can be used again.
    return f"""
WITH {_INPUT},
recovering AS MATERIALIZED (
    {checks.recovering}
),{checks.steps},
used_before AS MATERIALIZED (
    SELECT asked.order_id, former.id AS owner FROM asked
    LEFT JOIN LATERAL ({_used_before(table)}) former ON true
    WHERE former.id IS NOT NULL OR (
        SELECT true FROM idempotency i WHERE i.scope = asked.scope AND i.key = asked.plain_key
    )
),
claimed AS (
    INSERT INTO idempotency (scope, key, fingerprint, order_id, status, body, sealed_body, completed_at)
    SELECT scope, key, fingerprint, order_id, status, body, sealed_body,
        CASE WHEN status IS NOT NULL THEN now() END
    FROM {checks.source} WHERE {checks.allowed} AND order_id NOT IN (SELECT order_id FROM refused)
        AND order_id NOT IN (SELECT order_id FROM used_before)
        AND (NOT (SELECT active FROM recovering) OR json_array_length(asked.attempts) = 0)
    ORDER BY scope, key
    ON CONFLICT (scope, key) DO NOTHING
    RETURNING order_id
),
opened AS MATERIALIZED (
    SELECT asked.* FROM asked JOIN claimed USING (order_id)
),{checks.reserved}
made AS (
    INSERT INTO {table.name} ({columns}, recovery_epoch, lease_until, due_at, move_id{look[0]})
    SELECT {values}, (SELECT epoch FROM recovering),
        now() + make_interval(secs => opened.lease_s),
        now() + make_interval(secs => coalesce(opened.lease_s, opened.due_in_s)),
        o.id{look[1]}
    FROM opened, json_populate_record(NULL::{table.name}, opened."order") o
    ORDER BY {in_order}
),
new_attempts AS (
    INSERT INTO attempts ({ATTEMPT_COLUMNS})
    SELECT {ATTEMPT_VALUES} FROM opened, json_populate_recordset(NULL::attempts, opened.attempts) a
),
{event_steps("opened")}
SELECT asked.order_id AS asked_id,
    opened.order_id IS NOT NULL AS opened, now() AS as_of,
    standing.fingerprint, standing.order_id, standing.status, standing.body, standing.sealed_body,
    (SELECT owner FROM used_before WHERE used_before.order_id = asked.order_id) AS reference_owner,
    coalesce(greatest(0, extract(epoch FROM standing.lease_until - now())), 0)::float8 AS held_for_s,
    (SELECT active FROM recovering) AS sends_held, EXISTS (SELECT FROM new_deliveries) AS delivers,
    {checks.returned}
FROM asked LEFT JOIN opened USING (order_id) {_STANDING}
"""  # noqa: S608 - put together from constants


OPEN: Mapping[OrderKind, str] = {table.kind: _open(table) for table in (PAYMENTS, PAYOUTS, REFUNDS)}

CLAIMED = f"""
SELECT i.fingerprint, i.order_id, i.status, i.body, i.sealed_body,
    coalesce(greatest(0, extract(epoch FROM {LEASE_END} - now())), 0)::float8 AS held_for_s
FROM idempotency i WHERE i.scope = $1 AND i.key = ANY ($2::text[]) LIMIT 1
"""  # noqa: S608 - put together from constants

# Usually the commit that released the lease has already stored the response, and this only reads it.
ANSWER = """
WITH given AS (
    UPDATE idempotency SET status = $2, body = $3, sealed_body = $4, completed_at = now()
    WHERE order_id = $1 AND status IS NULL
    RETURNING status, body, sealed_body
)
SELECT status, body, sealed_body FROM given
UNION ALL
SELECT status, body, sealed_body FROM idempotency WHERE order_id = $1 AND status IS NOT NULL
"""


def _owner(table: OrderTable) -> str:
    *fixed, last = table.reference
    conditions = [f"{column} = ${number}" for number, column in enumerate(fixed, start=1)]
    conditions.append(f"{last} = ANY (${len(table.reference)}::text[])")
    return f"SELECT id FROM {table.name} WHERE {' AND '.join(conditions)}"  # noqa: S608 - put together from constants


OWNER: Mapping[OrderKind, str] = {table.kind: _owner(table) for table in ORDER_TABLES.values()}
"""Statements that read the id of the order with the given values in the columns `OrderTable.reference`; the
last value is an array of the forms in which the column may hold it."""
