"""The engine's samples determine rail health, and health determines which rail is tried first."""

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from engine.scripted import ACCEPTED, PENDING, SUCCEEDED, ScriptedRail
from synccash.engine.dispatch.health_recording import HealthRecordingDispatch
from synccash.engine.dispatch.rail_float import RailFloats
from synccash.engine.dispatch.rail_health import RailHealth
from synccash.engine.dispatch.router import Probing, Router
from synccash.engine.ports import SendResult
from synccash.payments.attempt import Attempt, AttemptState
from synccash.payments.failure import Failure, FailureCode
from synccash.payments.health import HealthSettings
from synccash.payments.payer import Msisdn, Network, Payer
from synccash.payments.payment import Payment
from synccash.payments.rail import Operation, RailStatus, SendAnswer, SendOrder, StatusAnswer
from synccash.rails.answers import not_asked, refuse_other_account, unsent
from synccash.resilience.evidence import Evidence

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RAIL = ScriptedRail("mtn_momo")
ORDER = SendOrder(
    operation=Operation.COLLECT,
    account=RAIL.account,
    reference="r",
    amount=100,
    currency="GHS",
    msisdn="233241234567",
    network=Network.MTN,
    note="n",
    merchant_reference="m",
)
ATTEMPT = Attempt(
    id="att_1",
    order_id="pay_1",
    sequence=1,
    operation=Operation.COLLECT,
    account=RAIL.account,
    reference="r",
    callback_token="t",
    amount=100,
    opened_fence=1,
    started_at=NOW,
    evidence=Evidence.ACCEPTED,
)


class Scene:
    """A health-recording dispatch over scripted answers, with a clock that the test moves."""

    def __init__(self) -> None:
        self.at = 100.0
        self.health = RailHealth(HealthSettings(), lambda: self.at)
        self.dispatch = HealthRecordingDispatch(self, self.health, RailFloats(self.health.now))
        self.sent = SendResult(answer=ACCEPTED, worst=Evidence.ACCEPTED, tries=1, latency_ms=80)
        self.told: StatusAnswer = PENDING
        self.asking_s = 0.1
        self.shut: set[str] = set()

    async def send(self, rail: Any, order: SendOrder, **how: Any) -> SendResult:
        return self.sent

    async def inquire(self, rail: Any, attempt: Attempt, details: Any) -> StatusAnswer:
        self.at += self.asking_s
        return self.told

    def open_for_s(self, rail: str, operation: Operation) -> float | None:
        return 5.0 if rail in self.shut else None

    async def sends(self, count: int, answer: SendAnswer, *, tries: int = 1, latency_ms: int = 80) -> float:
        self.sent = SendResult(answer=answer, worst=answer.evidence, tries=tries, latency_ms=latency_ms)
        for _ in range(count):
            await self.dispatch.send(RAIL, ORDER, with_retries=False, breaker_may_refuse=True, within_s=60.0)
        return self.score

    async def asks(self, count: int, told: StatusAnswer) -> float:
        self.told = told
        for _ in range(count):
            await self.dispatch.inquire(RAIL, ATTEMPT)
        return self.score

    @property
    def score(self) -> float:
        self.at += 0.1
        return self.health.of("mtn_momo", Network.MTN, Operation.COLLECT).score


def refusal(evidence: Evidence, code: FailureCode) -> SendAnswer:
    return SendAnswer(evidence=evidence, failure=Failure(code, reroute=True))


@pytest.mark.parametrize(
    "code",
    [code for code in FailureCode if Failure(code).whose_problem.value in ("payer", "merchant")],
)
async def test_mistakes_of_payer_or_merchant_do_not_lower_rail_health(code: FailureCode):
    scene = Scene()
    assert await scene.sends(200, refusal(Evidence.REFUSED_FINAL, code)) == 1.0
    for _ in range(200):
        dead = replace(ATTEMPT, state=AttemptState.DECLINED, failure=Failure(code))
        scene.health.record_end(dead, Network.MTN, callback_came=True)
    assert scene.score == 1.0


@pytest.mark.parametrize(
    "answer",
    [
        SendAnswer(evidence=Evidence.AMBIGUOUS),
        refusal(Evidence.REFUSED_LATER, FailureCode.PROVIDER_UNAVAILABLE),
        refusal(Evidence.REFUSED_FINAL, FailureCode.PROVIDER_ACCOUNT_BLOCKED),
        refusal(Evidence.NOT_SENT, FailureCode.PROVIDER_UNAVAILABLE),
    ],
)
async def test_faults_of_the_rail_or_of_ours_lower_its_health(answer: SendAnswer):
    assert await Scene().sends(20, answer) < 0.8


async def test_unsent_tries_are_not_health_samples():
    scene = Scene()
    shut_out = refusal(Evidence.NOT_SENT, FailureCode.PROVIDER_UNAVAILABLE)
    assert await scene.sends(50, shut_out, tries=0) == 1.0
    assert await scene.asks(50, not_asked("status_cap")) == 1.0
    assert await scene.sends(50, unsent(FailureCode.INVALID_PAYER, "no_network")) == 1.0
    assert await scene.sends(50, refuse_other_account()) == 1.0
    assert scene.health.of("mtn_momo", Network.MTN, Operation.COLLECT).weight == 0.0


