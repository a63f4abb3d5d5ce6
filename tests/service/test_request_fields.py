"""Every field of every request body is sent, and read back with GET.

The bodies and their fields come from the service's own description. A field that is not named in `ROWS` fails
the test by its name, so one that is accepted and then lost is noticed when it is added.
"""

import asyncio
import json
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

from encryption_samples import ENCRYPTION
from service.in_process import RunningService, running_service
from service.installation import call, wait_until
from service.operators import token_of
from service.test_operators import opened_operators
from synccash.api.schemas import operator_requests, requests
from synccash.payments.access import OperatorRole
from synccash.payments.balance import BY_MIGRATION, BalanceAccount, credit_source

BASE = "/api/v1"
REVIEWED = 50_000
NUMBER = "0241234567"
PORTED_PAYER, PORTED_PAYEE = "0243334445", "0243334446"
"""Their prefix is MTN's, so `telecel` is shown only where the request's `network` was kept. Each is of one
request: the service remembers the network over which a number was paid."""

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Shown:
    """A value, and how GET shows it: at `at` (default: under the field's own name), as `expected`."""

    value: Any
    at: str | None = None
    expected: Any = None
    read: Callable[[Document], Any] | None = None


@dataclass(frozen=True, slots=True)
class NotShown:
    """The exception: a value that is sent and that no GET shows, `because` of a decision of ours.

    `stored`: a query that finds it in PostgreSQL; $1 is the id of the object. `read`: what turns the result
    and the id into the value.
    """

    value: Any
    because: str
    stored: str | None = None
    read: Callable[[Any, str], Any] = lambda found, _: found


@dataclass(frozen=True, slots=True)
class ObjectId:
    """The id of the object that the request is about, shown under the field's own name."""


@dataclass(frozen=True, slots=True)
class NotSent:
    """The exception: a field that this test cannot send, and why."""

    because: str


Field = Shown | NotShown | ObjectId | NotSent


@dataclass(frozen=True, slots=True)
class Row:
    """One request: the object that it is about, its fields, and the document that GET gives afterwards.

    `creates`: the document is that of the object that the request makes.
    """

    about: "Callable[[Desk], str]"
    fields: Mapping[str, Field]
    get: "Callable[[Desk, str], Document]"
    operator: bool = False
    creates: bool = False


