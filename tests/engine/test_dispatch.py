"""How breakers and retries treat a connector's answers."""

import random
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from structlog.testing import capture_logs

from engine.scripted import PENDING, SUCCEEDED, ScriptedRail
from synccash.engine.dispatch.guarded_rail import GuardedRail, NoAccountBook
from synccash.engine.dispatch.policy_dispatch import DispatchSettings, PolicyDispatch
from synccash.engine.ports import SendResult
from synccash.engine.system import SystemClock
from synccash.payments.attempt import Attempt
from synccash.payments.causes import Cause, CauseCode
from synccash.payments.errors import InternalError
from synccash.payments.failure import Failure, FailureCode
from synccash.payments.payer import Network
from synccash.payments.rail import Operation, RailStatus, SendAnswer, SendOrder, StatusAnswer
from synccash.rails.answers import (
    no_information,
    no_response,
    not_asked,
    refuse_other_account,
    unanswered,
    unsent,
)
from synccash.rails.http.transport import TransportFailure, TransportFault
from synccash.resilience.breaker_settings import BreakerState
from synccash.resilience.evidence import Evidence
from synccash.resilience.profiles import PAYMENT_PROVIDER
from synccash.resilience.registry import Registry

OURS = "0b9ff1a4-6ea6-4b13-8b5b-2b2b2b2b2b2b"
OTHERS = "11111111-1111-4111-8111-111111111111"
REFUSALS = [unsent(FailureCode.INVALID_PAYER, "no_network"), refuse_other_account()]
SILENT = SendAnswer(evidence=Evidence.AMBIGUOUS)


class Scene:
    """A dispatch under the shipped breaker and retry, whose waits take no time."""

    def __init__(self) -> None:
        quick = replace(PAYMENT_PROVIDER.retry, base=0.0)
        self.registry = Registry({"*": replace(PAYMENT_PROVIDER, retry=quick)})
        self.rail = ScriptedRail("mtn_momo", otp=True)
        self.dispatch = PolicyDispatch(
            self.registry.breaker,
            self.registry.profile,
            SystemClock(),
            DispatchSettings(),
            random.random,
            self.registry.budget,
        )
        self.attempt = Attempt(
            id="att_1",
            order_id="pay_1",
            sequence=1,
            operation=Operation.COLLECT,
            account=self.rail.account,
            reference=OURS,
            callback_token="t",
            amount=100,
            opened_fence=1,
            started_at=datetime(2026, 1, 1, tzinfo=UTC),
        )

    async def send(self, answer: SendAnswer) -> SendResult:
        self.rail.answers = [answer]
        order = SendOrder(
            operation=Operation.COLLECT,
            account=self.rail.account,
            reference=OURS,
            amount=100,
            currency="GHS",
            msisdn="233241234567",
            network=Network.MTN,
            note="n",
            merchant_reference="m",
            order_id="pay_1",
        )
        return await self.dispatch.send(
            self.rail, order, with_retries=True, breaker_may_refuse=True, within_s=60.0
        )

    async def ask(self, answer: StatusAnswer) -> StatusAnswer:
        self.rail.status_at_rail = answer
        return await self.dispatch.inquire(self.rail, self.attempt)

    def seen(self, name: str) -> Any:
        return self.registry.breaker(name).statistics()


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_a_refusal_by_the_connector_is_not_retried_and_opens_no_breaker(refusal: SendAnswer):
    scene = Scene()
    for _ in range(50):
        sent = await scene.send(refusal)
        assert (sent.answer, sent.worst, sent.tries) == (refusal, Evidence.NOT_SENT, 1)
    seen = scene.seen("mtn_momo:collect")
    assert (seen.state, seen.failures, seen.successes, seen.ignored) == (BreakerState.CLOSED, 0, 0, 50)
    assert scene.registry.budget("mtn_momo:collect").statistics().retries == 0


async def test_a_fault_of_the_rail_is_counted():
    scene = Scene()
    await scene.send(SILENT)
    assert scene.seen("mtn_momo:collect").failures == 1


def lines_of(logs: list[Any]) -> list[tuple[Any, ...]]:
    names = ("rail", "operation", "cause", "order_id")
    return [tuple(one[name] for name in names) for one in logs if one["event"] == "rail_call_failed"]


@pytest.mark.parametrize("fault", [TransportFault.UNREACHABLE, TransportFault.TIMEOUT])
async def test_each_failed_call_writes_one_line_with_its_cause_and_order(fault: TransportFault):
    scene = Scene()
    silence = TransportFailure(evidence=Evidence.AMBIGUOUS, fault=fault, latency_s=0.0)
    with capture_logs() as logs:
        await scene.send(unanswered(silence))
        await scene.ask(no_response(silence))
        scene.rail.otp_answer = unanswered(silence)
        await scene.dispatch.submit_otp(scene.rail, scene.attempt, "123456")
    assert lines_of(logs) == [
        ("mtn_momo", "collect", fault.value, "pay_1"),
        ("mtn_momo", "inquire", fault.value, "pay_1"),
        ("mtn_momo", "submit_otp", fault.value, "pay_1"),
    ]
    assert all(one["latency_ms"] >= 0 and one["message"] for one in logs)


