"""SQL statements that lease due orders, renew leases and record callback hints."""

from collections.abc import Mapping

from synccash.payments.payment import OrderKind
from synccash.stores.postgres.orders.order_tables import ORDER_TABLES, OrderTable, union
from synccash.stores.postgres.parts import attempts_of

SOON_S = 2
LOOK_LATER_AT_ONCE = 500
_NO_LIMIT = 1_000_000_000
_TABLES = tuple(table.name for table in ORDER_TABLES.values())


_COLUMNS = "id, due_at, lease_until, move_id, fence, hinted"


def _due(table: OrderTable) -> str:
    if not table.looks:
        return f"""
{table.name}_due AS MATERIALIZED (
    SELECT {_COLUMNS} FROM {table.name} WHERE due_at <= now()
    ORDER BY due_at LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED
)"""  # noqa: S608 - put together from constants
    # `look_at` may be earlier than `due_at`, so more rows may be read than are due. The inner LIMIT keeps the
    # order and the look-up of each payment by its id, also in a plan that was made while the tables were
    # small. It limits nothing, but for a limit that it does not know the planner expects a tenth of the rows,
    # and uses the index. Reading the table reads the dead rows of up to a minute, which took longer than all
    # else that a take does.
    return f"""
{table.name}_due AS MATERIALIZED (
    SELECT o.* FROM (
        SELECT payment_id FROM due_payments WHERE look_at <= now() ORDER BY look_at LIMIT $1 + {_NO_LIMIT}
    ) d CROSS JOIN LATERAL (
        SELECT {_COLUMNS} FROM {table.name} WHERE id = d.payment_id AND due_at <= now()
        FOR NO KEY UPDATE SKIP LOCKED
    ) o LIMIT $1
)"""  # noqa: S608 - put together from constants


def _taken(table: str) -> str:
    return f"""
{table}_taken AS (
    UPDATE {table} o SET
        fence = o.fence + 1, hinted = false, lease_until = now() + make_interval(secs => $2),
        due_at = now() + make_interval(secs => $2)
    FROM due WHERE due.source = '{table}' AND o.id = due.id
        AND o.move_id = due.move_id AND o.fence = due.fence AND o.hinted = due.hinted
    RETURNING o.*, due.due_at AS was_due_at, due.lease_until AS former_lease_end, due.hinted AS was_hinted
)"""  # noqa: S608 - `table` is one of ours


# Rows are locked in the order of their ids, as commits lock them, to avoid deadlocks. A lease that its holder
# has just released counts as kept, because the fence is the same, but is not extended.
def _kept(table: str) -> str:
    return f"""
{table}_mine AS MATERIALIZED (
    SELECT o.id, o.fence, o.lease_until FROM held JOIN {table} o ON o.id = held.id
    WHERE o.fence = held.fence
    ORDER BY o.id FOR NO KEY UPDATE OF o
),
{table}_renewed AS (
    UPDATE {table} o SET
        lease_until = now() + make_interval(secs => $3), due_at = now() + make_interval(secs => $3)
    FROM {table}_mine mine WHERE o.id = mine.id AND mine.lease_until IS NOT NULL
)"""  # noqa: S608 - `table` is one of ours


# Rows are locked as commits lock them: the orders by their ids, then the attempts. While the order is leased,
# `due_at` stays the end of the lease; the release of the lease makes it due.
def _hinted(table: OrderTable) -> str:
    return f"""
{table.name}_found AS MATERIALIZED (
    SELECT DISTINCT o.id FROM hinted_attempt h CROSS JOIN LATERAL (
        SELECT id FROM {table.name} WHERE id = h.order_id FOR NO KEY UPDATE
    ) o WHERE h.operation = '{table.operation}'
),
{table.name}_hinted AS (
    UPDATE {table.name} o SET
        hinted = true, due_at = CASE WHEN o.lease_until > now() THEN o.due_at ELSE '-infinity' END
    FROM {table.name}_found found WHERE o.id = found.id
)"""  # noqa: S608 - `table` is one of ours


def _case(table: OrderTable, source: str, more: str = "") -> str:
    """Return the SELECT of the cases of the orders in `source`; payments/case.py describes a case."""
    return f"""
SELECT '{table.kind}' AS kind, row_to_json(o) AS "order", {table.payment} AS payment, {table.debit} AS debit,
    {attempts_of("o.id")} AS attempts, now() AS as_of, {more}
    r.active AS held, CASE WHEN o.recovery_epoch < r.epoch THEN r.epoch END AS unsearched,
    coalesce(o.created_at < r.released_at, false) AS restored, r.entered_at AS recovery_began
FROM {source} o {table.joined}, recovery r"""  # noqa: S608 - put together from constants


_LEASED = "o.former_lease_end, o.was_due_at, o.was_hinted,"

