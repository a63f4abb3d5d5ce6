"""Limits of payouts and the float of rails, by the settings of a new installation, over the whole service."""

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from servers_fixture import fresh_database
from service.in_process import RunningService, running_service
from service.installation import FINAL, Answer, call, wait_until
from synccash.servers.bundle import Servers

BASE = "/api/v1"
BLOCKED, PAYEE, OTHER = "0241111111", "0242222222", "0243333333"
FLOAT = 50_000


@pytest.fixture(scope="module")
def service(
    servers: Servers, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningService]:
    with (
        fresh_database(servers, migrated_template) as database,
        running_service(
            database,
            tmp_path_factory.mktemp("rails"),
            tells=False,
            risk_blocked_payers=BLOCKED,
            payout_review_from=90_000,
            payout_merchants="merchant=mer_two: ceiling 150000",
            float_poll_s=1,
            mtn_momo_float_alarm=FLOAT + 1,
        ) as running,
    ):
        yield running


def ask(service: RunningService, method: str, path: str, key: str, body: Any = None) -> Answer:
    headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": uuid.uuid4().hex}
    return call(method, f"{service.url}{BASE}{path}", body, **headers)


def pay_out(service: RunningService, amount: int, number: str = PAYEE, **more: Any) -> dict[str, Any]:
    key = more.pop("key", service.key)
    body = {"amount": amount, "currency": "GHS", "payee": {"msisdn": number}, "reference": uuid.uuid4().hex}
    answer = ask(service, "POST", "/payouts", key, {**body, **more})
    assert answer.status in (201, 202), answer.raw
    return answer.body


def ended(service: RunningService, payout_id: str) -> dict[str, Any]:
    def read() -> dict[str, Any]:
        return ask(service, "GET", f"/payouts/{payout_id}", service.key).body

    wait_until("the payout ends", lambda: read()["status"] in FINAL)
    return read()


def refusal(payout: dict[str, Any]) -> tuple[str, str | None]:
    return payout["status"], (payout["last_error"] or {}).get("code")


def test_payouts_of_large_sums_or_to_a_blocked_number_are_declined(service: RunningService):
    before = len(service.booked("credits"))
    assert refusal(pay_out(service, 50_000_000)) == ("failed", "risk_declined")
    assert refusal(pay_out(service, 100_001)) == ("failed", "risk_declined")
    assert refusal(pay_out(service, 100, BLOCKED)) == ("failed", "risk_declined")
    assert len(service.booked("credits")) == before


def test_a_merchant_can_have_its_own_payout_ceiling(service: RunningService):
    assert refusal(pay_out(service, 150_001, key=service.other_key))[1] == "risk_declined"
    held = pay_out(service, 150_000, key=service.other_key)
    assert (held["status"], held["status_detail"]) == ("processing", "risk_review")


def test_a_payout_in_review_is_approved_or_declined_by_the_operator_alone(service: RunningService):
    first, second = (pay_out(service, 90_000, OTHER)["id"] for _ in range(2))
    decision = {"reason": "wages of May"}
    assert ask(service, "POST", f"/payouts/{first}/approve", service.key, decision).status == 403
    approved = ask(service, "POST", f"/payouts/{first}/approve", service.admin_key, decision)
    declined = ask(service, "POST", f"/payouts/{second}/decline", service.admin_key, decision)
    assert (approved.status, approved.body["status_detail"]) == (200, "queued")
    assert (declined.status, *refusal(declined.body)) == (200, "failed", "risk_declined")
    assert ended(service, first)["status"] == "succeeded"
    again = ask(service, "POST", f"/payouts/{second}/approve", service.admin_key, decision)
    assert again.status == 409


def floats(service: RunningService) -> dict[str, Any]:
    answer = ask(service, "GET", "/resilience/floats", service.admin_key)
    return {one["rail"]: one for one in answer.body["data"]}


def test_the_float_is_shown_and_a_payout_above_it_goes_to_another_rail(service: RunningService):
    service.control("PUT", "mtn_momo/float", {"pesewas": FLOAT})
    wait_until("the float is read", lambda: floats(service)["mtn_momo"]["float"] == FLOAT)
    shown = floats(service)
    assert shown["paystack"]["float"] is not None
    assert (shown["hubtel"]["float"], shown["hubtel"]["is_reported"]) == (None, False)
    health = ask(service, "GET", "/resilience/health", service.admin_key).body
    assert [one["state"] for one in health["troubles"] if one["what"] == "mtn_momo:float"] == ["low"]
    metrics = call("GET", f"{service.url}/metrics").raw.decode()
    assert f'rail_float_pesewas{{network="",rail="mtn_momo"}} {float(FLOAT)}' in metrics
    payout = pay_out(service, FLOAT + 1, OTHER)
    skipped = {one["rail"]: one.get("skipped") for one in payout["routing"]["considered"]}
    assert skipped["mtn_momo"] == "float_too_low"
    assert ended(service, payout["id"])["status"] == "succeeded"


def test_a_payout_above_the_float_is_paid_after_a_top_up(service: RunningService):
    service.control("PUT", "mtn_momo/float", {"pesewas": 10})
    payout = pay_out(service, 100, "0244444444", rail="mtn_momo")
    wait_until(
        "it is queued",
        lambda: (
            ask(service, "GET", f"/payouts/{payout['id']}", service.key).body["status_detail"] == "queued"
        ),
    )
    service.control("PUT", "mtn_momo/float", {"pesewas": 1_000_000})
    paid = ended(service, payout["id"])
    assert paid["status"] == "succeeded"
    sent = {entry["reference"] for entry in service.booked("credits")}
    assert len(sent & {one["reference"] for one in paid["attempts"]}) == 1, json.dumps(paid)
