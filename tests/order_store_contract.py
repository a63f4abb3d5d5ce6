"""Contract tests of the order store. PostgreSQL's and the simulation's order store pass the same tests.

A store's test module provides a fixture `world` and a class that inherits from OrderStoreContract.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import uuid4

import pytest

from payment_samples import NO_FUNDS, NOW, PAYMENT, PAYOUT, PREPARED, REFUND
from synccash.payments.attempt import Attempt, AttemptState
from synccash.payments.case import (
    AlreadyClaimed,
    Case,
    Claim,
    Commit,
    Entry,
    Event,
    KeepLease,
    Lease,
    NotCovered,
    NotRefundable,
    Opened,
    Opening,
    Order,
    PaymentCase,
    PayoutCase,
    ReferenceTaken,
    RefundCase,
    ReleaseLease,
    StoredAnswer,
    Suspended,
)
from synccash.payments.payer import Msisdn, Network, Payer
from synccash.payments.payment import Payment, PaymentStatus, Refund, RefundStatus, StatusDetail
from synccash.payments.payout import Payout
from synccash.payments.rail import NextAction, NextActionType, Operation
from synccash.resilience.evidence import Evidence

LEASE_S = 15.0
LATER_S = 10_000_000.0
"""Of no interest to the test."""
ANSWER = StoredAnswer(201, b'{"id":  "pay_1", "note": "d\xc3\xa9j\xc3\xa0 vu"}\n')
OTHER_ANSWER = StoredAnswer(202, b"{}")


_OPERATION = {"Payment": Operation.COLLECT, "Refund": Operation.REFUND, "Payout": Operation.PAYOUT}


class World(Protocol):
    """An order store and what a test may do to it and see of it."""

    order_store: Any
    refusal: type[Exception]
    """What a commit raises that would break an invariant."""

    def now(self) -> datetime:
        """The order store's clock."""
        ...

    async def skip(self, seconds: float) -> None:
        """Let the order store's clock go on."""
        ...

    async def events(self) -> Sequence[Event]:
        """All events, in the order of their commits."""
        ...

    async def timeline(self, order_id: str) -> Sequence[Entry]:
        """One order's entries, oldest first."""
        ...

    async def grant(self, merchant_id: str, amount: int) -> None:
        """Let a merchant that has nothing yet pay out so many pesewas more, in test mode."""
        ...

    async def suspend(self, merchant_id: str, *, suspended: bool = True) -> None:
        """Let nothing new start for a merchant, or let it start again."""
        ...

    async def contradictions(self, order_id: str) -> Sequence[str]:
        """The kinds of contradiction recorded for an order."""
        ...


def claim(key: str = "key 1", fingerprint: bytes = b"f" * 32) -> Claim:
    return Claim("m_1:test:POST /payments", key, fingerprint)


def attempt_of(order: Order, sequence: int = 1, **changes: Any) -> Attempt:
    return replace(
        PREPARED,
        id=f"att_{order.id}_{sequence}",
        order_id=order.id,
        sequence=sequence,
        operation=_OPERATION[type(order).__name__],
        reference=str(uuid4()),
        callback_token=f"token_{order.id}_{sequence}",
        amount=order.amount,
        opened_fence=order.fence,
        **changes,
    )


def opening(world: World, number: int = 1, *, key: str | None = None, **changes: Any) -> Opening[Payment]:
    now = world.now()
    payment = replace(
        PAYMENT,
        id=f"pay_{number}",
        reference=changes.pop("reference", f"order {number}"),
        created_at=now,
        updated_at=now,
        expires_at=now + timedelta(seconds=900),
        rail="mtn_momo",
        attempt_count=1,
        **changes.pop("payment", {}),
    )
    asked = Opening(
        claim=claim(key or f"key {number}"),
        order=payment,
        attempt=attempt_of(payment),
        lease=KeepLease(LEASE_S),
        events=(event(payment, "payment.created"),),
        timeline=(Entry(at=now, kind="created", data={"amount": payment.amount}),),
    )
    return replace(asked, **changes)


def event(order: Order, kind: str) -> Event:
    return Event(
        id=f"evt_{uuid4().hex}",
        merchant_id=order.merchant_id,
        livemode=order.livemode,
        type=kind,
        created_at=NOW,
        object_id=order.id,
        object_version=order.version,
        data=b'{"b": 1,  "a": 2}',
    )


def commit(case: Case, *attempts: Attempt, **changes: Any) -> Commit:
    """A commit of the case's order: changes it by `order`, and raises its version by one unless given."""
    before = case.order
    order = replace(before, **({"version": before.version + 1} | changes.pop("order", {})))
    asked = Commit(
        id=f"mv_{uuid4().hex}",
        order=order,
        expected_version=before.version,
        expected_fence=before.fence,
        lease=ReleaseLease(LATER_S),
        attempts=attempts,
    )
    return replace(asked, **changes)


async def opened(world: World, number: int = 1, **changes: Any) -> PaymentCase:
    result = await world.order_store.open(opening(world, number, **changes))
    assert isinstance(result, Opened)
    assert isinstance(result.case.order, Payment)
    return result.case


async def idle(world: World, number: int = 1, *, due_in_s: float = LATER_S) -> PaymentCase:
    """A payment without a lease holder."""
    case = await opened(world, number)
    assert await world.order_store.record(commit(case, lease=ReleaseLease(due_in_s)))
    return await read(world, case)


def _failed_for_good(case: PaymentCase) -> Commit:
    assert case.live is not None
    dead = replace(case.live, state=AttemptState.DECLINED, failure=NO_FUNDS)
    order = {"status": PaymentStatus.FAILED, "last_error": NO_FUNDS}
    return commit(case, dead, order=order, lease=ReleaseLease(None))


async def read(world: World, case: PaymentCase) -> PaymentCase:
    found = await world.order_store.payment(case.order.id)
    assert found is not None
    return found


async def succeeded(world: World, number: int = 1, amount: int = 100) -> PaymentCase:
    """A payment of `amount` that has succeeded."""
    case = await opened(world, number, payment={"amount": amount})
    assert case.live is not None
    debit = replace(
        case.live, state=AttemptState.SUCCEEDED, evidence=Evidence.ACCEPTED, amount_received=amount
    )
    order = {"status": PaymentStatus.SUCCEEDED, "amount_received": amount}
    assert await world.order_store.record(commit(case, debit, order=order))
    return await read(world, case)


def refund_opening(
    case: PaymentCase, number: int, amount: int, key: str | None = None, **changes: Any
) -> Opening[Refund]:
    refund = replace(
        REFUND,
        id=f"re_{number}",
        payment_id=case.order.id,
        attempt_id=case.attempts[0].id,
        amount=amount,
        rail="mtn_momo",
        reason="torn",
        **changes,
    )
    return Opening(
        claim=claim(key or f"refund {number}"),
        order=refund,
        attempt=attempt_of(refund),
        lease=KeepLease(LEASE_S),
        events=(event(refund, "refund.processing"),),
        timeline=(Entry(at=NOW, kind="refund_created", data={"amount": amount}),),
    )


