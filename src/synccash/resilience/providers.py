"""Calls of payment providers under the shipped profiles, by the provider's name.

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

default_registry = Registry()
"""Live: the breakers and budgets of this process that were asked for by the functions below.

Tests replace it with `synccash.resilience.testing.replaced_registry`.
"""

_NEVER_LEFT = (ConnectionRefusedError, socket.gaierror)
_REPEATABLE = frozenset({Evidence.NOT_SENT, Evidence.REFUSED_LATER, Evidence.AMBIGUOUS})


def judge(result: object) -> Verdict:
    """By the evidence that a result or an exception carries in `evidence`; an unknown error is AMBIGUOUS."""
    evidence = getattr(result, "evidence", None)
    if not isinstance(evidence, Evidence):
        if not isinstance(result, BaseException):
            return Verdict(Outcome.OK)
        evidence = Evidence.NOT_SENT if isinstance(result, _NEVER_LEFT) else Evidence.AMBIGUOUS
    if evidence not in _REPEATABLE:
        return Verdict(Outcome.OK, evidence=evidence)
    wish_s: Any = getattr(result, "retry_after", None)
    retry_after = float(wish_s) if isinstance(wish_s, int | float) else None
    return Verdict(Outcome.FAILED, retry=True, retry_after=retry_after, evidence=evidence)


class EnhancedRetryService:
    """Live: one policy for each provider, over the breakers of a registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._policies: dict[tuple[str, bool], Policy] = {}

    async def retry_payment_provider_call(
        self, call: Callable[[D], Awaitable[T]], provider: str, data: D, *, idempotent: bool = False
    ) -> T:
        """Call `call(data)`; repeat what was not sent or refused for later.

        What may have been done is repeated only when `idempotent`, or when `data` is a mapping with a
        `reference`, by which the provider knows the repeat. Raises what the call raised last, or
        CircuitOpenError.
        """
        known = _names_itself(data)
        return await self._policy(provider, idempotent=idempotent or known).call(call, data)

    def _policy(self, provider: str, *, idempotent: bool) -> Policy:
        registry = self._registry
        breaker = registry.breaker(provider)
        policy = self._policies.get((breaker.name, idempotent))
        if policy is None or policy.breaker is not breaker:
            self._forget_what_the_registry_forgot()
            profile = registry.profile(breaker.name)
            policy = self._policies[breaker.name, idempotent] = Policy(
                breaker.name,
                retry=profile.retry,
                breaker=breaker,
                budget=registry.budget(breaker.name),
                attempt_timeout=profile.attempt_timeout,
                total_timeout=profile.total_timeout,
                idempotent=idempotent,
                classify=judge,
                clock=registry.clock,
                random=registry.random,
            )
        return policy

    def _forget_what_the_registry_forgot(self) -> None:
        known = self._registry.breakers()
        kept = {key: one for key, one in self._policies.items() if known.get(key[0]) is one.breaker}
        self._policies = kept


def _names_itself(data: Any) -> bool:
    return isinstance(data, Mapping) and bool(cast(Mapping[str, Any], data).get("reference"))


enhanced_retry_service = EnhancedRetryService(default_registry)
retry_payment_provider_call = enhanced_retry_service.retry_payment_provider_call


def get_provider_circuit_breaker(provider: str) -> CircuitBreaker:
    """The live breaker of a provider, such as `MTN_MOMO`; `MTN_MOMO:status` is another one."""
    return default_registry.breaker(provider)
