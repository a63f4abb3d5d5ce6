"""MTN MoMo's wire, asked by a plain client."""

import asyncio
from uuid import uuid4

import pytest

from sandbox.momo import PAYER, Merchant

REQUEST_TO_PAY = "/collection/v1_0/requesttopay"


async def test_a_merchant_goes_from_provisioning_to_a_refund(world, session):
    merchant = Merchant(session, world.momo_url)
    await merchant.provision()
    paid, returned = str(uuid4()), str(uuid4())

    accepted = await merchant.collect(amount="25.50", reference=paid)
    assert (accepted.status, accepted.body) == (202, "")
    status = await merchant.status(paid)
    transaction = status.body.pop("financialTransactionId")
    assert transaction.isdecimal()
    assert status.body == {
        "externalId": "order-1",
        "amount": "25.50",
        "currency": "GHS",
        "payer": {"partyIdType": "MSISDN", "partyId": PAYER},
        "payerMessage": "Two tickets",
        "payeeNote": "order 1",
        "status": "SUCCESSFUL",
    }

    refund = {"amount": "25.50", "currency": "GHS", "externalId": "r1", "referenceIdToRefund": paid}
    accepted = await merchant.send("/disbursement/v1_0/refund", refund, reference=returned)
    assert accepted.status == 202
    status = await merchant.status(returned, "disbursement/refund")
    assert status.body["status"] == "SUCCESSFUL"
    assert status.body["payee"]["partyId"] == PAYER

    book = await world.book()
    assert [(d["reference"], d["msisdn"], d["amount"]) for d in book["debits"]] == [(paid, PAYER, 2550)]
    assert [(c["reference"], c["msisdn"], c["amount"]) for c in book["credits"]] == [(returned, PAYER, 2550)]


async def test_an_api_user_is_made_once_and_shows_its_callback_host(world, session):
    merchant = await Merchant(session, world.momo_url).provision()
    shown = await merchant.call("GET", f"/v1_0/apiuser/{merchant.user}")
    assert shown.body == {"providerCallbackHost": "localhost", "targetEnvironment": "sandbox"}
    again = await merchant.call(
        "POST",
        "/v1_0/apiuser",
        headers={"X-Reference-Id": merchant.user},
        json={"providerCallbackHost": "localhost"},
    )
    assert (again.status, again.code) == (409, "RESOURCE_ALREADY_EXIST")
    unknown = await merchant.call("POST", f"/v1_0/apiuser/{uuid4()}/apikey")
    assert (unknown.status, unknown.code) == (404, "RESOURCE_NOT_FOUND")


async def test_a_new_api_key_ends_the_former_one(world, merchant):
    former = merchant.api_key
    merchant.api_key = (await merchant.call("POST", f"/v1_0/apiuser/{merchant.user}/apikey")).body["apiKey"]
    assert (await merchant.take_token("collection")).status == 200
    refused = await merchant.take_token("collection", key=former)
    assert (refused.status, refused.body) == (401, {"error": "login_failed"})


async def test_a_token_lasts_an_hour_and_is_good_for_one_product(world, merchant):
    token = (await merchant.take_token("collection")).body
    assert (token["token_type"], token["expires_in"]) == ("access_token", 3600)
    merchant.tokens["disbursement"] = token["access_token"]
    assert (await merchant.call("GET", "/disbursement/v1_0/account/balance")).status == 401
    world.now += 3599
    assert (await merchant.call("GET", "/collection/v1_0/account/balance")).status == 200
    world.now += 1
    assert (await merchant.call("GET", "/collection/v1_0/account/balance")).status == 401


async def test_the_gateway_wants_a_subscription_key(world, merchant):
    missing = await merchant.collect(without=("Ocp-Apim-Subscription-Key",))
    assert (missing.status, missing.body["statusCode"]) == (401, 401)
    assert missing.body["message"].startswith("Access denied due to missing subscription key")
    wrong = await merchant.collect(headers={"Ocp-Apim-Subscription-Key": "invalid-key"})
    assert wrong.body["message"].startswith("Access denied due to invalid subscription key")