async def refunding(world: World, case: PaymentCase, number: int, amount: int, **changes: Any) -> RefundCase:
    result = await world.order_store.open(refund_opening(case, number, amount, **changes))
    assert isinstance(result, Opened)
    assert isinstance(result.case, RefundCase)
    return result.case


@dataclass(frozen=True)
class Ends:
    """A refund's two ends, as its holder commits them."""

    @staticmethod
    def well(case: RefundCase) -> Commit:
        ended = replace(case.attempts[0], state=AttemptState.SUCCEEDED, evidence=Evidence.ACCEPTED)
        return commit(case, ended, order={"status": RefundStatus.SUCCEEDED})

    @staticmethod
    def badly(case: RefundCase) -> Commit:
        ended = replace(case.attempts[0], state=AttemptState.DECLINED, failure=NO_FUNDS)
        return commit(case, ended, order={"status": RefundStatus.FAILED, "last_error": NO_FUNDS})


async def taken(world: World, limit: int = 10) -> dict[str, Case]:
    cases = await world.order_store.take_due(limit=limit, lease_s=LEASE_S)
    return {case.order.id: case for case in cases}


class ClaimContract:
    """Idempotency keys and references."""

    async def test_opening_a_payment_takes_its_lease(self, world: World):
        asked = opening(world)
        result = await world.order_store.open(asked)
        assert isinstance(result, Opened)
        assert result.case.order == asked.order
        assert result.case.attempts == (asked.attempt,)
        assert await taken(world) == {}

    async def test_concurrent_openings_with_one_key_open_one_payment(self, world: World):
        asked = [opening(world, n, key="same", reference="same") for n in range(12)]
        results = await asyncio.gather(*(world.order_store.open(one) for one in asked))
        winners = [r.case.order.id for r in results if isinstance(r, Opened)]
        assert len(winners) == 1
        for result in results:
            if not isinstance(result, Opened):
                assert isinstance(result, AlreadyClaimed)
                assert result.order_id == winners[0]
                assert result.fingerprint == b"f" * 32
                assert result.answer is None
                assert 0 < result.held_for_s <= LEASE_S
        assert [e.object_id for e in await world.events()] == winners

    async def test_submitted_otps_are_counted_for_each_payment(self, world: World):
        payment, other = await opened(world), await opened(world, 2)
        assert await world.order_store.otp_tries(payment.order.id) == 0
        for _ in range(3):
            kinds = ("otp_submitted", "otp_answered")
            entries = tuple(Entry(at=world.now(), kind=kind, data={}) for kind in kinds)
            assert await world.order_store.record(commit(payment, timeline=entries))
            payment = await read(world, payment)
        assert await world.order_store.otp_tries(payment.order.id) == 3
        assert await world.order_store.otp_tries(other.order.id) == 0

    async def test_the_first_payload_stays_under_its_key(self, world: World):
        await opened(world)
        other = replace(opening(world, 2), claim=claim("key 1", b"g" * 32))
        result = await world.order_store.open(other)
        assert isinstance(result, AlreadyClaimed)
        assert (result.order_id, result.fingerprint) == ("pay_1", b"f" * 32)
        assert await world.order_store.payment("pay_2") is None

    async def test_the_same_key_in_two_scopes_is_two_keys(self, world: World):
        await opened(world)
        elsewhere = replace(opening(world, 2), claim=Claim("m_2:test:POST /payments", "key 1", b"f" * 32))
        assert isinstance(await world.order_store.open(elsewhere), Opened)

    async def test_an_opening_with_a_response_is_replayed_byte_for_byte(self, world: World):
        asked = opening(world, attempt=None, lease=ReleaseLease(LATER_S), answer=ANSWER)
        assert isinstance(await world.order_store.open(asked), Opened)
        again = await world.order_store.open(asked)
        assert isinstance(again, AlreadyClaimed)
        assert again.answer == ANSWER

    async def test_a_claim_under_an_expired_lease_is_held_for_zero_seconds(self, world: World):
        case = await opened(world)
        await world.skip(LEASE_S + 1)
        standing = await world.order_store.claimed(claim().scope, "key 1")
        assert standing == AlreadyClaimed(
            fingerprint=b"f" * 32, order_id=case.order.id, answer=None, held_for_s=0.0
        )

    async def test_an_unused_key_has_no_claim(self, world: World):
        assert await world.order_store.claimed("m_1", "never used") is None

    async def test_releasing_the_lease_completes_the_claim(self, world: World):
        case = await opened(world)
        assert await world.order_store.record(commit(case, answer=ANSWER))
        standing = await world.order_store.claimed(claim().scope, "key 1")
        assert standing is not None
        assert standing.answer == ANSWER
        assert standing.held_for_s == 0

    async def test_the_first_response_is_kept(self, world: World):
        case = await opened(world)
        assert await world.order_store.answer("pay_1", OTHER_ANSWER) == OTHER_ANSWER
        assert await world.order_store.record(commit(case, answer=ANSWER))
        assert await world.order_store.answer("pay_1", ANSWER) == OTHER_ANSWER
        standing = await world.order_store.claimed(claim().scope, "key 1")
        assert standing is not None
        assert standing.answer == OTHER_ANSWER

    async def test_concurrent_responses_to_one_order_are_all_the_same(self, world: World):
        await opened(world)
        given = [StoredAnswer(200 + n, b"%d" % n) for n in range(8)]
        answers = await asyncio.gather(*(world.order_store.answer("pay_1", one) for one in given))
        assert len(set(answers)) == 1

    async def test_a_reference_is_used_for_one_payment_only(self, world: World):
        case = await opened(world, reference="invoice 7")
        assert await world.order_store.record(commit(case, order={"status": PaymentStatus.FAILED}))
        result = await world.order_store.open(opening(world, 2, reference="invoice 7"))
        assert result == ReferenceTaken("pay_1")
        assert await world.order_store.claimed(claim().scope, "key 2") is None
        assert isinstance(await world.order_store.open(opening(world, 3, key="key 2")), Opened)

    async def test_a_repeat_is_replayed_before_its_reference_is_checked(self, world: World):
        asked = opening(world, answer=ANSWER)
        await world.order_store.open(asked)
        again = await world.order_store.open(opening(world, 2, key="key 1", reference="order 1"))
        assert isinstance(again, AlreadyClaimed)

    async def test_concurrent_openings_with_one_reference_open_one_payment(self, world: World):
        asked = [opening(world, n, reference="invoice 7") for n in range(6)]
        results = await asyncio.gather(*(world.order_store.open(one) for one in asked))
        winners = [r.case.order.id for r in results if isinstance(r, Opened)]
        assert len(winners) == 1
        assert [r for r in results if not isinstance(r, Opened)] == [ReferenceTaken(winners[0])] * 5

    @pytest.mark.parametrize("other", [{"merchant_id": "m_2"}, {"livemode": True}])
    async def test_references_are_unique_per_merchant_and_mode(self, world: World, other: dict[str, Any]):
        await opened(world, reference="invoice 7")
        case = await opened(world, 2, reference="invoice 7", payment=other)
        assert case.order.reference == "invoice 7"


