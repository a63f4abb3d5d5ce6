"""The documented functions that call a provider by its name."""

from dataclasses import replace

import pytest

from synccash.resilience.breaker_settings import BreakerState
from synccash.resilience.circuit_breaker import CircuitBreaker
from synccash.resilience.profiles import PAYMENT_PROVIDER
from synccash.resilience.providers import EnhancedRetryService, get_provider_circuit_breaker
from synccash.resilience.registry import Registry
from synccash.resilience.verdict import Outcome


def service() -> EnhancedRetryService:
    without_wait = replace(PAYMENT_PROVIDER, retry=replace(PAYMENT_PROVIDER.retry, strategy="immediate"))
    return EnhancedRetryService(Registry({"*": without_wait}))


class FailOnce:
    def __init__(self, error: Exception) -> None:
        self.error: Exception | None = error
        self.calls = 0

    async def __call__(self, data: object) -> object:
        self.calls += 1
        error, self.error = self.error, None
        if error is not None:
            raise error
        return data


async def test_a_call_that_was_not_sent_is_repeated():
    call = FailOnce(ConnectionRefusedError())
    assert await service().retry_payment_provider_call(call, "MTN_MOMO", {"amount": 1}) == {"amount": 1}
    assert call.calls == 2


async def test_an_ambiguous_call_is_repeated_only_with_a_reference_or_if_idempotent():
    once = FailOnce(ConnectionResetError())
    with pytest.raises(ConnectionResetError):
        await service().retry_payment_provider_call(once, "MTN_MOMO", {"amount": 1})
    by_reference, idempotent = FailOnce(ConnectionResetError()), FailOnce(ConnectionResetError())
    await service().retry_payment_provider_call(by_reference, "MTN_MOMO", {"reference": "r1"})
    await service().retry_payment_provider_call(idempotent, "MTN_MOMO", {}, idempotent=True)
    assert (once.calls, by_reference.calls, idempotent.calls) == (1, 2, 2)


def test_breaker_names_of_providers_are_case_insensitive():
    assert get_provider_circuit_breaker("MTN_MOMO") is get_provider_circuit_breaker("mtn_momo:collect")
    assert get_provider_circuit_breaker("MTN_MOMO:status") is not get_provider_circuit_breaker("MTN_MOMO")
    assert get_provider_circuit_breaker("MTN_MOMO").name == "mtn_momo:collect"


def test_slow_calls_open_the_breaker_of_a_payment_provider():
    breaker = CircuitBreaker("x", PAYMENT_PROVIDER.breaker)
    for seconds in (3.9, 4.0) * 4 + (3.9,):
        breaker.observe(Outcome.OK, seconds)
    assert breaker.state is BreakerState.CLOSED, "9 calls are too few"
    breaker.observe(Outcome.OK, 4.0)
    assert (breaker.state, breaker.reason) == (BreakerState.OPEN, "5 of 10 calls took 4 s or more")


def test_a_payment_providers_breaker_stays_closed_while_less_than_half_of_its_calls_are_slow():
    breaker = CircuitBreaker("x", PAYMENT_PROVIDER.breaker)
    for seconds in (0.1, 5.0, 0.1) * 40:
        breaker.observe(Outcome.OK, seconds)
    assert breaker.state is BreakerState.CLOSED
