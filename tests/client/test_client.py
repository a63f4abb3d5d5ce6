"""Both clients, against a real server that cuts lines, is full, and repeats itself."""

import asyncio
import base64
import hmac
import inspect
import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook

from client.merchant_api import Scripted
from synccash.client import (
    APIConnectionError,
    APIError,
    AsyncSyncCash,
    AuthenticationError,
    ConflictError,
    IdempotencyKeyReusedError,
    InsufficientScopeError,
    InvalidRequestError,
    NotFoundError,
    PaymentInFlightError,
    PermissionDeniedError,
    ReferenceAlreadyUsedError,
    ServerError,
    ServiceUnavailableError,
    SyncCash,
    WebhookVerificationError,
    calls,
    deadline,
    verify_webhook,
)
from synccash.client.connections import Connections
from synccash.client.exchange import Service

MOMENTS = dict.fromkeys(("created_at", "updated_at", "expires_at"), "2026-01-01T00:00:00.000Z")
PAYMENT = MOMENTS | {
    "id": "pay_1",
    "object": "payment",
    "status": "processing",
    "status_detail": "awaiting_payer",
    "reference": "order 1",
    "amount": 2500,
    "amount_received": 0,
    "amount_refunded": 0,
    "currency": "GHS",
    "payer": {"msisdn": "233241234567", "network": "mtn"},
    "rail": "mtn_momo",
    "provider_transaction_id": None,
    "next_action": {"type": "approve_on_phone", "display_text": None},
    "last_error": None,
    "attempts": [],
    "metadata": {},
    "version": 2,
    "livemode": False,
}
ENDPOINT = MOMENTS | {
    "id": "we_1",
    "url": "https://shop.example/hooks",
    "types": None,
    "status": "enabled",
    "disabled_reason": None,
    "livemode": False,
}
PAY = {"amount": 2500, "msisdn": "0241234567", "reference": "order 1"}
SECRET = "whsec_" + "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0"


@pytest.fixture
def server():
    scripted = Scripted()
    yield scripted
    scripted.close()


@pytest.fixture
def waits():
    """The waits of a client, in seconds; none of them takes any time."""
    return []


@pytest.fixture(params=["sync", "async"])
async def cash(request, server, waits):
    """Either client, called the same way."""
    if request.param == "async":

        async def sleep(seconds):
            waits.append(seconds)
            await asyncio.sleep(0)

        async with AsyncSyncCash(server.url, "sk_test_1", sleep=sleep) as client:
            yield client
        return
    with SyncCash(server.url + "/api/v1/", "sk_test_1", sleep=waits.append) as client:
        yield client


async def got(result):
    return await result if inspect.isawaitable(result) else result


async def all_of(iterator):
    return [one async for one in iterator] if hasattr(iterator, "__aiter__") else list(iterator)


async def test_a_repeat_of_a_call_carries_the_same_key_and_body(server, cash):
    server.cut()
    server.say(503, {"code": "service_unavailable", "status": 503}, Retry_After="0")
    server.say(201, PAYMENT, Idempotent_Replayed="true")
    payment = await got(cash.create_payment(**PAY))
    assert (payment.id, payment.next_action.type, payment.replayed) == ("pay_1", "approve_on_phone", True)
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


async def test_the_end_user_is_named_for_the_limits(server, cash):
    server.say(201, PAYMENT)
    await got(cash.create_payment(**PAY, user_id="user-7"))
    assert server.asked[0][2]["X-User-Id"] == "user-7"


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ({"idempotency_key": ""}, "idempotency_key"),
        ({"idempotency_key": "a b"}, "idempotency_key"),
        ({"idempotency_key": "x" * 256}, "idempotency_key"),
        ({"user_id": "a\r\nX-Evil: 1"}, "user_id"),
    ],
)
async def test_what_cannot_be_a_header_is_refused_before_anything_is_sent(server, cash, what, says):
    with pytest.raises(ValueError, match=says):
        await got(cash.create_payment(**PAY, **what))
    assert server.asked == []


@pytest.mark.parametrize("name", ["", ".", "..", "../payouts", "pay_1/cancel", "pay_1?x", "pay\n1"])
async def test_what_cannot_be_an_id_leads_nowhere(server, cash, name):
    for call in (cash.get_payment, cash.cancel_payment, cash.get_timeline, cash.delete_webhook_endpoint):
        with pytest.raises(ValueError, match="expected an id"):
            await got(call(name))
    assert server.asked == []


async def test_a_first_request_that_still_runs_is_waited_for_as_long_as_it_says(server, cash, waits):
    server.say(409, {"code": "idempotency_key_in_progress", "retry_after": 3})
    server.say(201, PAYMENT)
    assert (await got(cash.create_payment(**PAY))).id == "pay_1"
    assert [wait >= 3 for wait in waits] == [True]


