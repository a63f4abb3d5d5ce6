"""MTN's connector against MTN's sandbox, and against answers that no sandbox gives."""

import asyncio
from dataclasses import replace

import msgspec
import pytest

from rails.manual_clock import ManualClock
from rails.mtn_bench import API_USER, MtnBench
from rails.raw_server import answer, answering, raw_server
from synccash.payments.failure import FailureCode
from synccash.payments.rail import (
    AttemptDetails,
    CallbackAddress,
    InquiryPriority,
    NextActionType,
    Operation,
    RailStatus,
)
from synccash.rails.http.transport import Exchange
from synccash.rails.mtn_momo.connector import ProductCredentials, read_token
from synccash.rails.notes import clean_note
from synccash.resilience.evidence import Evidence
from synccash.settings.secret import Secret

TOKEN = b'{"access_token":"a-token","token_type":"access_token","expires_in":3600}'


@pytest.fixture
async def bench(world, transport):
    return await MtnBench.on(world, transport)


def speaking(*answers):
    """Grant tokens, and give these answers to all other requests, the last one for ever."""
    left = list(answers)

    async def speak(line):
        if b"/token/" in line.request.split(b"\r\n")[0]:
            await line.say(answer(200, TOKEN))
        else:
            await line.say(left.pop(0) if len(left) > 1 else left[0])

    return speak


def requests_to(server, path):
    return [request for request in server.requests if path in request.split(b"\r\n")[0]]


# What it can do.


async def test_it_says_what_it_can_do(bench):
    capabilities = bench.rail.capabilities
    assert bench.rail.name == "mtn_momo"
    assert {str(network) for network in capabilities.networks} == {"mtn"}
    assert capabilities.callback_address is CallbackAddress.PER_REQUEST
    collect = capabilities.operations[Operation.COLLECT]
    assert collect.dedup_by_reference
    assert collect.prompt_window_s == 300.0
    assert {one.inquiry_from_s for one in capabilities.operations.values()} == {300.0}
    assert not any(one.not_found_is_final for one in capabilities.operations.values())
    for outgoing in (Operation.REFUND, Operation.PAYOUT):
        assert capabilities.operations[outgoing].dedup_by_reference
        assert capabilities.operations[outgoing].prompt_window_s is None


async def test_without_disbursement_it_sends_no_refund(world, transport):
    bench = await MtnBench.on(world, transport, disbursement=None)
    given = await bench.send(bench.order(Operation.REFUND, original_reference="x"))
    assert (given.evidence, given.failure.code) == (
        Evidence.NOT_SENT,
        FailureCode.PROVIDER_ACCOUNT_BLOCKED,
    )
    order = bench.order(Operation.REFUND)
    assert (await bench.inquire(order)).status_at_rail is RailStatus.NO_INFORMATION


# What it sends.


async def test_a_collection_is_written_as_mtn_wants_it(bench):
    async with raw_server(speaking(answer(202))) as mtn:
        rail = bench.connector_at(mtn.url)
        order = bench.order(
            account=rail.account,
            amount=5,
            note="Ama's 2 tickets & café",
            callback_url="https://pay.example/cb/1",
        )
        given = await rail.send(order, timeout_s=5.0)
    assert given.next_action.type is NextActionType.APPROVE_ON_PHONE
    token, money = mtn.requests
    assert token.startswith(b"POST /collection/token/ ")
    assert b"X-Target-Environment: mtnghana" in token
    head, _, body = money.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /collection/v1_0/requesttopay HTTP/1.1"
    assert {
        "Authorization: Bearer a-token",
        "Ocp-Apim-Subscription-Key: a-subscription",
        "X-Target-Environment: mtnghana",
        f"X-Reference-Id: {order.reference}",
        "X-Callback-Url: https://pay.example/cb/1",
        "Content-Type: application/json",
    } <= set(lines)
    assert msgspec.json.decode(body) == {
        "amount": "0.05",
        "currency": "GHS",
        "externalId": order.reference,
        "payer": {"partyIdType": "MSISDN", "partyId": bench.payer},
        "payerMessage": "Ama s 2 tickets cafe",
        "payeeNote": "order-1",
    }


async def test_without_an_address_to_call_back_no_header_is_sent(bench):
    async with raw_server(speaking(answer(202))) as mtn:
        rail = bench.connector_at(mtn.url)
        await rail.send(bench.order(account=rail.account), timeout_s=5.0)
    assert b"X-Callback-Url" not in mtn.requests[1]