@dataclass(frozen=True, slots=True)
class Desk:
    """Sends requests to a running service, and brings its objects where a request needs them."""

    service: RunningService
    database_url: str
    token: str
    """Of the only operator with a password, so that no action waits for a second one."""

    def send(
        self, method: str, path: str, body: Any = None, *, operator: bool = False, token: str | None = None
    ) -> Any:
        admin = self.token if path.startswith(("/operators", "/approvals")) else self.service.admin_key
        key = token or (admin if operator else self.service.key)
        headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": uuid.uuid4().hex}
        answer = call(method, f"{self.service.url}{BASE}{path}", body, **headers)
        assert answer.status < 300, f"{method} {path}: {answer.raw!r}"
        return answer.body if answer.raw else None

    def query(self, statement: str, *values: Any) -> Any:
        async def once() -> Any:
            connection = await asyncpg.connect(self.database_url)
            try:
                return await connection.fetchval(statement, *values)
            finally:
                await connection.close()

        return asyncio.run(once())

    def pay(self, **more: Any) -> str:
        body = {"amount": 2505, "currency": "GHS", "payer": {"msisdn": NUMBER}, "rail": "mtn_momo"}
        return self.send("POST", "/payments", body | {"reference": uuid.uuid4().hex} | more)["id"]

    def pay_out(self, **more: Any) -> str:
        body = {"amount": 105, "currency": "GHS", "payee": {"msisdn": NUMBER}, "rail": "mtn_momo"}
        return self.send("POST", "/payouts", body | {"reference": uuid.uuid4().hex} | more)["id"]

    def paid(self) -> str:
        payment_id = self.pay()
        self.until(f"/payments/{payment_id}", lambda one: one["status"] == "succeeded")
        return payment_id

    def asking(self) -> str:
        payment_id = self.pay(payer={"msisdn": "0201234567", "network": "telecel"}, rail="paystack")
        self.until(f"/payments/{payment_id}", lambda one: one["status"] == "requires_action")
        return payment_id

    def event(self) -> str:
        self.paid()
        return self.send("GET", "/events")["data"][0]["id"]

    def endpoint(self) -> str:
        return self.send("POST", "/webhook-endpoints", {"url": "http://127.0.0.1:9/first"})["id"]

    def under_review(self, kind: str, make: Callable[[], str]) -> str:
        """Put an order under review whose rail reports no outcome."""
        # A fault of all requests would not do: it does not hold back money that is sent out, and the callback
        # of an end is sent by the faults of its own moment.
        self.service.control("PUT", "mtn_momo/script", {"next": [{"on": "money", "end": "NEVER"}]})
        order_id = make()
        self.until(f"/{kind}/{order_id}", _is_accepted)
        # The fence keeps out a worker that has just read the order.
        self.query(
            f"UPDATE {kind} SET status_detail = 'under_review', fence = fence + 1, lease_until = NULL,"
            " due_at = now() + interval '1 day' WHERE id = $1",
            order_id,
        )
        return order_id

    def reviewed_refund(self) -> str:
        path = f"/payments/{self.paid()}/refunds"
        return self.under_review("refunds", lambda: self.send("POST", path, {"amount": 9})["id"])

    def until(self, path: str, holds: Callable[[Document], bool]) -> None:
        wait_until(path, lambda: holds(self.send("GET", path)))

    def order(self, path: str, order_id: str) -> Document:
        return self.send("GET", f"{path}/{order_id}")

    def payment(self, payment_id: str) -> Document:
        """A payment with its timeline, by kind of entry."""
        entries = self.send("GET", f"/payments/{payment_id}/timeline")["data"]
        return {**self.order("/payments", payment_id), "timeline": {one["kind"]: one for one in entries}}

    def refund(self, refund_id: str) -> Document:
        refund = self.order("/refunds", refund_id)
        return {**refund, "timeline": self.payment(refund["payment_id"])["timeline"]}

    def payout(self, payout_id: str) -> Document:
        return self.order("/payouts", payout_id)

    def webhook_endpoint(self, endpoint_id: str) -> Document:
        return self.order("/webhook-endpoints", endpoint_id)

    def breaker(self, _: str) -> Document:
        return self.send("GET", f"/resilience/circuit-breakers/{PARTS['name']}", operator=True)

    def listed(self, path: str, name: str, value: Any) -> Document:
        """The member of an operator's list that has this value."""
        (found,) = (one for one in self.send("GET", path, operator=True)["data"] if one[name] == value)
        return found

    def merchant(self, merchant_id: str) -> Document:
        return self.listed("/admin/merchants", "id", merchant_id)

    def new_merchant(self) -> str:
        return self.send("POST", "/admin/merchants", {"name": "Kejetia Shoes"}, operator=True)["id"]

    def suspended(self) -> str:
        merchant_id = self.new_merchant()
        self.send("POST", f"/admin/merchants/{merchant_id}/suspend", {"reason": "Asked for"}, operator=True)
        return merchant_id

    def api_key(self, key_id: str) -> Document:
        return self.listed("/admin/api-keys", "id", key_id)

    def new_key(self) -> str:
        body = {"merchant_id": "mer_one", "livemode": False}
        return self.send("POST", "/admin/api-keys", body, operator=True)["id"]

    def rotated_key(self, key_id: str) -> Document:
        former = self.api_key(key_id)
        return {**former, "replacement": self.api_key(former["replaced_by"])}

    def live_balance(self, merchant_id: str) -> Document:
        return self.listed(f"/admin/balances?merchant={merchant_id}", "livemode", True)

    def provisional_credit(self) -> str:
        """A merchant to whom an upgrade has granted a credit."""
        merchant_id = self.new_merchant()
        self.query(
            "INSERT INTO balance_entries (merchant_id, livemode, currency, kind, amount, source)"
            " VALUES ($1, true, 'GHS', 'credit', 5, $2)",
            merchant_id,
            credit_source(
                BY_MIGRATION, BalanceAccount(merchant_id=merchant_id, livemode=True, currency="GHS")
            ),
        )
        return merchant_id

    def contradicted(self) -> str:
        """A payment about which a rail has said something else than before."""
        payment_id = self.pay()
        self.query(
            "INSERT INTO contradictions (move_id, order_id, kind, attempts)"
            " VALUES ($1, $1, 'reversed', '[]')",
            payment_id,
        )
        return payment_id

    def operator(self, name: str) -> Document:
        return self.listed("/operators", "name", name)

    def new_operator(self) -> str:
        body = {"name": f"esi-{uuid.uuid4().hex[:8]}", "role": "operator", "reason": "Hired"}
        return self.send("POST", "/operators", body, operator=True)["name"]

    def operator_token(self, token_id: str) -> Document:
        return self.listed("/operators/tokens", "id", token_id)

    def decided_approval(self, approval_id: str) -> Document:
        """An approval, whose requester is a viewer afterwards: so no later action waits."""
        found = self.send("GET", f"/approvals/{approval_id}", operator=True)

        async def demote() -> None:
            async with opened_operators(self.database_url) as operators:
                name = found["requested_by"].removeprefix("operator:")
                await operators.set_role(name, OperatorRole.VIEWER, by="database:test", reason="")

        asyncio.run(demote())
        return found

    def waiting_approval(self) -> str:
        """An action of another operator, which waits."""

        async def another(name: str) -> str:
            async with opened_operators(self.database_url) as operators:
                return await token_of(operators, name, "admin")

        name = f"yaw-{uuid.uuid4().hex[:8]}"
        token = asyncio.run(another(name))
        credit = {"merchant_id": self.new_merchant(), "livemode": True, "currency": "GHS", "amount": 5}
        asked = self.send("POST", "/admin/balances/credit", {**credit, "reason": "Prefunded"}, token=token)
        assert asked["object"] == "approval", asked
        return asked["id"]

    def limits(self, _: str) -> Document:
        path = f"/resilience/rate-limits/{PARTS['key']}/{PARTS['endpoint']}"
        return self.send("GET", path, operator=True)


