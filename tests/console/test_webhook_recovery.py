"""What was not delivered of a merchant's events since a time is sent again."""

from datetime import UTC, datetime, timedelta

import pytest

from console.webhooks_of_merchant import add_endpoint, add_failed_event

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_failed_webhooks_of_a_merchant_since_a_time_are_sent_again(api, admin):
    database = api.operators.store.database
    now = datetime.now(UTC)
    endpoint = await add_endpoint(database, "mer_test")
    other = await add_endpoint(database, "mer_other")
    given_up = await add_failed_event(database, "mer_test", endpoint, now - timedelta(hours=1))
    waits = await add_failed_event(
        database, "mer_test", endpoint, now - timedelta(hours=1), due_in=timedelta(hours=6)
    )
    older = await add_failed_event(database, "mer_test", endpoint, now - timedelta(hours=3))
    of_other = await add_failed_event(database, "mer_other", other, now - timedelta(hours=1))
    page = await admin.page("/console/webhooks")
    assert "/console/actions/recover-webhooks/mer_test" in page
    since = f"{now - timedelta(hours=2):%Y-%m-%dT%H:%M}"
    done = await admin.submit(
        "/console/actions/recover-webhooks/mer_test", since=since, reason="their server is back"
    )
    assert done.headers["location"] == "/console/webhooks", done.text
    assert "2 deliveries are being sent again." in await admin.page("/console/webhooks")
    due = await database.repeat("SELECT event_id FROM deliveries WHERE due_at <= now() AND tries = 0")
    found = {row["event_id"] for row in due}
    assert {given_up, waits} <= found
    assert not {older, of_other} & found
    audit = await admin.page("/console/audit?target=mer_test&action=webhooks_recover")
    assert "their server is back" in audit
    again = await admin.submit("/console/actions/recover-webhooks/mer_test", since=since, reason="once more")
    assert again.status_code == 303
    assert "0 deliveries are being sent again." in await admin.page("/console/webhooks")


async def test_a_recovery_needs_a_time_and_a_merchant(admin):
    path = "/console/actions/recover-webhooks/{}"
    wrong = await admin.submit(path.format("mer_test"), since="yesterday", reason="x")
    assert (wrong.status_code, "expected a time such as" in wrong.text) == (422, True)
    unknown = await admin.submit(path.format("mer_nobody"), since="2026-03-02T09:15", reason="x")
    assert unknown.status_code == 404
