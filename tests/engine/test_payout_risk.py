"""Decisions of rules, a fraud service and operators about payouts, over PostgreSQL and scripted rails."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import msgspec
import pytest

from engine.scripted import ACCEPTED, Desk
from synccash.engine.progress.screening import OutagePolicy, Screening
from synccash.engine.requests.payout_velocity import PayoutVelocityLoader
from synccash.engine.system import SystemClock
from synccash.payments.case import Claim
from synccash.payments.errors import (
    InsufficientBalanceError,
    ObjectNotFoundError,
    ReferenceAlreadyUsedError,
    StateConflictError,
)
from synccash.payments.lifecycle import Routed
from synccash.payments.payer import Msisdn
from synccash.payments.payment import OrderKind
from synccash.payments.payout import Payee, Payout
from synccash.payments.request import PayoutRequest, Tenant
from synccash.payments.risk import (
    PayoutRules,
    RiskDecision,
    RiskOutcome,
    RiskRules,
    Velocity,
    VelocityCounters,
)
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.recent_payouts import PostgresRecentPayouts

NUMBER = "233241234567"
REVIEW = pytest.mark.parametrize("payout_rules", [PayoutRules(general=RiskRules(review_from=700))])


class Service:
    """A fraud service with a scripted answer; without one it is down."""

    def __init__(self, outcome: RiskOutcome | None, outage: OutagePolicy | None = None) -> None:
        self.outcome = outcome
        self.asked: list[str] = []
        self.screening = Screening(self.ask, outage or OutagePolicy())

    async def ask(self, order: Routed) -> RiskDecision:
        self.asked.append(order.id)
        if self.outcome is None:
            raise ConnectionError
        return RiskDecision(self.outcome, ("fraud:told",))


async def stands(desk: Desk, payout_id: str) -> Payout:
    order = await desk.order(payout_id)
    assert isinstance(order, Payout)
    return order


async def decided(desk: Desk, payout_id: str, deed: str) -> None:
    decide = getattr(desk.engine.reviewing, deed)
    await decide(payout_id, by="key_admin", reason="wages of May", kind=OrderKind.PAYOUT)


async def noted(desk: Desk, kind: str) -> dict:
    return msgspec.json.decode(await desk.pool.fetchval("SELECT data FROM timeline WHERE kind = $1", kind))


async def told(desk: Desk) -> Sequence[str]:
    return [row["type"] for row in await desk.pool.fetch("SELECT type FROM events ORDER BY object_version")]


def sent(desk: Desk) -> int:
    return len(desk.first.sent) + len(desk.second.sent)


@pytest.mark.parametrize(
    ("payout_rules", "reason"),
    [
        (PayoutRules(general=RiskRules(blocked_payers=frozenset({NUMBER}))), "payee_blocked"),
        (PayoutRules(general=RiskRules(ceiling=699)), "above_ceiling"),
        (PayoutRules(merchants={"m_1": RiskRules(ceiling=699)}), "above_ceiling"),
    ],
)
async def test_a_payout_declined_by_a_rule_fails_at_once_with_its_reasons(desk: Desk, reason: str):
    payout = await desk.pay_out()
    assert (payout["status"], payout["last_error"]["code"]) == ("failed", "risk_declined")
    assert await noted(desk, "risk_assessed") == {"outcome": "decline", "reasons": [reason]}
    await desk.work()
    assert (sent(desk), await told(desk)) == (0, ["payout.failed"])


@pytest.mark.parametrize("payout_rules", [PayoutRules(merchants={"m_2": RiskRules(ceiling=1)})])
@pytest.mark.parametrize("rules", [RiskRules(ceiling=699)])
async def test_limits_of_payments_and_of_other_merchants_do_not_apply_to_payouts(desk: Desk):
    payout = await desk.pay_out()
    assert (payout["status"], sent(desk)) == ("processing", 1)


@REVIEW
async def test_a_payout_in_review_is_sent_once_after_approval(desk: Desk):
    payout = await desk.pay_out()
    assert (payout["status"], payout["status_detail"]) == ("processing", "risk_review")
    await desk.work()
    assert (sent(desk), await desk.waiting()) == (0, [(payout["id"], "risk_review")])
    await decided(desk, payout["id"], "approve")
    await desk.work()
    assert (sent(desk), (await stands(desk, payout["id"])).status_detail) == (1, None)
    assert await noted(desk, "approved") == {"by": "key_admin", "reason": "wages of May"}
    for deed in ("approve", "decline"):
        with pytest.raises(StateConflictError, match="only a payout in risk review"):
            await decided(desk, payout["id"], deed)
    await desk.work()
    assert sent(desk) == 1


@REVIEW
async def test_a_payout_declined_in_review_ends_unsent(desk: Desk):
    payout = await desk.pay_out()
    await decided(desk, payout["id"], "decline")
    await desk.work()
    after = await stands(desk, payout["id"])
    assert after.last_error is not None
    assert (after.status, after.last_error.code, sent(desk)) == ("failed", "risk_declined", 0)
    assert await told(desk) == ["payout.processing", "payout.failed"]


@REVIEW
async def test_of_two_concurrent_decisions_about_a_payout_one_is_accepted(desk: Desk):
    payout = await desk.pay_out()
    said = await asyncio.gather(
        *(decided(desk, payout["id"], deed) for deed in ("approve", "decline")), return_exceptions=True
    )
    assert [type(one) for one in said if one is not None] == [StateConflictError]
    await desk.work()
    declined = (await stands(desk, payout["id"])).status == "failed"
    assert sent(desk) == (0 if declined else 1)


@REVIEW
async def test_a_payout_without_a_review_decision_expires_unsent(desk: Desk):
    payout = await desk.pay_out()
    await desk.pool.execute("UPDATE payouts SET expires_at = now()")
    await desk.work()
    after = await stands(desk, payout["id"])
    assert (after.status, after.status_detail, sent(desk)) == ("failed", "expired", 0)


@REVIEW
async def test_a_payout_approved_after_its_expiry_expires(desk: Desk):
    payout = await desk.pay_out()
    await desk.pool.execute("UPDATE payouts SET expires_at = now()")
    await decided(desk, payout["id"], "approve")
    await desk.work()
    after = await stands(desk, payout["id"])
    assert (after.status, after.status_detail, sent(desk)) == ("failed", "expired", 0)


@REVIEW
async def test_review_decisions_are_made_under_the_orders_own_kind(desk: Desk):
    payout = await desk.pay_out()
    with pytest.raises(ObjectNotFoundError):
        await desk.engine.reviewing.approve(payout["id"], by="key_admin", reason="a payment?")
    assert (await stands(desk, payout["id"])).status_detail == "risk_review"


@REVIEW
async def test_a_repeated_request_for_a_payout_in_review_gets_the_first_response(desk: Desk):
    first = await desk.pay_out()
    desk.keys = 0
    assert await desk.pay_out() == first
    assert await desk.pool.fetchval("SELECT count(*) FROM payouts") == 1


@pytest.mark.parametrize(
    ("screening", "status", "detail", "sends"),
    [
        (Service(RiskOutcome.ALLOW).screening, "processing", None, 1),
        (Service(RiskOutcome.REVIEW).screening, "processing", "risk_review", 0),
        (Service(RiskOutcome.DECLINE).screening, "failed", None, 0),
        (Service(None).screening, "processing", "risk_review", 0),
        (Service(None, OutagePolicy(payouts=RiskOutcome.ALLOW)).screening, "processing", None, 1),
        (Service(None, OutagePolicy(payouts=RiskOutcome.DECLINE)).screening, "failed", None, 0),
        (
            Service(None, OutagePolicy(payouts=RiskOutcome.ALLOW, decline_above=699)).screening,
            "failed",
            None,
            0,
        ),
    ],
    ids=["allow", "review", "decline", "down", "down: allow", "down: decline", "down: above"],
)
async def test_the_fraud_services_verdict_or_its_outage_policy_applies_to_payouts(
    desk: Desk, status: str, detail: str | None, sends: int
):
    payout = await desk.pay_out()
    assert (payout["status"], payout["status_detail"], sent(desk)) == (status, detail, sends)
    assert (await noted(desk, "screened"))["outcome"] in ("allow", "review", "decline")
    assert (await told(desk))[0] == "payout.processing"


SLOW = Service(RiskOutcome.DECLINE)


@pytest.mark.parametrize("screening", [SLOW.screening])
async def test_after_a_crash_during_the_fraud_check_the_next_worker_repeats_the_check(desk: Desk):
    payout = await desk.pay_out()
    # As commit 1 has left it.
    await desk.pool.execute(
        "ALTER TABLE payouts DISABLE TRIGGER an_end_absorbs;"
        "UPDATE payouts SET status = 'processing', last_error = NULL, due_at = now();"
        "ALTER TABLE payouts ENABLE TRIGGER an_end_absorbs"
    )
    asked = len(SLOW.asked)
    await desk.work()
    assert (len(SLOW.asked) - asked, sent(desk)) == (1, 0)
    assert (await stands(desk, payout["id"])).status == "failed"


@pytest.mark.parametrize("screening", [Service(RiskOutcome.REVIEW).screening])
async def test_a_payout_that_the_fraud_service_doubts_continues_after_approval(desk: Desk):
    payout = await desk.pay_out()
    desk.first.answers = [ACCEPTED]
    await decided(desk, payout["id"], "approve")
    await desk.work()
    assert (sent(desk), (await stands(desk, payout["id"])).status) == (1, "processing")


DAILY = PayoutRules(general=RiskRules(ceiling=5_000, payer_amount=Velocity(1_500, 86_400.0)))


@pytest.mark.parametrize(
    "payout_rules",
    [PayoutRules(general=RiskRules(payer_count=Velocity(1, 86_400.0), duplicate_window_s=60.0))],
)
async def test_a_payout_refused_for_its_balance_does_not_count_for_its_payee(desk: Desk):
    poor = PayoutRequest(
        tenant=Tenant("m_poor", livemode=False),
        amount=700,
        currency="GHS",
        payee=Payee(Msisdn.parse("0241234567"), name="Ama"),
        reference="wages",
    )
    claim = Claim("m_poor:test:payout", "key", b"f" * 32)
    for _ in range(2):
        with pytest.raises(InsufficientBalanceError):
            await desk.engine.pay_out(poor, claim)
    assert (await desk.pay_out())["status"] == "processing"
    assert (await desk.pay_out("wages 2"))["last_error"]["code"] == "risk_declined"


@pytest.mark.parametrize("payout_rules", [PayoutRules(general=RiskRules(payer_count=Velocity(1, 86_400.0)))])
async def test_a_payout_with_a_used_reference_is_not_counted_and_the_first_stays_counted(desk: Desk):
    other = Payee(Msisdn.parse("0501234567"), name="Kofi")
    await desk.pay_out()
    with pytest.raises(ReferenceAlreadyUsedError):
        await desk.pay_out(payee=other)
    with pytest.raises(ReferenceAlreadyUsedError):
        await desk.pay_out()
    assert (await desk.pay_out("wages 2", payee=other))["status"] == "processing"
    assert (await desk.pay_out("wages 3"))["last_error"]["code"] == "risk_declined"


@pytest.mark.parametrize("payout_rules", [DAILY])
async def test_a_starting_process_counts_the_payouts_of_the_last_day(desk: Desk):
    old = await desk.pay_out("of last week")
    await desk.pool.execute("UPDATE payouts SET created_at = now() - interval '7 days'")
    assert old["status"] == "processing"
    await desk.pay_out("declined", amount=9_000)
    first = await desk.pay_out("wages 1")
    assert first["status"] == "processing"
    watch = VelocityCounters(RiskRules(), DAILY)
    await PayoutVelocityLoader(watch, PostgresRecentPayouts(Database(desk.pool)), SystemClock()).run()
    latest = await stands(desk, first["id"])
    now = SystemClock().monotonic()
    second = replace(latest, reference="wages 2", amount=800)
    assert watch.assess(second, now) == RiskDecision(RiskOutcome.ALLOW)
    third = replace(latest, reference="wages 3", amount=1)
    assert watch.assess(third, now).reasons == ("payee_too_much",)
