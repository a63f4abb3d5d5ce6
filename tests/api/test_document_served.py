"""What the service answers is what its OpenAPI document describes: no member more, and each example works."""

import asyncio
import time
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
from service.operators import PASSWORD, Person
from service.test_operators import opened_operators
from synccash.payments.access import OperatorRole
from synccash.payments.webhook import ENDPOINT_VERIFICATION, EVENT_TYPES

BASE = "/api/v1"
REVIEWED_PAYOUT = 50_000
"""Below the ceiling of payouts, above which they are declined."""
PARTS = {"name": "mtn_momo:collect", "key": "ip:192.0.2.9", "endpoint": "payment_initiation"}
OPERATORS = ("administration", "operators", "approvals")
"""Tags whose calls need operators who have signed in; a test of their own makes those."""
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


@dataclass(slots=True)
class SignedIn:
    """An operator who sends requests with the token of a sign-in."""

    desk: Desk
    person: Person
    token: str = ""

    @classmethod
    def enrol(cls, desk: Desk, name: str, code: str) -> "SignedIn":
        """Enrol with a code, and sign in."""
        chosen = {"name": name, "code": code, "password": PASSWORD}
        enrolled = desk.ask("POST", f"{BASE}/operators/enrol", chosen).body
        found = cls(desk, Person(name, enrolled["totp_secret"]))
        login = {"name": name, "password": PASSWORD, "totp": found.person.code(time.time())}
        found.token = desk.ask("POST", f"{BASE}/operators/sign-in", login).body["token"]
        return found

    def done(self, method: str, path: str, body: Any = None, *, status: int = 200, **parts: str) -> Any:
        """Send a request, expect this status, and return the body."""
        answer = self.desk.ask(method, f"{BASE}{path}", body, key=self.token, **parts)
        assert answer.status == status, (method, path, answer.raw)
        return answer.body


def test_every_answer_to_an_operator_has_only_what_is_described(desk: Desk, database_of_file: str):
    """The last test of the file: with its second operator, some actions wait for an approval."""

    async def first_code() -> str:
        async with opened_operators(database_of_file) as operators:
            return (await operators.create("ama", OperatorRole.ADMIN, by="database:test")).code

    ama = SignedIn.enrol(desk, "ama", asyncio.run(first_code()))
    reason = {"reason": "Known"}
    operate_on_merchants(ama, reason)
    assert ama.done("GET", "/admin/audit")["data"]
    ama.done("GET", "/admin/audit/export")
    read_orders(ama)
    act_on_orders(ama, reason)
    code = operate_on_operators(ama, reason)
    approve(ama, SignedIn.enrol(desk, "kofi", code), reason)
    assert ama.done("POST", "/operators/sign-out") == {"signed_out": True}
    expected = {one["operationId"] for _, _, one in desk.document.operations() if one["tags"][0] in OPERATORS}
    assert expected - desk.seen == set()


def operate_on_merchants(ama: SignedIn, reason: Mapping[str, str]) -> None:
    merchant = ama.done("POST", "/admin/merchants", {"name": "Makola"}, status=201)["id"]
    ama.done("POST", "/admin/merchants/{merchant_id}/suspend", reason, merchant_id=merchant)
    listed = ama.done("GET", "/admin/merchants")["data"]
    assert [one["suspended_for"] for one in listed if one["id"] == merchant] == ["Known"]
    ama.done("POST", "/admin/merchants/{merchant_id}/resume", reason, merchant_id=merchant)
    new = {"merchant_id": merchant, "livemode": True, "allowed_ips": ["192.0.2.0/24"], "expires_in_s": 9_000}
    key = ama.done("POST", "/admin/api-keys", new, status=201)["id"]
    rotated = ama.done("POST", "/admin/api-keys/{api_key_id}/rotate", {}, api_key_id=key)["id"]
    ama.done("POST", "/admin/api-keys/{api_key_id}/revoke", api_key_id=rotated)
    admin = {"merchant_id": None, "livemode": False}
    assert ama.done("POST", "/admin/api-keys", admin, status=201)["role"] == "admin"
    listed = {one["id"]: one for one in ama.done("GET", "/admin/api-keys")["data"]}
    assert listed[key]["replaced_by"] == rotated
    assert listed[rotated]["revoked_at"] is not None
    account = {"merchant_id": merchant, "livemode": True, "currency": "GHS", **reason}
    assert ama.done("POST", "/admin/balances/credit", {**account, "amount": 7})["granted"] == 7
    listed = ama.done("GET", "/admin/balances", query=f"?merchant={merchant}")["data"]
    assert [one["credit"] for one in listed if one["livemode"]] == [7]
    # An upgrade makes what can be confirmed; test_request_fields.py confirms one.
    ama.done("POST", "/admin/balances/confirm", {**account, "credit": 7}, status=409)


