"""Balances match the rails' books for every outcome of payments, refunds and payouts, and no more is sent
than they cover."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.scripted import ACCEPTED, FAILED, NO_ANSWER, NOT_FOUND, PENDING, SUCCEEDED, Desk, ScriptedRail
from synccash.engine.requests.review import Resolution
from synccash.engine.store_clock import ObservedOrderStore
from synccash.payments.attempt import Attempt
from synccash.payments.balance import BalanceAccount
from synccash.payments.case import Case, Claim, RefundCase
from synccash.payments.errors import InsufficientBalanceError, PaymentError, StoreUnavailableError
from synccash.payments.payer import Msisdn, Payer
from synccash.payments.payment import Payment, PaymentStatus, StatusDetail
from synccash.payments.payout import Payee, Payout
from synccash.payments.rail import (
    NO_ATTEMPT_DETAILS,
    AttemptDetails,
    Operation,
    RailAccount,
    SendAnswer,
    SendOrder,
    StatusAnswer,
)
from synccash.payments.request import PaymentRequest, PayoutRequest, RefundRequest, Tenant
from synccash.stores.postgres.balances import PostgresBalances
from synccash.stores.postgres.database import Database

ScriptedOutcome = Literal["pays", "pays, answer lost", "fails", "silent", "pays more"]
FATES: tuple[ScriptedOutcome, ...] = ("pays", "pays", "pays, answer lost", "fails", "silent", "pays more")
TABLES = "payments, refunds, payouts, attempts, idempotency, events, timeline, contradictions, deliveries"
ROUNDS = 4


@dataclass
class Movement:
    """One line of a rail's book. `moved`: pesewas; `back`: the rail took them back."""

    amount: int
    fate: ScriptedOutcome
    moved: int = 0
    back: bool = False


@dataclass
class Bank:
    """What both rails do with new references, one after the other, and the one book of both."""

    fates: list[ScriptedOutcome] = field(default_factory=list)
    book: dict[str, Movement] = field(default_factory=dict)

    def receive(self, reference: str, amount: int) -> SendAnswer:
        if reference not in self.book:
            fate = self.fates.pop(0) if self.fates else "pays"
            moved = {"pays": amount, "pays, answer lost": amount, "pays more": amount + 1}.get(fate, 0)
            self.book[reference] = Movement(amount, fate, moved)
        return NO_ANSWER if self.book[reference].fate == "pays, answer lost" else ACCEPTED

    def tell(self, reference: str) -> StatusAnswer:
        line = self.book.get(reference)
        if line is None:
            return NOT_FOUND
        if line.moved and not line.back:
            return replace(SUCCEEDED, amount=line.moved)
        return PENDING if line.fate == "silent" and not line.back else FAILED

    def stands(self, attempts: Sequence[Attempt]) -> int:
        """The pesewas that these attempts have moved and that are still where they went."""
        lines = (self.book[a.reference] for a in attempts if a.reference in self.book)
        return sum(line.moved for line in lines if not line.back)


class BookRail(ScriptedRail):
    """A rail that keeps the bank's book."""

    def __init__(self, name: str, bank: Bank) -> None:
        super().__init__(name)
        self.bank = bank

    async def send(self, order: SendOrder, *, timeout_s: float) -> SendAnswer:
        del timeout_s
        return self.bank.receive(order.reference, order.amount)

    async def inquire(
        self,
        account: RailAccount,
        operation: Operation,
        reference: str,
        *,
        timeout_s: float,
        details: AttemptDetails = NO_ATTEMPT_DETAILS,
    ) -> StatusAnswer:
        del account, operation, timeout_s, details
        return self.bank.tell(reference)