def _is_accepted(order: Document) -> bool:
    return [attempt["state"] for attempt in order["attempts"]] == ["acknowledged"]


def _overlap_s(key: Document) -> float:
    """How long a key is valid after its replacement was made."""
    ends, begins = (
        datetime.fromisoformat(at) for at in (key["expires_at"], key["replacement"]["created_at"])
    )
    return (ends - begins).total_seconds()


def _lifetime_days(token: Document) -> float:
    return _lifetime_s(token) / 86_400


def _lifetime_s(order: Document) -> float:
    ends, begins = (datetime.fromisoformat(order[name]) for name in ("expires_at", "created_at"))
    return (ends - begins).total_seconds()


def _blocked_as_long(limits: Document) -> bool:
    (limit,) = limits["data"]
    left_s = (datetime.fromisoformat(limit["blocked_until"]) - datetime.now(UTC)).total_seconds()
    return 3_600 < left_s <= 4_321


def _no_id(_: Desk) -> str:
    return ""


ORDER: dict[str, Field] = {
    "amount": Shown(2511),
    "currency": Shown("GHS"),
    "reference": Shown("order 17, é"),
    "description": Shown("Two crates, paid in full"),
    "metadata": Shown({"basket": "b-17", "kyc_tier": "minimum"}),
    "expires_in": Shown(1_234, read=_lifetime_s),
    "rail": Shown("pawapay"),
}
PRIVATE = "the notes of an operator are not for the merchant"
NO_TIMELINE = "payouts have no timeline in the API, only in the database"
TIMELINE = "SELECT sealed FROM timeline WHERE order_id = $1 AND kind = '{}'"


def _reason(kind: str) -> Callable[[bytes, str], str]:
    """Read the reason of the entry of this kind in the order's timeline."""
    return lambda sealed, of: json.loads(ENCRYPTION.open(f"timeline:{of}:{kind}", sealed))["reason"]


AUDIT = "SELECT reason FROM audit WHERE action = '{}' AND $1 = ''"
DECIDED = "Seen by Ama in line 118"
AUDIT_OF = "SELECT reason FROM audit WHERE action = '{}' AND target = $1"
ONLY_AUDIT = "only the audit log has it"


def _audited(action: str, role: str = "") -> NotShown:
    """A reason that the audit log has, with the `role` that the action gives."""
    return NotShown(
        DECIDED,
        ONLY_AUDIT,
        AUDIT_OF.format(action),
        lambda found, _: found.removesuffix(f" (role {role})"),
    )