async def test_subscription_keys_belong_to_a_product_once_they_are_set(world, merchant):
    await world.settings(subscription_keys={"collection": ["a-subscription-key"], "disbursement": ["other"]})
    assert (await merchant.call("GET", "/collection/v1_0/account/balance")).status == 200
    assert (await merchant.call("GET", "/disbursement/v1_0/account/balance")).status == 401


@pytest.mark.parametrize(
    ("environment", "currency", "status", "code"),
    [
        ("sandbox", "EUR", 202, None),
        ("mtnghana", "GHS", 202, None),
        ("sandbox", "GHS", 500, "INVALID_CURRENCY"),
        ("mtnghana", "EUR", 500, "INVALID_CURRENCY"),
        ("mtnuganda", "GHS", 500, "NOT_ALLOWED_TARGET_ENVIRONMENT"),
        ("", "GHS", 500, "NOT_ALLOWED_TARGET_ENVIRONMENT"),
    ],
)
async def test_each_environment_speaks_one_currency(world, environment, currency, status, code):
    merchant = await world.merchant(environment=environment, currency=currency)
    answer = await merchant.collect()
    assert answer.status == status
    assert code is None or answer.code == code


@pytest.mark.parametrize(
    "changes",
    [
        {"amount": 25},
        {"amount": "25,00"},
        {"amount": "25.001"},
        {"amount": "0.00"},
        {"amount": "-1"},
        {"amount": None},
        {"payer": None},
        {"payer": {"partyIdType": "MSISDN"}},
        {"payer": {"partyIdType": "EMAIL", "partyId": "a@b.c"}},
        {"payerMessage": "it's"},
        {"payeeNote": "you & me"},
        {"payeeNote": "x" * 161},
        {"externalId": 7},
    ],
)
async def test_a_malformed_body_is_refused_and_not_booked(world, merchant, changes):
    answer = await merchant.send(REQUEST_TO_PAY, merchant.body(**changes))
    assert (answer.status, answer.code) == (400, "BAD_REQUEST")
    book = await world.book()
    assert (book["prompts"], book["requests"]) == ([], 1)


@pytest.mark.parametrize("raw", [b"{", b"[]", b"\xff", b""])
async def test_a_body_that_is_no_json_object_is_refused(merchant, raw):
    answer = await merchant.call("POST", REQUEST_TO_PAY, headers={"X-Reference-Id": str(uuid4())}, data=raw)
    assert (answer.status, answer.code) == (400, "BAD_REQUEST")


async def test_a_note_of_160_characters_passes(merchant):
    answer = await merchant.send(REQUEST_TO_PAY, merchant.body(payerMessage="x" * 160))
    assert answer.status == 202


@pytest.mark.parametrize(
    "reference",
    [
        "",
        "no-uuid",
        "29ee118e-e844-11f1-95d7-02fc00000001",
        "a184de55f4e14f5db66beb77f932f26c",
    ],
)
async def test_only_a_uuid_of_version_4_is_a_reference(merchant, reference):
    answer = await merchant.send(REQUEST_TO_PAY, merchant.body(), headers={"X-Reference-Id": reference})
    assert (answer.status, answer.code) == (400, "BAD_REQUEST")


async def test_fifty_sends_under_one_reference_make_one_prompt_and_one_debit(world, merchant):
    reference = str(uuid4())
    answers = await asyncio.gather(*(merchant.collect(reference=reference) for _ in range(50)))
    assert sorted(answer.status for answer in answers) == [202] + [409] * 49
    assert {answer.code for answer in answers if answer.status == 409} == {"RESOURCE_ALREADY_EXIST"}
    book = await world.book()
    assert (len(book["prompts"]), len(book["debits"]), book["requests"]) == (1, 1, 50)


async def test_a_used_reference_is_refused_whatever_the_payload(world, merchant):
    reference = str(uuid4())
    await merchant.collect(reference=reference)
    answer = await merchant.collect(amount="1.00", msisdn="233551234567", reference=reference.upper())
    assert answer.status == 409
    assert [debit["amount"] for debit in (await world.book())["debits"]] == [2500]


