"""Access by role and merchant, idempotency, lists, and the form of refusals."""

import io
import json
import logging
import uuid
from collections.abc import Iterator

import pytest
import structlog

from api.served import NUMBER, PROBLEM, Served, payment, served
from synccash.observability.logs import configure_logging

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_another_merchants_objects_get_the_same_404_as_unknown_ones(api: Served):
    paid = (await api.pay()).json()["id"]
    # No rail reaches this network, so the payment ends in its first commit, with an event.
    await api.pay(payer={"msisdn": "0201234567", "network": "telecel"})
    made = await api.send("POST", "/webhook-endpoints", {"url": "https://example.com/hook"})
    endpoint = made.json()["id"]
    event = (await api.send("GET", "/events")).json()["data"][0]["id"]
    calls = [
        ("GET", "/payments/{}", paid, None),
        ("GET", "/payments/{}/timeline", paid, None),
        ("POST", "/payments/{}/cancel", paid, None),
        ("POST", "/payments/{}/refunds", paid, {}),
        ("GET", "/refunds/{}", "re_1", None),
        ("POST", "/events/{}/redeliver", event, None),
        ("GET", "/webhook-endpoints/{}", endpoint, None),
        ("PATCH", "/webhook-endpoints/{}", endpoint, {"status": "disabled"}),
        ("DELETE", "/webhook-endpoints/{}", endpoint, None),
    ]
    for method, path, theirs, body in calls:
        seen = []
        for object_id in (theirs, "zz_unknown"):
            key = uuid.uuid4().hex
            answer = await api.send(
                method, path.format(object_id), body, key=api.other_key, Idempotency_Key=key
            )
            told = answer.json()
            seen.append((answer.status_code, told["code"], told["detail"]))
        assert seen[0] == seen[1], (method, path)
        assert seen[0][0] == 404, (method, path)
    for listing in ("/payments", "/events", "/webhook-endpoints"):
        assert (await api.send("GET", listing, key=api.other_key)).json()["data"] == []
    assert (await api.send("GET", f"/webhook-endpoints/{endpoint}")).json()["status"] == "pending"
    for nobodys in (event, "evt_nobody"):
        answer = await api.send("GET", f"/events?after={nobodys}", key=api.other_key)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "after")


async def test_the_same_key_of_two_merchants_is_two_keys(api: Served):
    body, key = payment(), uuid.uuid4().hex
    first = await api.send("POST", "/payments", body, Idempotency_Key=key)
    other = await api.send("POST", "/payments", body, key=api.other_key, Idempotency_Key=key)
    assert first.json()["id"] != other.json()["id"]
    assert "idempotent-replayed" not in other.headers


async def test_a_repeat_is_answered_byte_for_byte_whatever_the_order_of_its_members(api: Served):
    body, key = payment(), uuid.uuid4().hex
    turned = dict(reversed(body.items()))
    first = await api.send("POST", "/payments", body, Idempotency_Key=key)
    again = await api.send("POST", "/payments", turned, Idempotency_Key=f'"{key}"')
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["idempotent-replayed"] == "true"


@pytest.mark.parametrize("header", ["", "a b", "x" * 256])
async def test_a_payment_needs_a_valid_idempotency_key(api: Served, header: str):
    answer = await api.send("POST", "/payments", payment(), Idempotency_Key=header)
    assert (answer.status_code, answer.json()["code"]) == (400, "idempotency_key_invalid")
    missing = await api.send("POST", "/payments", payment())
    assert missing.status_code == 400


