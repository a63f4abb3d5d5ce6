"""What makes two requests the same one: the merchant, the mode, the route, the key, the path and the body."""

import uuid

import asyncpg
import pytest

from api.served import Served, payment
from encryption_samples import ENCRYPTION
from synccash.stores.postgres.sealing import claim_key

pytestmark = pytest.mark.asyncio(loop_scope="module")
PATHS = ("/payments", "/payments/", "//payments", "/payments//")


@pytest.mark.parametrize("first", PATHS)
@pytest.mark.parametrize("second", PATHS)
async def test_extra_slashes_in_the_path_make_no_other_request(api: Served, first: str, second: str):
    key, body = uuid.uuid4().hex, payment()
    answer = await api.send("POST", first, body, Idempotency_Key=key)
    again = await api.send("POST", second, body, Idempotency_Key=key)
    assert (answer.status_code, again.status_code) == (202, 202), again.text
    assert again.content == answer.content
    assert again.headers["idempotent-replayed"] == "true"


async def test_another_body_under_another_spelling_of_the_path_is_refused(api: Served):
    key, body = uuid.uuid4().hex, payment()
    await api.send("POST", "/payments", body, Idempotency_Key=key)
    other = await api.send("POST", "/payments/", body | {"amount": 101}, Idempotency_Key=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_one_key_names_a_payment_and_a_payout_apart(api: Served):
    key, body = uuid.uuid4().hex, payment()
    paid = await api.send("POST", "/payments/", body, Idempotency_Key=key)
    payout = {name: value for name, value in body.items() if name != "payer"} | {"payee": body["payer"]}
    paid_out = await api.send("POST", "/payouts/", payout, Idempotency_Key=key)
    assert (paid.status_code, paid_out.status_code) == (202, 201)
    assert paid.json()["id"] != paid_out.json()["id"]


async def test_claims_are_stored_under_the_scope_that_earlier_versions_stored(
    api: Served, database_of_file: str
):
    """Another scope would hide the claims of earlier versions from the unique index that stops a repeat."""
    key, body = uuid.uuid4().hex, payment()
    await api.send("POST", "/payments/", body, Idempotency_Key=key)
    payout = {name: value for name, value in body.items() if name != "payer"} | {"payee": body["payer"]}
    await api.send("POST", "/payouts", payout, Idempotency_Key=key)
    connection = await asyncpg.connect(database_of_file)
    try:
        rows = await connection.fetch("SELECT scope, key FROM idempotency")
    finally:
        await connection.close()
    scopes = ("mer_test:test:POST:/api/v1/payments", "mer_test:test:POST:/api/v1/payouts")
    assert {(scope, claim_key(ENCRYPTION, scope, key)) for scope in scopes} <= {tuple(row) for row in rows}


async def test_a_path_that_only_the_router_understands_reaches_no_order(api: Served):
    """The middleware leaves out `.` and the router does not, so no limit was checked and no key was read."""
    answer = await api.send("POST", "/payments/%2E/refunds", {}, Idempotency_Key="k")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