@pytest.mark.parametrize(("platform", "version"), [("legacy", b"v1_0"), ("new", b"v2_0")])
async def test_a_refund_names_its_debit_and_goes_by_the_platform_s_version(bench, platform, version):
    bench.settings = replace(bench.settings, platform=platform)
    async with raw_server(speaking(answer(202))) as mtn:
        rail = bench.connector_at(mtn.url)
        order = bench.order(Operation.REFUND, account=rail.account, original_reference="the-debit")
        await rail.send(order, timeout_s=5.0)
    assert mtn.requests[0].startswith(b"POST /disbursement/token/ ")
    assert mtn.requests[1].startswith(b"POST /disbursement/" + version + b"/refund ")
    body = msgspec.json.decode(mtn.requests[1].partition(b"\r\n\r\n")[2])
    assert body["referenceIdToRefund"] == "the-debit"
    assert "payer" not in body


@pytest.mark.parametrize("platform", ["legacy", "new"])
async def test_a_payout_names_its_payee_under_the_disbursements_own_token_and_keys(bench, platform):
    keys = ProductCredentials(
        user=API_USER, key=Secret("another-key"), subscription_key=Secret("another-subscription")
    )
    bench.settings = replace(bench.settings, platform=platform, disbursement=keys)
    async with raw_server(speaking(answer(202))) as mtn:
        rail = bench.connector_at(mtn.url)
        order = bench.order(Operation.PAYOUT, account=rail.account, name="Ama Mensah")
        given = await rail.send(order, timeout_s=5.0)
        await rail.inquire(rail.account, Operation.PAYOUT, order.reference, timeout_s=5.0)
    assert given.evidence is Evidence.ACCEPTED
    token, transfer, status = mtn.requests
    assert token.startswith(b"POST /disbursement/token/ ")
    assert transfer.startswith(b"POST /disbursement/v1_0/transfer ")
    assert status.startswith(f"GET /disbursement/v1_0/transfer/{order.reference} ".encode())
    assert b"Ocp-Apim-Subscription-Key: another-subscription" in transfer
    body = msgspec.json.decode(transfer.partition(b"\r\n\r\n")[2])
    assert body["payee"] == {"partyIdType": "MSISDN", "partyId": bench.payer}
    assert body["amount"] == "25.05"
    assert "payer" not in body


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Two tickets", "Two tickets"),
        ("Kofi's & Ama's", "Kofi s Ama s"),
        ("  many   blanks\t", "many blanks"),
        ("café, 10.50 - paid", "cafe, 10.50 - paid"),
        ("₵25", "25"),
        ("", ""),
        ("x" * 200, "x" * 160),
        ("<script>", "script"),
        ("line\r\nbreak", "line break"),
    ],
)
def test_notes_are_written_as_mtn_takes_them(text, expected):
    assert clean_note(text) == expected


async def test_notes_that_mtn_would_refuse_are_taken(bench):
    order = bench.order(note="Ama's <tickets> & 'more' " * 20, merchant_reference="#1/2026_é")
    assert (await bench.send(order)).evidence is Evidence.ACCEPTED


@pytest.mark.parametrize("platform", ["legacy", "new"])
async def test_both_platforms_collect_refund_and_pay_out(world, transport, platform):
    await world.settings(platform=platform)
    bench = await MtnBench.on(world, transport, platform=platform)
    debit = bench.order()
    assert (await bench.send(debit)).evidence is Evidence.ACCEPTED
    assert (await bench.inquire(debit)).status_at_rail is RailStatus.SUCCEEDED
    refund = bench.order(Operation.REFUND, original_reference=debit.reference)
    payout = bench.order(Operation.PAYOUT)
    for outgoing in (refund, payout):
        assert (await bench.send(outgoing)).evidence is Evidence.ACCEPTED
        assert (await bench.inquire(outgoing)).status_at_rail is RailStatus.SUCCEEDED


async def test_mtn_s_own_sandbox_speaks_euro(world, transport):
    bench = await MtnBench.on(world, transport, target_environment="sandbox", currency="EUR")
    order = bench.order(msisdn="46733123499")
    assert (await bench.send(order)).evidence is Evidence.ACCEPTED
    status = await bench.inquire(order)
    assert (status.status_at_rail, status.amount) == (RailStatus.SUCCEEDED, order.amount)


async def test_a_currency_that_mtn_does_not_take_is_a_matter_of_set_up(world, transport):
    bench = await MtnBench.on(world, transport, currency="EUR")
    given = await bench.send(bench.order())
    assert (given.evidence, given.provider_code) == (Evidence.REFUSED_FINAL, "INVALID_CURRENCY")
    assert given.failure.code is FailureCode.PROVIDER_ACCOUNT_BLOCKED
    assert given.failure.reroute


