"""Keys that limits block are listed without numbers, and unblocked with a reason."""

import re

import pytest

from api.served import NUMBER

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def block(api, key, endpoint, seconds=600):
    path = f"/resilience/rate-limits/{key}/{endpoint}/block"
    done = await api.send("POST", path, {"duration": seconds, "reason": "test"}, key=api.admin_key)
    assert done.status_code == 200, done.text


def row_of(page, text):
    rows = [row for row in re.findall(r"<tr>.*?</tr>", page, re.DOTALL) if text in row]
    assert len(rows) == 1, page
    return rows[0]


async def test_blocked_keys_are_shown_with_how_long_and_without_numbers(api, admin):
    assert "No key is blocked." in await admin.page("/console/limits")
    await block(api, "ip:192.0.2.9", "payment_list", 60)
    await block(api, f"user:mer_test:test:{NUMBER}", "payment_initiation", 3_600)
    page = await admin.page("/console/limits")
    assert NUMBER[1:] not in page
    rows = re.findall(r"<tr>.*?</tr>", page, re.DOTALL)[1:]
    assert ["wallet or customer" in rows[0], "192.0.2.9" in rows[1]] == [True, True], "longest first"
    assert re.search(r'data-countdown="3[56]\d\d"', rows[0])


async def test_a_key_is_unblocked_with_a_reason_in_the_audit_log(api, admin):
    for key, endpoint, shown in (
        ("ip:2001:db8::1", "payment_list", "2001:db8::"),
        ("user:mer_test:test:0201234567", "payment_otp", "payment otp"),
    ):
        await block(api, key, endpoint)
        row = row_of(await admin.page("/console/limits"), shown)
        [path] = re.findall(r'href="(/console/actions/unblock-key/[^"]+)"', row)
        refused = await admin.submit(path, reason="")
        assert refused.status_code == 422
        done = await admin.submit(path, reason="it was our own test")
        assert done.headers["location"] == "/console/limits", done.text
        page = await admin.page("/console/limits")
        assert "The key is unblocked." in page
        assert shown not in page.partition("<table>")[2]
    audit = await admin.page("/console/audit?action=rate_limit_unblock")
    assert audit.count("it was our own test") == 2
    assert "0201234567" not in audit


async def test_a_viewer_sees_blocked_keys_and_unblocks_none(api, viewer):
    await block(api, "ip:198.51.100.7", "payment_list")
    page = await viewer.page("/console/limits")
    assert "198.51.100.7" in page
    assert "/console/actions/" not in page
    path = "/console/actions/unblock-key/ip%3A198.51.100.7@payment_list"
    assert (await viewer.submit(path, reason="no")).status_code == 403
