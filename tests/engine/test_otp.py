"""OTP submissions to a rail: the breaker records their outcomes, and none is sent twice."""

import random

import pytest

from engine.scripted import ACCEPTED, ScriptedRail
from payment_samples import PREPARED
from synccash.engine.dispatch.policy_dispatch import DispatchSettings, PolicyDispatch
from synccash.engine.system import SystemClock
from synccash.payments.rail import SendAnswer
from synccash.resilience.evidence import Evidence
from synccash.resilience.registry import Registry

NAME = f"paystack:{PREPARED.operation.value}"


async def handed_over(registry: Registry, rail: ScriptedRail, times: int) -> SendAnswer:
    clock = SystemClock()
    dispatch = PolicyDispatch(registry.breaker, registry.profile, clock, DispatchSettings(), random.random)
    answers = [await dispatch.submit_otp(rail, PREPARED, "123456") for _ in range(times)]
    return answers[-1]


@pytest.mark.parametrize("evidence", [Evidence.AMBIGUOUS, Evidence.NOT_SENT])
async def test_a_rail_that_does_not_answer_otps_is_degraded(evidence: Evidence) -> None:
    registry, rail = Registry(), ScriptedRail("paystack", otp=True)
    rail.otp_answer = SendAnswer(evidence=evidence)
    failures = registry.profile(NAME).breaker.failures
    assert failures is not None
    await handed_over(registry, rail, failures)
    assert registry.breaker(NAME).retry_after() is not None
    assert len(rail.passwords) == failures, "each was handed over once"


async def test_a_wrong_otp_is_not_counted_against_the_rail() -> None:
    registry, rail = Registry(), ScriptedRail("paystack", otp=True)
    rail.otp_answer = SendAnswer(evidence=Evidence.REFUSED_FINAL)
    await handed_over(registry, rail, 10)
    assert registry.breaker(NAME).retry_after() is None


async def test_an_otp_for_an_open_prompt_is_sent_despite_an_open_breaker() -> None:
    registry, rail = Registry(), ScriptedRail("paystack", otp=True)
    registry.breaker(NAME).force_open("the rail says that it is down")
    assert await handed_over(registry, rail, 1) == ACCEPTED