class CommitContract:
    """Later commits: compare-and-set, all or nothing."""

    async def test_every_written_field_is_read_back(self, world: World):
        case = await opened(
            world,
            payment={
                "payer": Payer(Msisdn.parse("0201234567"), Network.TELECEL),
                "pinned_rail": "hubtel",
                "description": "Zwölf Bücher “für” Ama",
                "metadata": {"cart": "7", "": "empty key"},
                "routing": {"chosen": "mtn_momo", "considered": [{"rail": "mtn_momo", "score": 1.0}]},
            },
        )
        assert case.live is not None
        changed = replace(
            case.live,
            state=AttemptState.ACKNOWLEDGED,
            evidence=Evidence.ACCEPTED,
            sends=2,
            inquiries=3,
            quiet_since=world.now(),
            latency_ms=120,
            provider_code="PENDING",
            provider_transaction_id="4711",
            retry_decision="queued",
        )
        order = {
            "status": PaymentStatus.REQUIRES_ACTION,
            "status_detail": StatusDetail.AWAITING_PAYER,
            "next_action": NextAction(NextActionType.DIAL_USSD, "Dial *170#"),
            "last_error": NO_FUNDS,
            "provider_transaction_id": "4711",
            "updated_at": world.now(),
        }
        asked = commit(case, changed, order=order)
        assert await world.order_store.record(asked)
        again = await read(world, case)
        assert again.order == asked.order
        assert again.attempts == (changed,)
        assert again.former_lease_end is None

    async def test_what_does_not_exist_is_not_found(self, world: World):
        await opened(world)
        assert await world.order_store.payment("pay_9") is None
        assert await world.order_store.refund("pay_1") is None
        assert await world.order_store.payment("re_1") is None

    @pytest.mark.parametrize("stale", [{"expected_version": 7}, {"expected_fence": 7}])
    async def test_a_commit_from_another_state_writes_nothing(self, world: World, stale: dict[str, int]):
        case = await opened(world)
        assert case.live is not None
        before = await read(world, case)
        lost = commit(
            case,
            replace(case.live, state=AttemptState.UNKNOWN),
            attempt_of(case.order, 2, state=AttemptState.DECLINED),
            order={"status": PaymentStatus.FAILED},
            events=(event(case.order, "payment.failed"),),
            timeline=(Entry(at=NOW, kind="lost", data={}),),
            answer=ANSWER,
            contradiction="late_success",
            **stale,
        )
        assert await world.order_store.record(lost) is False
        after = await read(world, case)
        assert (after.order, after.attempts) == (before.order, before.attempts)
        assert [e.type for e in await world.events()] == ["payment.created"]
        assert [e.kind for e in await world.timeline("pay_1")] == ["created"]
        assert await world.contradictions("pay_1") == []
        standing = await world.order_store.claimed(claim().scope, "key 1")
        assert standing is not None
        assert standing.answer is None

    async def test_of_two_commits_from_one_state_one_is_written(self, world: World):
        case = await opened(world)
        commits = [commit(case, timeline=(Entry(at=NOW, kind=f"by {n}", data={}),)) for n in range(6)]
        outcomes = await asyncio.gather(*(world.order_store.record(one) for one in commits))
        assert sorted(outcomes) == [False] * 5 + [True]
        winner = f"by {outcomes.index(True)}"
        assert [e.kind for e in await world.timeline("pay_1")] == ["created", winner]

    async def test_a_commit_may_leave_the_version_unchanged(self, world: World):
        case = await opened(world)
        assert case.live is not None
        asked = replace(case.live, inquiries=1)
        assert await world.order_store.record(
            commit(case, asked, order={"version": 1}, lease=KeepLease(LEASE_S))
        )
        assert await world.order_store.record(commit(case, replace(asked, inquiries=2), order={"version": 1}))
        assert (await read(world, case)).attempts[0].inquiries == 2

    async def test_events_and_timeline_are_kept_in_the_order_of_their_commits(self, world: World):
        case = await opened(world)
        facts = {"rail": "mtn_momo", "tries": 2, "code": None}
        asked = commit(
            case,
            events=(event(case.order, "payment.processing"), event(case.order, "payment.contradiction")),
            timeline=(Entry(at=NOW, kind="sent", data=facts), Entry(at=NOW, kind="queued", data={})),
        )
        assert await world.order_store.record(asked)
        events = await world.events()
        assert [e.type for e in events] == [
            "payment.created",
            "payment.processing",
            "payment.contradiction",
        ]
        assert tuple(events[1:]) == asked.events
        assert (await world.timeline("pay_1"))[1:] == list(asked.timeline)

    async def test_a_contradiction_is_recorded(self, world: World):
        case = await opened(world)
        assert case.live is not None
        dead = replace(case.live, state=AttemptState.DECLINED)
        assert await world.order_store.record(commit(case, dead, order={"status": PaymentStatus.FAILED}))
        case = await read(world, case)
        surplus = replace(dead, amount_received=2500, provider_transaction_id="4711")
        assert await world.order_store.record(commit(case, surplus, contradiction="late_success"))
        assert await world.contradictions("pay_1") == ["late_success"]
        assert (await read(world, case)).attempts == (surplus,)

    async def test_no_commit_that_leads_to_a_send_is_written_after_expiry(self, world: World):
        case = await opened(world)
        await world.skip(901)
        assert await world.order_store.record(commit(case, refuse_if_expired=True)) is False
        assert await world.order_store.record(commit(case, refuse_if_expired=False)) is True

    async def test_before_expiry_a_send_may_be_committed(self, world: World):
        case = await opened(world)
        await world.skip(899 - LEASE_S)
        assert await world.order_store.record(commit(case, refuse_if_expired=True))

    async def test_a_payment_never_has_two_attempts_that_may_move_money(self, world: World):
        case = await opened(world)
        with pytest.raises(world.refusal):
            await world.order_store.record(commit(case, attempt_of(case.order, 2)))
        after = await read(world, case)
        assert after.order.version == 1
        assert after.attempts == case.attempts

    @pytest.mark.parametrize("state", [AttemptState.UNKNOWN, AttemptState.SUCCEEDED])
    async def test_no_attempt_is_opened_beside_an_open_attempt(self, world: World, state: AttemptState):
        case = await opened(world)
        assert case.live is not None
        alive = replace(case.live, state=state, evidence=Evidence.AMBIGUOUS)
        with pytest.raises(world.refusal):
            await world.order_store.record(commit(case, alive, attempt_of(case.order, 2)))

    async def test_a_fail_over_closes_one_attempt_and_opens_the_next_in_one_commit(self, world: World):
        case = await opened(world)
        assert case.live is not None
        closed = replace(case.live, state=AttemptState.NOT_SENT, evidence=Evidence.NOT_SENT)
        following = attempt_of(case.order, 2)
        assert await world.order_store.record(commit(case, following, closed, lease=KeepLease(LEASE_S)))
        after = await read(world, case)
        assert after.attempts == (closed, following)
        assert after.live == following

    async def test_a_reference_is_never_used_for_two_attempts(self, world: World):
        case = await opened(world)
        other = await opened(world, 2)
        assert case.live is not None
        assert other.live is not None
        dead = replace(other.live, state=AttemptState.NOT_SENT)
        twin = replace(attempt_of(other.order, 2), reference=case.live.reference)
        with pytest.raises(world.refusal):
            await world.order_store.record(commit(other, dead, twin))

    async def test_canceling_raises_the_fence_and_rejects_the_former_holder(self, world: World):
        case = await idle(world, due_in_s=0)
        holder = (await taken(world))["pay_1"]
        assert isinstance(holder.order, Payment)
        canceled = commit(holder, order={"status": PaymentStatus.CANCELED, "fence": 3})
        assert await world.order_store.record(canceled)
        assert await world.order_store.record(commit(holder)) is False
        assert await world.order_store.renew([Lease("pay_1", 2)], lease_s=LEASE_S) == frozenset()
        after = await read(world, case)
        assert (after.order.status, after.order.fence) == (PaymentStatus.CANCELED, 3)
        await world.skip(3600)
        assert await taken(world) == {}


