"""Both clients against the whole service and the sandbox's rails, compared with the rails' books."""

import inspect
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from docs.pages import NEEDS_A_SERVICE, blocks, run
from servers_fixture import fresh_database
from service.http_servers import WebhookReceiver, proxy_to, webhook_receiver
from service.in_process import RunningService, running_service
from synccash.client import (
    AsyncSyncCash,
    AuthenticationError,
    ConflictError,
    IdempotencyKeyReusedError,
    InvalidRequestError,
    NotFoundError,
    PaymentInFlightError,
    PermissionDeniedError,
    RateLimitError,
    ReferenceAlreadyUsedError,
    SyncCash,
    WebhookVerificationError,
    verify_webhook,
)
from synccash.rails.registry import RAILS
from synccash.servers.bundle import Servers

PAYER, TELECEL = "0241234567", "0201234567"
OTP = "123456"
REVIEWED = 500_000


@pytest.fixture(scope="module")
def service(
    servers: Servers, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningService]:
    with (
        fresh_database(servers, migrated_template) as url,
        running_service(url, tmp_path_factory.mktemp("rails"), risk_review_from=REVIEWED) as running,
    ):
        yield running


@pytest.fixture
def merchant() -> Iterator[WebhookReceiver]:
    with webhook_receiver() as opened:
        yield opened


@pytest.fixture(params=["sync", "async"])
async def cash(request: pytest.FixtureRequest, service: RunningService) -> AsyncIterator[Any]:
    """Either client, called the same way."""
    if request.param == "async":
        async with AsyncSyncCash(service.url, service.key) as client:
            yield client
    else:
        with SyncCash(service.url, service.key) as client:
            yield client


