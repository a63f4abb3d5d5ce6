"""The policy under which a fraud service is asked: the profile of its kind."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from random import random as uniform

from synccash.fraud.http import FraudService, FraudServiceError
from synccash.payments.lifecycle import Routed
from synccash.payments.risk import RiskDecision
from synccash.resilience.budget import RetryBudget
from synccash.resilience.circuit_breaker import CircuitBreaker
from synccash.resilience.policy import Policy
from synccash.resilience.profiles import Profile
from synccash.resilience.verdict import Outcome, Verdict

Ask = Callable[[Routed], Awaitable[RiskDecision]]


def guarded(
    service: FraudService,
    profile: Profile,
    breaker: CircuitBreaker,
    budget: RetryBudget,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    random: Callable[[], float] = uniform,
) -> Ask:
    """Return how the service is asked: as often as its profile says, not at all while the breaker is open.

    What it returns raises where there is no decision: FraudServiceError, CircuitOpenError or
    DeadlineExceededError.
    """
    policy = Policy(
        "fraud",
        retry=profile.retry,
        breaker=breaker,
        budget=budget,
        total_timeout=profile.total_timeout,
        idempotent=True,  # asking twice about one order is the same question
        classify=_judge,
        clock=clock,
        sleep=sleep,
        random=random,
    )

    async def ask(order: Routed) -> RiskDecision:
        return await policy.call(service.ask, order)

    return ask


def _judge(result: object) -> Verdict:
    """Any decision is a healthy answer."""
    if isinstance(result, FraudServiceError):
        return Verdict(Outcome.FAILED, retry=True, evidence=result.evidence)
    return Verdict(Outcome.FAILED if isinstance(result, BaseException) else Outcome.OK)