SECRET = "a person answers with it, and only its hash is stored; tests/service/test_operators.py sends it"
RESOLVED = {
    "outcome": Shown("succeeded", at="status"),
    "rail": NotSent("it is taken only for an order that a recovery may have lost an attempt of"),
}
_NOT_STORED = NotSent("nothing is stored, and the answer is the effect; tests/console/test_routing.py has it")
ROWS: dict[str, Row] = {
    "POST /api/v1/resilience/routes/replay": Row(
        Desk.breaker,
        dict.fromkeys(("costs", "preferences", "splits", "cost_weight", "preference_step"), _NOT_STORED),
        lambda _desk, _: {},
        operator=True,
    ),
    "POST /api/v1/payments": Row(
        _no_id,
        ORDER
        | {"payer.msisdn": Shown(PORTED_PAYER, expected="233243334445"), "payer.network": Shown("telecel")},
        Desk.payment,
        creates=True,
    ),
    "POST /api/v1/payments/{payment_id}/refunds": Row(
        Desk.paid,
        {"amount": Shown(1_203), "reason": Shown("one crate was broken")},
        Desk.refund,
        creates=True,
    ),
    "POST /api/v1/payments/{payment_id}/otp": Row(
        Desk.asking,
        {"otp": NotShown("123456", "a one-time password is the payer's secret and is never stored")},
        Desk.payment,
    ),
    "POST /api/v1/payments/{payment_id}/approve": Row(
        lambda desk: desk.pay(amount=REVIEWED),
        {"reason": NotShown(DECIDED, PRIVATE, TIMELINE.format("approved"), _reason("approved"))},
        Desk.payment,
        operator=True,
    ),
    "POST /api/v1/payments/{payment_id}/decline": Row(
        lambda desk: desk.pay(amount=REVIEWED),
        {"reason": NotShown(DECIDED, PRIVATE, TIMELINE.format("declined"), _reason("declined"))},
        Desk.payment,
        operator=True,
    ),
    "POST /api/v1/payments/{payment_id}/resolve": Row(
        lambda desk: desk.under_review("payments", desk.pay),
        RESOLVED
        | {
            "evidence": NotShown(DECIDED, PRIVATE, TIMELINE.format("resolved"), _reason("resolved")),
            "amount_received": Shown(2_000),
        },
        Desk.payment,
        operator=True,
    ),
    "POST /api/v1/payments/{payment_id}/return-surplus": Row(
        _no_id,
        {"reason": NotSent("it needs a second debit of one payment; tests/engine/test_surplus.py makes one")},
        Desk.payment,
        operator=True,
    ),
    "POST /api/v1/refunds/{refund_id}/resolve": Row(
        Desk.reviewed_refund,
        RESOLVED | {"evidence": NotShown(DECIDED, PRIVATE, TIMELINE.format("resolved"), _reason("resolved"))},
        Desk.refund,
        operator=True,
    ),
    "POST /api/v1/payouts": Row(
        _no_id,
        ORDER
        | {
            "payee.msisdn": Shown(PORTED_PAYEE, expected="233243334446"),
            "payee.network": Shown("telecel"),
            "payee.name": Shown("Ama Mensah"),
        },
        Desk.payout,
        creates=True,
    ),
    "POST /api/v1/payouts/{payout_id}/approve": Row(
        lambda desk: desk.pay_out(amount=REVIEWED),
        {"reason": NotShown(DECIDED, NO_TIMELINE, TIMELINE.format("approved"), _reason("approved"))},
        Desk.payout,
        operator=True,
    ),
    "POST /api/v1/payouts/{payout_id}/decline": Row(
        lambda desk: desk.pay_out(amount=REVIEWED),
        {"reason": NotShown(DECIDED, NO_TIMELINE, TIMELINE.format("declined"), _reason("declined"))},
        Desk.payout,
        operator=True,
    ),
    "POST /api/v1/payouts/{payout_id}/resolve": Row(
        lambda desk: desk.under_review("payouts", desk.pay_out),
        RESOLVED
        | {"evidence": NotShown(DECIDED, NO_TIMELINE, TIMELINE.format("resolved"), _reason("resolved"))},
        Desk.payout,
        operator=True,
    ),
    "POST /api/v1/webhook-endpoints": Row(
        _no_id,
        {"url": Shown("http://127.0.0.1:9/hooks?a=b"), "types": Shown(["refund.failed", "payment.failed"])},
        Desk.webhook_endpoint,
        creates=True,
    ),
    "PATCH /api/v1/webhook-endpoints/{endpoint_id}": Row(
        Desk.endpoint,
        {
            "url": Shown("http://127.0.0.1:9/second"),
            "types": Shown(["payout.failed"]),
            "status": Shown("disabled"),
            "rotate_secret": NotShown(
                True,
                "a signing secret is shown once, in the answer that makes it",
                "SELECT sealed FROM webhook_endpoints WHERE id = $1",
                lambda sealed, of: len(json.loads(ENCRYPTION.open(f"webhook_endpoints:{of}", sealed))) == 2,
            ),
        },
        Desk.webhook_endpoint,
    ),
    "POST /api/v1/resilience/circuit-breakers/{name}/force-open": Row(
        _no_id,
        {"reason": Shown(DECIDED)},
        Desk.breaker,
        operator=True,
    ),
    "POST /api/v1/resilience/circuit-breakers/{name}/reset": Row(
        _no_id,
        {
            "reason": NotShown(
                DECIDED, "a closed breaker has no reason; the audit log has it", AUDIT.format("breaker_reset")
            )
        },
        Desk.breaker,
        operator=True,
    ),
    "DELETE /api/v1/resilience/rate-limits/{key}/{endpoint}": Row(
        _no_id,
        {"reason": NotShown(DECIDED, "only the audit log has it", AUDIT.format("rate_limit_unblock"))},
        Desk.limits,
        operator=True,
    ),
    "POST /api/v1/resilience/rate-limits/{key}/{endpoint}/block": Row(
        _no_id,
        {
            "duration": Shown(4_321, read=_blocked_as_long, expected=True),
            "reason": NotShown(DECIDED, "only the audit log has it", AUDIT.format("rate_limit_block")),
        },
        Desk.limits,
        operator=True,
    ),
    "POST /api/v1/admin/merchants": Row(
        _no_id, {"name": Shown("Makola Traders, é")}, Desk.merchant, operator=True, creates=True
    ),
    "POST /api/v1/admin/merchants/{merchant_id}/suspend": Row(
        Desk.new_merchant, {"reason": Shown(DECIDED, at="suspended_for")}, Desk.merchant, operator=True
    ),
    "POST /api/v1/admin/merchants/{merchant_id}/resume": Row(
        Desk.suspended, {"reason": _audited("merchant_resume")}, Desk.merchant, operator=True
    ),
    "POST /api/v1/admin/api-keys": Row(
        _no_id,
        {
            "merchant_id": Shown("mer_one"),
            "livemode": Shown(True),
            "name": Shown("web shop, é"),
            "scopes": Shown(["payments:read", "refunds:write"]),
            "allowed_ips": Shown(["192.0.2.0/24", "2001:db8::/32"]),
            "expires_in_s": Shown(4_321, read=_lifetime_s),
        },
        Desk.api_key,
        operator=True,
        creates=True,
    ),
    "POST /api/v1/admin/api-keys/{api_key_id}/rotate": Row(
        Desk.new_key, {"overlap_s": Shown(4_321, read=_overlap_s)}, Desk.rotated_key, operator=True
    ),
    "POST /api/v1/admin/balances/credit": Row(
        Desk.new_merchant,
        {
            "merchant_id": ObjectId(),
            "livemode": Shown(True),
            "currency": Shown("GHS"),
            "amount": Shown(250_007, at="credit"),
            "reason": _audited("balance_credit"),
            "key": NotShown(
                "transfer-118",
                "a list of credits is not in the API",
                "SELECT source FROM balance_entries WHERE kind = 'credit' AND merchant_id = $1",
                lambda source, of: source.removeprefix(f"credit:{of}:live:GHS:"),
            ),
        },
        Desk.live_balance,
        operator=True,
    ),
    "POST /api/v1/admin/balances/confirm": Row(
        Desk.provisional_credit,
        {
            "merchant_id": ObjectId(),
            "livemode": Shown(True),
            "currency": Shown("GHS"),
            "credit": Shown(3),
            "reason": _audited("balance_confirm"),
        },
        Desk.live_balance,
        operator=True,
    ),
    "POST /api/v1/admin/orders/{order_id}/inquire": Row(
        Desk.pay, {"reason": _audited("order_inquire")}, Desk.payment, operator=True
    ),
    "POST /api/v1/admin/payments/{payment_id}/cancel": Row(
        lambda desk: desk.pay(amount=REVIEWED),
        {"reason": _audited("payment_cancel")},
        Desk.payment,
        operator=True,
    ),
    "POST /api/v1/admin/payments/{payment_id}/refund": Row(
        Desk.paid,
        {
            "amount": Shown(1_203),
            "reason": Shown(DECIDED),
            "key": NotShown("ticket-4711", "the names of claims are not in the API, and are stored hashed"),
        },
        Desk.refund,
        operator=True,
        creates=True,
    ),
    "POST /api/v1/admin/events/{event_id}/redeliver": Row(
        Desk.event, {"reason": _audited("event_redeliver")}, lambda _desk, _: {}, operator=True
    ),
    "POST /api/v1/admin/orders/{order_id}/close-contradictions": Row(
        Desk.contradicted, {"reason": _audited("contradictions_close")}, Desk.payment, operator=True
    ),
    "POST /api/v1/admin/merchants/{merchant_id}/recover-webhooks": Row(
        Desk.new_merchant,
        {
            "livemode": NotShown(
                True,
                ONLY_AUDIT,
                "SELECT details ->> 'livemode' FROM audit WHERE action = 'webhooks_recover' AND target = $1",
                lambda found, _: found == "true",
            ),
            "since": NotShown(
                "2026-01-01T00:00:00+00:00",
                ONLY_AUDIT,
                "SELECT details ->> 'since' FROM audit WHERE action = 'webhooks_recover' AND target = $1",
            ),
            "reason": _audited("webhooks_recover"),
        },
        lambda _desk, _: {},
        operator=True,
    ),
    "POST /api/v1/operators": Row(
        _no_id,
        {
            "name": Shown("kofi.owusu-2"),
            "role": Shown("operator"),
            "reason": _audited("operator_create", "operator"),
        },
        Desk.operator,
        operator=True,
        creates=True,
    ),
    "POST /api/v1/operators/{name}/reset": Row(
        Desk.new_operator, {"reason": _audited("operator_reset")}, Desk.operator, operator=True
    ),
    "POST /api/v1/operators/{name}/disable": Row(
        Desk.new_operator, {"reason": _audited("operator_disable")}, Desk.operator, operator=True
    ),
    "POST /api/v1/operators/{name}/enable": Row(
        Desk.new_operator, {"reason": _audited("operator_enable")}, Desk.operator, operator=True
    ),
    "POST /api/v1/operators/{name}/role": Row(
        Desk.new_operator,
        {"role": Shown("viewer"), "reason": _audited("operator_role", "viewer")},
        Desk.operator,
        operator=True,
    ),
    "POST /api/v1/operators/tokens": Row(
        _no_id,
        {"name": Shown("nightly report, é"), "days": Shown(17, read=_lifetime_days)},
        Desk.operator_token,
        operator=True,
        creates=True,
    ),
    "POST /api/v1/operators/sign-in": Row(
        _no_id, dict.fromkeys(("name", "password", "totp"), NotSent(SECRET)), Desk.operator
    ),
    "POST /api/v1/operators/enrol": Row(
        _no_id, dict.fromkeys(("name", "code", "password"), NotSent(SECRET)), Desk.operator
    ),
    "POST /api/v1/operators/password": Row(
        _no_id, dict.fromkeys(("password", "totp", "new_password"), NotSent(SECRET)), Desk.operator
    ),
    "POST /api/v1/approvals/{approval_id}/approve": Row(
        Desk.waiting_approval,
        {"reason": Shown(DECIDED, at="decision_reason")},
        Desk.decided_approval,
        operator=True,
    ),
    "POST /api/v1/approvals/{approval_id}/decline": Row(
        Desk.waiting_approval,
        {"reason": Shown(DECIDED, at="decision_reason")},
        Desk.decided_approval,
        operator=True,
    ),
}
OBJECT_PARTS = (
    "{payment_id}",
    "{refund_id}",
    "{payout_id}",
    "{order_id}",
    "{event_id}",
    "{endpoint_id}",
    "{merchant_id}",
    "{api_key_id}",
    "{approval_id}",
    "operators/{name}",
)
PARTS = {"name": "hubtel:refund", "key": "ip:192.0.2.9", "endpoint": "payment_list"}