async def test_a_used_reference_names_its_payment(api: Served):
    body = payment()
    first = await api.send("POST", "/payments", body, Idempotency_Key=uuid.uuid4().hex)
    again = await api.send("POST", "/payments", body, Idempotency_Key=uuid.uuid4().hex)
    assert (again.status_code, again.json()["code"]) == (409, "reference_already_used")
    assert again.json()["payment_id"] == first.json()["id"]


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Basic abc", "Bearer sk_test_wrong", "Bearer " + "x" * 999],
)
async def test_a_missing_or_unknown_api_key_gets_401(api: Served, authorization: str | None):
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = await api.client.get("/api/v1/payments", headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (401, PROBLEM)
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_merchant_and_operator_keys_cannot_make_each_others_calls(api: Served):
    decision = await api.send("POST", "/payments/pay_1/approve", {"reason": "known"})
    assert decision.status_code == 403
    assert (await api.send("GET", "/payments", key=api.admin_key)).status_code == 403
    for nonsense in (b"", b"{", {"reason": 5}):
        merchant_s = await api.send("POST", "/resilience/circuit-breakers/mtn_momo/force-open", nonsense)
        assert merchant_s.status_code == 403, "whatever stands in it"
        assert (await api.send("POST", "/payouts", nonsense, key=api.admin_key)).status_code == 403


async def test_a_merchant_sees_that_a_person_decided_and_neither_the_note_nor_the_rule(database_url: str):
    note = "suspected mule account; report 2026/118 filed"
    async with served(database_url, risk_review_from=100) as api:
        held = (await api.pay()).json()
        assert held["status_detail"] == "risk_review"
        decided = await api.send(
            "POST", f"/payments/{held['id']}/decline", {"reason": note}, key=api.admin_key
        )
        assert decided.status_code == 200
        timeline = await api.send("GET", f"/payments/{held['id']}/timeline")
        facts = {one["kind"]: one.get("reasons") for one in timeline.json()["data"]}
        assert facts["risk_assessed"] == ["risk_policy"]
        assert facts["declined"] == ["operator_decision"]
        events = await api.send("GET", "/events")
        shown = await api.send("GET", f"/payments/{held['id']}")
        for answer in (timeline, events, shown):
            private = [word for word in ("2026/118", "large_amount", '"by"') if word in answer.text]
            assert (answer.status_code, private) == (200, [])


@pytest.mark.parametrize(("body", "status"), [(b"{", 400), (b"[]", 422), ({"why": "x"}, 422), ({}, 200)])
async def test_an_optional_reason_is_read_when_it_is_given(api: Served, body: object, status: int):
    path = "/resilience/circuit-breakers/mtn_momo/reset"
    assert (await api.send("POST", path, body, key=api.admin_key)).status_code == status


async def test_a_list_continues_where_the_previous_page_ended(api: Served):
    own = "0551234567"
    made = [(await api.pay(payer={"msisdn": own})).json()["id"] for _ in range(5)]
    seen: list[str] = []
    after = ""
    while True:
        told = (await api.send("GET", f"/payments?payer={own}&limit=2{after}")).json()
        seen += [shown["id"] for shown in told["data"]]
        if not told["has_more"]:
            break
        after = f"&after={told['next']}"
    assert seen == made[::-1]
    assert told["next"] is None
    assert (await api.send("GET", "/payments?after=zzz")).status_code == 422


async def test_an_endpoints_secret_is_shown_only_when_it_is_created(api: Served):
    made = (await api.send("POST", "/webhook-endpoints", {"url": "https://example.com/h"})).json()
    path = f"/webhook-endpoints/{made['id']}"
    assert made["secret"].startswith("whsec_")
    assert (await api.send("GET", path)).json()["secret"] is None
    rotated = (await api.send("PATCH", path, {"rotate_secret": True})).json()
    assert rotated["secret"] not in (None, made["secret"])
    assert (await api.send("PATCH", path, {"status": "disabled"})).json()["status"] == "disabled"
    assert (await api.send("DELETE", path)).status_code == 204
    assert (await api.send("GET", path)).status_code == 404


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("payment.suceeded", "payment.suceeded is unknown; did you mean payment.succeeded?"),
        ("everything", "everything is unknown; expected some of payment.processing, "),
    ],
)
async def test_an_unknown_event_type_is_named_with_the_nearest_one(api: Served, given: str, hint: str):
    answer = await api.send("POST", "/webhook-endpoints", {"url": "https://example.com/", "types": [given]})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["message"].startswith(hint)


@pytest.mark.parametrize("url", ["http://example.com", "https://127.0.0.1/", "https://a:b@example.com/", "x"])
async def test_an_endpoint_in_a_private_network_is_refused(api: Served, url: str):
    answer = await api.send("POST", "/webhook-endpoints", {"url": url, "types": ["payment.nonsense"]})
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["url", "types"]


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/",
        "https://localhost/hook",
        "https://api.localhost/hook",
        "http://localhost:3000/hook",
        "https://example.com:3000/hook",
    ],
)
async def test_a_refused_development_url_names_the_setting_that_allows_it(api: Served, url: str):
    answer = await api.send("POST", "/webhook-endpoints", {"url": url})
    assert answer.status_code == 422
    assert "webhook_private_addresses" in answer.json()["errors"][0]["message"]


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_every_callback_gets_the_same_response(api: Served, method: str):
    for body in (b"", b"{", b"\xff", b"[]", b" " * 60_000, b" " * 65_537):
        answer = await api.client.request(method, "/api/v1/callbacks/mtn_momo/unknown", content=body)
        assert answer.status_code == 200


async def test_unknown_routes_and_wrong_methods_are_problems(api: Served):
    unknown = await api.send("GET", "/nonsense")
    assert (unknown.status_code, unknown.headers["content-type"]) == (404, PROBLEM)
    wrong = await api.send("DELETE", "/payments")
    assert (wrong.status_code, wrong.headers["content-type"]) == (405, PROBLEM)
    assert {"GET", "POST"} <= {word.strip() for word in wrong.headers["allow"].split(",")}


