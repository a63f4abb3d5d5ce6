"""Payouts and the float of the rails: over PostgreSQL and scripted rails."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from engine.scripted import ACCEPTED, FAILED, PENDING, SUCCEEDED, Desk, ScriptedRail
from synccash.engine.dispatch.float_watch import FloatWatch
from synccash.engine.dispatch.rail_float import FloatReading, RailFloats
from synccash.payments.attempt import AttemptState
from synccash.payments.failure import Failure, FailureCode
from synccash.payments.payer import Network
from synccash.payments.payout import Payout
from synccash.payments.rail import FloatAnswer, RailAccount, SendAnswer
from synccash.resilience.evidence import Evidence

SHORT = Failure(FailureCode.FLOAT_TOO_LOW, reroute=True)
REFUSED = SendAnswer(evidence=Evidence.REFUSED_FINAL, failure=SHORT, provider_code="NOT_ENOUGH_FUNDS")
ENDED = replace(FAILED, failure=SHORT)


def reads(desk: Desk, rail: ScriptedRail, pesewas: int) -> None:
    """The rail reports its float."""
    floats = desk.engine.router.floats
    assert isinstance(floats, RailFloats)
    floats.reading_began(rail.name)
    floats.reported(rail.name, FloatReading({None: pesewas}, floats.now(), datetime.now(UTC)))


async def stands(desk: Desk, payout_id: str) -> Payout:
    order = await desk.order(payout_id)
    assert isinstance(order, Payout)
    return order


async def timeline(desk: Desk, kind: str) -> list[dict]:
    found = await desk.pool.fetch("SELECT data FROM timeline WHERE kind = $1 ORDER BY position", kind)
    return [msgspec.json.decode(row["data"]) for row in found]


async def test_a_payout_above_the_known_float_goes_to_another_rail_and_records_why(desk: Desk):
    reads(desk, desk.first, 699)
    payout = await desk.pay_out()
    assert (payout["rail"], len(desk.first.sent), len(desk.second.sent)) == ("paystack", 0, 1)
    considered = {one["rail"]: one.get("skipped") for one in payout["routing"]["considered"]}
    assert considered == {"paystack": None, "mtn_momo": "float_too_low"}


async def test_the_float_does_not_affect_payments(desk: Desk):
    reads(desk, desk.first, 0)
    payment = await desk.pay()
    assert payment["rail"] == "mtn_momo"


async def test_a_payout_above_every_float_is_queued_and_sent_after_a_top_up(desk: Desk):
    for rail in (desk.first, desk.second):
        reads(desk, rail, 699)
    payout = await desk.pay_out()
    assert (payout["status"], payout["status_detail"]) == ("processing", "queued")
    assert payout["routing"]["reason"] == "float_too_low"
    await desk.work()
    assert (desk.first.sent, desk.second.sent) == ([], [])
    reads(desk, desk.first, 700)
    await desk.work()
    assert [order.amount for order in desk.first.sent] == [700]


async def test_payouts_sent_since_the_reading_are_subtracted_from_it(desk: Desk):
    reads(desk, desk.first, 1_000)
    assert (await desk.pay_out("wages 1"))["rail"] == "mtn_momo"
    assert (await desk.pay_out("wages 2"))["rail"] == "paystack"


async def test_a_payout_refused_for_low_float_fails_over_and_does_not_count_against_the_payee(
    desk: Desk,
):
    desk.first.answers = [REFUSED]
    payout = await desk.pay_out()
    assert (payout["rail"], len(desk.second.sent)) == ("paystack", 1)
    # What it has just refused it is not asked again.
    assert (await desk.pay_out("wages 2"))["rail"] == "paystack"
    assert len(desk.first.sent) == 1
    assert (await desk.pay_out("wages 3", amount=699))["attempts"][0]["rail"] == "mtn_momo"


@pytest.fixture
def settings() -> dict[str, Any]:
    return {"queue_retry_s": 1.0}


async def test_a_payout_refused_for_low_float_by_every_rail_is_queued_until_a_top_up(desk: Desk):
    desk.first.answers, desk.second.answers = [REFUSED], [REFUSED]
    payout = await desk.pay_out()
    assert (payout["status"], payout["status_detail"]) == ("processing", "queued")
    assert payout["last_error"]["code"] == "float_too_low"
    assert payout["last_error"]["whose_problem"] == "us"
    assert (await timeline(desk, "queued"))[-1]["reason"] == "float_too_low"
    await desk.work()
    assert (len(desk.first.sent), len(desk.second.sent)) == (1, 1)
    desk.first.answers = [ACCEPTED]
    reads(desk, desk.first, 700)
    await desk.work()
    references = [order.reference for order in desk.first.sent]
    assert len(set(references)) == 2
    desk.first.standings = {references[-1]: SUCCEEDED}
    await desk.work()
    after = await desk.case(payout["id"])
    assert (await stands(desk, payout["id"])).status == "succeeded"
    assert [attempt.state for attempt in after.attempts] == [
        AttemptState.DECLINED,
        AttemptState.DECLINED,
        AttemptState.SUCCEEDED,
    ]


async def test_a_payout_that_failed_for_low_float_fails_over_under_another_reference(desk: Desk):
    payout = await desk.pay_out()
    desk.first.status_at_rail = ENDED
    await desk.work()
    after = await stands(desk, payout["id"])
    assert (after.status, after.rail, len(desk.second.sent)) == ("processing", "paystack", 1)


async def test_a_payout_that_its_only_rail_failed_for_low_float_is_resent_later(desk: Desk):
    payout = await desk.pay_out(rail="mtn_momo")
    desk.first.status_at_rail = ENDED
    await desk.work()
    after = await stands(desk, payout["id"])
    assert (after.status, after.status_detail, after.last_error) == ("processing", "queued", SHORT)
    desk.first.status_at_rail = PENDING
    reads(desk, desk.first, 700)
    await desk.work()
    references = [order.reference for order in desk.first.sent]
    assert (len(references), len(set(references)), desk.second.sent) == (2, 2, [])
    desk.first.standings = {references[1]: SUCCEEDED, references[0]: ENDED}
    await desk.work()
    assert (await stands(desk, payout["id"])).status == "succeeded"


async def test_a_payout_that_no_float_has_paid_in_time_expires(desk: Desk):
    desk.first.answers, desk.second.answers = [REFUSED], [REFUSED]
    payout = await desk.pay_out()
    await desk.pool.execute("UPDATE payouts SET expires_at = now()")
    await desk.work()
    after = await stands(desk, payout["id"])
    assert (after.status, after.status_detail) == ("failed", "expired")


async def test_money_moved_despite_a_low_float_answer_stops_the_payout(desk: Desk):
    payout = await desk.pay_out(rail="mtn_momo")
    desk.first.status_at_rail = ENDED
    await desk.work()
    (attempt,) = (await desk.case(payout["id"])).attempts
    desk.first.status_at_rail = PENDING
    await desk.rail_pays_late(desk.first, attempt)
    reads(desk, desk.first, 700)
    await desk.work()
    assert (await stands(desk, payout["id"])).status_detail == "under_review"
    assert len(desk.first.sent) == 1


async def test_low_float_is_not_counted_against_the_rail(desk: Desk):
    desk.first.answers, desk.second.answers = [REFUSED], [REFUSED]
    for number in range(8):
        await desk.pay_out(f"wages {number}", amount=800 - number)
    assert len(desk.first.sent) == 8
    router = desk.engine.router
    assert router.breakers.open_for_s("mtn_momo", desk.first.sent[0].operation) is None
    assert router.health.of("mtn_momo", Network.MTN, desk.first.sent[0].operation).score == 1.0


@dataclass
class Hand:
    """A clock that is moved by hand."""

    at: float = 1_000.0

    def now(self) -> float:
        return self.at


def read(hand: Hand, available: Mapping[Network | None, int], **alarms: int) -> RailFloats:
    floats = RailFloats(hand.now, 60.0, alarms)
    floats.reported("pawapay", FloatReading(available, hand.at, datetime.now(UTC)))
    return floats


def test_a_float_states_its_next_reading_and_expires_without_one():
    hand = Hand()
    floats = read(hand, {None: 500})
    assert floats.short_for_s("pawapay", Network.MTN, 500) is None
    assert floats.short_for_s("pawapay", Network.MTN, 501) == 60.0
    assert floats.short_for_s("paystack", Network.MTN, 501) is None
    hand.at += 59.5
    assert floats.short_for_s("pawapay", Network.MTN, 501) == 1.0
    hand.at += 120.0
    assert floats.short_for_s("pawapay", Network.MTN, 501) is not None
    hand.at += 0.5
    assert floats.short_for_s("pawapay", Network.MTN, 501) is None


def test_a_wallet_of_one_network_pays_for_that_network_alone():
    floats = read(Hand(), {Network.MTN: 100, None: 900})
    assert floats.short_for_s("pawapay", Network.MTN, 101) is not None
    assert floats.short_for_s("pawapay", Network.TELECEL, 101) is None
    floats.sent("pawapay", Network.TELECEL, 850)
    assert floats.short_for_s("pawapay", Network.AT, 51) is not None
    assert floats.short_for_s("pawapay", Network.MTN, 100) is None
    without = read(Hand(), {Network.MTN: 100})
    assert without.short_for_s("pawapay", Network.AT, 10**9) is None


def test_a_refusal_holds_for_its_amount_and_more_until_the_next_reading():
    hand = Hand()
    floats = read(hand, {None: 10_000})
    floats.refused("pawapay", Network.MTN, 700)
    floats.refused("pawapay", Network.MTN, 900)
    assert floats.short_for_s("pawapay", Network.MTN, 700) == 60.0
    assert floats.short_for_s("pawapay", Network.MTN, 699) is None
    hand.at += 60.0
    assert floats.short_for_s("pawapay", Network.MTN, 700) is None
    floats.refused("pawapay", Network.MTN, 700)
    floats.reported("pawapay", FloatReading({None: 10_000}, hand.at, datetime.now(UTC)))
    assert floats.short_for_s("pawapay", Network.MTN, 700) is None


def test_an_old_refusal_does_not_hold_smaller_payouts_after_a_larger_one_is_refused():
    hand = Hand()
    floats = RailFloats(hand.now, 60.0)
    floats.refused("hubtel", Network.MTN, 100)
    hand.at += 3_600.0
    floats.refused("hubtel", Network.MTN, 100_000)
    assert floats.short_for_s("hubtel", Network.MTN, 100_000) == 60.0
    assert floats.short_for_s("hubtel", Network.MTN, 100) is None


def test_refusals_of_large_payouts_do_not_prolong_the_refusal_of_a_small_one():
    hand = Hand()
    floats = RailFloats(hand.now, 60.0)
    floats.refused("hubtel", Network.MTN, 100)
    for _ in range(4):
        hand.at += 30.0
        floats.refused("hubtel", Network.MTN, 100_000)
    assert floats.short_for_s("hubtel", Network.MTN, 100) is None
    assert floats.short_for_s("hubtel", Network.MTN, 100_000) == 60.0


def test_payouts_sent_or_refused_during_a_reading_are_subtracted_from_it():
    hand = Hand()
    floats = read(hand, {None: 1_000, Network.AT: 50})
    floats.sent("pawapay", Network.MTN, 100)
    hand.at += 60.0
    floats.reading_began("pawapay")
    began = hand.at
    hand.at += 2.0
    floats.sent("pawapay", Network.MTN, 600)
    floats.refused("pawapay", Network.AT, 40)
    floats.reported("pawapay", FloatReading({None: 1_000, Network.AT: 50}, began, datetime.now(UTC)))
    assert floats.short_for_s("pawapay", Network.MTN, 401) is not None
    assert floats.short_for_s("pawapay", Network.MTN, 400) is None
    assert floats.short_for_s("pawapay", Network.AT, 40) is not None


def test_a_float_below_its_alarm_level_is_low():
    assert read(Hand(), {Network.MTN: 99, None: 900}, pawapay=100).is_low("pawapay")
    assert not read(Hand(), {None: 100}, pawapay=100).is_low("pawapay")
    assert not read(Hand(), {None: 0}).is_low("pawapay")


class ReportingRail(ScriptedRail):
    """A rail that reports the float that the test sets."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.answer = FloatAnswer(available={None: 500})
        self.while_asked: Callable[[], None] = lambda: None

    async def read_float(self, account: RailAccount, *, timeout_s: float) -> FloatAnswer:
        del account, timeout_s
        self.while_asked()
        return self.answer