class LeaseContract:
    """Leases, fences, what is due, and hints."""

    async def test_an_order_is_taken_over_when_its_lease_has_run_out(self, world: World):
        begun = world.now()
        case = await opened(world)
        await world.skip(LEASE_S - 5)
        assert await taken(world) == {}
        await world.skip(6)
        over = (await taken(world))["pay_1"]
        assert isinstance(over.order, Payment)
        assert over.order.fence == case.order.fence + 1
        assert over.order.version == case.order.version
        assert over.attempts == case.attempts
        assert over.former_lease_end is not None
        assert over.former_lease_end <= over.as_of
        assert over.as_of >= begun
        assert await taken(world) == {}

    async def test_the_former_lease_holder_cannot_write_after_a_takeover(self, world: World):
        case = await opened(world)
        await world.skip(LEASE_S + 1)
        over = (await taken(world))["pay_1"]
        assert await world.order_store.record(commit(case)) is False
        assert await world.order_store.record(commit(over)) is True

    async def test_an_expired_lease_still_writes_until_a_takeover(self, world: World):
        case = await opened(world)
        await world.skip(LEASE_S + 1)
        assert await world.order_store.record(commit(case)) is True

    async def test_a_released_order_is_due_after_its_wait(self, world: World):
        await idle(world, due_in_s=30)
        await world.skip(25)
        assert await taken(world) == {}
        await world.skip(6)
        case = (await taken(world))["pay_1"]
        assert isinstance(case.order, Payment)
        assert case.former_lease_end is None
        assert case.order.fence == 2

    async def test_an_ended_order_released_without_a_due_time_is_never_due(self, world: World):
        case = await opened(world)
        assert await world.order_store.record(_failed_for_good(case))
        await world.skip(2 * LATER_S)
        assert await taken(world) == {}

    @pytest.mark.parametrize("status", [status for status in PaymentStatus if not status.is_final])
    async def test_an_open_payment_cannot_be_released_without_a_due_time(
        self, world: World, status: PaymentStatus
    ):
        case = await opened(world)
        forgotten = commit(case, order={"status": status}, lease=ReleaseLease(None))
        with pytest.raises(world.refusal):
            await world.order_store.record(forgotten)
        assert (await read(world, case)).order == case.order
        await world.skip(LEASE_S + 1)
        assert set(await taken(world)) == {"pay_1"}

    @pytest.mark.parametrize("detail", [None, *StatusDetail])
    async def test_a_processing_payment_cannot_be_released_without_a_due_time_whatever_its_detail(
        self, world: World, detail: StatusDetail | None
    ):
        case = await opened(world)
        order = {"status": PaymentStatus.PROCESSING, "status_detail": detail}
        with pytest.raises(world.refusal):
            await world.order_store.record(commit(case, order=order, lease=ReleaseLease(None)))

    async def test_a_payment_cannot_be_opened_without_a_due_time(self, world: World):
        with pytest.raises(world.refusal):
            await opened(world, attempt=None, lease=ReleaseLease(None), answer=ANSWER)

    async def test_a_queued_opening_is_due_after_its_wait(self, world: World):
        await opened(world, attempt=None, lease=ReleaseLease(30.0), answer=OTHER_ANSWER)
        assert await taken(world) == {}
        await world.skip(31)
        assert set(await taken(world)) == {"pay_1"}

    async def test_no_order_is_leased_to_two_workers(self, world: World):
        for number in range(6):
            await idle(world, number, due_in_s=0)
        rounds = await asyncio.gather(*(taken(world, 4) for _ in range(4)), taken(world))
        ids = [order_id for one in [*rounds, await taken(world)] for order_id in one]
        assert sorted(ids) == [f"pay_{n}" for n in range(6)]

    async def test_the_longest_due_orders_are_leased_first_up_to_the_limit(self, world: World):
        for number, due_in_s in ((1, 30.0), (2, 10.0), (3, 20.0)):
            await idle(world, number, due_in_s=due_in_s)
        await world.skip(40)
        assert list(await taken(world, 2)) == ["pay_2", "pay_3"]
        assert list(await taken(world, 2)) == ["pay_1"]

    async def test_hinted_orders_come_first(self, world: World):
        await idle(world, 1, due_in_s=0)
        await idle(world, 2, due_in_s=3600)
        await world.skip(60)
        assert await world.order_store.hint("token_pay_2_1") is True
        assert list(await taken(world, 1)) == ["pay_2"]
        assert list(await taken(world, 1)) == ["pay_1"]

    async def test_a_hint_for_an_unknown_token_returns_false(self, world: World):
        assert await world.order_store.hint("no such token") is False

    async def test_a_hint_makes_an_ended_order_due(self, world: World):
        case = await opened(world)
        assert await world.order_store.record(_failed_for_good(case))
        assert await world.order_store.hint("token_pay_1_1") is True
        assert set(await taken(world)) == {"pay_1"}

    async def test_a_hint_during_a_lease_makes_the_order_due_at_its_release(self, world: World):
        case = await opened(world)
        assert await world.order_store.hint("token_pay_1_1") is True
        assert await taken(world) == {}
        assert await world.order_store.record(commit(case))
        assert set(await taken(world)) == {"pay_1"}

    async def test_a_hint_survives_a_commit_that_keeps_the_lease(self, world: World):
        case = await opened(world)
        await world.order_store.hint("token_pay_1_1")
        kept = commit(case, lease=KeepLease(LEASE_S))
        assert await world.order_store.record(kept)
        assert await taken(world) == {}
        assert await world.order_store.record(commit(await read(world, case), lease=ReleaseLease(3600.0)))
        assert set(await taken(world)) == {"pay_1"}

    async def test_a_hint_makes_an_order_due_once(self, world: World):
        await idle(world)
        await world.order_store.hint("token_pay_1_1")
        case = (await taken(world))["pay_1"]
        assert await world.order_store.record(commit(case, order={"version": 2}))
        assert await taken(world) == {}

    async def test_a_heartbeat_extends_the_lease(self, world: World):
        await opened(world)
        await world.skip(LEASE_S - 5)
        lease = Lease("pay_1", 1)
        assert await world.order_store.renew([lease], lease_s=LEASE_S) == {lease}
        await world.skip(LEASE_S - 5)
        assert await taken(world) == {}
        await world.skip(6)
        assert set(await taken(world)) == {"pay_1"}

    async def test_a_heartbeat_reports_lost_leases_and_extends_no_released_lease(self, world: World):
        await opened(world, 1)
        await idle(world, 2)
        await world.skip(LEASE_S + 1)
        await taken(world)
        held = await opened(world, 3)
        leases = [Lease("pay_1", 1), Lease("pay_2", 1), Lease(held.order.id, 1), Lease("pay_9", 1)]
        kept = await world.order_store.renew(leases, lease_s=LEASE_S)
        assert kept == {Lease("pay_2", 1), Lease("pay_3", 1)}
        assert [case.order.id for case in await taken(world)] == []
        await world.skip(1)
        assert [case.order.id for case in await taken(world)] == []
        assert await world.order_store.renew([], lease_s=LEASE_S) == frozenset()