@pytest.mark.parametrize("shape", ["string", "object"])
@pytest.mark.parametrize(
    ("ending", "code", "reroute"),
    [
        (450, FailureCode.PROVIDER_ERROR, False),
        (451, FailureCode.PAYER_DECLINED, False),
        (452, FailureCode.PAYER_TIMEOUT, False),
        (455, FailureCode.INVALID_PAYER, False),
        (456, FailureCode.PROVIDER_ACCOUNT_BLOCKED, True),
        (457, FailureCode.PROVIDER_ACCOUNT_BLOCKED, True),
        (462, FailureCode.PROVIDER_UNAVAILABLE, True),
        (463, FailureCode.PAYER_TIMEOUT, False),
    ],
)
async def test_mtn_s_test_numbers_fail_as_published(bench, ending, code, reroute, shape):
    await bench.world.settings(reason_shape=shape)
    order = bench.order(msisdn=f"233241111{ending}")
    assert (await bench.send(order)).evidence is Evidence.ACCEPTED
    status = await bench.inquire(order)
    assert (status.status_at_rail, status.failure.code, status.failure.reroute) == (
        RailStatus.FAILED,
        code,
        reroute,
    )


@pytest.mark.parametrize(
    ("ending", "code", "reroute"),
    [
        (450, FailureCode.PROVIDER_ERROR, False),
        (455, FailureCode.FLOAT_TOO_LOW, True),
        (456, FailureCode.FLOAT_TOO_LOW, True),
        (457, FailureCode.INVALID_PAYER, False),
        (458, FailureCode.PROVIDER_ACCOUNT_BLOCKED, True),
        (462, FailureCode.PROVIDER_ERROR, False),
        (463, FailureCode.PROVIDER_UNAVAILABLE, True),
    ],
)
async def test_payouts_to_mtn_s_test_numbers_fail_as_published(bench, ending, code, reroute):
    order = bench.order(Operation.PAYOUT, msisdn=f"233241111{ending}")
    assert (await bench.send(order)).evidence is Evidence.ACCEPTED
    status = await bench.inquire(order)
    assert (status.status_at_rail, status.failure.code, status.failure.reroute) == (
        RailStatus.FAILED,
        code,
        reroute,
    )


async def test_a_late_success_after_a_failure_is_told(bench):
    order = bench.order()
    await bench.script({"end": "EXPIRED", "then_success_after_ms": 5_000})
    await bench.send(order)
    assert (await bench.inquire(order)).status_at_rail is RailStatus.FAILED
    await bench.world.sleep_through(5)
    bench.rail = bench.connector_at(bench.world.momo_url)
    late = await bench.rail.inquire(bench.rail.account, order.operation, order.reference, timeout_s=5.0)
    assert late.status_at_rail is RailStatus.SUCCEEDED


# Tokens.


async def test_one_token_serves_many_payments(bench):
    async with raw_server(speaking(answer(202))) as mtn:
        rail = bench.connector_at(mtn.url)
        orders = [bench.order(account=rail.account) for _ in range(10)]
        await asyncio.gather(*(rail.send(order, timeout_s=5.0) for order in orders))
    assert len(requests_to(mtn, b"/token/")) == 1
    assert len(requests_to(mtn, b"/requesttopay")) == 10


async def test_a_token_that_mtn_no_longer_takes_is_renewed_and_the_payment_goes_through(bench):
    await bench.warmed()
    await bench.world.settings(token_ttl_s=3600)
    bench.world.now += 3_601
    order = bench.order()
    assert (await bench.send(order)).evidence is Evidence.ACCEPTED
    assert (await bench.inquire(order)).status_at_rail is RailStatus.SUCCEEDED
    assert len(await bench.booked("debits", order)) == 1


async def test_a_second_401_is_final_and_sends_no_third_time(bench):
    async with raw_server(speaking(answer(401, b'{"statusCode":401}'))) as mtn:
        rail = bench.connector_at(mtn.url)
        given = await rail.send(bench.order(account=rail.account), timeout_s=5.0)
    assert (given.evidence, given.failure.code) == (
        Evidence.REFUSED_FINAL,
        FailureCode.PROVIDER_ACCOUNT_BLOCKED,
    )
    assert len(requests_to(mtn, b"/requesttopay")) == 2
    assert len(requests_to(mtn, b"/token/")) == 2


async def test_what_follows_a_401_is_judged_by_the_second_answer(bench):
    async def speak(line):
        path = line.request.split(b"\r\n")[0]
        if b"/token/" in path:
            await line.say(answer(200, TOKEN))
        elif len(requests_to(mtn, b"/requesttopay")) == 1:
            await line.say(answer(401))
        else:
            line.cut()

    async with raw_server(speak) as mtn:
        rail = bench.connector_at(mtn.url)
        given = await rail.send(bench.order(account=rail.account), timeout_s=5.0)
        assert given.evidence is Evidence.AMBIGUOUS
        assert len(requests_to(mtn, b"/requesttopay")) == 2


