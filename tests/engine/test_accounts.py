"""Live orders use live accounts only, and no order uses the credentials of another business."""

import asyncio
import random
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace

import pytest
import pytest_asyncio

from engine.scripted import FAILED, NO_ANSWER, NOT_FOUND, SUCCEEDED, TENANT, UNREACHABLE, Desk, ScriptedRail
from synccash.engine.dispatch.account_book import StoredAccountBook
from synccash.engine.dispatch.policy_dispatch import DispatchSettings, PolicyDispatch
from synccash.engine.engine import build_engine
from synccash.engine.ports import Rail
from synccash.engine.settings import EngineSettings
from synccash.engine.system import SystemClock, SystemIdentities
from synccash.payments.case import Claim
from synccash.payments.errors import NoRailForModeError
from synccash.payments.inquiry_schedule import InquirySchedule
from synccash.payments.payer import Msisdn, Payer
from synccash.payments.rail import (
    Environment,
    NextAction,
    NextActionType,
    RailAccount,
    RailStatus,
    StatusAnswer,
)
from synccash.payments.references import ReferenceKey
from synccash.payments.request import PaymentRequest, Tenant
from synccash.resilience.profiles import PAYMENT_PROVIDER
from synccash.resilience.registry import Registry
from synccash.resilience.retry import Retry
from synccash.stores.local_work_signal import LocalWorkSignal
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.orders.order_store import PostgresOrderStore
from synccash.stores.postgres.orders.waiting import PostgresWaiting
from synccash.stores.postgres.pool import Pool, connect
from synccash.stores.postgres.rail_accounts import PostgresRailAccounts

OTP = NextAction(NextActionType.SUBMIT_OTP)
WAITS_FOR_OTP = StatusAnswer(status_at_rail=RailStatus.PENDING, next_action=OTP)


@pytest_asyncio.fixture
async def pool(database_url: str) -> AsyncGenerator[Pool]:
    pool = await connect(database_url, min_size=1, max_size=4)
    yield pool
    await pool.close()