class RefundContract:
    """Money on its way back."""

    async def test_opening_a_refund_returns_all_that_its_send_needs(self, world: World):
        case = await succeeded(world)
        asked = refund_opening(case, 1, 60)
        result = await world.order_store.open(asked)
        assert isinstance(result, Opened)
        assert isinstance(result.case, RefundCase)
        assert result.case.order == asked.order
        assert result.case.attempts == (asked.attempt,)
        assert result.case.payment == case.order
        assert result.case.debit == replace(case.attempts[0], refund_reserved=60)
        again = await world.order_store.refund("re_1")
        assert again == replace(result.case, as_of=again.as_of)
        assert [e.type for e in await world.events()] == ["payment.created", "refund.processing"]
        assert [e.kind for e in await world.timeline("re_1")] == ["refund_created"]

    async def test_of_two_concurrent_refunds_of_60_on_100_one_is_opened(self, world: World):
        case = await succeeded(world, amount=100)
        results = await asyncio.gather(
            *(world.order_store.open(refund_opening(case, n, 60)) for n in range(4))
        )
        assert sum(isinstance(r, Opened) for r in results) == 1
        assert [r for r in results if not isinstance(r, Opened)] == [NotRefundable(40)] * 3
        claims = [await world.order_store.claimed(claim().scope, f"refund {n}") for n in range(4)]
        assert sum(c is not None for c in claims) == 1
        assert isinstance(await world.order_store.open(refund_opening(case, 9, 40)), Opened)

    async def test_concurrent_refunds_with_one_key_open_one_refund(self, world: World):
        case = await succeeded(world, amount=100)
        asked = [refund_opening(case, n, 100, key="same") for n in range(5)]
        results = await asyncio.gather(*(world.order_store.open(one) for one in asked))
        winners = [r.case.order.id for r in results if isinstance(r, Opened)]
        assert len(winners) == 1
        rest = [r for r in results if not isinstance(r, Opened)]
        assert all(isinstance(r, AlreadyClaimed) and r.order_id == winners[0] for r in rest)

    async def test_a_payment_that_received_no_money_cannot_be_refunded(self, world: World):
        case = await opened(world)
        result = await world.order_store.open(refund_opening(case, 1, 1))
        assert result == NotRefundable(0)

    async def test_a_refund_that_succeeds_counts_on_its_payment(self, world: World):
        case = await succeeded(world, amount=100)
        refund = await refunding(world, case, 1, 60)
        assert await world.order_store.record(Ends.well(refund))
        after = await read(world, case)
        assert after.order.amount_refunded == 60
        assert after.order.version == case.order.version + 1
        assert after.attempts[0].refund_reserved == 60
        again = await world.order_store.open(refund_opening(case, 2, 41))
        assert again == NotRefundable(40)

    async def test_a_failed_refund_releases_its_reservation(self, world: World):
        case = await succeeded(world, amount=100)
        refund = await refunding(world, case, 1, 60)
        assert await world.order_store.record(Ends.badly(refund))
        after = await read(world, case)
        assert after.order.amount_refunded == 0
        assert after.attempts[0].refund_reserved == 0
        assert isinstance(await world.order_store.open(refund_opening(case, 2, 100)), Opened)

    async def test_a_failed_refund_makes_its_ended_payment_due(self, world: World):
        case = await succeeded(world, amount=100)
        refund = await refunding(world, case, 1, 60)
        assert case.order.id not in await taken(world)
        assert await world.order_store.record(Ends.badly(refund))
        again = (await taken(world))[case.order.id]
        assert again.hinted

    async def test_a_failed_refund_does_not_break_the_lease_of_its_payment(self, world: World):
        case = await succeeded(world, amount=100)
        refund = await refunding(world, case, 1, 60)
        await world.order_store.hint_reference(case.attempts[0].rail, str(case.attempts[0].reference))
        assert case.order.id in await taken(world)
        assert await world.order_store.record(Ends.badly(refund))
        assert case.order.id not in await taken(world)

    async def test_a_failed_refund_that_succeeded_late_is_not_made_again(self, world: World):
        case = await succeeded(world, amount=100)
        assert await world.order_store.record(Ends.badly(await refunding(world, case, 1, 60)))
        failed = await world.order_store.refund("re_1")
        assert failed is not None
        came = replace(failed.attempts[0], amount_received=60)
        assert await world.order_store.record(commit(failed, came, contradiction="late_success"))
        after = await read(world, case)
        assert (after.order.amount_refunded, after.attempts[0].refund_reserved) == (60, 60)
        assert await world.order_store.open(refund_opening(case, 2, 41)) == NotRefundable(40)
        refund = await world.order_store.refund("re_1")
        assert refund is not None
        assert await world.order_store.record(
            commit(refund, replace(came, inquiries=9), contradiction="late_success")
        )
        again = await read(world, case)
        assert (again.order, again.attempts) == (after.order, after.attempts)

    async def test_a_late_refund_success_after_another_refund_counts_up_to_the_amount_received(
        self, world: World
    ):
        case = await succeeded(world, amount=100)
        assert await world.order_store.record(Ends.badly(await refunding(world, case, 1, 60)))
        failed = await world.order_store.refund("re_1")
        assert failed is not None
        assert await world.order_store.record(Ends.well(await refunding(world, case, 2, 80)))
        came = replace(failed.attempts[0], amount_received=60)
        assert await world.order_store.record(commit(failed, came, contradiction="late_success"))
        after = await read(world, case)
        assert (after.order.amount_refunded, after.attempts[0].refund_reserved) == (100, 100)

    async def test_a_failed_refund_keeps_its_reservation_if_an_earlier_attempt_succeeded(self, world: World):
        case = await succeeded(world, amount=100)
        refund = await refunding(world, case, 1, 60)
        first = replace(
            refund.attempts[0],
            state=AttemptState.NOT_SENT,
            evidence=Evidence.REFUSED_LATER,
            amount_received=60,
        )
        assert await world.order_store.record(commit(refund, first, contradiction="late_success"))
        refund = await world.order_store.refund("re_1")
        assert refund is not None
        assert await world.order_store.record(commit(refund, order={"status": RefundStatus.FAILED}))
        after = await read(world, case)
        assert (after.order.amount_refunded, after.attempts[0].refund_reserved) == (60, 60)

    @pytest.mark.parametrize("end", [Ends.well, Ends.badly])
    async def test_a_refund_ends_once(self, world: World, end: Any):
        case = await succeeded(world, amount=100)
        refund = await refunding(world, case, 1, 60)
        other = await refunding(world, case, 2, 40)
        assert await world.order_store.record(Ends.badly(other))
        assert await world.order_store.record(end(refund))
        once = await read(world, case)
        ended = await world.order_store.refund("re_1")
        assert ended is not None
        assert await world.order_store.record(commit(ended, contradiction="late_success"))
        assert (await read(world, case)).attempts == once.attempts
        assert (await read(world, case)).order.amount_refunded == once.order.amount_refunded

    async def test_an_open_refund_cannot_be_released_without_a_due_time(self, world: World):
        case = await refunding(world, await succeeded(world), 1, 60)
        with pytest.raises(world.refusal):
            await world.order_store.record(commit(case, lease=ReleaseLease(None)))

    async def test_an_open_refund_does_not_count_as_refunded(self, world: World):
        case = await succeeded(world, amount=100)
        refund = await refunding(world, case, 1, 60)
        assert await world.order_store.record(
            commit(refund, order={"status_detail": StatusDetail.OUTCOME_UNKNOWN})
        )
        after = await read(world, case)
        assert (after.order.amount_refunded, after.attempts[0].refund_reserved) == (0, 60)

    async def test_a_commit_of_the_payment_does_not_change_reservations(self, world: World):
        case = await succeeded(world, amount=100)
        await refunding(world, case, 1, 60)
        stale = case.attempts[0]
        assert await world.order_store.record(
            commit(case, replace(stale, inquiries=9), contradiction="noted")
        )
        after = await read(world, case)
        assert (after.attempts[0].inquiries, after.attempts[0].refund_reserved) == (9, 60)

    async def test_a_refund_under_an_expired_lease_is_taken_over_with_all_its_data(self, world: World):
        case = await succeeded(world, amount=100)
        refund = await refunding(world, case, 1, 60)
        await world.skip(LEASE_S + 1)
        over = (await taken(world))["re_1"]
        assert isinstance(over, RefundCase)
        assert over.order == replace(refund.order, fence=2)
        assert over.attempts == refund.attempts
        assert over.debit == refund.debit
        assert over.payment.id == case.order.id
        assert over.former_lease_end is not None
        assert await world.order_store.record(Ends.well(refund)) is False
        assert await world.order_store.record(Ends.well(over)) is True

    async def test_payments_and_refunds_share_one_queue(self, world: World):
        case = await succeeded(world, 1)
        refund = await refunding(world, case, 1, 60)
        assert await world.order_store.record(commit(refund, lease=ReleaseLease(10.0)))
        await idle(world, 2, due_in_s=20)
        await idle(world, 3, due_in_s=5)
        await world.skip(30)
        assert list(await taken(world)) == ["pay_3", "re_1", "pay_2"]

    async def test_a_hint_makes_a_refund_due(self, world: World):
        case = await succeeded(world)
        refund = await refunding(world, case, 1, 60)
        assert await world.order_store.record(commit(refund))
        assert await world.order_store.hint("token_re_1_1") is True
        assert set(await taken(world)) == {"re_1"}

    async def test_a_heartbeat_extends_leases_of_payments_and_refunds(self, world: World):
        case = await succeeded(world, 1)
        await refunding(world, case, 1, 60)
        await opened(world, 2)
        leases = frozenset({Lease("re_1", 1), Lease("pay_2", 1)})
        assert await world.order_store.renew(tuple(leases), lease_s=LEASE_S) == leases

    async def test_a_refund_completes_its_own_claim(self, world: World):
        case = await succeeded(world)
        refund = await refunding(world, case, 1, 60)
        assert await world.order_store.record(replace(Ends.well(refund), answer=ANSWER))
        again = await world.order_store.open(refund_opening(case, 7, 60, key="refund 1"))
        assert isinstance(again, AlreadyClaimed)
        assert (again.order_id, again.answer) == ("re_1", ANSWER)

    async def test_an_exclusive_refund_blocks_another_until_it_ends(self, world: World):
        case = await succeeded(world, amount=100)
        asked = [refund_opening(case, n, 20, exclusive=True) for n in range(3)]
        results = await asyncio.gather(*(world.order_store.open(one) for one in asked))
        first = next(r.case for r in results if isinstance(r, Opened))
        assert [r for r in results if not isinstance(r, Opened)] == [NotRefundable(0, under_way=True)] * 2
        assert (await read(world, case)).attempts[0].refund_reserved == 20
        assert await world.order_store.record(Ends.well(first))
        again = await world.order_store.open(refund_opening(case, 7, 20, exclusive=True))
        assert isinstance(again, Opened)

    async def test_a_surplus_is_refunded_once_and_is_not_part_of_its_payment(self, world: World):
        case = await opened(world, payment={"amount": 100})
        assert case.live is not None
        dead = replace(case.live, state=AttemptState.NOT_SENT, evidence=Evidence.NOT_SENT)
        assert await world.order_store.record(commit(case, dead, order={"status": PaymentStatus.FAILED}))
        case = await read(world, case)
        late = replace(case.attempts[0], amount_received=100)
        assert await world.order_store.record(commit(case, late, contradiction="late_success"))
        case = await read(world, case)
        refund = await refunding(world, case, 1, 60, surplus=True)
        with pytest.raises(world.refusal):
            await world.order_store.open(refund_opening(case, 2, 40, surplus=True))
        assert await world.order_store.record(Ends.badly(refund))
        again = await refunding(world, case, 3, 60, surplus=True)
        assert await world.order_store.record(Ends.well(again))
        with pytest.raises(world.refusal):
            await world.order_store.open(refund_opening(case, 4, 40, surplus=True))
        by_hand = await refunding(world, case, 5, 40)
        assert by_hand.order.surplus is False

    async def test_a_succeeded_surplus_refund_does_not_change_its_payment(self, world: World):
        case = await succeeded(world, amount=100)
        refund = await refunding(world, case, 1, 100, surplus=True)
        assert await world.order_store.record(Ends.well(refund))
        after = await read(world, case)
        assert (after.order.amount_refunded, after.attempts[0].refund_reserved) == (0, 100)

    async def test_a_worker_leases_a_refund_opened_without_an_attempt(self, world: World):
        case = await succeeded(world, amount=100)
        asked = replace(refund_opening(case, 1, 60), attempt=None, lease=ReleaseLease(0.0))
        assert isinstance(await world.order_store.open(asked), Opened)
        over = (await taken(world))["re_1"]
        assert isinstance(over, RefundCase)
        assert over.attempts == ()
        assert over.debit.refund_reserved == 60


