"""What the service answers is what its OpenAPI document describes: no member more, and each example works."""

import urllib.parse
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from api.document import Document
from service.in_process import RunningService, running_service
from service.installation import FINAL, Answer, call, wait_until
from service.objects import NUMBER, REVIEWED, objects_of
from synccash.payments.webhook import ENDPOINT_VERIFICATION, EVENT_TYPES

BASE = "/api/v1"
REVIEWED_PAYOUT = 50_000
"""Below the ceiling of payouts, above which they are declined."""
PARTS = {"name": "mtn_momo:collect", "key": "ip:192.0.2.9", "endpoint": "payment_initiation"}
OPERATORS = ("administration", "operators", "approvals")
"""Tags whose calls need operators who have signed in; their own tests make those."""
REFUNDS = "/payments/{payment_id}/refunds"
"""The call whose payment has to be as large as the example of a refund."""
WAITING = "/payments/{payment_id}/otp"
"""The call whose payment waits for a one-time password."""
REVIEWS = (
    "/payments/{payment_id}/approve",
    "/payments/{payment_id}/decline",
    "/payments/{payment_id}/cancel",
    "/payouts/{payout_id}/approve",
    "/payouts/{payout_id}/decline",
)
"""Calls that end a review, so each gets an order of its own."""
DECLINED_OTP = "999999"
"""The one-time password with which Paystack's sandbox ends a charge."""
CONFLICTS = (
    "/payments/{payment_id}/resolve",
    "/refunds/{refund_id}/resolve",
    "/payouts/{payout_id}/resolve",
    "/payments/{payment_id}/return-surplus",
)
"""Calls whose example meets an order that has ended well: 409 for an order that needs no person."""


@dataclass(slots=True)
class Desk:
    """Calls a running service, and holds every answer against its document."""

    service: RunningService
    document: Document
    objects: Mapping[str, str]
    payments: Mapping[str, str]
    seen: set[str] = field(default_factory=set[str])

    def ask(self, method: str, path: str, body: Any = None, *, key: str = "", **parts: str) -> Answer:
        operation = self.document.raw["paths"][path][method.lower()]
        if not key:
            needs_admin = operation["description"].startswith("Operator") or "/resilience/" in path
            key = self.service.admin_key if needs_admin else self.service.key
        concrete = path.format(**{**self.objects, **PARTS, **parts}) + parts.get("query", "")
        headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": uuid.uuid4().hex}
        answer = call(method, self.service.url + concrete, body, **headers)
        schema = self.document.schema_of(operation, answer.status)
        if schema is None:
            assert answer.raw == b"", (method, path)
        else:
            problems = self.document.errors(answer.body, schema)
            assert problems == [], (method, path, answer.status, problems, answer.raw)
        self.seen.add(operation["operationId"])
        return answer

    def operations(self) -> list[tuple[str, str, Any]]:
        """All calls but those of OPERATORS."""
        return [one for one in self.document.operations() if one[2]["tags"][0] not in OPERATORS]

    def reviewed(self, path: str) -> dict[str, str]:
        """A new order under review for the call."""
        kind = "payouts" if "/payouts/" in path else "payments"
        whom = "payee" if kind == "payouts" else "payer"
        body = {
            "amount": REVIEWED if kind == "payments" else REVIEWED_PAYOUT,
            "currency": "GHS",
            whom: {"msisdn": NUMBER},
            "reference": uuid.uuid4().hex,
        }
        made = self.ask("POST", f"{BASE}/{kind}", body)
        assert made.body["status_detail"] == "risk_review"
        return {f"{kind.removesuffix('s')}_id": made.body["id"]}

    def paid(self) -> str:
        """A new payment that has succeeded, as large as the example of a payment."""
        body = {"amount": 2500, "currency": "GHS", "payer": {"msisdn": NUMBER}, "reference": uuid.uuid4().hex}
        payment_id = self.ask("POST", f"{BASE}/payments", body).body["id"]
        path = f"{BASE}/payments/{{payment_id}}"
        wait_until(path, lambda: self.ask("GET", path, payment_id=payment_id).body["status"] == "succeeded")
        return payment_id


