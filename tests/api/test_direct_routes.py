"""A request that is served without the framework gets the answer that the framework gives."""

import json
import uuid

import pytest

from api.served import Served, payment

pytestmark = pytest.mark.asyncio(loop_scope="module")

OWN = {"request-id", "traceparent", "date"}
KEY = "00000000-0000-4000-8000-000000000000"


def comparable(answer):
    """Everything but what names the request or its path."""
    headers = {
        name: value
        for name, value in answer.headers.multi_items()
        if name not in OWN and not name.startswith("ratelimit")
    }
    if answer.headers["content-type"] == "application/problem+json":
        body = answer.json() | {"request_id": None, "instance": None}
        return answer.status_code, headers | {"content-length": None}, body
    return answer.status_code, headers, answer.content


async def both(api: Served, method: str, path: str, body=None, key=None, **headers):
    """Send a request in the spelling that is served directly, and in one that the framework serves."""
    direct = await api.send(method, path, body, key, **headers)
    framework = await api.send(method, path + "/", body, key, **headers)
    return comparable(direct), comparable(framework)


BODIES = {
    "no JSON": b"{",
    "no object": b"[]",
    "a member twice": b'{"amount": 1, "amount": 1}',
    "unknown and missing fields": {"amounts": 1},
    "a wrong type": payment(amount="1"),
    "a rail that is not set up": payment(rail="pawapay"),
    "a number that is none": payment(payer={"msisdn": "123"}),
    "too many values": b'{"a": [' + b"1," * 20_000 + b"1]}",
    "empty": b"",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_an_invalid_payment_is_refused_alike(api: Served, body):
    direct, framework = await both(api, "POST", "/payments", body, Idempotency_Key=uuid.uuid4().hex)
    assert direct == framework
    assert direct[0] in (400, 422)


HEADERS = {
    "no key": {},
    "an empty key": {"Idempotency_Key": ""},
    "another type": {"Idempotency_Key": KEY, "Content_Type": "text/plain"},
    "another charset": {"Idempotency_Key": KEY, "Content_Type": "application/json; charset=latin-1"},
    "compressed": {"Idempotency_Key": KEY, "Content_Encoding": "gzip"},
}


@pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS)
async def test_invalid_headers_are_refused_alike(api: Served, headers):
    direct, framework = await both(api, "POST", "/payments", payment(), **headers)
    assert direct == framework
    assert direct[0] in (400, 415)


async def test_a_repeat_gets_the_stored_answer_in_both_spellings(api: Served):
    key, body = uuid.uuid4().hex, json.dumps(payment()).encode()
    first = await api.send("POST", "/payments", body, Idempotency_Key=key)
    direct, framework = await both(api, "POST", "/payments", body, Idempotency_Key=key)
    assert direct == framework
    assert (direct[0], direct[1]["idempotent-replayed"], direct[2]) == (202, "true", first.content)


async def test_a_used_reference_is_refused_alike(api: Served):
    body = payment()
    await api.send("POST", "/payments", body, Idempotency_Key=uuid.uuid4().hex)
    direct = await api.send("POST", "/payments", body, Idempotency_Key=uuid.uuid4().hex)
    framework = await api.send("POST", "/payments/", body, Idempotency_Key=uuid.uuid4().hex)
    assert comparable(direct) == comparable(framework)
    assert direct.status_code == 409


async def test_a_payment_is_shown_alike(api: Served):
    payment_id = (await api.pay()).json()["id"]
    direct, framework = await both(api, "GET", f"/payments/{payment_id}")
    assert direct == framework
    assert direct[0] == 200


@pytest.mark.parametrize("part", ["pay_1", "x" * 600, "a%00b", "a%20b", "%E2%82%AC"])
async def test_a_payment_that_does_not_exist_is_not_found_alike(api: Served, part):
    direct, framework = await both(api, "GET", f"/payments/{part}")
    assert direct == framework
    assert direct[0] == 404


@pytest.mark.parametrize(("method", "path"), [("POST", "/payments"), ("GET", "/payments/pay_1")])
async def test_an_operators_key_is_refused_alike(api: Served, method, path):
    body = payment() if method == "POST" else None
    direct, framework = await both(api, method, path, body, api.admin_key, Idempotency_Key=KEY)
    assert direct == framework
    assert direct[0] == 403


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_callback_is_answered_alike(api: Served, method):
    direct, framework = await both(api, method, f"/callbacks/mtn_momo/{'t' * 43}", b"{}")
    assert direct == framework
    assert (direct[0], direct[2]) == (200, b"")


@pytest.mark.parametrize("path", ["/payments?limit=1", "/payments/pay_1?x=1", "/payments/pay_1/unknown"])
async def test_what_is_spelled_otherwise_is_left_to_the_framework(api: Served, path):
    assert (await api.send("GET", path)).status_code in (200, 404, 422)


async def test_an_error_that_nothing_expects_is_a_500(api: Served, monkeypatch: pytest.MonkeyPatch):
    def fail(*_given):
        raise LookupError("of the test")

    monkeypatch.setattr("synccash.api.v1.payments.payment_document", fail)
    payment_id = (await api.pay()).json()["id"]
    direct, framework = await both(api, "GET", f"/payments/{payment_id}")
    assert direct == framework
    assert (direct[0], direct[2]["code"]) == (500, "internal_error")