def payout_opening(world: World, number: int = 1, **changes: Any) -> Opening[Payout]:
    payout = replace(
        PAYOUT,
        id=f"po_{number}",
        reference=changes.pop("reference", f"wages {number}"),
        expires_at=world.now() + timedelta(seconds=900),
        rail="mtn_momo",
        attempt_count=1,
        **changes.pop("payout", {}),
    )
    asked = Opening(
        claim=claim(changes.pop("key", f"payout {number}")),
        order=payout,
        attempt=attempt_of(payout),
        lease=KeepLease(LEASE_S),
        events=(event(payout, "payout.processing"),),
        timeline=(Entry(at=NOW, kind="created", data={}),),
    )
    return replace(asked, **changes)


async def paying_out(world: World, number: int = 1, **changes: Any) -> PayoutCase:
    result = await world.order_store.open(payout_opening(world, number, **changes))
    assert isinstance(result, Opened)
    assert isinstance(result.case.order, Payout)
    return result.case


class PayoutContract:
    """Money sent to a wallet."""

    async def test_a_payout_is_opened_once_with_all_that_its_send_needs(self, world: World):
        asked = payout_opening(world, payout={"metadata": {"cart": "7"}, "routing": {"chosen": "mtn_momo"}})
        result = await world.order_store.open(asked)
        assert isinstance(result, Opened)
        again = await world.order_store.payout("po_1")
        assert again is not None
        assert (again.order, again.attempts) == (asked.order, (asked.attempt,))
        assert isinstance(await world.order_store.open(asked), AlreadyClaimed)
        assert [e.type for e in await world.events()] == ["payout.processing"]
        assert [e.kind for e in await world.timeline("po_1")] == ["created"]
        assert await world.order_store.payment("po_1") is None

    async def test_a_reference_is_used_for_one_payout_only(self, world: World):
        asked = [payout_opening(world, n, reference="wages") for n in range(6)]
        results = await asyncio.gather(*(world.order_store.open(one) for one in asked))
        winners = [r.case.order.id for r in results if isinstance(r, Opened)]
        assert len(winners) == 1
        assert [r for r in results if not isinstance(r, Opened)] == [ReferenceTaken(winners[0])] * 5

    async def test_a_payment_and_a_payout_may_share_a_reference(self, world: World):
        await opened(world, reference="invoice 7")
        assert (await paying_out(world, reference="invoice 7")).order.reference == "invoice 7"

    async def test_every_written_field_of_a_payout_is_read_back(self, world: World):
        case = await paying_out(world)
        assert case.live is not None
        after = replace(case.live, state=AttemptState.DECLINED, failure=NO_FUNDS, provider_code="X")
        order = {
            "status": RefundStatus.FAILED,
            "status_detail": StatusDetail.EXPIRED,
            "last_error": NO_FUNDS,
            "provider_transaction_id": "4711",
            "routing": {"chosen": None},
        }
        asked = commit(case, after, order=order)
        assert await world.order_store.record(asked)
        again = await world.order_store.payout("po_1")
        assert again is not None
        assert (again.order, again.attempts) == (asked.order, (after,))

    async def test_a_payout_never_has_two_attempts_that_may_move_money(self, world: World):
        case = await paying_out(world)
        with pytest.raises(world.refusal):
            await world.order_store.record(commit(case, attempt_of(case.order, 2)))

    async def test_no_payout_is_sent_after_its_expiry(self, world: World):
        case = await paying_out(world)
        await world.skip(901)
        assert await world.order_store.record(commit(case, refuse_if_expired=True)) is False

    async def test_an_open_payout_cannot_be_released_without_a_due_time(self, world: World):
        case = await paying_out(world)
        with pytest.raises(world.refusal):
            await world.order_store.record(commit(case, lease=ReleaseLease(None)))

    async def test_a_payout_under_an_expired_lease_is_taken_over(self, world: World):
        case = await paying_out(world)
        await world.skip(LEASE_S + 1)
        over = (await taken(world))["po_1"]
        assert isinstance(over.order, Payout)
        assert (over.order.fence, over.attempts) == (2, case.attempts)
        assert over.former_lease_end is not None
        assert await world.order_store.record(commit(case)) is False
        assert await world.order_store.record(commit(over)) is True

    async def test_a_heartbeat_extends_the_lease_of_a_payout(self, world: World):
        await paying_out(world)
        assert await world.order_store.renew([Lease("po_1", 1)], lease_s=LEASE_S) == {Lease("po_1", 1)}

    async def test_a_payout_completes_its_own_claim(self, world: World):
        case = await paying_out(world)
        assert await world.order_store.record(commit(case, answer=ANSWER))
        again = await world.order_store.open(payout_opening(world, 7, key="payout 1"))
        assert isinstance(again, AlreadyClaimed)
        assert (again.order_id, again.answer) == ("po_1", ANSWER)


