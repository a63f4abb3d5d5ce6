"""Payouts over HTTP: requests, responses, repeats, and access by other merchants."""

import uuid
from typing import Any

import pytest

from api.served import NUMBER, Served

pytestmark = pytest.mark.asyncio(loop_scope="module")


def payout(**more: Any) -> dict[str, Any]:
    payee = {"msisdn": NUMBER, "name": "Ama Mensah"}
    return {"amount": 100, "currency": "GHS", "payee": payee, "reference": uuid.uuid4().hex, **more}


async def test_a_payout_is_returned_as_requested(api: Served):
    body = payout(metadata={"shift": "7"})
    made = await api.send("POST", "/payouts", body, Idempotency_Key=uuid.uuid4().hex)
    assert made.status_code in (201, 202)
    shown = (await api.send("GET", f"/payouts/{made.json()['id']}")).json()
    assert (shown["object"], shown["amount"], shown["metadata"]) == ("payout", 100, {"shift": "7"})
    assert shown["payee"] == {"msisdn": "233241234567", "network": "mtn", "name": "Ama Mensah"}


async def test_a_repeated_payout_request_opens_one_payout(api: Served):
    body, key = payout(), uuid.uuid4().hex
    first = await api.send("POST", "/payouts", body, Idempotency_Key=key)
    again = await api.send("POST", "/payouts", body, Idempotency_Key=key)
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    changed = await api.send("POST", "/payouts", body | {"amount": 101}, Idempotency_Key=key)
    assert (changed.status_code, changed.json()["code"]) == (422, "idempotency_key_reused")


async def test_a_payout_reference_cannot_be_used_twice(api: Served):
    body = payout()
    first = await api.send("POST", "/payouts", body, Idempotency_Key=uuid.uuid4().hex)
    again = await api.send("POST", "/payouts", body, Idempotency_Key=uuid.uuid4().hex)
    assert (again.status_code, again.json()["code"]) == (409, "reference_already_used")
    assert again.json()["payout_id"] == first.json()["id"]
    assert "payment_id" not in again.json()


async def test_a_payout_needs_a_key(api: Served):
    answer = await api.send("POST", "/payouts", payout())
    assert (answer.status_code, answer.json()["code"]) == (400, "idempotency_key_invalid")


async def test_every_invalid_field_of_a_payout_is_named(api: Served):
    body = payout(amount=0, payee={"msisdn": "12", "nickname": "A"}, payer={"msisdn": NUMBER})
    answer = await api.send("POST", "/payouts", body, Idempotency_Key=uuid.uuid4().hex)
    assert answer.status_code == 422
    fields = {error["field"] for error in answer.json()["errors"]}
    assert fields == {"amount", "payee.msisdn", "payee.nickname", "payer"}


async def test_a_rail_that_is_not_configured_is_refused_by_name(api: Served):
    body = payout(rail="hubtel")
    answer = await api.send("POST", "/payouts", body, Idempotency_Key=uuid.uuid4().hex)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "rail")


async def test_another_merchants_payout_gets_the_same_404_as_an_unknown_one(api: Served):
    made = await api.send("POST", "/payouts", payout(), Idempotency_Key=uuid.uuid4().hex)
    for payout_id in (made.json()["id"], "po_unknown"):
        answer = await api.send("GET", f"/payouts/{payout_id}", key=api.other_key)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_a_merchant_cannot_resolve_a_payout(api: Served):
    body = {"outcome": "succeeded", "evidence": "line 7 of the statement"}
    assert (await api.send("POST", "/payouts/po_1/resolve", body)).status_code == 403
