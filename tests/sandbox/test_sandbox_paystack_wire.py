"""Paystack's sandbox as any merchant's client finds it."""

import hashlib
import hmac

import pytest

from sandbox.paystack import AT, KEY, MTN, TELECEL


@pytest.mark.parametrize(
    ("phone", "provider", "bank"),
    [(MTN, "mtn", "MTN Mobile Money"), (AT, "atl", "AirtelTigo Money")],
)
async def test_a_charge_waits_on_the_phone_and_is_verified_field_by_field(paystack, phone, provider, bank):
    asked = await paystack.charge(phone, provider)
    assert (asked.status, asked.body["status"], asked.body["message"]) == (200, True, "Charge attempted")
    assert (asked.body["data"]["reference"], asked.body["data"]["status"]) == (
        paystack.reference,
        "pay_offline",
    )
    assert asked.body["data"]["display_text"]
    found = (await paystack.verify()).body
    assert (found["status"], found["message"]) == (True, "Verification successful")
    data = found["data"]
    assert isinstance(data["id"], int)
    assert (data["status"], data["reference"]) == ("success", paystack.reference)
    assert (data["amount"], data["currency"], data["channel"]) == (2505, "GHS", "mobile_money")
    assert (data["gateway_response"], data["message"], data["fees"]) == ("Approved", None, 48)
    assert data["paid_at"].endswith("Z")
    assert data["metadata"] == {"order": "1"}
    assert data["customer"]["email"] == "ama@example.com"
    held = data["authorization"]
    assert (held["bank"], held["bin"], held["last4"], held["reusable"]) == (
        bank,
        f"{phone[:3]}XXX",
        "X987",
        False,
    )
    (debit,) = (await paystack.book())["debits"]
    assert (debit["reference"], debit["amount"], debit["msisdn"]) == (
        paystack.reference,
        2505,
        "233" + phone[1:],
    )


async def test_telecel_wants_a_voucher_first(paystack):
    asked = (await paystack.charge(TELECEL, "vod")).body["data"]
    assert asked["status"] == "send_otp"
    assert "*110#" in asked["display_text"]
    assert (await paystack.call("GET", f"/charge/{paystack.reference}")).body["data"]["status"] == "send_otp"
    assert (await paystack.verify()).body["data"]["status"] == "ongoing"
    given = {"otp": "000000", "reference": paystack.reference}
    wrong = await paystack.call("POST", "/charge/submit_otp", given)
    assert (wrong.status, wrong.code) == (400, "invalid_otp")
    assert (await paystack.book())["debits"] == []
    right = await paystack.call("POST", "/charge/submit_otp", given | {"otp": "123456"})
    assert (right.status, right.body["data"]["status"]) == (200, "pay_offline")
    assert (await paystack.verify()).body["data"]["status"] == "success"
    again = await paystack.call("POST", "/charge/submit_otp", given | {"otp": "123456"})
    assert (again.status, again.code) == (400, "invalid_state")
    assert len((await paystack.book())["debits"]) == 1


async def test_a_password_can_end_the_charge(paystack):
    await paystack.charge(TELECEL, "vod")
    given = {"otp": "999999", "reference": paystack.reference}
    failed = await paystack.call("POST", "/charge/submit_otp", given)
    assert (failed.status, failed.body["status"], failed.body["message"]) == (200, True, "Charge attempted")
    data = failed.body["data"]
    assert (data["reference"], data["status"]) == (paystack.reference, "failed")
    assert data["message"] == data["gateway_response"] == "Declined: the OTP is not valid"
    verified = (await paystack.verify()).body["data"]
    assert (verified["status"], verified["gateway_response"]) == ("failed", data["gateway_response"])
    again = await paystack.call("POST", "/charge/submit_otp", given | {"otp": "123456"})
    assert (again.status, again.code) == (400, "invalid_state")
    assert (await paystack.book())["debits"] == []


async def test_a_reference_is_charged_once_and_the_second_is_refused_as_duplicate(paystack):
    await paystack.charge()
    again = await paystack.charge(reference=paystack.reference)
    assert (again.status, again.body["status"]) == (400, False)
    assert again.body["message"] == "Duplicate Transaction Reference"
    assert "data" not in again.body
    assert len((await paystack.book())["prompts"]) == 1


