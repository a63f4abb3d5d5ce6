"""What operators do in the console is done by the API: with a reason, audited, by a second operator."""

import re

import pytest
from markupsafe import escape

from api.served import served
from console.browsing import signed_in
from synccash.api.roles import ROUTE_ROLES
from synccash.console.actions import ACTIONS

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_every_action_is_a_route_of_the_api_with_a_role():
    assert {one.route for one in ACTIONS.values()} <= set(ROUTE_ROLES)


@pytest.mark.parametrize("name", sorted(ACTIONS))
async def test_every_action_says_what_it_does_before_it_is_confirmed(admin, name):
    action = ACTIONS[name]
    target = "/x" if action.has_target else ""
    page = await admin.page(f"/console/actions/{name}{target}")
    assert escape(action.title) in page
    assert "Back, without doing it" in page


async def test_a_merchant_is_added_suspended_and_resumed_with_reasons_in_the_audit_log(admin):
    answer = await admin.submit("/console/actions/add-merchant", name="Kofi's shop & more")
    assert answer.headers["location"] == "/console/merchants"
    page = await admin.page("/console/merchants")
    assert "The merchant was added." in page
    merchant = re.findall(r"<code>(mer_\w{10,})</code>", page)[-1]
    for action, reason in (("suspend-merchant", "fraud report"), ("resume-merchant", "cleared")):
        done = await admin.submit(f"/console/actions/{action}/{merchant}", reason=reason)
        assert done.status_code == 303, done.text
        audit = await admin.page(f"/console/audit?target={merchant}")
        assert reason in audit
        assert "operator:ama" in audit


async def test_a_reason_is_needed(admin):
    refused = await admin.submit("/console/actions/suspend-merchant/mer_test", reason="")
    assert refused.status_code == 422
    assert "this is needed" in refused.text


async def test_a_key_is_shown_once(admin):
    fields = {"merchant_id": "mer_test", "name": "shop", "scopes": ["payments:read", "payments:write"]}
    made = await admin.submit("/console/actions/create-key", **fields)
    assert made.status_code == 200, made.text
    assert re.search(r"sk_test_\w+", made.text)
    listed = await admin.page("/console/keys?merchant=mer_test")
    assert "payments:read, payments:write" in listed
    assert not re.search(r"sk_test_\w+", listed)


async def test_a_breaker_is_forced_open_and_reset(admin):
    done = await admin.submit("/console/actions/force-open-breaker/mtn_momo:collect", reason="maintenance")
    assert done.headers["location"] == "/console/rails"
    assert "forced open" in await admin.page("/console/rails")
    assert "maintenance" in await admin.page("/console")
    await admin.submit("/console/actions/reset-breaker/mtn_momo:collect", reason="over")
    assert "forced open" not in re.sub(r"Force open|notice.*?</p>", "", await admin.page("/console/rails"))


async def test_an_action_that_is_not_possible_says_why_and_keeps_what_was_typed(api, admin):
    made = (await api.pay()).json()
    refused = await admin.submit(
        f"/console/actions/resolve-payment/{made['id']}", outcome="failed", evidence="statement line 7"
    )
    assert refused.status_code == 409
    assert "under review" in refused.text
    assert "statement line 7" in refused.text


async def test_a_payment_under_review_is_resolved_with_evidence(api, admin):
    made = (await api.pay()).json()
    await _review(api, made["id"])
    page = await admin.page(f"/console/orders/{made['id']}")
    assert "An operator has to find out at the rail" in page
    assert f"/console/actions/resolve-payment/{made['id']}" in page
    assert made["id"] in await admin.page("/console/queues?queue=under_review")
    done = await admin.submit(
        f"/console/actions/resolve-payment/{made['id']}", outcome="failed", evidence="ticket 4711"
    )
    assert done.status_code == 303, done.text
    page = await admin.page(f"/console/orders/{made['id']}")
    assert "operator:ama resolved it: ticket 4711." in page


async def test_the_rails_are_asked_about_marked_orders(api, admin):
    made = (await api.pay()).json()
    await _review(api, made["id"])
    page = "/console/queues?queue=under_review"
    fields = {"order": [made["id"]], "reason": "the rail is back", "queue": "under_review"}
    done = await admin.submit("/console/queues/inquire", page, **fields)
    assert done.status_code == 303, done.text
    assert "about 1 orders" in await admin.page(page)
    assert "the rail is back" in await admin.page(f"/console/audit?target={made['id']}")


async def test_a_second_operator_approves_what_moves_money(database_url):
    async with served(database_url) as api:
        ama, kofi = await signed_in(api, "ama", "admin"), await signed_in(api, "kofi", "operator")
        made = (await api.pay()).json()
        await _review(api, made["id"])
        asked = await ama.submit(
            f"/console/actions/resolve-payment/{made['id']}", outcome="failed", evidence="line 7"
        )
        assert asked.headers["location"] == "/console/approvals"
        page = await ama.page("/console/approvals")
        assert "Waits for a second operator" in page
        approval = re.findall(r"/console/actions/approve/(apr_\w+)", page)[0]
        own = await ama.submit(f"/console/actions/approve/{approval}", reason="mine")
        assert own.status_code == 403
        done = await kofi.submit(f"/console/actions/approve/{approval}", reason="saw the statement")
        assert done.status_code == 303, done.text
        assert "failed" in await kofi.page(f"/console/orders/{made['id']}")
        for browser in (ama, kofi):
            await browser.client.aclose()


async def _review(api, payment_id):
    """Put a payment under review, as the engine does when the rail cannot tell the outcome."""
    await api.operators.store.database.repeat(
        "UPDATE payments SET status = 'processing', status_detail = 'under_review', due_at = 'infinity', "
        "fence = fence + 1, lease_until = NULL WHERE id = $1",  # shuts out a send that is still under way
        payment_id,
    )
