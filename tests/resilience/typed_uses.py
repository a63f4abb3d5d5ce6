"""Code whose types mypy and basedpyright must infer as asserted. Checked, never run."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, assert_type

from synccash.resilience import (
    BreakerSettings,
    Budget,
    Bulkhead,
    CircuitBreaker,
    CircuitOpenError,
    Evidence,
    Outcome,
    Policy,
    Retry,
    Verdict,
    remaining,
)
from synccash.resilience.budget import RetryBudget
from synccash.resilience.circuit_breaker import Statistics
from synccash.resilience.profiles import PROFILES, Profile
from synccash.resilience.providers import (
    enhanced_retry_service,
    get_provider_circuit_breaker,
    retry_payment_provider_call,
)
from synccash.resilience.registry import Registry
from synccash.resilience.testing import FakeClock, attempts, no_wait, replaced_registry


@dataclass
class Rate:
    value: float


def classify(result: object) -> Verdict:
    return Verdict(Outcome.FAILED if isinstance(result, BaseException) else Outcome.OK)


policy = Policy("rates", retry=Retry(on=OSError))


async def fetch(currency: str, *, day: int = 0) -> Rate:
    return Rate(float(day)) if currency else Rate(0.0)


def read(name: str, *, lines: int = 0) -> list[str]:
    return [name] * lines


async def calls_return_the_functions_type() -> None:
    assert_type(await policy.call(fetch, "GHS", day=1), Rate)
    assert_type(policy.call_sync(read, "a.csv", lines=2), list[str])
    assert_type(await policy.call(policy.call, fetch, "GHS"), Rate)


@policy
async def decorated_fetch(currency: str, *, day: int = 0) -> Rate:
    return await fetch(currency, day=day)


@policy
def decorated_read(name: str, *, lines: int = 0) -> list[str]:
    return read(name, lines=lines)


class Bank:
    @policy
    async def balance(self, account: str) -> int:
        return len(account)


async def decorated_functions_keep_their_signature() -> None:
    assert_type(await decorated_fetch("GHS", day=1), Rate)
    assert_type(decorated_read("a.csv", lines=2), list[str])
    assert_type(await Bank().balance("main"), int)
    takes_fetch(policy(fetch))


def takes_fetch(fn: Callable[[str], Coroutine[Any, Any, Rate]]) -> None: ...


async def blocks_get_the_attempt_number() -> None:
    async for attempt in policy.attempts():
        async with attempt as number:
            assert_type(number, int)


def on_accepts_a_class_a_tuple_or_a_function() -> None:
    Retry(on=OSError)
    Retry(on=(OSError, ValueError))
    Retry(on=lambda error: isinstance(error, OSError))
    Retry(attempts=2, base=0.5, cap=1, strategy="linear", jitter="equal", on=TimeoutError)
    Policy("x", retry=Retry(), classify=classify)
    Policy("x", breaker=BreakerSettings(), bulkhead=Bulkhead(limit=1), budget=Budget(share=0.1))
    Policy("x", breaker=CircuitBreaker("x"), budget=RetryBudget("x"))
    Policy("x", breaker=None, budget=None)


def live_parts_are_typed(error: CircuitOpenError) -> None:
    assert_type(policy.breaker, CircuitBreaker | None)
    assert_type(policy.budget, RetryBudget)
    assert_type(CircuitBreaker("x").statistics(), Statistics)
    assert_type(remaining(), float | None)
    assert_type(error.retry_after, float | None)
    assert_type(Evidence.AMBIGUOUS.worst(Evidence.NOT_SENT), Evidence)


async def pay(data: dict[str, str]) -> Rate:
    return Rate(float(len(data)))


async def calls_by_a_providers_name() -> None:
    assert_type(get_provider_circuit_breaker("MTN_MOMO"), CircuitBreaker)
    data = {"reference": "r1"}
    assert_type(await retry_payment_provider_call(pay, "MTN_MOMO", data), Rate)
    service = enhanced_retry_service
    assert_type(await service.retry_payment_provider_call(pay, "MTN_MOMO", data, idempotent=True), Rate)
    registry = Registry({**PROFILES, "sms": Profile(retry=Retry(), breaker=BreakerSettings())})
    assert_type(registry.breaker("sms"), CircuitBreaker)
    assert_type(registry.profile("sms"), Profile)
    assert_type(registry.budget("sms"), RetryBudget)


def blocks_in_threads() -> None:
    for attempt in policy.attempts():
        with attempt as number:
            assert_type(number, int)


async def tests_of_users_are_typed() -> None:
    clock = FakeClock()
    Policy("x", retry=Retry(on=OSError), clock=clock, sleep=clock.sleep, sleep_sync=clock.sleep_sync)
    with no_wait(), attempts(1):
        assert_type(await policy.call(fetch, "GHS"), Rate)
    with replaced_registry() as registry:
        assert_type(registry, Registry)