@pytest.mark.parametrize("amount", ["1050", 1050])
async def test_an_amount_may_come_as_text(paystack, amount):
    await paystack.charge(amount=amount)
    assert (await paystack.verify()).body["data"]["amount"] == 1050


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"key": None}, 401, "missing_auth"),
        ({"key": "sk_live_unknown"}, 401, "invalid_Key"),
        ({"without": ["email"]}, 400, "missing_params"),
        ({"without": ["mobile_money"]}, 400, "missing_params"),
        ({"amount": 25.05}, 400, "invalid_params"),
        ({"amount": 0}, 400, "invalid_params"),
        ({"currency": "NGN"}, 403, "unsupported_currency"),
        ({"phone": "233551234987"}, 400, "invalid_params"),
        ({"provider": "tigo"}, 400, "invalid_params"),
        ({"reference": "with blanks"}, 400, "invalid_params"),
    ],
)
async def test_what_is_refused_says_why_in_the_envelope_of_errors_and_is_not_kept(
    paystack, changes, status, code
):
    answer = await paystack.charge(**changes)
    assert (answer.status, answer.code, answer.body["status"]) == (status, code, False)
    assert answer.body["type"] in ("validation_error", "api_error")
    assert answer.body["message"]
    assert answer.body["meta"]["nextStep"]
    assert (await paystack.book())["prompts"] == []


@pytest.mark.parametrize(
    ("number", "status", "says"),
    [
        ("0551234001", "failed", "Insufficient Funds"),
        ("0551234002", "failed", "Declined by customer"),
        ("0551234003", "failed", "Transaction timed out"),
        ("0551234004", "failed", "Account holder not found"),
        ("0551234005", "failed", "Transaction limit exceeded"),
        ("0551234006", "ongoing", "The transaction is in progress"),
        ("0551234008", "abandoned", "The transaction was not completed"),
    ],
)
async def test_test_numbers_end_their_own_way(paystack, number, status, says):
    await paystack.charge(number)
    data = (await paystack.verify()).body["data"]
    assert (data["status"], data["gateway_response"], data["paid_at"]) == (status, says, None)
    assert (await paystack.book())["debits"] == []


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/transaction/verify/unknown", 400, "transaction_not_found"),
        ("/charge/unknown", 400, "transaction_not_found"),
        ("/transfer/verify/unknown", 404, "transfer_not_found"),
        ("/refund/1", 404, "refund_not_found"),
    ],
)
async def test_what_is_not_known_is_not_found(paystack, path, status, code):
    answer = await paystack.call("GET", path)
    assert (answer.status, answer.body["status"], answer.code) == (status, False, code)


async def test_another_account_s_charge_cannot_be_seen(paystack):
    await paystack.charge(key="sk_test_somebody_else")
    assert (await paystack.verify()).code == "transaction_not_found"


async def test_a_refund_has_no_reference_and_is_listed_by_the_transaction_s_number(paystack):
    paid = await paystack.paid()
    body = {"transaction": paystack.reference, "amount": 1000, "currency": "GHS", "merchant_note": "note 1"}
    taken = await paystack.call("POST", "/refund", body)
    assert (taken.status, taken.body["data"]["status"]) == (200, "pending")
    twice = await paystack.call("POST", "/refund", body | {"merchant_note": "note 2"})
    assert twice.body["data"]["id"] != taken.body["data"]["id"]
    listed = (await paystack.call("GET", f"/refund?transaction={paid['id']}")).body["data"]
    assert [one["merchant_note"] for one in listed] == ["note 2", "note 1"]
    assert {one["status"] for one in listed} == {"processed"}
    assert (await paystack.call("GET", "/refund?transaction=1")).body["data"] == []
    one = (await paystack.call("GET", f"/refund/{taken.body['data']['id']}")).body["data"]
    assert (one["transaction"], one["amount"], one["currency"]) == (paid["id"], 1000, "GHS")
    assert [credit["amount"] for credit in (await paystack.book())["credits"]] == [1000, 1000]


