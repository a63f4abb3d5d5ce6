"""One object of each kind, created through the merchant API."""

import uuid
from typing import Any

from service.in_process import RunningService
from service.installation import FINAL, call, wait_until

BASE = "/api/v1"
NUMBER, REVIEWED = "0241234567", 500_000
"""A payer who approves, and the amount from which a payment waits for a human: `risk_review_from`."""


def objects_of(service: RunningService) -> tuple[dict[str, str], dict[str, str]]:
    """Make one of each for the first merchant."""

    def send(method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {service.key}", "Idempotency-Key": uuid.uuid4().hex}
        answer = call(method, f"{service.url}{BASE}{path}", body, **headers)
        assert answer.status < 300, answer.raw
        return answer.body

    def pay(**more: Any) -> str:
        reference = uuid.uuid4().hex
        body = {"amount": 100, "currency": "GHS", "payer": {"msisdn": NUMBER}, "reference": reference}
        return send("POST", "/payments", {**body, **more})["id"]

    def until(path: str, *statuses: str) -> None:
        wait_until(path, lambda: send("GET", path)["status"] in statuses)

    payments = {
        "succeeded": pay(),
        "reviewed": pay(amount=REVIEWED),
        "waiting": pay(payer={"msisdn": "0201234567", "network": "telecel"}, rail="paystack"),
    }
    until(f"/payments/{payments['succeeded']}", "succeeded")
    until(f"/payments/{payments['waiting']}", "requires_action")
    refund_id = send("POST", f"/payments/{payments['succeeded']}/refunds", {"amount": 10})["id"]
    until(f"/refunds/{refund_id}", *FINAL)
    payout = {"amount": 100, "currency": "GHS", "payee": {"msisdn": NUMBER}, "reference": "salary"}
    payout_id = send("POST", "/payouts", payout)["id"]
    until(f"/payouts/{payout_id}", *FINAL)
    endpoint_id = send("POST", "/webhook-endpoints", {"url": "http://127.0.0.1:9/hooks"})["id"]
    ended = f"/events?after={send('GET', '/events')['data'][0]['id']}"
    wait_until("all events are seen", lambda: len(send("GET", ended)["data"]) >= 7)
    return {
        "payment_id": payments["succeeded"],
        "refund_id": refund_id,
        "payout_id": payout_id,
        "event_id": send("GET", "/events")["data"][0]["id"],
        "endpoint_id": endpoint_id,
    }, payments