async def test_a_full_service_is_asked_again_when_it_says(server, cash, waits):
    server.say(429, {"code": "rate_limited"}, Retry_After="4")
    server.say(200, PAYMENT)
    assert (await got(cash.get_payment("pay_1"))).id == "pay_1"
    assert [wait >= 4 for wait in waits] == [True]


async def test_a_wait_that_is_longer_than_the_deadline_is_not_begun(server, cash, waits):
    server.say(503, {"code": "service_unavailable"}, Retry_After="6")
    with deadline(5), pytest.raises(ServiceUnavailableError) as told:
        await got(cash.create_payment(**PAY, idempotency_key="mine"))
    assert (told.value.retry_after, told.value.idempotency_key) == (6.0, "mine")
    assert waits == []


async def test_a_service_that_says_nothing_is_left_at_the_deadline(server, cash):
    server.answers.append("silence")
    with deadline(0.2), pytest.raises(APIConnectionError) as told:
        await got(cash.create_payment(**PAY, idempotency_key="mine"))
    assert (told.value.idempotency_key, told.value.sent) == ("mine", True)
    assert len(server.asked) == 1


async def test_another_conflict_is_told_at_once_with_its_payment(server, cash):
    server.say(409, {"code": "reference_already_used", "payment_id": "pay_0", "detail": "used"})
    with pytest.raises(ReferenceAlreadyUsedError) as told:
        await got(cash.create_payment(**PAY))
    assert (told.value.code, told.value.existing_id) == ("reference_already_used", "pay_0")
    assert len(server.asked) == 1


async def test_a_missing_scope_is_named(server, cash):
    server.say(403, {"code": "insufficient_scope", "required_scope": "payments:write", "detail": "no"})
    with pytest.raises(InsufficientScopeError) as told:
        await got(cash.create_payment(**PAY))
    assert told.value.required_scope == "payments:write"
    assert len(server.asked) == 1


async def test_a_refused_field_is_named(server, cash):
    server.say(
        422, {"code": "invalid_request", "errors": [{"field": "payer.msisdn", "message": "expected…"}]}
    )
    with pytest.raises(InvalidRequestError) as told:
        await got(cash.create_payment(**PAY))
    assert [error.field for error in told.value.errors] == ["payer.msisdn"]


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "api_key_unknown", AuthenticationError),
        (403, "forbidden", PermissionDeniedError),
        (403, "insufficient_scope", InsufficientScopeError),
        (404, "not_found", NotFoundError),
        (409, "payment_in_flight", PaymentInFlightError),
        (409, "state_conflict", ConflictError),
        (422, "idempotency_key_reused", IdempotencyKeyReusedError),
        (418, "something_new", APIError),
    ],
)
async def test_each_problem_has_its_class_and_survives_pickling(server, cash, status, code, kind):
    server.say(status, {"code": code, "detail": "so it is", "request_id": "req_1", "type": f"urn:x:{code}"})
    with pytest.raises(kind) as told:
        await got(cash.get_payment("pay_1"))
    assert type(told.value) is kind
    copy = pickle.loads(pickle.dumps(told.value))
    assert (copy.status, copy.code, copy.request_id, copy.type) == (status, code, "req_1", f"urn:x:{code}")
    assert str(copy) == f"so it is (HTTP {status}, {code})"


async def test_a_service_that_stays_away_leaves_the_key_with_the_caller(server, cash, waits):
    for _ in range(8):
        server.cut()
    with pytest.raises(APIConnectionError) as told:
        await got(cash.create_payment(**PAY, idempotency_key="mine"))
    copy = pickle.loads(pickle.dumps(told.value))
    assert (copy.idempotency_key, copy.sent) == ("mine", True)
    assert (len(server.asked), len(waits)) == (8, 7)


async def test_a_failing_service_is_tried_eight_times(server, cash):
    for _ in range(8):
        server.say(500, {"code": "internal_error"})
    with pytest.raises(ServerError):
        await got(cash.get_payment("pay_1"))
    assert len(server.asked) == 8


ONCE = {
    "a password": lambda cash: cash.submit_otp("pay_1", "123456"),
    "a new endpoint": lambda cash: cash.create_webhook_endpoint("https://shop.example/hooks"),
    "a new secret": lambda cash: cash.rotate_webhook_secret("we_1"),
    "an endpoint to be taken away": lambda cash: cash.delete_webhook_endpoint("we_1"),
}


