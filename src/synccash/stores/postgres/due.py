"""SQL statements that lease due orders, renew leases and record callback hints."""

from collections.abc import Mapping

from synccash.payments.payment import OrderKind
from synccash.stores.postgres.order_tables import ORDER_TABLES, OrderTable, union
from synccash.stores.postgres.parts import attempts_of

_TABLES = tuple(table.name for table in ORDER_TABLES.values())


def _due(table: str) -> str:
    return f"""
due_{table} AS MATERIALIZED (
    SELECT id, due_at, lease_until, move_id, fence, hinted FROM {table} WHERE due_at <= now()
    ORDER BY due_at LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED
)"""  # noqa: S608 - `table` is one of ours


def _taken(table: str) -> str:
    return f"""
{table}_taken AS (
    UPDATE {table} o SET
        fence = o.fence + 1, hinted = false, lease_until = now() + make_interval(secs => $2),
        due_at = now() + make_interval(secs => $2)
    FROM due WHERE o.id = due.id AND o.move_id = due.move_id AND o.fence = due.fence
        AND o.hinted = due.hinted
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


# While the order is leased, `due_at` stays the end of the lease; the release of the lease makes it due.
def _hinted(table: str) -> str:
    return f"""
{table}_hinted AS (
    UPDATE {table} o SET
        hinted = true, due_at = CASE WHEN o.lease_until > now() THEN o.due_at ELSE '-infinity' END
    FROM hinted_attempt WHERE o.id = hinted_attempt.order_id
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
# show. So an order whose last commit, fence or hint differs is left to the next round.
TAKE_DUE = f"""
WITH {",".join(map(_due, _TABLES))},
due AS MATERIALIZED (
    {union("SELECT * FROM due_{table}")} ORDER BY due_at LIMIT $1
),
{",".join(map(_taken, _TABLES))}
{" UNION ALL ".join(_case(table, f"{table.name}_taken", _LEASED) for table in ORDER_TABLES.values())}
ORDER BY was_due_at
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

# $2 is the failure that the callback reports, or NULL. Commits do not write these two columns of the attempt.
_HINT = """
WITH hinted_attempt AS MATERIALIZED (
    SELECT id, order_id FROM attempts WHERE {named}
),
claimed AS (
    UPDATE attempts a SET callback_at = now(), reported_failure = coalesce($2::json, a.reported_failure)
    FROM hinted_attempt WHERE a.id = hinted_attempt.id
),
{hinted}
SELECT 1 FROM hinted_attempt
"""
HINT = _HINT.format(named="callback_token = $1", hinted=",".join(map(_hinted, _TABLES)))
HINT_REFERENCE = _HINT.format(
    named="reference = $1::uuid AND rail = $3", hinted=",".join(map(_hinted, _TABLES))
)

OTP_TRIES = "SELECT count(*) AS tries FROM timeline WHERE order_id = $1 AND kind = 'otp_submitted'"

READ: Mapping[OrderKind, str] = {
    table.kind: f"{_case(table, table.name)} WHERE o.id = $1" for table in ORDER_TABLES.values()
}
"""Statements that read the case of the order with the id $1; `o` is the alias of the order's table."""
