"""Calls payment providers by name, with the retries and breakers of the default profiles.

>>> breaker = get_provider_circuit_breaker("MTN_MOMO")
>>> answer = await retry_payment_provider_call(provider_api_call, "MTN_MOMO", payment_data)
"""

import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar, cast

from synccash.resilience.circuit_breaker import CircuitBreaker
from synccash.resilience.evidence import Evidence
from synccash.resilience.policy import Policy
from synccash.resilience.registry import Registry
from synccash.resilience.verdict import Outcome, Verdict

D = TypeVar("D")
T = TypeVar("T")

DEFAULT_OPERATION = "collect"
"""The operation that a provider's bare name means."""

default_registry = Registry(default_operation=DEFAULT_OPERATION)
"""The registry of breakers and budgets that the functions of this module share.

Tests replace it with `synccash.resilience.testing.replaced_registry`.
"""

_NOT_SENT_ERRORS = (ConnectionRefusedError, socket.gaierror)
_RETRYABLE = frozenset({Evidence.NOT_SENT, Evidence.REFUSED_LATER, Evidence.AMBIGUOUS})


def classify_by_evidence(result: object) -> Verdict:
    """Classify a result or exception by its attribute `evidence`; an exception without one is AMBIGUOUS.

    `retry_after` is read from the attribute of that name, in seconds.
    """
    evidence = getattr(result, "evidence", None)
    if not isinstance(evidence, Evidence):
        if not isinstance(result, BaseException):
            return Verdict(Outcome.OK)
        evidence = Evidence.NOT_SENT if isinstance(result, _NOT_SENT_ERRORS) else Evidence.AMBIGUOUS
    if evidence not in _RETRYABLE:
        return Verdict(Outcome.OK, evidence=evidence)
    wait_s: Any = getattr(result, "retry_after", None)
    retry_after = float(wait_s) if isinstance(wait_s, int | float) else None
    return Verdict(Outcome.FAILED, retry=True, retry_after=retry_after, evidence=evidence)


class EnhancedRetryService:
    """Calls providers under one policy each, with the breakers and budgets of a registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._policies: dict[tuple[str, bool], Policy] = {}

    async def retry_payment_provider_call(
        self, call: Callable[[D], Awaitable[T]], provider: str, data: D, *, idempotent: bool = False
    ) -> T:
        """Call `call(data)`, and repeat it if it was not sent or if the provider refused it for now.

        A call that may have taken effect is repeated only if `idempotent` is True, or if `data` is a mapping
        with a `reference`, by which the provider recognises the repeat. Raises the call's last exception, or
        CircuitOpenError.
        """
        safe_to_repeat = idempotent or _has_reference(data)
        return await self._policy(provider, idempotent=safe_to_repeat).call(call, data)

    def _policy(self, provider: str, *, idempotent: bool) -> Policy:
        registry = self._registry
        breaker = registry.breaker(provider)
        policy = self._policies.get((breaker.name, idempotent))
        if policy is None or policy.breaker is not breaker:
            self._drop_stale_policies()
            profile = registry.profile(breaker.name)
            policy = self._policies[breaker.name, idempotent] = Policy(
                breaker.name,
                retry=profile.retry,
                breaker=breaker,
                budget=registry.budget(breaker.name),
                attempt_timeout=profile.attempt_timeout,
                total_timeout=profile.total_timeout,
                idempotent=idempotent,
                classify=classify_by_evidence,
                clock=registry.clock,
                random=registry.random,
            )
        return policy

    def _drop_stale_policies(self) -> None:
        breakers = self._registry.breakers()
        self._policies = {
            key: policy for key, policy in self._policies.items() if breakers.get(key[0]) is policy.breaker
        }


def _has_reference(data: Any) -> bool:
    return isinstance(data, Mapping) and bool(cast(Mapping[str, Any], data).get("reference"))


enhanced_retry_service = EnhancedRetryService(default_registry)
retry_payment_provider_call = enhanced_retry_service.retry_payment_provider_call


def get_provider_circuit_breaker(provider: str) -> CircuitBreaker:
    """Return the breaker of a provider, such as `MTN_MOMO`. `MTN_MOMO:status` has a breaker of its own."""
    return default_registry.breaker(provider)