@pytest.mark.parametrize("what", ONCE)
@pytest.mark.parametrize("fault", ["cut", "500"])
async def test_what_must_not_be_done_twice_is_not_repeated_when_nobody_knows(server, cash, what, fault):
    if fault == "cut":
        server.cut()
    else:
        server.say(500, {"code": "internal_error"})
    with pytest.raises((APIConnectionError, ServerError)):
        await got(ONCE[what](cash))
    assert len(server.asked) == 1


@pytest.mark.parametrize("what", ONCE)
async def test_what_must_not_be_done_twice_is_repeated_when_it_was_refused_for_now(server, cash, what):
    server.say(429, {"code": "rate_limited"}, Retry_After="1")
    server.say(409, {"code": "state_conflict"})
    with pytest.raises(ConflictError):
        await got(ONCE[what](cash))
    assert len(server.asked) == 2


@pytest.mark.parametrize("what", ONCE)
async def test_what_must_not_be_done_twice_is_repeated_when_it_never_left(server, cash, waits, what):
    server.close()
    with pytest.raises(APIConnectionError) as told:
        await got(ONCE[what](cash))
    assert told.value.sent is False
    assert len(waits) == 7


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"null", b'{"id": "pay_1"}', b'{"a": 1' + b"[" * 9])
async def test_what_somebody_else_wrote_is_no_answer(server, cash, body):
    server.say(200, {})
    server.answers[-1] = (200, {"Content-Type": "text/html"}, body)
    server.say(200, PAYMENT)
    assert (await got(cash.get_payment("pay_1"))).id == "pay_1"


async def test_a_redirect_is_not_followed(server, cash):
    server.say(302, {}, Location=f"{server.url}/elsewhere")
    with pytest.raises(APIError) as told:
        await got(cash.get_payment("pay_1"))
    assert (told.value.status, len(server.asked)) == (302, 1)


async def test_members_that_are_new_are_kept_and_statuses_that_are_new_come_through(server, cash):
    server.say(200, PAYMENT | {"status": "dreaming", "mood": "fine", "payer": {"msisdn": "1", "shoe": 43}})
    payment = await got(cash.get_payment("pay_1"))
    assert (payment.status, payment.raw["mood"], payment.ended) == ("dreaming", "fine", False)
    with pytest.raises(AttributeError):
        payment.status = "succeeded"


async def test_no_number_no_key_and_no_secret_is_printed(server, cash):
    server.say(200, PAYMENT)
    server.say(201, ENDPOINT | {"secret": SECRET})
    payment = await got(cash.get_payment("pay_1"))
    endpoint = await got(cash.create_webhook_endpoint("https://shop.example/hooks"))
    assert endpoint.secret == SECRET
    printed = repr((cash, vars(cash), payment, endpoint, endpoint.raw))
    assert "233241234567" not in printed
    assert SECRET not in printed
    assert "sk_test_1" not in printed


async def test_pages_are_read_as_they_are_needed(server, cash):
    server.say(200, {"data": [PAYMENT], "has_more": True, "next": "c 1"})
    server.say(200, {"data": [PAYMENT | {"id": "pay_2"}], "has_more": False, "next": None})
    payments = await all_of(cash.payments(status="processing"))
    assert [payment.id for payment in payments] == ["pay_1", "pay_2"]
    assert server.asked[1][1] == "/api/v1/payments?status=processing&after=c+1"


async def test_events_go_on_behind_the_last_one_that_was_seen(server, cash):
    event = {"type": "payment.succeeded", "created_at": "2026-01-01T00:00:00Z", "object_version": 3}
    about = {"data": {"object": PAYMENT | {"status": "succeeded"}}}
    other = {"data": {"object": {"id": "we_1", "object": "webhook_endpoint"}}}
    server.say(200, {"data": [event | about | {"id": "evt_2"}], "has_more": True, "next": "evt_2"})
    server.say(200, {"data": [event | other | {"id": "evt_3"}], "has_more": False, "next": None})
    first, second = await all_of(cash.events(after="evt_1", limit=1))
    assert (first.object.status, second.object, second.raw["data"]["object"]["id"]) == (
        "succeeded",
        None,
        "we_1",
    )
    assert [path for _, path, *_ in server.asked] == [
        "/api/v1/events?after=evt_1&limit=1",
        "/api/v1/events?after=evt_2&limit=1",
    ]