async def test_a_trace_is_continued_and_an_invalid_one_is_replaced(api: Served):
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    answer = await api.send("GET", "/payments", traceparent=f"00-{trace}-00f067aa0ba902b7-01")
    assert answer.headers["traceparent"].startswith(f"00-{trace}-")
    broken = await api.send("GET", "/payments", traceparent=f"00-{trace}-zz-01")
    assert trace not in broken.headers["traceparent"]


async def test_health_needs_no_api_key(api: Served):
    assert (await api.client.get("/health/live")).json() == {"status": "ok"}
    assert (await api.client.get("/health/ready")).status_code == 200
    assert (await api.client.get("/metrics")).status_code == 200
    assert (await api.client.get("/docs")).status_code == 200


@pytest.fixture
def log_lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    lines = io.StringIO()
    with monkeypatch.context() as patched:
        patched.setattr("sys.stderr", lines)
        configure_logging("debug")
    # A logger cached at its first use would keep writing to this test's lines.
    structlog.configure(cache_logger_on_first_use=False)
    yield lines
    structlog.reset_defaults()
    logging.getLogger().handlers.clear()


async def test_neither_numbers_nor_keys_reach_logs_errors_or_metrics(api: Served, log_lines: io.StringIO):
    wrong = await api.pay(payer={"msisdn": NUMBER, "x": 1})
    metrics = await api.client.get("/metrics")
    assert (await api.pay()).status_code == 202
    await api.client.post("/api/v1/callbacks/mtn_momo/canary-token", content=b"x")
    structlog.get_logger("test").info("seen", text=f"{NUMBER} {api.key} /callbacks/mtn_momo/canary-token")
    lines = log_lines.getvalue()
    assert '"event": "request"' in lines
    assert '"event": "seen"' in lines
    for canary in (NUMBER[1:], api.key, "canary-rail-key", "canary-subscription", "canary-token"):
        assert canary not in wrong.text + metrics.text + lines, canary


async def test_the_log_line_of_a_post_names_the_order_also_when_it_is_repeated(
    api: Served, log_lines: io.StringIO
):
    body = {"amount": 100, "currency": "GHS", "payer": {"msisdn": NUMBER}, "reference": "order-1"}
    first = (await api.send("POST", "/payments", body, Idempotency_Key="same")).json()["id"]
    await api.send("POST", "/payments", body, Idempotency_Key="same")
    lines = [json.loads(line) for line in log_lines.getvalue().splitlines()]
    assert [line["order_id"] for line in lines if line["event"] == "request"] == [first, first]


async def test_every_request_is_logged_with_id_merchant_route_and_refusal_code(
    api: Served, log_lines: io.StringIO
):
    unknown = await api.send("GET", "/payments", key="sk_test_nobody_at_all")
    wrong = await api.send("POST", "/payments/pay_1/refunds", {"amount": -1}, Idempotency_Key="k")
    paid = await api.send("GET", "/payments")
    lines = [json.loads(line) for line in log_lines.getvalue().splitlines()]
    told = [line for line in lines if line["event"] == "request"]
    assert [line["request_id"] for line in told] == [
        one.headers["request-id"] for one in (unknown, wrong, paid)
    ]
    assert [(line["status"], line["code"], line.get("merchant")) for line in told] == [
        (401, "api_key_unknown", None),
        (422, "invalid_request", "mer_test"),
        (200, None, "mer_test"),
    ]
    assert [line["route"] for line in told] == [
        "/api/v1/payments",
        "/api/v1/payments/{payment_id}/refunds",
        "/api/v1/payments",
    ]
    assert all(line["key_id"].startswith("key_") for line in told[1:])
    assert "sk_test_" not in log_lines.getvalue()


async def test_the_description_allows_no_other_members_in_requests(api: Served):
    document = (await api.client.get("/openapi.json")).json()
    shapes = document["components"]["schemas"]
    assert {
        name
        for name in shapes
        if name.endswith("Body") and shapes[name].get("additionalProperties") is not False
    } == set()
    for path, item in document["paths"].items():
        for operation in item.values():
            assert {"404", "500", "503"} <= operation["responses"].keys(), path


async def test_a_password_is_refused_when_none_is_expected_or_none_is_given(api: Served):
    paid = (await api.pay()).json()
    path = f"/payments/{paid['id']}/otp"
    assert (await api.send("POST", path, {"otp": "123456"})).status_code == 409
    wrong = await api.send("POST", path, {"otp": "12 34"})
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "otp")
    assert (await api.send("POST", "/payments/pay_unknown/otp", {"otp": "123456"})).status_code == 404