async def test_every_rail_that_reports_its_float_is_read_and_the_others_are_shown_as_not_reported(desk: Desk):
    rail, silent = ReportingRail("mtn_momo"), ScriptedRail("hubtel")
    floats = RailFloats(desk.engine.clock.monotonic, 60.0, {"mtn_momo": 600})

    async def ask(rail: Any) -> FloatAnswer:
        return await rail.read_float(rail.account, timeout_s=1.0)

    watch = FloatWatch({"mtn_momo": rail, "hubtel": silent}, floats, ask, desk.engine.clock)
    await watch.look()
    rail.answer = FloatAnswer(provider_code="http_500", is_fault=True)
    await watch.look()
    shown = {one["rail"]: one for one in watch.shown()}
    assert (shown["mtn_momo"]["float"], shown["mtn_momo"]["is_low"]) == (500, True)
    assert (shown["mtn_momo"]["error"], shown["mtn_momo"]["is_reported"]) == ("http_500", True)
    assert (shown["hubtel"]["float"], shown["hubtel"]["is_reported"]) == (None, False)


async def test_payouts_sent_while_the_rail_is_asked_are_subtracted_from_its_answer(desk: Desk):
    rail = ReportingRail("mtn_momo")
    floats = RailFloats(desk.engine.clock.monotonic)

    async def ask(rail: Any) -> FloatAnswer:
        return await rail.read_float(rail.account, timeout_s=1.0)

    rail.while_asked = lambda: floats.sent("mtn_momo", Network.MTN, 400)
    await FloatWatch({"mtn_momo": rail}, floats, ask, desk.engine.clock).look()
    assert floats.short_for_s("mtn_momo", Network.MTN, 100) is None
    assert floats.short_for_s("mtn_momo", Network.MTN, 101) is not None