def test_every_field_that_is_sent_is_read_back(database_url: str, tmp_path: Path):
    settings = {"risk_review_from": REVIEWED, "payout_review_from": REVIEWED}
    with running_service(database_url, tmp_path, tells=False, **settings) as service:
        desk = Desk(service, database_url, asyncio.run(signed_in(database_url)))
        bodies = described(service)
        assert sorted(problems_of_the_table(bodies)) == []
        lost = [problem for request in bodies for problem in problems_of(desk, request)]
    assert lost == []


async def signed_in(database_url: str) -> str:
    """The token of a new operator with the role admin."""
    async with opened_operators(database_url) as operators:
        return await token_of(operators, "ama", "admin")


def described(service: RunningService) -> dict[str, str]:
    """Each request with a body, and the name of the body's type."""
    with urllib.request.urlopen(service.url + "/openapi.json") as reply:
        paths = json.load(reply)["paths"]
    return {
        f"{method.upper()} {path}": operation["requestBody"]["content"]["application/json"]["schema"][
            "$ref"
        ].rpartition("/")[2]
        for path, operations in paths.items()
        for method, operation in operations.items()
        if "requestBody" in operation
    }


def fields_of(kind: type[msgspec.Struct], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The fields of a body and of the objects in it, with dots, and their defaults."""
    for one in msgspec.structs.fields(kind):
        if isinstance(one.type, type) and issubclass(one.type, msgspec.Struct):
            yield from fields_of(one.type, f"{prefix}{one.encode_name}.")
        else:
            yield f"{prefix}{one.encode_name}", one.default


BODIES = {
    name: kind
    for module in (requests, operator_requests)
    for name, kind in vars(module).items()
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct)
}


def problems_of_the_table(bodies: Mapping[str, str]) -> Iterator[str]:
    """What of the requests is not in the table, and what of the table is of no request."""
    kinds = {name for name in BODIES if name.endswith("Body")}
    inner = {"PayerBody", "PayeeBody", "ResolutionBody"}
    yield from (f"{name} is no request's body" for name in kinds - set(bodies.values()) - inner)
    yield from (f"{request}: give it a row in ROWS" for request in bodies.keys() - ROWS.keys())
    yield from (f"{request} is no request with a body" for request in ROWS.keys() - bodies.keys())
    for request in bodies.keys() & ROWS.keys():
        kind, row = bodies[request], ROWS[request]
        known = dict(fields_of(BODIES[kind]))
        for name in known.keys() - row.fields.keys():
            yield f"{request}: give {kind}.{name} a value, or an exception with its reason"
        for name in row.fields.keys() - known.keys():
            yield f"{request}: {kind} has no {name}"
        for name, sent in row.fields.items():
            if isinstance(sent, Shown | NotShown) and sent.value == known.get(name):
                yield f"{request}: {kind}.{name} is sent as its default, so nothing would be noticed"


def problems_of(desk: Desk, request: str) -> Iterator[str]:
    """Send one request with every field; yield the fields that GET, or the database, does not give back."""
    row, (method, _, path) = ROWS[request], request.partition(" ")
    if all(isinstance(one, NotSent) for one in row.fields.values()):
        return
    object_id = row.about(desk)
    sent = {
        name: Shown(object_id) if isinstance(one, ObjectId) else one
        for name, one in row.fields.items()
        if not isinstance(one, NotSent)
    }
    for part in OBJECT_PARTS:
        path = path.replace(part, part.partition("{")[0] + object_id)
    for part, value in PARTS.items():
        path = path.replace(f"{{{part}}}", value)
    body: dict[str, Any] = {}
    for name, one in sent.items():
        *outer, last = name.split(".")
        inner = body
        for part in outer:
            inner = inner.setdefault(part, {})
        inner[last] = one.value
    answer = desk.send(method, path.removeprefix(BASE), body, operator=row.operator)
    shown_id = (answer.get("id") or answer["name"]) if row.creates else object_id
    document = row.get(desk, shown_id)
    for name, one in sent.items():
        if isinstance(one, NotShown):
            if one.stored is not None and one.read(desk.query(one.stored, shown_id), shown_id) != one.value:
                yield f"{request}: {name} is not stored"
            continue
        expected = one.value if one.expected is None else one.expected
        found = one.read(document) if one.read else at(document, one.at or name)
        if found != expected:
            yield f"{request}: {name} was sent as {one.value!r} and is shown as {found!r}"


def at(document: Any, path: str) -> Any:
    for part in path.split("."):
        document = document.get(part) if isinstance(document, Mapping) else None
    return document
