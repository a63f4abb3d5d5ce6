"""Both clients, against a real server that cuts lines, is full, and repeats itself."""

import asyncio
import inspect

import pytest
from standardwebhooks import Webhook

from client.merchant_api import Scripted
from synccash.client import (
    APIConnectionError,
    AsyncSyncCash,
    ConflictError,
    InvalidRequestError,
    ServerError,
    SyncCash,
    WebhookVerificationError,
    verify_webhook,
)

PAYMENT = {
    "id": "pay_1",
    "status": "processing",
    "status_detail": "awaiting_payer",
    "reference": "order 1",
    "amount": 2500,
    "amount_received": 0,
    "amount_refunded": 0,
    "currency": "GHS",
    "rail": "mtn_momo",
    "provider_transaction_id": None,
    "next_action": {"type": "approve_on_phone"},
    "last_error": None,
    "metadata": {},
    "version": 2,
    "livemode": False,
    "created_at": "2026-01-01T00:00:00.000Z",
    "expires_at": "2026-01-01T00:15:00.000Z",
}
PAY = {"amount": 2500, "msisdn": "0241234567", "reference": "order 1"}
SECRET = "whsec_" + "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0"


@pytest.fixture
def server():
    scripted = Scripted()
    yield scripted
    scripted.close()


async def _at_once(_seconds):
    await asyncio.sleep(0)


@pytest.fixture(params=["sync", "async"])
async def cash(request, server):
    """Either client, called the same way."""
    if request.param == "async":
        async with AsyncSyncCash(server.url, "sk_test_1", sleep=_at_once) as client:
            yield client
        return
    with SyncCash(server.url + "/api/v1/", "sk_test_1", sleep=lambda _: None) as client:
        yield client


async def got(result):
    return await result if inspect.isawaitable(result) else result


async def test_a_repeat_of_a_call_carries_the_same_key_and_body(server, cash):
    server.cut()
    server.say(503, {"code": "store_unavailable", "status": 503}, Retry_After="0")
    server.say(201, PAYMENT, Idempotent_Replayed="true")
    payment = await got(cash.create_payment(**PAY))
    assert (payment.id, payment.next_action, payment.replayed) == ("pay_1", "approve_on_phone", True)
    keys = {headers["Idempotency-Key"] for _, _, headers, _ in server.asked}
    assert len(server.asked) == 3
    assert len(keys) == 1
    assert {body for *_, body in server.asked} == {server.asked[0][3]}
    assert {path for _, path, *_ in server.asked} == {"/api/v1/payments"}


async def test_each_call_has_a_key_of_its_own(server, cash):
    server.say(201, PAYMENT)
    server.say(201, PAYMENT)
    await got(cash.create_payment(**PAY))
    await got(cash.create_payment(**PAY))
    first, second = (headers["Idempotency-Key"] for _, _, headers, _ in server.asked)
    assert first != second


async def test_a_first_request_that_still_runs_is_waited_for(server, cash):
    server.say(409, {"code": "idempotency_key_in_progress", "retry_after": 0})
    server.say(201, PAYMENT)
    assert (await got(cash.create_payment(**PAY))).id == "pay_1"


async def test_another_conflict_is_told_at_once_with_its_payment(server, cash):
    server.say(409, {"code": "reference_already_used", "payment_id": "pay_0", "detail": "used"})
    with pytest.raises(ConflictError) as told:
        await got(cash.create_payment(**PAY))
    assert (told.value.code, told.value.payment_id) == ("reference_already_used", "pay_0")
    assert len(server.asked) == 1


async def test_a_refused_field_is_named(server, cash):
    server.say(422, {"code": "invalid", "errors": [{"field": "payer.msisdn", "message": "expected…"}]})
    with pytest.raises(InvalidRequestError) as told:
        await got(cash.create_payment(**PAY))
    assert [error.field for error in told.value.errors] == ["payer.msisdn"]


async def test_a_service_that_stays_away_leaves_the_key_with_the_caller(server, cash):
    for _ in range(4):
        server.cut()
    with pytest.raises(APIConnectionError) as told:
        await got(cash.create_payment(**PAY, idempotency_key="mine"))
    assert told.value.idempotency_key == "mine"
    assert len(server.asked) == 4


async def test_a_failing_service_is_tried_four_times(server, cash):
    for _ in range(4):
        server.say(500, {"code": "internal_error"})
    with pytest.raises(ServerError):
        await got(cash.get_payment("pay_1"))
    assert len(server.asked) == 4


async def test_a_proxy_s_page_is_no_answer(server, cash):
    server.say(201, "<html>")
    server.answers[-1] = (200, {"Content-Type": "text/html"}, b"<html>")
    server.say(200, PAYMENT)
    assert (await got(cash.get_payment("pay_1"))).id == "pay_1"


async def test_pages_are_read_as_they_are_needed(server, cash):
    server.say(200, {"data": [PAYMENT], "has_more": True, "next": "c 1"})
    server.say(200, {"data": [PAYMENT | {"id": "pay_2"}], "has_more": False, "next": None})
    found = cash.payments(status="processing")
    ids = [p.id async for p in found] if hasattr(found, "__aiter__") else [p.id for p in found]
    assert ids == ["pay_1", "pay_2"]
    assert server.asked[1][1] == "/api/v1/payments?status=processing&after=c+1"


async def test_waiting_ends_when_the_payment_has_ended(server, cash):
    server.say(200, PAYMENT)
    server.say(200, PAYMENT | {"status": "succeeded", "status_detail": None})
    assert (await got(cash.wait("pay_1"))).status == "succeeded"


def test_a_webhook_of_the_public_standard_is_verified():
    from datetime import UTC, datetime

    at = datetime(2026, 1, 1, tzinfo=UTC)
    body = '{"id": "evt_1", "type": "payment.succeeded"}'
    headers = {
        "Webhook-Id": "evt_1",
        "Webhook-Timestamp": str(int(at.timestamp())),
        "Webhook-Signature": Webhook(SECRET).sign("evt_1", at, body),
    }
    event = verify_webhook(body.encode(), headers, SECRET, now=at.timestamp)
    assert event["id"] == "evt_1"
    with pytest.raises(WebhookVerificationError, match="no signature fits"):
        verify_webhook(body.encode() + b" ", headers, SECRET, now=at.timestamp)
    with pytest.raises(WebhookVerificationError, match="five minutes"):
        verify_webhook(body.encode(), headers, SECRET, now=lambda: at.timestamp() + 301)
