"""Calls the fraud service under a resilience policy: retries, breaker, retry budget and time-out."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from random import random as uniform

from synccash.fraud.http import FraudService, FraudServiceError
from synccash.payments.case import Routed
from synccash.payments.risk import RiskDecision
from synccash.resilience.budget import RetryBudget
from synccash.resilience.circuit_breaker import CircuitBreaker
from synccash.resilience.events import EventHook
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
    on_event: EventHook | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    random: Callable[[], float] = uniform,
) -> Ask:
    """Wrap the service in a policy: retries as in the profile, no request while the breaker is open.

    `on_event` gets the events of the policy. The returned function raises FraudServiceError, CircuitOpenError
    or DeadlineExceededError when there is no decision.
    """
    policy = Policy(
        "fraud",
        retry=profile.retry,
        breaker=breaker,
        budget=budget,
        total_timeout=profile.total_timeout,
        idempotent=True,  # a repeated request about one order is idempotent
        classify=_judge,
        on_event=on_event,
        clock=clock,
        sleep=sleep,
        random=random,
    )

    async def ask(order: Routed) -> RiskDecision:
        return await policy.call(service.ask, order)

    return ask


def _judge(result: object) -> Verdict:
    """Classify a result for the breaker: every decision counts as a success."""
    if isinstance(result, FraudServiceError):
        return Verdict(Outcome.FAILED, retry=True, evidence=result.evidence)
    return Verdict(Outcome.FAILED if isinstance(result, BaseException) else Outcome.OK)