class CrashingOrderStore:
    """Passes all calls on; simulates a crash of the process before or after the next commit if set."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.crash: Literal["before", "after"] | None = None

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.inner, name)
        if name not in ("open", "record"):
            return method

        async def call(*arguments: Any) -> Any:
            crash, self.crash = self.crash, None
            if crash == "before":
                raise StoreUnavailableError("the process died before its commit")
            result = await method(*arguments)
            if crash == "after":
                raise StoreUnavailableError("the process died after its commit")
            return result

        return call


@dataclass
class Shop:
    """One merchant of one example, on the desk that all examples share."""

    desk: Desk
    bank: Bank
    order_store: CrashingOrderStore
    balances: PostgresBalances
    tenant: Tenant
    credit: int
    numbers: Any = field(default_factory=count)

    @property
    def account(self) -> BalanceAccount:
        return BalanceAccount(merchant_id=self.tenant.merchant_id, livemode=False, currency="GHS")

    def claim(self, number: int) -> Claim:
        return Claim(f"{self.tenant.merchant_id}:test:any", f"key {number}", b"f" * 32)

    async def pay(self, amount: int) -> None:
        number = next(self.numbers)
        request = PaymentRequest(
            tenant=self.tenant,
            amount=amount,
            currency="GHS",
            payer=Payer(Msisdn.parse("0241234567")),
            reference=f"order {number}",
        )
        await self.desk.engine.initiate_payment(request, self.claim(number))

    async def pay_out(self, amount: int) -> None:
        number = next(self.numbers)
        request = PayoutRequest(
            tenant=self.tenant,
            amount=amount,
            currency="GHS",
            payee=Payee(Msisdn.parse("0241234567"), name="Ama"),
            reference=f"wages {number}",
        )
        await self.desk.engine.pay_out(request, self.claim(number))

    async def refund(self, place: int, amount: int) -> None:
        paid = [c for c in await self.cases() if isinstance(c.order, Payment) and c.order.paid_by]
        if paid:
            payment = paid[place % len(paid)].order
            request = RefundRequest(tenant=self.tenant, payment_id=payment.id, amount=amount)
            await self.desk.engine.refund_payment(request, self.claim(next(self.numbers)))

    async def cases(self) -> list[Case]:
        found = await self.desk.pool.fetch(
            "SELECT id FROM payments UNION ALL SELECT id FROM refunds UNION ALL SELECT id FROM payouts "
            "ORDER BY 1"
        )
        return [await self.desk.case(row["id"]) for row in found]

    async def change(self, place: int, kind: str) -> None:
        """A rail pays late what it had not paid, or takes back what it had, and calls back."""
        lines = [
            (case, attempt, self.bank.book[attempt.reference])
            for case in await self.cases()
            for attempt in case.attempts
            if attempt.reference in self.bank.book
        ]
        fit = [x for x in lines if not x[2].back and bool(x[2].moved) == (kind == "reverse")]
        if not fit:
            return
        _, attempt, line = fit[place % len(fit)]
        if kind == "reverse":
            line.back = True
        else:
            line.moved = line.amount
        await self.desk.engine.take_callback(attempt.rail, attempt.callback_token)

    async def resolve(self, place: int) -> None:
        """A human ends an order under review as it is in the rail's book."""
        waiting = [c for c in await self.cases() if c.order.status_detail is StatusDetail.UNDER_REVIEW]
        if waiting:
            case = waiting[place % len(waiting)]
            stands = self.bank.stands(case.attempts)
            outcome = Resolution.SUCCEEDED if stands else Resolution.FAILED
            received = stands if stands and isinstance(case.order, Payment) else None
            await self.desk.engine.reviewing.resolve(
                case.order.kind, case.order.id, outcome, by="a human", evidence="the book", received=received
            )

    async def step(self, step: tuple[Any, ...]) -> None:
        match step:
            case ("pay", amount, fate):
                self.bank.fates = [fate]
                await self.pay(amount)
            case ("pay out", amount, fates):
                self.bank.fates = list(fates)
                await self.pay_out(amount)
            case ("burst", amount, times):
                # A payment whose process crashed has left its fate.
                self.bank.fates = []
                await asyncio.gather(*(self.pay_out(amount) for _ in range(times)), return_exceptions=True)
            case ("refund", place, amount, fate):
                self.bank.fates = [fate]
                await self.refund(place, amount)
            case ("late" | "reverse" as kind, place):
                await self.change(place, kind)
            case ("resolve", place):
                await self.resolve(place)
            case ("crash", when):
                self.order_store.crash = when
            case ("fold",):
                await self.balances.fold()
            case _:
                await self.work(1)

    async def work(self, rounds: int) -> None:
        for _ in range(rounds):
            try:
                await self.desk.work(limit=500)
            except StoreUnavailableError:
                continue  # the worker crashed; another takes over

    async def check_cover(self) -> None:
        """No more was opened than the balance covered, except for money moved against a rail's answer."""
        assert await self.balances.differences(self.tenant.merchant_id) == []
        cases = await self.cases()
        taken_back = sum(line.moved for line in self.bank.book.values() if line.back)
        excess = 0
        for case in cases:
            if not isinstance(case.order, Payment) and not _is_surplus(case):
                kept = 0 if case.order.status is PaymentStatus.FAILED else case.order.amount
                excess += max(0, self.bank.stands(case.attempts) - (0 if _failed(case) else kept))
        balance = await self.balances.balance(self.account)
        assert balance.available + taken_back + excess >= 0

    async def check_books(self) -> None:
        """After all outcomes are known, every sum matches the rails' books."""
        balance = await self.balances.balance(self.account)
        collected = reserved = paid_out = refunded = 0
        for case in await self.cases():
            order, stands = case.order, self.bank.stands(case.attempts)
            if isinstance(case.order, Payment):
                paid = [a for a in case.attempts if a.id == case.order.paid_by]
                collected += self.bank.stands(paid) if case.order.status is PaymentStatus.SUCCEEDED else 0
            elif _is_surplus(case):
                continue
            elif not order.status.is_final:
                reserved += max(order.amount, stands)
            elif isinstance(case.order, Payout):
                paid_out += stands
            else:
                refunded += stands
        found = (balance.collected, balance.reserved, balance.paid_out, balance.refunded, balance.credit)
        assert found == (collected, reserved, paid_out, refunded, self.credit)


def _is_surplus(case: Case) -> bool:
    return isinstance(case, RefundCase) and case.order.surplus


def _failed(case: Case) -> bool:
    return case.order.status.value == "failed"


bank = Bank()