async def got(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result


async def all_of(iterator: Any) -> list[Any]:
    return [one async for one in iterator] if hasattr(iterator, "__aiter__") else list(iterator)


def fresh() -> str:
    return f"order-{uuid.uuid4().hex}"


async def paid(cash: Any, **more: Any) -> Any:
    payment = await got(
        cash.create_payment(**{"amount": 2500, "msisdn": PAYER, "reference": fresh(), **more})
    )
    return await got(cash.wait(payment, every_s=0.05, timeout_s=30))


def debits(service: RunningService, order: Any, side: str = "debits") -> int:
    references = {attempt.reference for attempt in order.attempts}
    booked = Counter(entry["reference"] for entry in service.booked(side, order.rail))
    return sum(booked[reference] for reference in references)


async def test_a_payment_from_the_order_to_its_timeline(service: RunningService, cash: Any):
    reference = fresh()
    payment = await paid(cash, reference=reference, metadata={"cart": "7"}, network="mtn")
    assert (payment.status, payment.amount_received, payment.ended) == ("succeeded", 2500, True)
    assert (payment.payer.msisdn, payment.payer.network) == ("233241234567", "mtn")
    assert (payment.metadata, payment.created_at < payment.expires_at) == ({"cart": "7"}, True)
    assert debits(service, payment) == 1
    timeline = await got(cash.get_timeline(payment.id))
    assert [entry.kind for entry in timeline][:2] == ["created", "routed"]
    assert timeline.data[0].facts["amount"] == 2500
    listed = await got(cash.list_payments(reference=reference))
    assert [one.id for one in listed] == [payment.id]
    assert await got(cash.get_payment(payment.id)) == payment


async def test_a_request_whose_response_was_lost_is_retried_and_debited_once(
    service: RunningService, cash: Any
):
    with proxy_to(service.url) as proxy:
        behind = type(cash)(proxy.url, service.key)
        proxy.dropped = 2
        payment = await got(behind.create_payment(amount=2500, msisdn=PAYER, reference=fresh()))
        await got(behind.aclose() if hasattr(behind, "aclose") else behind.close())
    assert payment.replayed
    assert len(proxy.keys) == 3
    assert len(set(proxy.keys)) == 1
    payment = await got(cash.wait(payment, every_s=0.05))
    assert (payment.status, payment.replayed, debits(service, payment)) == ("succeeded", False, 1)


async def test_a_restarted_program_gets_its_payment_under_the_same_key(service: RunningService, cash: Any):
    reference = fresh()
    asked = {"amount": 900, "msisdn": PAYER, "reference": reference, "idempotency_key": reference}
    first = await got(cash.create_payment(**asked))
    again = await got(cash.create_payment(**asked))
    assert (first.id, first.replayed, again.replayed) == (again.id, False, True)
    with pytest.raises(IdempotencyKeyReusedError):
        await got(cash.create_payment(**{**asked, "amount": 901}))
    with pytest.raises(ReferenceAlreadyUsedError) as told:
        await got(cash.create_payment(**{**asked, "idempotency_key": None}))
    assert told.value.existing_id == first.id
    ended = await got(cash.wait(again, every_s=0.05))
    assert debits(service, ended) == 1


async def test_a_refund_returns_the_requested_amount_and_never_more(service: RunningService, cash: Any):
    payment = await paid(cash)
    refund = await got(cash.refund_payment(payment.id, amount=1000, reason="one ticket back"))
    refund = await got(cash.wait(refund, every_s=0.05))
    assert (refund.status, refund.amount, refund.reason) == ("succeeded", 1000, "one ticket back")
    assert debits(service, refund, "credits") == 1
    with pytest.raises(ConflictError, match="1500 pesewas"):
        await got(cash.refund_payment(payment.id, amount=1501))
    rest = await got(cash.wait(await got(cash.refund_payment(payment.id)), every_s=0.05))
    assert (rest.amount, (await got(cash.get_refund(rest.id))).status) == (1500, "succeeded")
    assert (await got(cash.get_payment(payment.id))).amount_refunded == 2500


async def test_a_payout_reaches_its_wallet_once(service: RunningService, cash: Any):
    reference = fresh()
    asked = {"amount": 4200, "msisdn": PAYER, "name": "Ama Mensah", "reference": reference}
    payout = await got(cash.create_payout(**asked, idempotency_key=reference))
    again = await got(cash.create_payout(**asked, idempotency_key=reference))
    assert (payout.id, again.replayed) == (again.id, True)
    payout = await got(cash.wait(payout, every_s=0.05))
    assert (payout.status, payout.amount, payout.payee.name) == ("succeeded", 4200, "Ama Mensah")
    assert debits(service, payout, "credits") == 1
    assert (await got(cash.get_payout(payout.id))).ended


async def test_the_right_otp_is_accepted_after_a_wrong_one(service: RunningService, cash: Any):
    payment = await paid(cash, msisdn=TELECEL, network="telecel", rail="paystack")
    assert (payment.status, payment.needs_otp) == ("requires_action", True)
    assert payment.next_action.display_text
    payment = await got(cash.submit_otp(payment.id, "000000"))
    assert payment.last_error.code == "otp_refused"
    payment = await got(cash.wait(payment, every_s=0.05))
    assert payment.needs_otp
    payment = await got(cash.submit_otp(payment.id, OTP))
    payment = await got(cash.wait(payment, every_s=0.05))
    assert (payment.status, debits(service, payment)) == ("succeeded", 1)
    with pytest.raises(ConflictError, match="does not wait for a one-time password"):
        await got(cash.submit_otp(payment.id, OTP))


async def test_otp_tries_are_capped_for_a_payment_and_for_its_wallet(service: RunningService, cash: Any):
    wallet = f"020{uuid.uuid4().int % 10**7:07}"

    async def waiting_payment() -> Any:
        asked = {"amount": 2500, "network": "telecel", "rail": "paystack", "reference": fresh()}
        return await got(cash.create_payment(msisdn=wallet, **asked))

    async def guess(payment: Any) -> None:
        await got(cash.submit_otp(payment.id, "000000"))
        await got(cash.wait(payment, every_s=0.05))

    first, second, third = [await waiting_payment() for _ in range(3)]
    for payment in (first, second):
        for _ in range(5):
            await guess(payment)
        with pytest.raises(ConflictError) as too_many:
            await guess(payment)
        assert too_many.value.code == "otp_tries_exceeded"
    with pytest.raises(RateLimitError) as too_often:
        await guess(third)
    assert too_often.value.code == "rate_limit_exceeded"
    assert 50 <= too_often.value.retry_after <= 60


async def test_a_sent_payment_cannot_be_canceled_and_one_in_review_can(service: RunningService, cash: Any):
    waiting = await got(cash.create_payment(amount=REVIEWED, msisdn=PAYER, reference=fresh()))
    assert waiting.status_detail == "risk_review"
    canceled = await got(cash.cancel_payment(waiting.id))
    assert (canceled.status, (await got(cash.cancel_payment(waiting.id))).status) == ("canceled",) * 2
    service.control("PUT", "paystack/faults", {"approve_after_ms": 60_000})
    try:
        moving = await got(cash.create_payment(amount=100, msisdn=PAYER, reference=fresh(), rail="paystack"))
        with pytest.raises(PaymentInFlightError):
            await got(cash.cancel_payment(moving.id))
    finally:
        service.control("PUT", "paystack/faults", {"approve_after_ms": 0})


async def test_webhooks_are_verified_rotated_and_delivered_again(
    service: RunningService, cash: Any, merchant: WebhookReceiver
):
    endpoint = await got(
        cash.create_webhook_endpoint(f"{merchant.url}/hooks", types=["payment.succeeded", "payout.succeeded"])
    )
    try:
        payment = await paid(cash)
        headers, body = merchant.next()
        event = verify_webhook(body, headers, endpoint.secret)
        assert (event.type, event.object.id, event.object.status) == (
            "payment.succeeded",
            payment.id,
            "succeeded",
        )
        with pytest.raises(WebhookVerificationError):
            verify_webhook(body.replace(b"2500", b"9500"), headers, endpoint.secret)

        rotated = await got(cash.rotate_webhook_secret(endpoint.id))
        assert rotated.secret not in (None, endpoint.secret)
        assert (await got(cash.redeliver_event(event.id))).endpoints >= 1
        headers, body = merchant.next()
        both = [verify_webhook(body, headers, secret) for secret in (endpoint.secret, rotated.secret)]
        assert {one.id for one in both} == {event.id}

        payout = await got(cash.create_payout(amount=300, msisdn=PAYER, reference=fresh()))
        headers, body = merchant.next()
        event = verify_webhook(body, headers, rotated.secret)
        assert (event.type, event.object.id) == ("payout.succeeded", payout.id)
    finally:
        await got(cash.delete_webhook_endpoint(endpoint.id))
    assert merchant.requests.empty()


async def test_endpoints_are_listed_changed_and_removed(cash: Any):
    made = await got(cash.create_webhook_endpoint("http://127.0.0.1:9/hooks"))
    assert (made.types, made.status, made.secret[:6]) == (None, "pending", "whsec_")
    changed = await got(
        cash.update_webhook_endpoint(
            made.id, url="http://127.0.0.1:9/other", types=["payment.failed"], status="disabled"
        )
    )
    assert (changed.url, changed.types, changed.status) == (
        "http://127.0.0.1:9/other",
        ("payment.failed",),
        "disabled",
    )
    assert changed.secret is None
    assert await got(cash.get_webhook_endpoint(made.id)) == changed
    assert made.id in [one.id for one in await got(cash.list_webhook_endpoints())]
    await got(cash.delete_webhook_endpoint(made.id))
    with pytest.raises(NotFoundError):
        await got(cash.get_webhook_endpoint(made.id))
    with pytest.raises(InvalidRequestError) as told:
        await got(cash.create_webhook_endpoint("ftp://shop.example", types=["nothing"]))
    assert {error.field for error in told.value.errors} == {"url", "types"}


async def test_events_can_be_listed_after_the_last_one_seen(cash: Any):
    seen = (await all_of(cash.events()))[-1:]
    after = seen[0].id if seen else None
    payments = [(await paid(cash)).id for _ in range(3)]
    gap = await all_of(cash.events(after=after, limit=2))
    ended = [event.object.id for event in gap if event.type == "payment.succeeded"]
    assert set(payments) <= set(ended)
    assert len({event.id for event in gap}) == len(gap)
    assert [event.id for event in await all_of(cash.events(after=gap[0].id))] == [one.id for one in gap[1:]]
    assert await all_of(cash.events(after=gap[-1].id)) == []


async def test_pages_omit_and_repeat_no_payment(cash: Any):
    made = [(await paid(cash, amount=700 + number)).id for number in range(5)]
    page = await got(cash.list_payments(limit=2))
    assert (len(page.data), page.has_more) == (2, True)
    listed = [payment.id for payment in await all_of(cash.payments(limit=2, status="succeeded", payer=PAYER))]
    assert listed[:5] == made[::-1]
    assert len(set(listed)) == len(listed)


async def test_a_refused_field_is_named_and_an_invalid_key_is_refused(service: RunningService, cash: Any):
    with pytest.raises(InvalidRequestError) as told:
        await got(cash.create_payment(amount=0, msisdn="12", reference="x" * 65))
    assert {error.field for error in told.value.errors} == {"amount", "payer.msisdn", "reference"}
    for key, error in ((service.admin_key, PermissionDeniedError), ("sk_test_none", AuthenticationError)):
        stranger = type(cash)(service.url, key)
        with pytest.raises(error):
            await got(stranger.get_payment("pay_1"))
        await got(stranger.aclose() if hasattr(stranger, "aclose") else stranger.close())


async def test_the_client_reads_the_service_health(cash: Any):
    health = await got(cash.health())
    assert (health.status, set(health.rails)) == ("ok", set(RAILS))


@pytest.mark.parametrize(("page", "line", "source"), [*blocks(NEEDS_A_SERVICE)])
def test_an_example_of_the_client_s_page_does_what_it_says(
    service: RunningService, monkeypatch: pytest.MonkeyPatch, page: Path, line: int, source: str
):
    monkeypatch.setenv("CASH_URL", service.url)
    monkeypatch.setenv("CASH_KEY", service.key)
    run(page, line, source)


def test_the_page_names_every_call():
    text = NEEDS_A_SERVICE.read_text(encoding="utf-8")
    table = text[text.index("## All calls") :]
    calls = {name for name, _ in inspect.getmembers(SyncCash, inspect.isfunction) if not name.startswith("_")}
    assert {name for name in calls if f"`{name}`" not in table} == {"close"}