async def test_an_unknown_reference_is_not_found(merchant):
    answer = await merchant.status(uuid4())
    assert (answer.status, answer.code) == (404, "RESOURCE_NOT_FOUND")
    assert answer.body["message"] == "Requested resource was not found."


async def test_a_reference_is_found_only_under_its_own_operation_and_environment(world, merchant):
    reference = str(uuid4())
    await merchant.collect(reference=reference)
    assert (await merchant.status(reference, "collection/requesttowithdraw")).status == 404
    merchant.environment = "sandbox"
    assert (await merchant.status(reference)).status == 404


COLLECT_ENDINGS = {
    450: "INTERNAL_PROCESSING_ERROR",
    451: "APPROVAL_REJECTED",
    452: "EXPIRED",
    455: "PAYER_NOT_FOUND",
    456: "PAYEE_NOT_ALLOWED_TO_RECEIVE",
    457: "NOT_ALLOWED",
    458: "NOT_ALLOWED_TARGET_ENVIRONMENT",
    459: "INVALID_CALLBACK_URL_HOST",
    460: "INVALID_CURRENCY",
    461: "INTERNAL_PROCESSING_ERROR",
    462: "SERVICE_UNAVAILABLE",
    463: "COULD_NOT_PERFORM_TRANSACTION",
    464: "TRANSFER_TYPE_UNKNOWN",
}
TRANSFER_ENDINGS = {
    450: "INTERNAL_PROCESSING_ERROR",
    451: "APPROVAL_REJECTED",
    452: "EXPIRED",
    455: "NOT_ENOUGH_FUNDS",
    456: "PAYER_LIMIT_REACHED",
    457: "PAYEE_NOT_FOUND",
    458: "NOT_ALLOWED",
    459: "NOT_ALLOWED_TARGET_ENVIRONMENT",
    460: "INVALID_CALLBACK_URL_HOST",
    461: "INVALID_CURRENCY",
    462: "INTERNAL_PROCESSING_ERROR",
    463: "SERVICE_UNAVAILABLE",
}


@pytest.mark.parametrize("prefix", ["46733123", "233240000", "233249876"])
async def test_the_published_endings_fail_a_collection_with_their_reasons(world, merchant, prefix):
    await world.settings(status_per_s=0)
    if prefix.startswith("46"):
        merchant.environment, merchant.currency = "sandbox", "EUR"
    for ending, reason in COLLECT_ENDINGS.items():
        reference = str(uuid4())
        assert (await merchant.collect(f"{prefix}{ending}", reference=reference)).status == 202
        body = (await merchant.status(reference)).body
        assert (body["status"], body["reason"]) == ("FAILED", reason), ending
    book = await world.book()
    assert (book["debits"], len(book["prompts"])) == ([], len(COLLECT_ENDINGS))


async def test_the_published_endings_fail_a_transfer_with_reasons_of_their_own(world, merchant):
    await world.settings(status_per_s=0)
    for ending, reason in TRANSFER_ENDINGS.items():
        reference = str(uuid4())
        body = merchant.body(f"233240000{ending}", party="payee")
        assert (await merchant.send("/disbursement/v1_0/transfer", body, reference=reference)).status == 202
        status = (await merchant.status(reference, "disbursement/transfer")).body
        assert (status["status"], status["reason"]) == ("FAILED", reason), ending
    assert (await world.book())["credits"] == []


async def test_an_ongoing_payer_never_decides(world, merchant):
    reference = str(uuid4())
    await merchant.collect("233240000453", reference=reference)
    await world.sleep_through(3000)
    status = (await merchant.status(reference)).body
    assert status["status"] == "PENDING"
    assert "financialTransactionId" not in status
    assert (await world.book())["debits"] == []


async def test_a_delayed_payer_pays_in_the_end(world, merchant):
    reference = str(uuid4())
    await merchant.collect("233240000454", reference=reference)
    assert (await merchant.status(reference)).body["status"] == "PENDING"
    await world.sleep_through(60)
    assert (await merchant.status(reference)).body["status"] == "SUCCESSFUL"
    assert [debit["reference"] for debit in (await world.book())["debits"]] == [reference]