async def test_tries_before_a_refusal_of_our_own_count():
    assert await Scene().sends(20, refuse_other_account(), tries=2) < 0.8


async def test_slow_answers_and_inquiries_that_lag_lower_health():
    assert await Scene().sends(60, ACCEPTED, latency_ms=4_500) < 0.9
    scene = Scene()
    scene.asking_s = 4.5
    assert await scene.asks(60, PENDING) < 1.0
    scene = Scene()
    scene.asking_s = 4.5
    assert await scene.asks(60, replace(PENDING, paced_s=4.4)) == 1.0
    assert await Scene().asks(60, StatusAnswer(status_at_rail=RailStatus.NOT_FOUND)) < 1.0
    assert await Scene().asks(60, SUCCEEDED) == 1.0


async def test_a_hanging_rail_is_avoided_before_its_orders_time_out():
    scene, gate = Scene(), asyncio.Event()
    await scene.sends(200, ACCEPTED)

    async def hang(rail: Any, order: SendOrder, **how: Any) -> SendResult:
        await gate.wait()
        return scene.sent

    scene.send = hang
    async with asyncio.TaskGroup() as group:
        for _ in range(60):
            group.create_task(
                scene.dispatch.send(RAIL, ORDER, with_retries=False, breaker_may_refuse=True, within_s=60.0)
            )
        await asyncio.sleep(0)
        scene.at += 1.0
        assert scene.score == 1.0
        scene.at += 1.5
        assert scene.score < 0.9
        gate.set()
    assert scene.score == 1.0


def payment(number: int, **changes: Any) -> Payment:
    known = Payment(
        id=f"pay_{number}",
        merchant_id="mer_1",
        livemode=False,
        reference=f"order {number}",
        amount=100,
        currency="GHS",
        payer=Payer(Msisdn.parse("0241234567")),
        created_at=NOW,
        updated_at=NOW,
        expires_at=NOW + timedelta(minutes=15),
    )
    return replace(known, **changes)


async def sick_scene(*, live: int = 1, share: float = 0.5) -> tuple[Scene, Router]:
    scene = Scene()
    scene.health.live = live
    rails = {name: ScriptedRail(name) for name in ("mtn_momo", "paystack")}
    router = Router(rails, scene.dispatch, scene.health, probing=Probing(share=share, every_s=1.0))
    await scene.sends(60, SendAnswer(evidence=Evidence.AMBIGUOUS))
    return scene, router


@pytest.mark.parametrize("live", [1, 4])
async def test_a_degraded_rail_gets_one_probe_per_period_across_all_processes(live: int):
    scene, router = await sick_scene(live=live)
    chosen: Counter[str] = Counter()
    for number in range(2_000):
        chosen[router.route(payment(number)).reason] += 1
        scene.at += 0.01
    assert 20 / live - 2 <= chosen["recovery_probe"] <= 20 / live + 1, chosen


async def test_only_a_share_of_few_payments_is_probes_and_a_failover_never_is():
    scene, router = await sick_scene(share=0.05)
    probes = 0
    for number in range(200):
        scene.at += 2.0
        await scene.sends(5, SendAnswer(evidence=Evidence.AMBIGUOUS))
        probes += router.route(payment(number)).reason == "recovery_probe"
    assert 1 <= probes <= 25
    scene, router = await sick_scene(share=1.0)
    assert router.route(payment(1), frozenset({"hubtel"})).reason == "best_score"
    assert router.route(payment(1, pinned_rail="paystack")).chosen == "paystack"
    assert router.route(payment(1)).reason == "recovery_probe"


async def test_choosing_a_failover_rail_uses_up_no_probe():
    _, router = await sick_scene(share=1.0)
    assert router.failover_rail(payment(1), frozenset({"mtn_momo"})) == "paystack"
    assert router.failover_rail(payment(1), frozenset()) == "paystack"
    assert router.route(payment(1)).chosen == "mtn_momo"


@pytest.mark.parametrize("excluded", [{"mtn_momo"}, {"paystack"}, {"mtn_momo", "paystack"}, set[str]()])
@pytest.mark.parametrize("is_shut", [False, True])
async def test_an_order_can_fail_over_where_a_failover_rail_would_be_chosen(
    excluded: set[str], is_shut: bool
):
    scene, router = await sick_scene()
    if is_shut:
        scene.shut.add("paystack")
    chosen = router.failover_rail(payment(1), frozenset(excluded))
    assert router.can_fail_over(payment(1), frozenset(excluded)) is (chosen is not None)


async def test_a_rail_with_an_open_breaker_is_avoided_whatever_its_health():
    scene, router = await sick_scene()
    scene.shut.add("paystack")
    route = router.route(payment(1))
    assert (route.chosen, route.reason) == ("mtn_momo", "only_able")