async def test_waiting_ends_when_the_payment_has_ended_or_needs_somebody(server, cash):
    asks = PAYMENT | {"status": "requires_action", "next_action": {"type": "submit_otp"}}
    server.say(200, PAYMENT)
    server.say(200, PAYMENT)
    server.say(200, asks)
    server.say(200, PAYMENT)
    server.say(200, PAYMENT | {"status": "succeeded", "status_detail": None})
    payment = await got(cash.wait(await got(cash.get_payment("pay_1"))))
    assert (payment.needs_otp, payment.ended) == (True, False)
    payment = await got(cash.submit_otp(payment.id, "1234"))
    assert (await got(cash.wait(payment))).status == "succeeded"


async def test_a_service_without_its_database_says_how_it_is(server, cash):
    server.say(503, {"status": "unavailable", "degraded": ["postgresql"], "rails": {}}, Retry_After="1")
    health = await got(cash.health())
    assert (health.status, health.degraded) == ("unavailable", ("postgresql",))
    assert server.asked[0][1] == "/health/ready"


@pytest.mark.parametrize("client", [SyncCash, AsyncSyncCash])
@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("localhost:8000", "sk_1"),
        ("ftp://localhost", "sk_1"),
        ("http://", "sk_1"),
        ("http://user:pass@localhost", "sk_1"),
        ("http://localhost", ""),
        ("http://localhost", "sk_1\n"),
    ],
)
def test_an_address_or_a_key_that_cannot_be_one_is_refused_at_once(client, url, key):
    with pytest.raises(ValueError, match="expected"):
        client(url, key)


def test_a_connection_serves_the_next_call_unless_it_may_have_been_closed(server):
    now = [0.0]
    connections = Connections(Service.at(server.url, "sk_1"), clock=lambda: now[0])
    opened = []
    for at in (0.0, 1.0, 2.0, 6.0):
        now[0] = at
        server.say(200, PAYMENT)
        connections.exchange(calls.get_payment("pay_1"), 5.0)
        opened.append(server.connections)
    connections.close()
    assert opened == [1, 1, 1, 2]


def test_one_client_serves_many_threads(server):
    for _ in range(20):
        server.say(200, PAYMENT)
    with SyncCash(server.url, "sk_test_1") as client, ThreadPoolExecutor(5) as pool:
        payments = list(pool.map(lambda _: client.get_payment("pay_1"), range(20)))
    assert {payment.id for payment in payments} == {"pay_1"}
    assert server.connections <= 5


def test_a_webhook_of_the_public_standard_is_verified():
    at = datetime(2026, 1, 1, tzinfo=UTC)
    body = json.dumps(
        {
            "id": "evt_1",
            "type": "payment.succeeded",
            "created_at": "2026-01-01T00:00:00.000Z",
            "object_version": 3,
            "data": {"object": PAYMENT},
        }
    )
    headers = {
        "Webhook-Id": "evt_1",
        "Webhook-Timestamp": str(int(at.timestamp())),
        "Webhook-Signature": Webhook(SECRET).sign("evt_1", at, body),
    }
    event = verify_webhook(body.encode(), headers, SECRET, now=at.timestamp)
    assert (event.id, event.object.id) == ("evt_1", "pay_1")
    with pytest.raises(WebhookVerificationError, match="no signature fits"):
        verify_webhook(body.encode() + b" ", headers, SECRET, now=at.timestamp)
    with pytest.raises(WebhookVerificationError, match="five minutes"):
        verify_webhook(body.encode(), headers, SECRET, now=lambda: at.timestamp() + 301)


@pytest.mark.parametrize("moment", ["", "soon", "-1", "1" * 5_000, "¹"])
def test_a_webhook_with_a_time_of_ones_own_making_is_none(moment):
    headers = {"webhook-id": "evt_1", "webhook-timestamp": moment, "webhook-signature": "v1,AAAA"}
    with pytest.raises(WebhookVerificationError, match="webhook-timestamp"):
        verify_webhook(b"{}", headers, SECRET)


@pytest.mark.parametrize("secret", ["whsec_ä", "whsec_?", "whsec_abc"])
def test_a_secret_that_was_copied_badly_is_told_to_be_so(secret):
    headers = {"webhook-id": "evt_1", "webhook-timestamp": "100", "webhook-signature": "v1,AAAA"}
    with pytest.raises(WebhookVerificationError, match="copy it anew"):
        verify_webhook(b"{}", headers, secret, now=lambda: 100.0)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_c2hvcnQ="])
def test_what_anybody_could_have_signed_is_refused_even_when_the_signature_fits(secret: str):
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = base64.b64encode(hmac.digest(key, b"evt_1.100.{}", "sha256")).decode()
    headers = {"webhook-id": "evt_1", "webhook-timestamp": "100", "webhook-signature": f"v1,{signed}"}
    with pytest.raises(WebhookVerificationError, match="empty or cut short"):
        verify_webhook(b"{}", headers, secret, now=lambda: 100.0)