class Books:
    """What the desks of one test share: their processes have accounts of their own and one database."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.store = PostgresRailAccounts(Database(pool))
        self.desks = 0

    async def desk(self, *rails: ScriptedRail, former: Mapping[str, Sequence[Rail]] | None = None) -> Desk:
        """A process that has just started with these rails."""
        clock = SystemClock()
        book = StoredAccountBook(self.store, rails, clock)
        await book.refresh()
        assert book.contradictions() == []
        registry = Registry({"*": replace(PAYMENT_PROVIDER, retry=Retry(attempts=1, base=0.0))})
        engine = build_engine(
            order_store=PostgresOrderStore(Database(self.pool)),
            rails={rail.name: rail for rail in rails},
            dispatch=PolicyDispatch(
                registry.breaker, registry.profile, clock, DispatchSettings(), random.random
            ),
            clock=clock,
            identities=SystemIdentities(),
            references=ReferenceKey.of("5c" * 32),
            work_signal=LocalWorkSignal(),
            settings=EngineSettings(
                public_url="http://us", schedule=InquirySchedule((0.0,), ((0.0, 1e6),)), settle_s=0.0
            ),
            accounts=book,
            former=former or {},
        )
        self.desks += 1
        return Desk(engine, self.pool, rails[0], rails[-1], keys=1_000 * self.desks)

    async def confirm(self, rail: ScriptedRail) -> None:
        assert await self.store.confirm(rail.account, rail.environment, by="shell:ama")

    async def parked(self) -> list[tuple[str, str, str | None]]:
        """What waits for a human: the order, why, and the code of its rail."""
        found = await PostgresWaiting(Database(self.pool)).oldest(10)
        return [(one["id"], one["why"], one["code"]) for one in found]


@pytest.fixture
def books(pool: Pool) -> Books:
    return Books(pool)


def rail_of(identity: str, name: str = "mtn_momo", *, live: bool = False, otp: bool = False) -> ScriptedRail:
    rail = ScriptedRail(name, otp=otp)
    rail.account = replace(rail.account, identity=identity)
    rail.environment = Environment.LIVE if live else Environment.TEST
    return rail


def request_of(*, livemode: bool, reference: str = "order 1") -> PaymentRequest:
    return PaymentRequest(
        tenant=Tenant("m_1", livemode=livemode),
        amount=1000,
        currency="GHS",
        payer=Payer(Msisdn.parse("0241234567")),
        reference=reference,
    )


def claim_of(*, livemode: bool, key: str = "key") -> Claim:
    return Claim(f"m_1:{'live' if livemode else 'test'}:pay", key, b"f" * 32)


# Modes.


async def test_a_test_order_is_refused_if_only_live_accounts_are_configured(books: Books):
    desk = await books.desk(rail_of("a", live=True))
    for order in (desk.pay, desk.pay_out):
        with pytest.raises(NoRailForModeError, match="no test rail account"):
            await order()
    assert desk.first.sent == []
    assert await books.pool.fetchval("SELECT count(*) FROM payments") == 0
    assert await books.pool.fetchval("SELECT count(*) FROM payouts") == 0


@pytest.mark.parametrize("live", [True, False])
async def test_one_reference_in_both_modes_debits_at_the_account_of_its_mode_only(books: Books, live: bool):
    desk = await books.desk(rail_of("a", live=live))
    for livemode in (True, False):
        order = desk.engine.initiate_payment(request_of(livemode=livemode), claim_of(livemode=livemode))
        if livemode is live:
            await order
        else:
            with pytest.raises(NoRailForModeError):
                await order
    assert [order.livemode for order in desk.first.sent] == [live]


async def test_each_mode_goes_to_the_accounts_of_its_own_environment(books: Books):
    desk = await books.desk(rail_of("a", live=True), rail_of("b", "paystack"))
    for livemode in (True, False):
        await desk.engine.initiate_payment(request_of(livemode=livemode), claim_of(livemode=livemode))
    assert [order.livemode for order in desk.first.sent] == [True]
    assert [order.livemode for order in desk.second.sent] == [False]


async def test_an_order_does_not_fail_over_to_an_account_of_the_other_mode(books: Books):
    desk = await books.desk(rail_of("a"), rail_of("b", "paystack", live=True))
    desk.first.answers = [UNREACHABLE]
    payment = await desk.pay()
    assert payment["status_detail"] == "queued"
    await desk.work()
    desk.first.status_at_rail = FAILED
    await desk.work()
    assert desk.second.sent == []
    skipped = {one["rail"]: one.get("skipped") for one in payment["routing"]["considered"]}
    assert skipped["paystack"] == "other_mode"


async def test_a_repeat_gets_the_first_response_even_if_the_accounts_changed(books: Books):
    desk = await books.desk(rail_of("a"))
    first = await desk.engine.initiate_payment(request_of(livemode=False), claim_of(livemode=False))
    desk = await books.desk(rail_of("b", live=True))
    again = await desk.engine.initiate_payment(request_of(livemode=False), claim_of(livemode=False))
    assert (again.replayed, again.body) == (True, first.body)


async def test_test_mode_orders_are_never_sent_to_an_account_that_became_live(books: Books):
    rail = rail_of("a")
    desk = await books.desk(rail)
    rail.status_at_rail = SUCCEEDED
    paid = (await desk.pay("paid"))["id"]
    await desk.work()
    rail.answers = [UNREACHABLE]
    await desk.pay("queued")
    rail.answers, rail.status_at_rail = [NO_ANSWER], NOT_FOUND
    lost = (await desk.pay("lost"))["id"]
    sent = len(rail.sent)

    rail.environment = Environment.LIVE  # it had been declared test by mistake
    await books.confirm(rail)
    desk = await books.desk(rail)
    await desk.refund(paid, 1000)
    for _ in range(3):
        await desk.work()
    assert len(rail.sent) == sent
    assert (await desk.case(lost)).attempts[0].state == "unknown"
    assert [why for _, why, _ in await books.parked()] == ["under_review"]


# Identities.


async def test_an_attempt_stores_the_identity_it_was_sent_with(books: Books):
    desk = await books.desk(rail_of("a"))
    payment_id = (await desk.pay())["id"]
    assert (await desk.case(payment_id)).attempts[0].account.identity == "a"


async def test_credentials_of_another_business_send_and_inquire_nothing_and_the_order_is_listed(books: Books):
    old = rail_of("a")
    desk = await books.desk(old)
    old.status_at_rail = SUCCEEDED
    paid = (await desk.pay("paid"))["id"]
    await desk.work()
    old.answers, old.status_at_rail = [NO_ANSWER], NOT_FOUND
    lost = (await desk.pay("lost"))["id"]

    new = rail_of("b")
    new.status_at_rail = NOT_FOUND
    desk = await books.desk(new)
    refund = (await desk.refund(paid, 1000))["id"]
    for _ in range(3):
        await desk.work()
    assert (new.sent, new.asked) == ([], [])
    parked = sorted(await books.parked())
    assert parked == sorted((order, "under_review", "account_unconfirmed") for order in (lost, refund))


async def test_an_otp_is_not_sent_with_credentials_of_another_business(books: Books):
    old = rail_of("a", otp=True)
    old.status_at_rail = WAITS_FOR_OTP
    desk = await books.desk(old)
    payment_id = (await desk.pay())["id"]
    await desk.work()
    new = rail_of("b", otp=True)
    desk = await books.desk(new)
    await desk.engine.submit_otp(TENANT, payment_id, "123456")
    assert new.passwords == []


async def test_former_credentials_inquire_their_orders_and_send_nothing(books: Books):
    old = rail_of("a")
    desk = await books.desk(old)
    old.answers, old.status_at_rail = [NO_ANSWER], NOT_FOUND
    lost = (await desk.pay("lost"))["id"]
    old.answers, old.status_at_rail = [NO_ANSWER], SUCCEEDED
    paid = (await desk.pay("paid"))["id"]
    lost_reference, paid_reference = (order.reference for order in old.sent)
    old.standings = {lost_reference: NOT_FOUND}

    new = rail_of("b")
    desk = await books.desk(new, former={"mtn_momo": (old,)})
    await desk.work()
    assert {reference for reference, _ in old.asked} == {lost_reference, paid_reference}
    assert (await desk.order(paid)).status == "succeeded"
    await desk.refund(paid, 1000)
    for _ in range(2):
        await desk.work()
    assert (new.sent, new.asked, len(old.sent)) == ([], [], 2)
    assert (await desk.order(lost)).status == "processing"


async def test_a_confirmed_key_of_the_same_business_continues_orders_of_the_former_key(books: Books):
    old = rail_of("a")
    desk = await books.desk(old)
    old.status_at_rail = SUCCEEDED
    paid = (await desk.pay("paid"))["id"]
    await desk.work()
    old.answers, old.status_at_rail = [NO_ANSWER], NOT_FOUND
    lost = (await desk.pay("lost"))["id"]

    new = rail_of("b")
    desk = await books.desk(new)
    refund = (await desk.refund(paid, 1000))["id"]
    await desk.work()
    assert len(await books.parked()) == 2
    await books.confirm(new)
    assert await books.pool.fetchval("SELECT count(*) FROM payments WHERE due_at <= now()") == 1
    new.status_at_rail = NOT_FOUND
    await desk.work()
    assert {order.reference for order in new.sent} >= {old.sent[-1].reference}, "the same reference again"
    new.status_at_rail = SUCCEEDED
    for _ in range(2):
        await desk.work()
    assert [(await desk.order(order)).status for order in (lost, refund)] == ["succeeded", "succeeded"]
    assert (await desk.case(refund)).attempts[-1].account.identity == "b"


async def test_nothing_new_is_sent_before_the_operator_confirms_the_account(books: Books):
    await books.desk(rail_of("a"))
    rail = rail_of("b")
    desk = await books.desk(rail)
    payment = await desk.pay()
    assert (payment["status_detail"], payment["routing"]["reason"]) == ("queued", "account_unconfirmed")
    payout = await desk.pay_out()
    await desk.work()
    assert rail.sent == []
    await books.confirm(rail)
    desk = await books.desk(rail)
    await desk.work()
    assert len(rail.sent) == 2
    assert (await desk.order(payout["id"])).status_detail != "queued"


async def test_another_rail_takes_over_while_an_account_is_not_confirmed(books: Books):
    await books.desk(rail_of("a"))
    desk = await books.desk(rail_of("b"), rail_of("c", "paystack"))
    assert (await desk.pay())["rail"] == "paystack"


async def test_processes_with_the_old_and_the_new_key_work_on_each_others_orders(books: Books):
    old, new = rail_of("a"), rail_of("b")
    first = await books.desk(old)
    await books.confirm(new)
    second = await books.desk(new)
    orders = [(await first.pay("of the old key"))["id"], (await second.pay("of the new key"))["id"]]
    old.status_at_rail = new.status_at_rail = SUCCEEDED
    await first.work()
    assert [(await first.order(order)).status for order in orders] == ["succeeded", "succeeded"]
    assert len(old.asked) == 2
    refunds = [(await second.refund(order, 1000))["id"] for order in orders]
    assert [order.operation for order in new.sent] == ["collect", "refund", "refund"]
    await first.work()
    assert [(await first.order(refund)).status for refund in refunds] == ["succeeded", "succeeded"]
    assert await books.parked() == []


async def test_orders_of_a_former_version_belong_to_the_first_identity(books: Books):
    old = rail_of("a")
    old.status_at_rail = SUCCEEDED
    desk = await books.desk(old)
    payment_id = (await desk.pay())["id"]
    await books.pool.execute("UPDATE attempts SET account_identity = NULL")

    new = rail_of("b")
    new.status_at_rail = SUCCEEDED
    desk = await books.desk(new)
    await desk.work()
    assert (new.asked, (await desk.order(payment_id)).status) == ([], "processing")
    desk = await books.desk(old)
    await desk.work()
    assert (await desk.order(payment_id)).status == "succeeded"


async def test_until_the_records_are_read_no_order_of_a_former_version_is_touched(books: Books):
    old = rail_of("a")
    desk = await books.desk(old)
    payment_id = (await desk.pay())["id"]
    await books.pool.execute("UPDATE attempts SET account_identity = NULL")
    (attempt,) = (await desk.case(payment_id)).attempts
    unread = StoredAccountBook(books.store, [old], SystemClock())
    assert not unread.is_confirmed(old.account, Environment.TEST)
    assert unread.first_identity(attempt.account) != "a"


# What PostgreSQL records.


async def test_the_first_identity_of_a_label_and_environment_is_confirmed_and_no_other(books: Books):
    test, live = Environment.TEST, Environment.LIVE
    account = RailAccount(rail="paystack", account="main", base_url="", target_environment="", identity="a")
    for identity, environment in (("a", test), ("b", test), ("c", live), ("d", live), ("a", test)):
        await books.store.register(replace(account, identity=identity), environment)
    recorded = await books.store.recorded()
    assert [(one.identity, one.confirmed) for one in recorded] == [
        ("a", True),
        ("b", False),
        ("c", True),
        ("d", False),
    ]


async def test_of_two_concurrent_first_identities_one_is_confirmed(books: Books):
    account = RailAccount(rail="paystack", account="main", base_url="", target_environment="")
    names = [f"key {n}" for n in range(4)]
    await asyncio.gather(
        *(books.store.register(replace(account, identity=name), Environment.LIVE) for name in names)
    )
    assert sorted(one.confirmed for one in await books.store.recorded()) == [False, False, False, True]


@pytest.mark.parametrize(
    ("changes", "live", "told"),
    [
        ({"account": "second"}, False, "set mtn_momo_account to main"),
        ({}, True, "mtn_momo_environment is live, but these credentials are recorded as test"),
    ],
)
async def test_one_identity_has_one_label_and_one_environment(
    books: Books, changes: dict[str, str], live: bool, told: str
):
    await books.desk(rail_of("a"))
    rail = rail_of("a", live=live)
    rail.account = replace(rail.account, **changes)
    book = StoredAccountBook(books.store, [rail], SystemClock())
    await book.refresh()
    (contradiction,) = book.contradictions()
    assert told in contradiction
    assert not book.is_confirmed(rail.account, rail.environment)
    assert await books.store.confirm(rail.account, rail.environment, by="shell:ama") is not bool(changes)
