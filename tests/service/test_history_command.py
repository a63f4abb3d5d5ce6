"""`synccash history`: the counts of ended orders, by period or by label."""

import json
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from synccash.administration.errors import AdministrationError
from synccash.administration.history import period_of
from synccash.payments.history import DURATION_BOUNDS_S


def test_the_last_period_is_the_present_one_and_periods_begin_at_whole_steps():
    now = datetime(2026, 3, 1, 14, 25, 10, tzinfo=UTC)
    start, end, step = period_of("6h", "1h", now=now)
    assert (start, end) == (datetime(2026, 3, 1, 9, tzinfo=UTC), datetime(2026, 3, 1, 15, tzinfo=UTC))
    assert step == timedelta(hours=1)
    assert period_of("1m", "1m", now=now)[0] == now.replace(second=0)


@pytest.mark.parametrize(("last", "step"), [("36d", "1h"), ("1h", "30s"), ("1h", "0m"), ("1h", "soon")])
def test_a_period_that_is_not_kept_or_not_counted_is_refused(last, step):
    with pytest.raises(AdministrationError, match="--last" if step == "1h" else "--step"):
        period_of(last, step)


async def test_ended_orders_are_shown_by_period_and_by_code(command, database_url):
    assert command("history") == (0, "No order ended in the last 24h.\n", "")
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(
            "INSERT INTO order_rollups VALUES"
            " (date_trunc('minute', now()), true, 'payment', 'mtn_momo', 'mtn', 'canceled', '', 1, 0.2, $1)",
            [1, *[0] * len(DURATION_BOUNDS_S)],
        )
    finally:
        await connection.close()
    code, printed, _ = command("history", "--by", "code")
    assert (code, printed.splitlines()[1].split()) == (0, ["canceled", "1", "0", "0", "1", "-", "-", "-"])
    [shown] = json.loads(command("history", "--last", "2h", "--json")[1])["data"]
    assert (shown["status"], shown["orders"], shown["result"]) == ("canceled", 1, "excluded")