async def test_a_transaction_shows_that_it_is_being_refunded_and_that_all_of_it_was(paystack):
    await paystack.paid()

    async def statuses():
        verified = (await paystack.verify()).body["data"]
        charge = (await paystack.call("GET", f"/charge/{paystack.reference}")).body["data"]
        (listed,) = (await paystack.call("GET", "/transaction")).body["data"]
        assert verified["amount"] == charge["amount"] == listed["amount"] == 2505
        return {verified["status"], charge["status"], listed["status"]}

    shown = []
    for amount in (1000, 1505):
        await paystack.script(approve_after_ms=60_000)
        await paystack.refund(amount=amount)
        shown.append(await statuses())
        await paystack.world.sleep_through(61)
        shown.append(await statuses())
    assert shown == [{"reversal-pending"}, {"success"}, {"reversal-pending"}, {"reversed"}]
    assert (await paystack.verify()).body["data"]["paid_at"] is not None


async def test_a_refund_that_failed_leaves_the_transaction_a_success(paystack):
    await paystack.paid()
    await paystack.script(end="NOT_REGISTERED")
    refund = (await paystack.refund()).body["data"]
    assert (await paystack.call("GET", f"/refund/{refund['id']}")).body["data"]["status"] == "failed"
    assert (await paystack.verify()).body["data"]["status"] == "success"
    assert (await paystack.book())["credits"] == []


async def test_what_was_not_paid_is_not_refunded(paystack):
    await paystack.charge("0551234002")
    answer = await paystack.call("POST", "/refund", {"transaction": paystack.reference})
    assert (answer.status, answer.body["status"]) == (400, False)
    assert (await paystack.call("POST", "/refund", {"transaction": "unknown"})).status == 404
    assert (await paystack.book())["credits"] == []


async def test_a_recipient_is_made_once_and_a_transfer_s_reference_is_sent_once(paystack):
    first, second = await paystack.recipient(), await paystack.recipient()
    assert (first.status, second.status) == (201, 201)
    assert first.body["data"] == second.body["data"]
    taken = await paystack.transfer()
    assert (taken.status, taken.body["data"]["status"]) == (200, "pending")
    again = await paystack.transfer(reference=paystack.reference)
    assert again.body["data"]["transfer_code"] == taken.body["data"]["transfer_code"]
    found = (await paystack.call("GET", f"/transfer/verify/{paystack.reference}")).body["data"]
    assert (found["status"], found["amount"], found["reference"]) == ("success", 80, paystack.reference)
    assert [credit["amount"] for credit in (await paystack.book())["credits"]] == [80]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"reference": "too-short"}, "invalid_params"),
        ({"reference": "UPPER-CASE-IS-REFUSED"}, "invalid_params"),
        ({"recipient": "RCP_unknown"}, "invalid_params"),
        ({"source": "card"}, "invalid_params"),
        ({"amount": 10**12}, "insufficient_balance"),
    ],
)
async def test_a_transfer_that_is_refused_sends_nothing(paystack, changes, code):
    answer = await paystack.transfer(**changes)
    assert (answer.status, answer.code) == (400, code)
    assert (await paystack.book())["credits"] == []


async def test_the_telcos_and_the_balance_are_told(paystack):
    telcos = (await paystack.call("GET", "/bank?currency=GHS&type=mobile_money")).body["data"]
    assert {telco["code"] for telco in telcos} == {"MTN", "VOD", "ATL"}
    before = (await paystack.call("GET", "/balance")).body["data"][0]
    await paystack.paid()
    after = (await paystack.call("GET", "/balance")).body["data"][0]
    assert (before["currency"], after["balance"] - before["balance"]) == ("GHS", 2505)


async def test_a_charge_without_a_currency_is_in_cedis(paystack):
    assert (await paystack.charge(without=["currency"])).body["data"]["status"] == "pay_offline"
    assert (await paystack.verify()).body["data"]["currency"] == "GHS"


async def test_a_transaction_has_the_members_that_typed_clients_read(paystack):
    data = await paystack.paid()
    assert data["createdAt"] == data["created_at"] == data["transaction_date"]
    assert data["paidAt"] == data["paid_at"]
    assert (data["domain"], data["requested_amount"], data["fees_split"]) == ("test", 2505, None)
    assert {"ip_address", "log", "plan", "split", "order_id", "subaccount", "source"} <= data.keys()
    held, customer = data["authorization"], data["customer"]
    assert (held["country_code"], held["channel"], held["signature"]) == ("GH", "mobile_money", None)
    assert held["authorization_code"].startswith("AUTH_")
    assert customer["customer_code"].startswith("CUS_")
    assert isinstance(customer["id"], int)
    ended = (await paystack.call("GET", f"/charge/{paystack.reference}")).body["data"]
    assert ended == data


