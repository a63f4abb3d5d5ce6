"""pawaPay's sandbox as any merchant's client finds it."""

from uuid import uuid4

import pytest

from sandbox.pawapay import AT, MTN, TELECEL


@pytest.mark.parametrize(
    ("number", "provider"), [(MTN, "MTN_MOMO_GHA"), (TELECEL, "VODAFONE_GHA"), (AT, "AIRTELTIGO_GHA")]
)
async def test_the_good_numbers_pay_and_are_in_the_book(pawapay, number, provider):
    answer = await pawapay.deposit(number, provider)
    assert (answer.status, answer.body["status"]) == (200, "ACCEPTED")
    found = await pawapay.status()
    assert (found["status"], found["data"]["status"]) == ("FOUND", "COMPLETED")
    assert (found["data"]["amount"], found["data"]["country"]) == ("25.05", "GHA")
    book = (await pawapay.world.control("GET", "pawapay/book")).body
    assert [(debit["reference"], debit["amount"]) for debit in book["debits"]] == [(pawapay.reference, 2505)]


@pytest.mark.parametrize(
    ("number", "code"),
    [
        ("233593456019", "PAYER_LIMIT_REACHED"),
        ("233503456039", "PAYMENT_NOT_APPROVED"),
        ("233273456069", "UNSPECIFIED_FAILURE"),
    ],
)
async def test_the_bad_numbers_fail_with_their_code(pawapay, number, code):
    await pawapay.deposit(number)
    data = (await pawapay.status())["data"]
    assert (data["status"], data["failureReason"]["failureCode"]) == ("FAILED", code)


async def test_the_silent_number_stays_in_process(pawapay):
    await pawapay.deposit("233593456129")
    assert (await pawapay.status())["data"]["status"] == "PROCESSING"


async def test_an_id_is_taken_once_and_unknown_ones_are_not_found_with_http_200(pawapay):
    await pawapay.deposit()
    again = await pawapay.deposit(depositId=pawapay.reference, amount="99")
    assert (again.status, again.body["status"]) == (200, "DUPLICATE_IGNORED")
    unknown = await pawapay.call("GET", f"/v2/deposits/{uuid4()}")
    assert (unknown.status, unknown.body) == (200, {"status": "NOT_FOUND"})
    assert (await pawapay.call("GET", f"/v2/payouts/{pawapay.reference}")).body == {"status": "NOT_FOUND"}


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"amount": "1.005"}, 200, "INVALID_AMOUNT"),
        ({"amount": "01"}, 200, "INVALID_AMOUNT"),
        ({"amount": 5}, 200, "INVALID_AMOUNT"),
        ({"amount": "99999999"}, 200, "AMOUNT_OUT_OF_BOUNDS"),
        ({"currency": "EUR"}, 200, "INVALID_CURRENCY"),
        ({"provider": "MPESA_KEN"}, 200, "INVALID_PROVIDER"),
        ({"number": "0241234567"}, 200, "INVALID_PHONE_NUMBER"),
        ({"depositId": "order-1"}, 400, "INVALID_PARAMETER"),
        ({"customerMessage": "tea"}, 400, "INVALID_PARAMETER"),
        ({"payer": None}, 400, "MISSING_PARAMETER"),
    ],
)
async def test_what_is_wrong_is_named_and_not_kept(pawapay, changes, status, code):
    answer = await pawapay.deposit(**changes)
    assert (answer.status, answer.body["failureReason"]["failureCode"]) == (status, code)
    assert answer.body.get("status") == ("REJECTED" if status == 200 else None)
    assert (await pawapay.world.control("GET", "pawapay/book")).body["prompts"] == []


async def test_who_has_no_token_or_a_wrong_one_is_turned_away(pawapay):
    path = f"/v2/deposits/{uuid4()}"
    assert (await pawapay.call("GET", path, token="")).status == 401
    await pawapay.set_up(token="another")
    assert (await pawapay.call("GET", path)).status == 403


LABELS = {
    "clientReferenceId": "INV-123456",
    "metadata": [{"orderId": "ORD-17"}, {"customerId": "ama@example.com", "isPII": True}],
}
SHOWN = {
    "clientReferenceId": "INV-123456",
    "metadata": {"orderId": "ORD-17", "customerId": "ama@example.com"},
}