@pytest.fixture(scope="module")
def desk(database_of_file: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("rails")
    reviews = {"risk_review_from": REVIEWED, "payout_review_from": REVIEWED_PAYOUT}
    with running_service(database_of_file, folder, tells=False, **reviews) as service:
        document = Document(call("GET", f"{service.url}/openapi.json").body)
        yield Desk(service, document, *objects_of(service))


def test_every_answer_of_a_get_has_only_what_is_described(desk: Desk):
    calls = [(method, path) for method, path, _ in desk.operations() if method == "GET"]
    assert len(calls) > 15
    for method, path in calls:
        assert desk.ask(method, path).status == 200, path
    for payment_id in desk.payments.values():
        assert desk.ask("GET", f"{BASE}/payments/{{payment_id}}", payment_id=payment_id).status == 200
        desk.ask("GET", f"{BASE}/payments/{{payment_id}}/timeline", payment_id=payment_id)


def test_a_payment_that_its_rail_declined_has_only_what_is_described(desk: Desk):
    payer = {"msisdn": "0201234568", "network": "telecel"}
    body = {"amount": 100, "currency": "GHS", "payer": payer, "rail": "paystack"}
    made = desk.ask("POST", f"{BASE}/payments", {**body, "reference": uuid.uuid4().hex})
    path = f"{BASE}/payments/{{payment_id}}"

    def now() -> Any:
        return desk.ask("GET", path, payment_id=made.body["id"]).body

    wait_until("the payer needs a password", lambda: now()["status"] == "requires_action")
    desk.ask("POST", f"{path}/otp", {"otp": DECLINED_OTP}, payment_id=made.body["id"])
    wait_until("the payment ends", lambda: now()["status"] in FINAL)
    assert now()["status"] == "failed"
    assert now()["attempts"][0]["error"] is not None


def test_the_example_of_every_request_works(desk: Desk):
    done = 0
    for method, path, operation in desk.operations():
        if "requestBody" not in operation or method == "DELETE":
            continue
        short, parts = path.removeprefix(BASE), {}
        if short in REVIEWS:
            parts = desk.reviewed(short)
        elif short == WAITING:
            parts = {"payment_id": desk.payments["waiting"]}
        elif short == REFUNDS:
            parts = {"payment_id": desk.paid()}
        media = operation["requestBody"]["content"]["application/json"]
        (example,) = media["examples"].values()
        answer = desk.ask(method, path, desk.document.resolved(example)["value"], **parts)
        expected = answer.status == 409 if short in CONFLICTS else answer.status < 300
        assert expected, (method, path, answer.raw)
        done += 1
    assert done > 15


def test_the_answers_of_the_other_calls_have_only_what_is_described(desk: Desk):
    for method, path, operation in desk.operations():
        if method in ("POST", "PATCH") and "requestBody" not in operation:
            parts = desk.reviewed(path) if path.endswith("/cancel") else {}
            assert desk.ask(method, path, **parts).status == 200, path
    made = desk.ask("POST", f"{BASE}/webhook-endpoints", {"url": "http://127.0.0.1:9/other"})
    path = f"{BASE}/webhook-endpoints/{{endpoint_id}}"
    assert desk.ask("DELETE", path, endpoint_id=made.body["id"]).status == 204
    assert desk.ask("DELETE", f"{BASE}/resilience/rate-limits/{{key}}/{{endpoint}}").status == 200
    assert desk.seen == {operation["operationId"] for _, _, operation in desk.operations()}


def test_every_problem_has_only_what_is_described(desk: Desk):
    payments = f"{BASE}/payments"
    body = {"amount": 100, "currency": "GHS", "payer": {"msisdn": NUMBER}, "reference": uuid.uuid4().hex}
    assert desk.ask("POST", payments, body).status < 300
    again = desk.ask("POST", payments, body)
    assert (again.status, again.body["code"]) == (409, "reference_already_used")
    for status, method, path, sent, more in (
        (422, "POST", payments, {**body, "amount": 0, "more": 1}, {}),
        (422, "GET", payments, None, {"query": "?statsu=failed"}),
        (404, "GET", f"{payments}/{{payment_id}}", None, {"payment_id": "pay_1"}),
        (401, "GET", payments, None, {"key": "sk_unknown"}),
        (403, "GET", payments, None, {"key": desk.service.admin_key}),
    ):
        assert desk.ask(method, path, sent, **more).status == status, (method, path)


def test_every_event_is_as_its_webhook_is_described(desk: Desk):
    """The events of rails and endpoints are not among them: tests of their own make those."""
    page = desk.ask("GET", f"{BASE}/events", query="?" + urllib.parse.urlencode({"limit": 100})).body
    types = {one["type"] for one in page["data"]}
    assert {"payment.succeeded", "refund.succeeded", "payout.succeeded", "payment.requires_action"} <= types
    assert types <= {*EVENT_TYPES, ENDPOINT_VERIFICATION}
    for event in page["data"]:
        request = desk.document.raw["webhooks"][event["type"]]["post"]["requestBody"]
        schema = request["content"]["application/json"]["schema"]
        assert desk.document.errors(event, schema) == [], event