async def test_each_try_of_a_retried_send_writes_its_own_line():
    scene = Scene()
    silence = TransportFailure(evidence=Evidence.NOT_SENT, fault=TransportFault.UNREACHABLE, latency_s=0.0)
    with capture_logs() as logs:
        sent = await scene.send(unanswered(silence))
    assert sent.tries == 3
    assert len(lines_of(logs)) == 3


async def test_money_that_went_back_is_an_answer_and_no_failure_of_the_rail():
    scene = Scene()
    with capture_logs() as logs:
        await scene.ask(replace(no_information("reversed"), went_back=True))
    assert logs == []
    assert scene.seen("mtn_momo:status").successes == 1


async def test_an_unknown_reference_is_an_answer_and_no_failure_of_the_rail():
    scene = Scene()
    with capture_logs() as logs:
        await scene.ask(replace(no_information("not_found"), unknown_reference=True))
    assert logs == []
    assert scene.seen("mtn_momo:status").successes == 1


async def test_an_accepted_order_and_a_payer_without_money_write_no_line():
    scene = Scene()
    poor = Failure(FailureCode.INSUFFICIENT_FUNDS)
    with capture_logs() as logs:
        await scene.send(SendAnswer(evidence=Evidence.ACCEPTED))
        await scene.send(SendAnswer(evidence=Evidence.REFUSED_FINAL, failure=poor))
        await scene.ask(PENDING)
    assert logs == []


async def test_a_breaker_names_the_cause_of_its_last_failure():
    scene = Scene()
    for fault in (TransportFault.UNREACHABLE, TransportFault.TIMEOUT):
        silence = TransportFailure(evidence=Evidence.AMBIGUOUS, fault=fault, latency_s=0.0)
        await scene.ask(no_response(silence))
        failure = scene.seen("mtn_momo:status").last_failure
        assert (failure.type, failure.message) == (
            fault.value,
            Cause(CauseCode(fault.value)).message.removesuffix("."),
        )


async def test_an_unsent_inquiry_or_otp_is_not_counted():
    scene = Scene()
    for _ in range(50):
        assert (await scene.ask(not_asked("other_account"))).refused_locally
        scene.rail.otp_answer = refuse_other_account()
        await scene.dispatch.submit_otp(scene.rail, scene.attempt, "123456")
    for name in ("mtn_momo:status", "mtn_momo:collect"):
        seen = scene.seen(name)
        assert (seen.state, seen.failures, seen.successes, seen.ignored) == (BreakerState.CLOSED, 0, 0, 50)


class RailWithoutOtp:
    """Has all of a rail but `submit_otp`."""

    def __init__(self) -> None:
        self._inner = ScriptedRail("mtn_momo")

    def __getattr__(self, name: str) -> Any:
        if name == "submit_otp":
            raise AttributeError(name)
        return getattr(self._inner, name)


async def test_a_one_time_password_for_a_rail_that_takes_none_is_an_internal_error():
    scene, rail = Scene(), RailWithoutOtp()
    with pytest.raises(InternalError, match="mtn_momo asked for a one-time password but has no submit_otp"):
        await scene.dispatch.submit_otp(rail, scene.attempt, "123456")
    with pytest.raises(InternalError, match="mtn_momo asked for a one-time password but has no submit_otp"):
        await GuardedRail(rail, NoAccountBook()).submit_otp(
            scene.attempt.account, scene.attempt.reference, "123456", timeout_s=1.0
        )


@pytest.mark.parametrize("answer", [SUCCEEDED, PENDING, StatusAnswer(status_at_rail=RailStatus.FAILED)])
async def test_an_answer_with_another_reference_is_ignored_and_counts_as_a_rail_fault(
    answer: StatusAnswer,
):
    scene = Scene()
    with capture_logs() as logs:
        told = await scene.ask(replace(answer, reference=OTHERS, amount=100, retry_after_s=7.0))
    assert (told.status_at_rail, told.provider_code) == (RailStatus.NO_INFORMATION, "other_reference")
    assert (told.amount, told.failure, told.retry_after_s) == (None, None, 7.0)
    assert [(one["event"], one["log_level"]) for one in logs] == [
        ("inquiry_answered_for_another", "warning"),
        ("rail_call_failed", "warning"),
    ]
    assert (logs[0]["answered_for"], logs[1]["cause"]) == (OTHERS, "other_reference")
    assert scene.seen("mtn_momo:status").failures == 1


@pytest.mark.parametrize("reference", [None, OURS])
async def test_an_answer_with_our_reference_or_none_is_used(reference: str | None):
    scene = Scene()
    answer = replace(SUCCEEDED, reference=reference)
    with capture_logs() as logs:
        assert await scene.ask(answer) == answer
    assert logs == []
    assert scene.seen("mtn_momo:status").successes == 1
