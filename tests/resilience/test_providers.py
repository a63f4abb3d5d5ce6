"""The documented calls by a provider's name."""

from dataclasses import replace

import pytest

from synccash.resilience.profiles import PAYMENT_PROVIDER
from synccash.resilience.providers import EnhancedRetryService, get_provider_circuit_breaker
from synccash.resilience.registry import Registry


def service() -> EnhancedRetryService:
    at_once = replace(PAYMENT_PROVIDER, retry=replace(PAYMENT_PROVIDER.retry, strategy="immediate"))
    return EnhancedRetryService(Registry({"*": at_once}))


class Call:
    def __init__(self, error: Exception) -> None:
        self.error: Exception | None = error
        self.calls = 0

    async def __call__(self, data: object) -> object:
        self.calls += 1
        error, self.error = self.error, None
        if error is not None:
            raise error
        return data


async def test_what_never_left_is_repeated():
    call = Call(ConnectionRefusedError())
    assert await service().retry_payment_provider_call(call, "MTN_MOMO", {"amount": 1}) == {"amount": 1}
    assert call.calls == 2


async def test_what_may_have_been_done_is_repeated_only_under_a_reference_or_a_word():
    once = Call(ConnectionResetError())
    with pytest.raises(ConnectionResetError):
        await service().retry_payment_provider_call(once, "MTN_MOMO", {"amount": 1})
    named, told = Call(ConnectionResetError()), Call(ConnectionResetError())
    await service().retry_payment_provider_call(named, "MTN_MOMO", {"reference": "r1"})
    await service().retry_payment_provider_call(told, "MTN_MOMO", {}, idempotent=True)
    assert (once.calls, named.calls, told.calls) == (1, 2, 2)


def test_a_providers_breaker_is_one_and_the_same_in_any_case():
    assert get_provider_circuit_breaker("MTN_MOMO") is get_provider_circuit_breaker("mtn_momo:collect")
    assert get_provider_circuit_breaker("MTN_MOMO:status") is not get_provider_circuit_breaker("MTN_MOMO")