async def test_a_payer_who_takes_longer_than_five_minutes_is_too_late(world, merchant):
    await world.faults(approve_after_ms=301_000)
    reference = str(uuid4())
    await merchant.collect(reference=reference)
    await world.sleep_through(302)
    body = (await merchant.status(reference)).body
    assert (body["status"], body["reason"]) == ("FAILED", "COULD_NOT_PERFORM_TRANSACTION")
    assert (await world.book())["debits"] == []


@pytest.mark.parametrize("msisdn", ["0241234567", "+233241234567", "241234567"])
async def test_ghana_accepts_any_form_of_number_and_then_finds_nobody(merchant, msisdn):
    reference = str(uuid4())
    assert (await merchant.collect(msisdn, reference=reference)).status == 202
    assert (await merchant.status(reference)).body["reason"] == "PAYER_NOT_FOUND"


async def test_the_reason_can_come_as_an_object(world, merchant):
    await world.settings(reason_shape="object")
    reference = str(uuid4())
    await merchant.collect("233240000457", reference=reference)
    reason = (await merchant.status(reference)).body["reason"]
    assert reason == {"code": "NOT_ALLOWED", "message": "Authorization failed. Insufficient permissions."}


@pytest.mark.parametrize(
    ("path", "operation", "side"),
    [
        ("/collection/v1_0/requesttowithdraw", "collection/requesttowithdraw", "debits"),
        ("/collection/v2_0/requesttowithdraw", "collection/requesttowithdraw", "debits"),
        ("/disbursement/v1_0/transfer", "disbursement/transfer", "credits"),
        ("/disbursement/v1_0/deposit", "disbursement/deposit", "credits"),
        ("/disbursement/v2_0/deposit", "disbursement/deposit", "credits"),
    ],
)
async def test_every_operation_is_booked_on_its_side(world, merchant, path, operation, side):
    reference = str(uuid4())
    party = "payer" if side == "debits" else "payee"
    assert (await merchant.send(path, merchant.body(party=party), reference=reference)).status == 202
    assert (await merchant.status(reference, operation)).body["status"] == "SUCCESSFUL"
    assert [entry["reference"] for entry in (await world.book())[side]] == [reference]


async def test_a_path_that_mtn_does_not_have_is_the_gateways_404(merchant):
    for path in ("/disbursement/v2_0/transfer", "/collection/v1_0/transfer", "/collection/v1_0/nothing"):
        answer = await merchant.send(path, merchant.body(party="payee"))
        assert (answer.status, answer.body["statusCode"]) == (404, 404)


@pytest.mark.parametrize("version", ["v1_0", "v2_0"])
async def test_a_refund_needs_a_request_that_took_money(world, merchant, version):
    path = f"/disbursement/{version}/refund"
    refund = {"amount": "25.00", "currency": "GHS", "referenceIdToRefund": str(uuid4())}
    assert (await merchant.send(path, refund)).code == "RESOURCE_NOT_FOUND"

    declined, reference = str(uuid4()), str(uuid4())
    await merchant.collect("233240000451", reference=declined)
    await merchant.send(path, refund | {"referenceIdToRefund": declined}, reference=reference)
    assert (await merchant.status(reference, "disbursement/refund")).body["status"] == "FAILED"
    assert (await world.book())["credits"] == []


async def test_the_book_shows_a_caller_who_refunds_twice(world, merchant):
    paid = str(uuid4())
    await merchant.collect(reference=paid)
    refund = {"amount": "25.00", "currency": "GHS", "referenceIdToRefund": paid}
    for _ in range(2):
        assert (await merchant.send("/disbursement/v1_0/refund", refund)).status == 202
    assert [credit["amount"] for credit in (await world.book())["credits"]] == [2500, 2500]


