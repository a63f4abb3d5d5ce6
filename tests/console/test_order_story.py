"""What happened about an order is one list: API calls, decisions, rail calls and webhooks, with reasons."""

import json
import re
import shlex
from datetime import UTC, datetime, timedelta

import pytest

from console.webhooks_of_merchant import add_endpoint, add_failed_event
from synccash.administration.explanations import explain_attempt, explain_delivery
from synccash.console.order_story import curl_commands, story_of

AT = datetime(2026, 3, 2, 9, 15, tzinfo=UTC)


def order(**more):
    made = {
        "id": "pay_1",
        "object": "payment",
        "created_at": AT.isoformat(),
        "api_key_id": "key_1",
        "request_id": "req_1",
        "timeline": [],
        "amount": 2500,
        "currency": "GHS",
        "reference": "it's $(mine)",
    }
    return {**made, **more}


def after(seconds):
    return AT + timedelta(seconds=seconds)


def delivery(**more):
    one = {
        "id": "evt_1",
        "type": "payment.succeeded",
        "created_at": after(3),
        "delivered_at": after(4),
        "endpoint_id": "we_1",
        "endpoint_status": "enabled",
        "host": "shop.example",
        "last_status": 200,
        "last_error": None,
        "tries": 1,
        "is_due": False,
    }
    return {**one, **more}


def test_calls_decisions_rails_and_webhooks_are_told_in_the_order_of_time():
    timeline = [
        {"at": after(1).isoformat(), "kind": "routed", "chosen": "mtn_momo"},
        {"at": after(2).isoformat(), "kind": "sent", "rail": "mtn_momo", "evidence": "accepted"},
    ]
    call = {
        "order_id": "pay_1",
        "scope": "mer_test:test:POST:/api/v1/payments",
        "status": 201,
        "created_at": AT,
        "completed_at": after(0.25),
    }
    steps = story_of(order(timeline=timeline), [], [call], [delivery()])
    assert [step.lane for step in steps] == ["api", "engine", "rail", "webhook", "webhook"]
    assert steps[0].text == "POST /api/v1/payments made pay_1: answered 201 after 250 ms."
    assert steps[0].note == "key_1 req_1"
    assert steps[-1].text == "shop.example took payment.succeeded: it answered 200."


def test_a_call_whose_answer_is_not_kept_any_more_has_its_key_and_request():
    [step] = story_of(order(), [], [], [])
    assert (step.text, step.note) == ("A request made pay_1.", "key_1 req_1")


def test_a_refund_of_the_payment_is_part_of_its_story():
    refund = {"id": "re_1", "created_at": after(9).isoformat(), "api_key_id": "key_2", "request_id": "req_2"}
    assert story_of(order(), [refund], [], [])[-1].note == "key_2 req_2"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"state": "acknowledged"}, "has not told the outcome yet"),
        ({"state": "declined", "error": {"message": "The wallet is empty."}}, "The wallet is empty."),
        ({"state": "not_sent", "retry_decision": "another_rail"}, "Then: another rail."),
        ({"state": "unknown"}, "money may have moved"),
    ],
)
def test_an_attempt_says_why_it_is_in_its_state(changes, told):
    assert told in explain_attempt({"error": None, "retry_decision": None, **changes})


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "answered 200"),
        ({"endpoint_id": None}, "No endpoint"),
        ({"delivered_at": None, "last_status": 503, "tries": 9}, "given up after 9 tries"),
        ({"delivered_at": None, "is_due": True, "last_status": 503}, "it answered 503"),
        ({"delivered_at": None, "endpoint_status": "disabled"}, "The endpoint is disabled"),
        ({"delivered_at": None, "is_due": True, "tries": 0, "last_status": None}, "sent soon"),
    ],
)
def test_a_delivery_says_why_it_is_in_its_state(changes, told):
    assert told in explain_delivery(delivery(**changes))


def test_the_commands_are_safe_to_paste_whatever_the_merchant_sent():
    for _, command in curl_commands("https://pay.example/", order()):
        words = shlex.split(command)
        assert words[0] == "curl"
        assert words[-1].startswith("https://pay.example/api/v1/payments")
    assert json.loads(words[words.index("-d") + 1])["reference"] == "it's $(mine)-again"


@pytest.mark.asyncio(loop_scope="module")
async def test_the_page_of_an_order_has_its_call_its_webhooks_and_the_reason_of_each_state(api, admin):
    database = api.operators.store.database
    made = (await api.pay()).json()
    endpoint = await add_endpoint(database, "mer_test")
    await add_failed_event(database, "mer_test", endpoint, datetime.now(UTC), order_id=made["id"])
    page = await admin.page(f"/console/orders/{made['id']}")
    assert re.search(rf"POST /api/v1/payments made {made['id']}: answered 20[12] after \d+ ms", page)
    assert re.search(r"<code>key_\w+ req_\w+</code>", page)
    assert "The event payment." in page
    assert page.count("<summary>why?</summary>") >= 2
    assert "0XXXXXXXXX" in page
    assert "233241234567" not in page