async def test_a_401_without_another_token_is_refused_for_later(bench):
    async def speak(line):
        path = line.request.split(b"\r\n")[0]
        if b"/token/" not in path:
            await line.say(answer(401))
        elif len(requests_to(mtn, b"/token/")) == 1:
            await line.say(answer(200, TOKEN))
        else:
            await line.say(answer(503))

    async with raw_server(speak) as mtn:
        rail = bench.connector_at(mtn.url)
        given = await rail.send(bench.order(account=rail.account), timeout_s=5.0)
        assert (given.evidence, given.failure.code) == (
            Evidence.REFUSED_LATER,
            FailureCode.PROVIDER_UNAVAILABLE,
        )


async def test_wrong_credentials_are_told_as_such_and_nothing_is_sent(world, transport):
    wrong = ProductCredentials(user=API_USER, key=Secret("wrong"), subscription_key=Secret("a-subscription"))
    bench = await MtnBench.on(world, transport, collection=wrong)
    order = bench.order()
    given = await bench.send(order)
    assert (given.evidence, given.failure.code) == (
        Evidence.NOT_SENT,
        FailureCode.PROVIDER_ACCOUNT_BLOCKED,
    )
    assert given.failure.reroute
    assert (await bench.inquire(order)).status_at_rail is RailStatus.NO_INFORMATION
    assert (await world.book())["requests"] == 0


async def test_a_wrong_subscription_key_is_told_as_such(world, transport):
    wrong = ProductCredentials(user=API_USER, key=Secret("an-api-key"), subscription_key=Secret("invalid"))
    bench = await MtnBench.on(world, transport, collection=wrong)
    given = await bench.send(bench.order())
    assert given.failure.code is FailureCode.PROVIDER_ACCOUNT_BLOCKED


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (500, b"", FailureCode.PROVIDER_UNAVAILABLE),
        (503, b"<html>", FailureCode.PROVIDER_UNAVAILABLE),
        (429, b"", FailureCode.PROVIDER_UNAVAILABLE),
        (302, b"", FailureCode.PROVIDER_UNAVAILABLE),
        (200, b"<html>maintenance</html>", FailureCode.PROVIDER_UNAVAILABLE),
        (200, b"{}", FailureCode.PROVIDER_UNAVAILABLE),
        (200, b'{"access_token":"","expires_in":3600}', FailureCode.PROVIDER_UNAVAILABLE),
        (200, b'{"access_token":"a\\r\\nb","expires_in":3600}', FailureCode.PROVIDER_UNAVAILABLE),
        (200, b'{"access_token":"a","expires_in":0}', FailureCode.PROVIDER_UNAVAILABLE),
        (200, b'{"access_token":"a","expires_in":"soon"}', FailureCode.PROVIDER_UNAVAILABLE),
        (200, b'{"access_token":"a"}', FailureCode.PROVIDER_UNAVAILABLE),
        (400, b'{"error":"Invalid or missing header"}', FailureCode.PROVIDER_ACCOUNT_BLOCKED),
        (401, b'{"error":"login_failed"}', FailureCode.PROVIDER_ACCOUNT_BLOCKED),
        (403, b"<html>Request Rejected</html>", FailureCode.PROVIDER_ACCOUNT_BLOCKED),
        (404, b"", FailureCode.PROVIDER_ACCOUNT_BLOCKED),
    ],
)
async def test_without_a_token_nothing_is_sent(bench, status, body, code):
    async with raw_server(answering(status, body)) as mtn:
        rail = bench.connector_at(mtn.url)
        given = await rail.send(bench.order(account=rail.account), timeout_s=5.0)
    assert (given.evidence, given.failure.code) == (Evidence.NOT_SENT, code)
    assert requests_to(mtn, b"/requesttopay") == []


async def test_a_token_that_does_not_come_in_time_sends_nothing(bench):
    async with raw_server() as mtn:
        rail = bench.connector_at(mtn.url)
        orders = [bench.order(account=rail.account) for _ in range(3)]
        answers = await asyncio.gather(*(rail.send(order, timeout_s=0.5) for order in orders))
        assert {given.evidence for given in answers} == {Evidence.NOT_SENT}
        assert len(mtn.requests) == 1