async def test_what_the_sender_alone_can_read_is_shown_again(pawapay, ear):
    await pawapay.set_up(
        deposit_callback_url=ear.url, payout_callback_url=ear.url, refund_callback_url=ear.url
    )
    operations = [(pawapay.payout, "payouts"), (pawapay.deposit, "deposits"), (pawapay.refund, "refunds")]
    for send, path in operations:
        assert (await send(**LABELS)).body["status"] == "ACCEPTED"
        told = (await ear.next())["body"]
        asked = (await pawapay.call("GET", f"/v2/{path}/{pawapay.reference}")).body["data"]
        assert SHOWN.items() <= told.items(), path
        assert SHOWN.items() <= asked.items(), path
    await pawapay.deposit()
    assert not SHOWN.keys() & (await pawapay.status())["data"].keys()


async def test_what_the_sender_alone_can_read_outlives_a_restart(pawapay):
    await pawapay.deposit(**LABELS)
    await pawapay.world.sleep_through(0)
    assert SHOWN.items() <= (await pawapay.status())["data"].items()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"clientReferenceId": 17}, "INVALID_PARAMETER"),
        ({"metadata": {"orderId": "ORD-17"}}, "INVALID_PARAMETER"),
        ({"metadata": ["ORD-17"]}, "INVALID_PARAMETER"),
        ({"metadata": [{"orderId": "1"}, {"orderId": "2"}]}, "DUPLICATE_METADATA_FIELD"),
    ],
)
async def test_what_the_sender_alone_can_read_must_have_its_form(pawapay, changes, code):
    answer = await pawapay.deposit(**changes)
    assert (answer.status, answer.body["failureReason"]["failureCode"]) == (400, code)
    assert (await pawapay.book())["prompts"] == []


async def test_a_callback_goes_to_the_account_s_address_and_again_when_asked_for(pawapay, ear):
    await pawapay.set_up(deposit_callback_url=f"{ear.url}/deposits")
    await pawapay.deposit()
    heard = await ear.next()
    assert (heard["method"], heard["path"]) == ("POST", "/deposits")
    assert (heard["body"]["depositId"], heard["body"]["status"]) == (pawapay.reference, "COMPLETED")
    asked = await pawapay.call("POST", f"/v2/deposits/resend-callback/{pawapay.reference}")
    assert asked.body["status"] == "ACCEPTED"
    assert (await ear.next())["body"] == heard["body"]
    asked = await pawapay.call("POST", f"/v2/deposits/resend-callback/{uuid4()}")
    assert asked.body["failureReason"]["failureCode"] == "NOT_FOUND"


async def test_the_toolkit_tells_networks_limits_and_health(pawapay):
    await pawapay.set_up(closed_providers=["VODAFONE_GHA"])
    guess = (await pawapay.call("POST", "/v2/predict-provider", {"phoneNumber": "020 123 4567"})).body
    assert guess == {"country": "GHA", "provider": "VODAFONE_GHA", "phoneNumber": "233201234567"}
    providers = (await pawapay.call("GET", "/v2/availability")).body[0]["providers"]
    health = {entry["provider"]: entry["operationTypes"][0]["status"] for entry in providers}
    assert health["VODAFONE_GHA"] == "CLOSED"
    assert health["MTN_MOMO_GHA"] == "OPERATIONAL"
    conf = (await pawapay.call("GET", "/v2/active-conf?country=GHA")).body
    assert conf["countries"][0]["country"] == "GHA"
    assert (await pawapay.call("GET", "/v2/public-key/http", token="")).body == []


async def test_a_restart_keeps_the_account_and_what_was_paid(pawapay):
    await pawapay.set_up(token="a-token")
    await pawapay.deposit()
    await pawapay.world.sleep_through(60)
    assert (await pawapay.status())["data"]["status"] == "COMPLETED"
    assert (await pawapay.call("GET", "/v2/availability", token="another")).status == 403
    assert (await pawapay.deposit(depositId=pawapay.reference)).body["status"] == "DUPLICATE_IGNORED"