class HintContract:
    """What callbacks say."""

    async def test_a_leased_order_shows_whether_a_callback_made_it_due(self, world: World):
        await idle(world, due_in_s=0)
        assert (await taken(world))["pay_1"].hinted is False
        await world.skip(LEASE_S + 1)
        await world.order_store.hint("token_pay_1_1")
        assert (await taken(world))["pay_1"].hinted is True

    async def test_later_commits_keep_the_failure_that_a_callback_claimed(self, world: World):
        case = await opened(world)
        assert case.live is not None
        assert await world.order_store.hint("token_pay_1_1", NO_FUNDS)
        assert await world.order_store.record(commit(case, replace(case.live, inquiries=3)))
        again = (await read(world, case)).attempts[0]
        assert (again.inquiries, again.reported_failure) == (3, NO_FUNDS)
        assert await world.order_store.hint("token_pay_1_1")
        assert (await read(world, case)).attempts[0].reported_failure == NO_FUNDS

    async def test_later_commits_keep_the_time_of_a_callback(self, world: World):
        case = await opened(world)
        assert case.live is not None
        assert await world.order_store.hint("token_pay_1_1")
        came_at = (await read(world, case)).attempts[0].callback_at
        assert came_at is not None
        checked = replace(case.live, state=AttemptState.NOT_SENT, callback_checked_at=NOW)
        assert await world.order_store.record(commit(case, checked))
        again = (await read(world, case)).attempts[0]
        assert (again.callback_at, again.callback_checked_at) == (came_at, NOW)

    async def test_a_hint_by_reference_matches_the_attempt_of_one_rail_only(self, world: World):
        case = await paying_out(world)
        assert case.live is not None
        assert await world.order_store.record(commit(case))
        assert await world.order_store.hint_reference("paystack", case.live.reference) is False
        assert await world.order_store.hint_reference("mtn_momo", "no reference of ours") is False
        assert await taken(world) == {}
        assert await world.order_store.hint_reference("mtn_momo", case.live.reference) is True
        assert set(await taken(world)) == {"po_1"}


POOR = {"merchant_id": "m_poor"}


def poor(world: World, number: int, amount: int, **changes: Any) -> Opening[Payout]:
    """A payout of a merchant that has what the test grants."""
    return payout_opening(world, number, payout={**POOR, "amount": amount}, **changes)