async def test_a_transfer_repeats_its_purpose_and_names_its_recipient(paystack):
    asked = await paystack.recipient(description="A regular", metadata={"branch": "Osu"})
    recipient = asked.body["data"]
    assert (recipient["type"], recipient["active"], recipient["is_deleted"]) == ("mobile_money", True, False)
    assert (recipient["currency"], recipient["domain"]) == ("GHS", "test")
    assert (recipient["description"], recipient["metadata"]) == ("A regular", {"branch": "Osu"})
    wallet = {"account_number": MTN, "bank_code": "MTN", "bank_name": "MTN"}
    assert wallet.items() <= recipient["details"].items()
    assert recipient["createdAt"] == recipient["updatedAt"]
    taken = (await paystack.transfer()).body["data"]
    assert (taken["recipient"], taken["transferred_at"]) == (recipient["id"], None)
    found = (await paystack.verify_transfer()).body["data"]
    assert (found["recipient"], found["integration"]) == (recipient, recipient["integration"])
    assert taken["reason"] == found["reason"] == "Prize"
    assert taken["createdAt"] == found["createdAt"]
    assert found["transferred_at"] is not None
    assert {"source_details", "failures", "titan_code", "session", "fee_charged"} <= found.keys()


async def test_a_transfer_that_failed_keeps_its_purpose_and_says_why_elsewhere(paystack):
    await paystack.script(end="NOT_REGISTERED")
    await paystack.transfer()
    found = (await paystack.verify_transfer()).body["data"]
    assert (found["status"], found["reason"]) == ("failed", "Prize")
    assert found["gateway_response"] == "Account holder not found"


async def test_another_account_s_recipient_is_not_known(paystack):
    body = {"type": "mobile_money", "name": "Ama", "account_number": MTN, "bank_code": "MTN"}
    theirs = (await paystack.call("POST", "/transferrecipient", body, key="sk_test_another")).body["data"]
    assert (await paystack.transfer(recipient=theirs["recipient_code"])).status == 400


async def test_a_transfer_is_paid_from_the_balance_of_its_own_account(paystack):
    await paystack.charge(key="sk_test_somebody_else", amount=2505)
    account = (await paystack.call("GET", "/balance")).body["data"][0]
    assert (await paystack.transfer(amount=account["balance"] + 1)).code == "insufficient_balance"
    assert (await paystack.transfer(amount=account["balance"])).status == 200


async def test_a_refund_has_its_transaction_in_full_at_first_and_by_number_later(paystack):
    paid = await paystack.paid()
    taken = (await paystack.refund(amount=1000)).body["data"]
    assert (taken["transaction"]["id"], taken["transaction"]["reference"]) == (paid["id"], paystack.reference)
    assert (taken["refunded_at"], taken["fully_deducted"], taken["deducted_amount"]) == (None, False, 0)
    found = (await paystack.call("GET", f"/refund/{taken['id']}")).body["data"]
    assert (found["transaction"], found["channel"]) == (paid["id"], "mobile_money")
    assert (found["fully_deducted"], found["deducted_amount"]) == (True, 1000)
    assert found["refunded_by"] == taken["refunded_by"]
    assert found["createdAt"] == taken["createdAt"]
    assert found["refunded_at"] is not None
    (listed,) = (await paystack.call("GET", "/refund")).body["data"]
    assert listed == found | {"created_at": found["createdAt"], "updated_at": found["updatedAt"]}


async def fill_lists(paystack):
    """Make three transactions, transfers, recipients and refunds; return how each list names its newest."""
    numbers = [f"05512349{position:02d}" for position in range(3)]
    for number in numbers:
        await paystack.charge()
        charge = paystack.reference
        await paystack.refund(merchant_note=f"for {number}")
        code = (await paystack.recipient(account_number=number)).body["data"]["recipient_code"]
        await paystack.transfer(recipient=code)
    return {
        "/transaction": ("reference", charge),
        "/transfer": ("reference", paystack.reference),
        "/refund": ("merchant_note", f"for {numbers[-1]}"),
        "/transferrecipient": ("recipient_code", code),
    }


