"""Contradictions are listed until an operator closes them."""

import re

import asyncpg
import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")
LIST = "/console/queues?queue=contradictions"


async def contradict(api, order_id, kind):
    """Record a contradiction, as the engine does when a rail says something else than before."""
    await api.operators.store.database.repeat(
        "INSERT INTO contradictions (move_id, order_id, kind, attempts) VALUES ($1, $2, $3, '[]')",
        f"{order_id}/{kind}",
        order_id,
        kind,
    )


async def end(api, payment_id, status):
    await api.operators.store.database.repeat(
        "UPDATE payments SET version = version + 1, status = $2, status_detail = NULL, due_at = NULL, "
        "lease_until = NULL, "
        "amount_received = CASE WHEN $2 = 'succeeded' THEN amount ELSE 0 END WHERE id = $1",
        payment_id,
        status,
    )


async def test_each_contradiction_says_what_it_means_and_what_to_do(api, admin):
    expected = {
        "second_success": "debited twice",
        "late_success": "had ended without it",
        "reversed": "took back money",
        "found_twice": "that the database had lost",
        "amount_differs": "another amount",
        "currency_differs": "another currency",
    }
    made = {kind: (await api.pay()).json()["id"] for kind in expected}
    for kind, order_id in made.items():
        await contradict(api, order_id, kind)
    rows = re.findall(r"<tr>.*?</tr>", await admin.page(LIST), re.DOTALL)
    for kind, text in expected.items():
        [row] = [one for one in rows if made[kind] in one]
        assert text in row
        assert f"/console/actions/close-contradictions/{made[kind]}" in row
        assert f"/console/actions/inquire/{made[kind]}" in row


async def test_a_contradiction_is_listed_until_it_is_closed_with_a_reason(api, admin):
    order_id = (await api.pay()).json()["id"]
    await end(api, order_id, "succeeded")
    await contradict(api, order_id, "reversed")
    assert order_id in await admin.page(LIST)
    closed = await admin.submit(
        f"/console/actions/close-contradictions/{order_id}", reason="the rail paid it again"
    )
    assert closed.headers["location"] == LIST
    page = await admin.page(LIST)
    assert "The contradiction is closed." in page
    assert order_id not in page
    audit = await admin.page(f"/console/audit?target={order_id}")
    assert "contradictions_close" in audit or "contradictions close" in audit
    assert "the rail paid it again" in audit
    again = await admin.submit(f"/console/actions/close-contradictions/{order_id}", reason="again")
    assert again.status_code == 409
    assert "no open contradiction" in again.text


async def succeed_late(url, order_id):
    """The attempt has ended, so the triggers let nobody but a rail's contradiction do this."""
    owner = await asyncpg.connect(url)
    try:
        async with owner.transaction():
            await owner.execute("ALTER TABLE attempts DISABLE TRIGGER USER")
            await owner.execute(
                "UPDATE attempts SET state = 'succeeded', amount_received = 100 WHERE order_id = $1", order_id
            )
            await owner.execute("ALTER TABLE attempts ENABLE TRIGGER USER")
    finally:
        await owner.close()


async def test_money_that_arrived_too_much_is_returned_from_the_contradiction(api, admin, database_of_file):
    await admin.submit("/console/actions/reset-breaker/mtn_momo:collect", reason="no rail answers here")
    order_id = (await api.pay()).json()["id"]
    await end(api, order_id, "failed")
    await succeed_late(database_of_file, order_id)
    await contradict(api, order_id, "late_success")
    assert f"/console/actions/return-surplus/{order_id}" in await admin.page(LIST)


async def test_a_viewer_sees_contradictions_and_closes_none(api, viewer):
    order_id = (await api.pay()).json()["id"]
    await contradict(api, order_id, "reversed")
    page = await viewer.page(LIST)
    assert order_id in page
    assert "/console/actions/" not in page
    refused = await viewer.submit(f"/console/actions/close-contradictions/{order_id}", reason="no")
    assert refused.status_code == 403