def test_a_lifetime_may_be_written_as_text():
    body = b'{"access_token":"a-token","expires_in":"3600"}'
    granted = read_token(Exchange(status=200, headers={}, body=body, latency_s=0.0))
    assert (granted.text, granted.lifetime_s) == (Secret("a-token"), 3600.0)


# Inquiries.


async def test_inquiries_keep_under_mtn_s_cap(world, transport):
    bench = await MtnBench.on(world, transport, status_per_s=10.0)
    order = bench.order()
    await bench.send(order)
    await world.settings(status_per_s=10)
    answers = [await bench.inquire(order) for _ in range(4)]
    assert {given.status_at_rail for given in answers} == {RailStatus.SUCCEEDED}


async def test_an_inquiry_whose_turn_would_come_too_late_is_not_made(world, transport):
    clock = ManualClock()
    bench = await MtnBench.on(world, transport, clock, status_per_s=1.0)
    order = bench.order()
    await bench.send(order)
    assert (await bench.inquire(order)).status_at_rail is RailStatus.SUCCEEDED
    late = await bench.inquire(order, timeout_s=0.5)
    assert (late.status_at_rail, late.provider_code) == (RailStatus.NO_INFORMATION, "status_cap")
    assert late.refused_locally
    waiting = asyncio.create_task(bench.inquire(order, timeout_s=5.0))
    await clock.asleep.wait()
    clock.advance(1.05)
    assert (await waiting).status_at_rail is RailStatus.SUCCEEDED


async def test_a_recheck_beyond_its_share_is_given_up_and_counted(world, transport):
    clock = ManualClock()
    bench = await MtnBench.on(world, transport, clock, status_per_s=1.0)
    order = bench.order()
    await bench.send(order)

    async def recheck():
        details = AttemptDetails(priority=InquiryPriority.AFTER_END)
        return await bench.rail.inquire(
            order.account, order.operation, order.reference, timeout_s=5.0, details=details
        )

    assert (await recheck()).status_at_rail is RailStatus.SUCCEEDED
    clock.advance(1.05)
    shed = await recheck()
    assert (shed.status_at_rail, shed.provider_code) == (RailStatus.NO_INFORMATION, "shed")
    assert shed.refused_locally
    assert bench.rail.inquiries_shed == 1
    assert (await bench.inquire(order)).status_at_rail is RailStatus.SUCCEEDED


async def test_past_the_cap_mtn_s_wish_to_wait_is_handed_on(bench):
    order = bench.order()
    await bench.send(order)
    await bench.world.settings(status_per_s=1)
    assert (await bench.inquire(order)).status_at_rail is RailStatus.SUCCEEDED
    capped = await bench.inquire(order)
    assert (capped.status_at_rail, capped.retry_after_s) == (RailStatus.NO_INFORMATION, 1.0)


async def test_the_other_platform_does_not_know_what_this_one_took(bench):
    order = bench.order()
    await bench.send(order)
    await bench.world.settings(platform="new")
    assert (await bench.inquire(order)).status_at_rail is RailStatus.NOT_FOUND


# Other answers.


async def test_a_huge_answer_is_ambiguous(bench):
    async with raw_server(speaking(answer(202, b" " * (2 << 20)))) as mtn:
        rail = bench.connector_at(mtn.url)
        given = await rail.send(bench.order(account=rail.account), timeout_s=5.0)
    assert (given.evidence, given.provider_code) == (Evidence.AMBIGUOUS, "too_large")


async def test_an_answer_that_trickles_past_the_time_out_is_ambiguous(bench):
    trickling = False

    async def speak(line):
        if b"/token/" in line.request.split(b"\r\n")[0]:
            await line.say(answer(200, TOKEN))
        elif not trickling:
            await line.say(answer(202))
        else:
            await line.say("HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n ")
            await line.reader.read()

    async with raw_server(speak) as mtn:
        rail = bench.connector_at(mtn.url)
        # The token and the connection exist before the short time-out begins.
        await rail.send(bench.order(account=rail.account), timeout_s=30.0)
        trickling = True
        given = await rail.send(bench.order(account=rail.account), timeout_s=0.3)
    assert (given.evidence, given.provider_code) == (Evidence.AMBIGUOUS, "timeout")


async def test_a_redirect_is_ambiguous_and_not_followed(bench):
    async with raw_server(answering(202)) as elsewhere:
        moved = answer(307, b"", f"Location: {elsewhere.url}/")
        async with raw_server(speaking(moved)) as mtn:
            rail = bench.connector_at(mtn.url)
            given = await rail.send(bench.order(account=rail.account), timeout_s=5.0)
        assert (given.evidence, given.provider_code) == (Evidence.AMBIGUOUS, "redirected")
        assert elsewhere.requests == []