async def test_lists_come_in_pages_newest_first(paystack):
    await paystack.recipient()  # the one of the fixture's own transfers, so that it is not the newest
    for path, (name, newest) in (await fill_lists(paystack)).items():
        whole = (await paystack.call("GET", path)).body
        total = 4 if path == "/transferrecipient" else 3
        assert (whole["status"], len(whole["data"]), whole["data"][0][name]) == (True, total, newest)
        usual = {"total": total, "skipped": 0, "perPage": 50, "page": 1, "pageCount": 1}
        assert usual.items() <= whole["meta"].items(), path
        paged = (await paystack.call("GET", f"{path}?perPage=2&page=2")).body
        assert paged["data"] == whole["data"][2:4]
        expected = {"total": total, "skipped": 2, "perPage": 2, "page": 2, "pageCount": 2}
        assert expected.items() <= paged["meta"].items(), path
        beyond = (await paystack.call("GET", f"{path}?perPage=2&page=9")).body
        assert (beyond["data"], beyond["meta"]["skipped"]) == ([], 16)


@pytest.mark.parametrize("query", ["perPage=0&page=0", "perPage=-1&page=-1", "perPage=x&page=", "perPage=²"])
async def test_a_page_that_is_no_number_is_the_first_of_usual_size(paystack, query):
    await paystack.paid()
    listed = (await paystack.call("GET", f"/transaction?{query}")).body
    assert (listed["meta"]["perPage"], listed["meta"]["page"], len(listed["data"])) == (50, 1, 1)
    assert listed["meta"]["total_volume"] == 2505


async def test_transactions_are_listed_by_status_and_by_account(paystack):
    await paystack.paid()
    await paystack.charge("0551234002")
    await paystack.charge(key="sk_test_somebody_else")
    listed = (await paystack.call("GET", "/transaction")).body["data"]
    assert [entry["status"] for entry in listed] == ["failed", "success"]
    listed = (await paystack.call("GET", "/transaction?status=success")).body
    assert ([entry["status"] for entry in listed["data"]], listed["meta"]["total"]) == (["success"], 1)


async def test_telcos_are_listed_with_the_members_of_a_bank(paystack):
    telcos = (await paystack.call("GET", "/bank?country=ghana&type=mobile_money&perPage=2")).body
    assert (telcos["meta"]["total"], telcos["meta"]["pageCount"]) == (3, 2)
    mtn = telcos["data"][0]
    assert (mtn["name"], mtn["country"], mtn["type"], mtn["active"]) == ("MTN", "Ghana", "mobile_money", True)
    assert {"id", "slug", "longcode", "gateway", "pay_with_bank", "is_deleted", "createdAt"} <= mtn.keys()
    assert (await paystack.call("GET", "/bank?type=ghipss")).body["data"] == []


def is_signed(event):
    """Whether an event carries the signature of its raw body with the merchant's key."""
    expected = hmac.new(KEY.encode(), event["raw"], hashlib.sha512).hexdigest()
    return hmac.compare_digest(event["headers"]["x-paystack-signature"], expected)


async def test_events_are_signed_and_none_tells_of_a_charge_that_failed(paystack, ear):
    await paystack.wants_events(ear)
    await paystack.charge("0551234002")
    await paystack.paid()
    charged = paystack.reference
    events = [await ear.next()]
    await paystack.call("POST", "/refund", {"transaction": charged, "merchant_note": "note"})
    events.append(await ear.next())
    await paystack.transfer()
    events.append(await ear.next())
    assert [is_signed(event) for event in events] == [True] * 3
    assert [event["method"] for event in events] == ["POST"] * 3
    assert [set(event["body"]) for event in events] == [{"event", "data"}] * 3
    names = ["charge.success", "refund.processed", "transfer.success"]
    assert [event["body"]["event"] for event in events] == names
    charge, refund, transfer = (event["body"]["data"] for event in events)
    assert (charge["reference"], charge["status"]) == (charged, "success")
    assert (refund["merchant_note"], refund["transaction_reference"]) == ("note", charged)
    assert (transfer["reference"], transfer["status"]) == (paystack.reference, "success")


async def test_a_forger_does_not_hold_the_key(paystack, ear):
    await paystack.wants_events(ear)
    await paystack.world.control("PUT", "paystack/faults", {"callbacks": "forged"})
    await paystack.charge("0551234006")
    event = await ear.next()
    assert (event["body"]["event"], is_signed(event)) == ("charge.success", False)
    assert (await paystack.verify()).body["data"]["status"] == "ongoing"