def read_orders(ama: SignedIn) -> None:
    for kind in ("payments", "payouts"):
        page = ama.done("GET", f"/admin/{kind}", query="?limit=1")
        assert len(page["data"]) == 1
        assert ama.done("GET", f"/admin/{kind}", query=f"?limit=1&after={page['data'][0]['id']}")
    assert ama.done("GET", "/admin/waiting")["data"]
    history = ama.done("GET", "/admin/history", query="?step=3600")
    assert (history["step_s"], history["goal"]) == (3600, 0.999)
    for kind in ("payment", "refund", "payout"):
        order = ama.done("GET", "/admin/orders/{order_id}", order_id=ama.desk.objects[f"{kind}_id"])
        assert (order["object"], bool(order["timeline"])) == (kind, True)
    for payment_id in ama.desk.payments.values():
        ama.done("GET", "/admin/orders/{order_id}", order_id=payment_id)


def act_on_orders(ama: SignedIn, reason: Mapping[str, str]) -> None:
    paid = ama.desk.paid()
    assert ama.done("POST", "/admin/orders/{order_id}/inquire", reason, order_id=paid)["id"] == paid
    refund = {**reason, "amount": 500, "key": "ticket-4711"}
    first = ama.done("POST", "/admin/payments/{payment_id}/refund", refund, payment_id=paid)
    again = ama.done("POST", "/admin/payments/{payment_id}/refund", refund, payment_id=paid)
    assert (again["id"], first["amount"]) == (first["id"], 500)
    reviewed = ama.desk.reviewed("/payments/")
    canceled = ama.done("POST", "/admin/payments/{payment_id}/cancel", reason, **reviewed)
    assert canceled["status"] == "canceled"
    event = ama.desk.ask("GET", f"{BASE}/events").body["data"][0]["id"]
    assert ama.done("POST", "/admin/events/{event_id}/redeliver", reason, event_id=event)["id"] == event
    since = {**reason, "livemode": False, "since": "2026-01-01T00:00:00Z"}
    ama.done("POST", "/admin/merchants/{merchant_id}/recover-webhooks", since, merchant_id="mer_one")
    # A rail makes what can be closed; test_request_fields.py closes one.
    path = "/admin/orders/{order_id}/close-contradictions"
    ama.done("POST", path, reason, status=409, order_id=paid)
    ama.done("GET", "/admin/contradictions")
    ama.done("GET", "/admin/reconciliations")
    path = "/admin/reconciliations/{reconciliation_id}"
    ama.done("GET", path, status=404, reconciliation_id="rec_1")


def operate_on_operators(ama: SignedIn, reason: Mapping[str, str]) -> str:
    """Add an operator, and return the enrolment code."""
    ama.done("POST", "/operators", {"name": "kofi", "role": "viewer", **reason}, status=201)
    ama.done("POST", "/operators/{name}/role", {"role": "admin", **reason}, name="kofi")
    assert ama.done("POST", "/operators/{name}/disable", reason, name="kofi")["disabled_at"]
    assert ama.done("POST", "/operators/{name}/enable", reason, name="kofi")["disabled_at"] is None
    assert len(ama.done("GET", "/operators")["data"]) == 2
    token = ama.done("POST", "/operators/tokens", {"name": "report", "days": 1}, status=201)["id"]
    assert {one["kind"] for one in ama.done("GET", "/operators/tokens")["data"]} == {"session", "api"}
    ama.done("POST", "/operators/tokens/{token_id}/revoke", token_id=token)
    # The next code: each is accepted once.
    change = {"password": PASSWORD, "totp": ama.person.code(time.time() + 30), "new_password": PASSWORD[::-1]}
    ama.done("POST", "/operators/password", change)
    return ama.done("POST", "/operators/{name}/reset", reason, name="kofi")["enrolment_code"]


def approve(ama: SignedIn, kofi: SignedIn, reason: Mapping[str, str]) -> None:
    account = {"merchant_id": "mer_two", "livemode": True, "currency": "GHS", **reason}
    for decision in ("approve", "decline"):
        waiting = ama.done("POST", "/admin/balances/credit", {**account, "amount": 7}, status=202)
        ama.done("GET", "/approvals/{approval_id}", approval_id=waiting["id"])
        kofi.done("POST", f"/approvals/{{approval_id}}/{decision}", reason, approval_id=waiting["id"])
    new = {"name": "esi", "role": "viewer", **reason}
    waiting = ama.done("POST", "/operators", new, status=202)
    done = kofi.done("POST", "/approvals/{approval_id}/approve", reason, approval_id=waiting["id"])
    assert waiting["enrolment_code_half"] != done["result"]["enrolment_code_half"]
    ended = {one["status"] for one in ama.done("GET", "/approvals")["data"]}
    assert ended == {"executed", "declined"}