@pytest.fixture
def rails() -> Sequence[ScriptedRail]:
    return BookRail("mtn_momo", bank), BookRail("paystack", bank)


AMOUNTS = st.integers(1, 40)
PLACES = st.integers(0, 9)
STEPS = st.one_of(
    st.tuples(st.just("pay"), AMOUNTS, st.sampled_from(FATES)),
    st.tuples(st.just("pay"), AMOUNTS, st.just("pays")),
    st.tuples(st.just("pay out"), AMOUNTS, st.lists(st.sampled_from(FATES[:5]), max_size=2)),
    st.tuples(st.just("burst"), st.integers(1, 10), st.integers(2, 8)),
    st.tuples(st.just("refund"), PLACES, AMOUNTS, st.sampled_from(FATES[:5])),
    st.tuples(st.sampled_from(["late", "reverse", "resolve"]), PLACES),
    st.tuples(st.just("crash"), st.sampled_from(["before", "after"])),
    st.sampled_from([("fold",), ("work",), ("work",)]),
)
examples = count()


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(STEPS, min_size=3, max_size=12), credit=st.sampled_from([0, 0, 25]))
async def test_a_balance_matches_the_books_and_covers_sent_payouts(
    desk: Desk, steps: list[tuple[Any, ...]], credit: int
):
    await desk.pool.execute(f"TRUNCATE {TABLES}")
    bank.book.clear()
    assert isinstance(desk.engine.order_store, ObservedOrderStore)
    inner = desk.engine.order_store.inner
    order_store = CrashingOrderStore(inner.inner if isinstance(inner, CrashingOrderStore) else inner)
    desk.engine.order_store.inner = order_store
    tenant = Tenant(f"m_example_{next(examples)}", livemode=False)
    shop = Shop(desk, bank, order_store, PostgresBalances(Database(desk.pool)), tenant, credit)
    if credit:
        await shop.balances.grant(shop.account, credit, f"credit:{tenant.merchant_id}")
    for step in steps:
        with contextlib.suppress(PaymentError):  # refused, or its process crashed
            await shop.step(step)
        await shop.check_cover()
    order_store.crash, bank.fates = None, []
    await shop.work(ROUNDS)
    await shop.check_cover()
    await shop.check_books()


async def test_a_merchant_is_charged_what_it_asked_for_when_a_rail_pays_out_more(desk: Desk):
    bank.book.clear()
    assert isinstance(desk.engine.order_store, ObservedOrderStore)
    order_store = CrashingOrderStore(desk.engine.order_store.inner)
    tenant = Tenant("m_charged", livemode=False)
    shop = Shop(desk, bank, order_store, PostgresBalances(Database(desk.pool)), tenant, credit=25)
    await shop.balances.grant(shop.account, 25, "credit:m_charged")
    bank.fates = ["pays more"]
    await shop.pay_out(7)
    await shop.work(ROUNDS)
    (case,) = await shop.cases()
    assert (case.order.status_detail, bank.stands(case.attempts)) == (StatusDetail.UNDER_REVIEW, 8)
    held = await shop.balances.balance(shop.account)
    assert (held.reserved, held.paid_out, held.available) == (7, 0, 18)
    await shop.resolve(0)
    after = await shop.balances.balance(shop.account)
    assert (after.reserved, after.paid_out, after.available) == (0, 7, 18)


async def test_surplus_money_never_changes_the_balance(desk: Desk):
    bank.book.clear()
    bank.fates = ["fails", "pays"]
    balances = PostgresBalances(Database(desk.pool))
    account = BalanceAccount(merchant_id="m_1", livemode=False, currency="GHS")
    payment_id: str = (await desk.pay())["id"]
    for _ in range(2):
        await desk.work()
    before = await balances.balance(account)
    assert (before.collected, before.refunded) == (1000, 0)
    first, _ = (await desk.case(payment_id)).attempts
    bank.book[first.reference].moved = 1000
    await desk.engine.take_callback(first.rail, first.callback_token)
    for _ in range(4):
        await desk.work()
    assert await desk.pool.fetchval("SELECT status FROM refunds WHERE surplus") == "succeeded"
    assert await balances.balance(account) == before


async def test_a_refused_payout_can_be_requested_again_under_its_key(desk: Desk):
    tenant = Tenant("m_refused", livemode=False)
    balances = PostgresBalances(Database(desk.pool))
    bank.book.clear()
    request = PayoutRequest(
        tenant=tenant,
        amount=700,
        currency="GHS",
        payee=Payee(Msisdn.parse("0241234567"), name="Ama"),
        reference="wages",
    )
    claim = Claim("m_refused:test:payout", "key", b"f" * 32)
    with pytest.raises(InsufficientBalanceError) as refused:
        await desk.engine.pay_out(request, claim)
    assert (refused.value.available, refused.value.needed) == (0, 700)
    assert bank.book == {}
    account = BalanceAccount(merchant_id="m_refused", livemode=False, currency="GHS")
    await balances.grant(account, 700, "credit:m_refused")
    reply = await desk.engine.pay_out(request, claim)
    assert (reply.replayed, msgspec.json.decode(reply.body)["status"]) == (False, "processing")