@pytest.mark.parametrize(
    ("ending", "status", "expected"),
    [
        (567, 200, {"result": True}),
        (450, 404, "RESOURCE_NOT_FOUND"),
        (451, 200, {"result": False}),
        (452, 500, "NOT_ALLOWED"),
        (453, 500, "NOT_ALLOWED_TARGET_ENVIRONMENT"),
        (454, 500, "INTERNAL_PROCESSING_ERROR"),
        (455, 503, "SERVICE_UNAVAILABLE"),
    ],
)
async def test_an_account_holder_is_looked_up(merchant, ending, status, expected):
    path = f"/collection/v1_0/accountholder/MSISDN/233240000{ending}/active"
    answer = await merchant.call("GET", path)
    assert answer.status == status
    assert expected == (answer.body if status == 200 else answer.code)


async def test_a_known_holder_has_a_name_and_an_unknown_one_has_not(merchant):
    path = "/disbursement/v1_0/accountholder/msisdn/{}/basicuserinfo"
    known = await merchant.call("GET", path.format(PAYER))
    assert set(known.body) == {"given_name", "family_name", "birthdate", "locale", "gender", "status"}
    assert (await merchant.call("GET", path.format("0241234567"))).code == "RESOURCE_NOT_FOUND"


async def test_the_balance_follows_the_book(world, merchant):
    await merchant.collect(amount="40.05")
    await merchant.send("/disbursement/v1_0/transfer", merchant.body(amount="15.00", party="payee"))
    balance = (await merchant.call("GET", "/collection/v1_0/account/balance")).body
    assert balance == {"availableBalance": "1000025.05", "currency": "GHS"}
    foreign = await merchant.call("GET", "/collection/v1_0/account/balance/EUR")
    assert foreign.code == "INVALID_CURRENCY"


async def test_a_delivery_notification_needs_a_paid_request(merchant):
    paid, declined = str(uuid4()), str(uuid4())
    await merchant.collect(reference=paid)
    await merchant.collect("233240000451", reference=declined)
    note = {"notificationMessage": "Your tickets are ready"}
    path = "/collection/v1_0/requesttopay/{}/deliverynotification"
    assert (await merchant.call("POST", path.format(paid), json=note)).status == 200
    assert (await merchant.call("POST", path.format(paid), json={})).status == 400
    assert (await merchant.call("POST", path.format(declined), json=note)).status == 404


async def test_the_eleventh_status_request_of_a_second_is_throttled(world, merchant):
    reference = str(uuid4())
    await merchant.collect(reference=reference)
    answers = [await merchant.status(reference) for _ in range(11)]
    assert [answer.status for answer in answers] == [200] * 10 + [429]
    assert answers[-1].headers["Retry-After"] == "1"
    world.now += 1
    assert (await merchant.status(reference)).status == 200


async def test_the_new_platform_wants_an_environment_for_a_token_and_no_python_requests(world, merchant):
    await world.settings(platform="new")
    refused = await merchant.take_token("collection", without=("X-Target-Environment",))
    assert refused.status == 400
    assert refused.body == {"error": "Invalid or missing X-Target-Environment header"}
    assert (await merchant.take_token("collection")).status == 200
    agent = await merchant.collect(headers={"User-Agent": "python-requests/2.32"})
    assert agent.status == 403
    assert "<html>" in agent.body
    await world.settings(platform="legacy")
    assert (await merchant.take_token("collection", without=("X-Target-Environment",))).status == 200


async def test_a_platform_knows_only_what_it_accepted_itself(world, merchant):
    reference = str(uuid4())
    await merchant.collect(reference=reference)
    await world.settings(platform="new")
    assert (await merchant.status(reference)).status == 404
    await world.settings(platform="legacy")
    assert (await merchant.status(reference)).status == 200


async def test_credentials_can_be_enrolled_as_in_mtns_portal(world, session):
    credentials = {"api_user": "dXNlci1pZA==", "api_key": "credential-token", "callback_host": "localhost"}
    assert (await world.control("PUT", "mtn_momo/credentials", credentials)).status == 200
    merchant = Merchant(session, world.momo_url)
    merchant.user, merchant.api_key = "dXNlci1pZA==", "credential-token"
    assert (await merchant.take_token("collection")).status == 200