# `due` has the order's row as of its lock; the updates compare it with the row of this statement's snapshot.
# A commit or callback in between may have written other rows, such as attempts, that the snapshot does not
# show. So an order whose last commit, fence or hint differs is left to the next round. The condition on
# `source` makes the planner expect one row, and look up each order by its id; opening.py says why.
TAKE_DUE = f"""
WITH {",".join(map(_due, ORDER_TABLES.values()))},
due AS MATERIALIZED (
    {union("SELECT '{table}' AS source, * FROM {table}_due")} ORDER BY due_at LIMIT $1
),
{",".join(map(_taken, _TABLES))}
{" UNION ALL ".join(_case(table, f"{table.name}_taken", _LEASED) for table in ORDER_TABLES.values())}
ORDER BY was_due_at
"""  # noqa: S608 - put together from constants


# A payment that was looked at too early is looked at again when it is due. One that will be due in a moment
# stays as it is.
LOOK_LATER = f"""
WITH early AS MATERIALIZED (
    SELECT o.id FROM (
        SELECT payment_id FROM due_payments WHERE look_at <= now() ORDER BY payment_id OFFSET 0
    ) d CROSS JOIN LATERAL (
        SELECT id FROM payments WHERE id = d.payment_id AND due_at > now() + make_interval(secs => {SOON_S})
        FOR NO KEY UPDATE SKIP LOCKED
    ) o LIMIT {LOOK_LATER_AT_ONCE}
)
UPDATE payments o SET look_at = o.due_at FROM early WHERE o.id = early.id AND o.due_at > now() RETURNING true
"""  # noqa: S608 - put together from constants


# An order that this version cannot read is released, and is due after 5 seconds at first and 10 minutes at
# most: a process of a newer version may take it, or an operator may repair the row. Taking the lease cleared
# its hint, which is restored because the hint was not handled.
def _put_back(table: str) -> str:
    return f"""
{table}_put_back AS (
    UPDATE {table} o SET
        lease_until = NULL, hinted = o.hinted OR asked.hinted,
        due_at = now() + make_interval(secs => least(600, 5 * 2 ^ least(unreadable.times - 1, 7)))
    FROM unreadable JOIN asked USING (order_id) WHERE o.id = unreadable.order_id AND o.fence = asked.fence
)"""  # noqa: S608 - `table` is one of ours


SET_ASIDE = f"""
WITH asked AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::bigint[], $3::boolean[], $4::text[])
        AS a(order_id, fence, hinted, error)
),
unreadable AS (
    INSERT INTO unreadable_orders AS u (order_id, error) SELECT order_id, error FROM asked ORDER BY order_id
    ON CONFLICT (order_id) DO UPDATE SET times = u.times + 1, last_seen = now(), error = excluded.error
    RETURNING order_id, times
),
{",".join(map(_put_back, _TABLES))}
SELECT order_id FROM unreadable
"""  # noqa: S608 - put together from constants

RENEW = f"""
WITH held AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::bigint[]) AS h(id, fence)
),
{",".join(map(_kept, _TABLES))}
{union("SELECT id, fence FROM {table}_mine")}
"""  # noqa: S608 - put together from constants

_FOUND = union("SELECT id FROM {table}_found")

# PostgreSQL runs the last step that writes first. `claimed` counts the rows of `locked` to lock the orders
# before the attempts, as commits do.
#
# $1 is an array of hints. `failure` is what the callback reports, or NULL; commits do not write these two
# columns of the attempt. The condition on `kind` makes the planner expect one row; opening.py says why.
_HINT = """
WITH asked AS MATERIALIZED (
    SELECT * FROM json_to_recordset($1) AS h(kind text, token text, reference uuid, rail text, failure json)
    WHERE kind = 'hint'
),
hinted_attempt AS MATERIALIZED (
    SELECT a.id, a.order_id, a.operation, asked.token, asked.failure FROM asked JOIN attempts a ON {named}
    ORDER BY a.order_id, a.id
),
{hinted},
locked AS MATERIALIZED (
    {found}
),
claimed AS (
    UPDATE attempts a SET callback_at = now(), reported_failure = coalesce(h.failure, a.reported_failure)
    FROM hinted_attempt h WHERE a.id = h.id AND (SELECT count(*) FROM locked) IS NOT NULL
)
SELECT token FROM hinted_attempt
"""
HINT = _HINT.format(
    named="a.callback_token = asked.token",
    hinted=",".join(map(_hinted, ORDER_TABLES.values())),
    found=_FOUND,
)
HINT_REFERENCE = _HINT.format(
    named="a.reference = asked.reference AND a.rail = asked.rail",
    hinted=",".join(map(_hinted, ORDER_TABLES.values())),
    found=_FOUND,
)
"""Both return a row for each hint that belongs to an attempt. The tokens of one statement are distinct."""

OTP_TRIES = "SELECT count(*) AS tries FROM timeline WHERE order_id = $1 AND kind = 'otp_submitted'"

READ: Mapping[OrderKind, str] = {
    table.kind: f"{_case(table, table.name)} WHERE o.id = $1" for table in ORDER_TABLES.values()
}
"""Statements that read the case of the order with the id $1; `o` is the alias of the order's table."""
