"""Calls payment providers by name, with the retries and breakers of the default profiles.

>>> breaker = get_provider_circuit_breaker("MTN_MOMO")
>>> answer = await retry_payment_provider_call(provider_api_call, "MTN_MOMO", payment_data)
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar, cast

from synccash.resilience.circuit_breaker import CircuitBreaker
from synccash.resilience.registry import Registry
from synccash.resilience.verdict import classify_by_evidence

D = TypeVar("D")
T = TypeVar("T")

DEFAULT_OPERATION = "collect"
"""The operation that a provider's bare name means."""

default_registry = Registry(default_operation=DEFAULT_OPERATION)
"""The registry of breakers and budgets that the functions of this module share.

Tests replace it with `synccash.resilience.testing.replaced_registry`.
"""


class EnhancedRetryService:
    """Calls providers under one policy each, with the breakers and budgets of a registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def retry_payment_provider_call(
        self, call: Callable[[D], Awaitable[T]], provider: str, data: D, *, idempotent: bool = False
    ) -> T:
        """Call `call(data)`, and repeat it if it was not sent or if the provider refused it for now.

        A call that may have taken effect is repeated only if `idempotent` is True, or if `data` is a mapping
        with a `reference`, by which the provider recognises the repeat. Raises the call's last exception, or
        CircuitOpenError.
        """
        policy = self._registry.policy(
            provider, classify=classify_by_evidence, idempotent=idempotent or _has_reference(data)
        )
        return await policy.call(call, data)


def _has_reference(data: Any) -> bool:
    return isinstance(data, Mapping) and bool(cast(Mapping[str, Any], data).get("reference"))


enhanced_retry_service = EnhancedRetryService(default_registry)
retry_payment_provider_call = enhanced_retry_service.retry_payment_provider_call


def get_provider_circuit_breaker(provider: str) -> CircuitBreaker:
    """Return the breaker of a provider, such as `MTN_MOMO`. `MTN_MOMO:status` has a breaker of its own."""
    return default_registry.breaker(provider)