class BalanceContract:
    """Nothing is sent that the merchant's balance does not cover, and nothing starts for a suspended one."""

    async def test_a_payout_beyond_the_balance_is_refused_and_its_key_stays_free(self, world: World):
        await world.grant("m_poor", 100)
        assert isinstance(await world.order_store.open(poor(world, 1, 60)), Opened)
        asked = poor(world, 2, 60)
        assert await world.order_store.open(asked) == NotCovered(available=40, needed=60)
        assert await world.order_store.claimed(claim().scope, asked.claim.key) is None
        assert await world.order_store.payout("po_2") is None
        await world.grant("m_poor", 20)
        assert isinstance(await world.order_store.open(asked), Opened)

    async def test_concurrent_payouts_open_only_as_far_as_the_balance_covers(self, world: World):
        await world.grant("m_poor", 305)
        asked = [poor(world, number, 10) for number in range(64)]
        results = await asyncio.gather(*map(world.order_store.open, asked))
        assert sum(isinstance(result, Opened) for result in results) == 30
        assert {r for r in results if not isinstance(r, Opened)} == {NotCovered(available=5, needed=10)}

    async def test_a_refused_payout_does_not_stop_payouts_of_other_merchants(self, world: World):
        await world.grant("m_poor", 10)
        asked = [poor(world, 1, 11), payout_opening(world, 2), poor(world, 3, 10)]
        results = await asyncio.gather(*map(world.order_store.open, asked))
        assert results[0] == NotCovered(available=10, needed=11)
        assert all(isinstance(result, Opened) for result in results[1:])

    async def test_a_repeated_payout_does_not_reduce_the_balance(self, world: World):
        await world.grant("m_poor", 60)
        asked = poor(world, 1, 20)
        assert isinstance(await world.order_store.open(asked), Opened)
        results = await asyncio.gather(*(world.order_store.open(asked) for _ in range(4)))
        assert all(isinstance(result, AlreadyClaimed) for result in results)
        beside = [poor(world, 2, 10), asked, poor(world, 3, 30)]
        results = await asyncio.gather(*map(world.order_store.open, beside))
        assert [type(result) for result in results] == [Opened, AlreadyClaimed, Opened]

    async def test_a_concurrent_repeat_is_not_refused_for_a_low_balance(self, world: World):
        await world.grant("m_poor", 60)
        asked = [poor(world, number, 60, key="one key", reference="one") for number in range(4)]
        results = await asyncio.gather(*map(world.order_store.open, asked))
        assert sum(isinstance(result, Opened) for result in results) == 1
        assert sum(isinstance(result, AlreadyClaimed) for result in results) == 3

    async def test_a_failed_payout_releases_its_reserved_balance_and_one_under_review_does_not(
        self, world: World
    ):
        await world.grant("m_poor", 100)
        opened = await world.order_store.open(poor(world, 1, 60))
        assert isinstance(opened, Opened)
        assert opened.case.live is not None
        review = {"status_detail": StatusDetail.UNDER_REVIEW}
        assert await world.order_store.record(commit(opened.case, order=review))
        assert await world.order_store.open(poor(world, 2, 41)) == NotCovered(available=40, needed=41)
        case = await world.order_store.payout("po_1")
        assert case is not None
        dead = replace(case.attempts[0], state=AttemptState.DECLINED, failure=NO_FUNDS)
        assert await world.order_store.record(commit(case, dead, order={"status": RefundStatus.FAILED}))
        assert isinstance(await world.order_store.open(poor(world, 2, 100)), Opened)

    async def test_collected_money_can_be_paid_out_once(self, world: World):
        await world.grant("m_poor", 0)
        case = await opened(world, payment={**POOR, "amount": 100})
        assert await world.order_store.open(poor(world, 1, 1)) == NotCovered(available=0, needed=1)
        assert await world.order_store.record(_paid(case))
        assert isinstance(await world.order_store.open(poor(world, 2, 100)), Opened)
        assert await world.order_store.open(poor(world, 3, 1)) == NotCovered(available=0, needed=1)

    async def test_paid_out_money_is_not_refunded_but_a_surplus_is(self, world: World):
        await world.grant("m_poor", 0)
        case = await opened(world, payment={**POOR, "amount": 100})
        assert await world.order_store.record(_paid(case, names_debit=False))
        assert isinstance(await world.order_store.open(poor(world, 1, 60)), Opened)
        case = await read(world, case)
        asked = refund_opening(case, 1, 41, **POOR)
        assert await world.order_store.open(asked) == NotCovered(available=40, needed=41)
        assert await world.order_store.claimed(claim().scope, asked.claim.key) is None
        assert isinstance(await world.order_store.open(refund_opening(case, 2, 40, **POOR)), Opened)
        surplus = refund_opening(case, 3, 60, surplus=True, **POOR)
        assert isinstance(await world.order_store.open(surplus), Opened)

    async def test_reversed_money_does_not_cover_a_payout(self, world: World):
        await world.grant("m_poor", 0)
        case = await opened(world, payment={**POOR, "amount": 100})
        assert await world.order_store.record(_paid(case))
        case = await read(world, case)
        back = replace(case.attempts[0], reversed_at=NOW)
        assert await world.order_store.record(commit(case, back, contradiction="reversed"))
        assert await world.order_store.open(poor(world, 1, 1)) == NotCovered(available=0, needed=1)

    async def test_a_returned_payout_can_be_paid_out_again(self, world: World):
        await world.grant("m_poor", 100)
        opened = await world.order_store.open(poor(world, 1, 100))
        assert isinstance(opened, Opened)
        assert opened.case.live is not None
        sent = replace(opened.case.live, state=AttemptState.SUCCEEDED, amount_received=100)
        assert await world.order_store.record(
            commit(opened.case, sent, order={"status": RefundStatus.SUCCEEDED})
        )
        assert await world.order_store.open(poor(world, 2, 1)) == NotCovered(available=0, needed=1)
        case = await world.order_store.payout("po_1")
        assert case is not None
        back = replace(case.attempts[0], reversed_at=NOW)
        assert await world.order_store.record(commit(case, back, contradiction="reversed"))
        assert isinstance(await world.order_store.open(poor(world, 2, 100)), Opened)

    async def test_a_suspended_merchant_starts_no_orders_and_its_open_orders_continue(self, world: World):
        await world.grant("m_poor", 0)
        case = await opened(world, payment={**POOR, "amount": 100})
        await world.suspend("m_poor")
        assert await world.order_store.open(opening(world, 2, payment=POOR)) == Suspended()
        assert await world.order_store.claimed(claim().scope, "key 2") is None
        assert isinstance(await world.order_store.open(opening(world, payment=POOR)), AlreadyClaimed)
        assert isinstance(await world.order_store.open(opening(world, 3)), Opened)
        assert await world.order_store.record(_paid(case, names_debit=False))
        case = await read(world, case)
        assert await world.order_store.open(poor(world, 1, 10)) == Suspended()
        assert await world.order_store.open(refund_opening(case, 1, 10, **POOR)) == Suspended()
        surplus = refund_opening(case, 2, 60, surplus=True, **POOR)
        assert isinstance(await world.order_store.open(surplus), Opened)
        await world.suspend("m_poor", suspended=False)
        assert isinstance(await world.order_store.open(poor(world, 1, 10)), Opened)


def _paid(case: PaymentCase, *, names_debit: bool = True) -> Commit:
    """The payment's success; without `names_debit` as a former version wrote it, of which any debit may count
    as a surplus."""
    assert case.live is not None
    amount = case.order.amount
    debit = replace(case.live, state=AttemptState.SUCCEEDED, amount_received=amount)
    order = {
        "status": PaymentStatus.SUCCEEDED,
        "amount_received": amount,
        "paid_by": debit.id if names_debit else None,
    }
    return commit(case, debit, order=order)


class OrderStoreContract(
    ClaimContract,
    CommitContract,
    LeaseContract,
    RefundContract,
    PayoutContract,
    BalanceContract,
    HintContract,
):
    """All of it."""
