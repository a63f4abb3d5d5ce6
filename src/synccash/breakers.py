"""The circuit breakers of this process, as an operator sees and moves them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from synccash.resilience.circuit_breaker import CircuitBreaker
from synccash.resilience.registry import Registry


@dataclass(frozen=True, slots=True)
class LocalBreakers:
    """Names are read in any case; a bare service means its collect breaker, and all of them for a reset."""

    registry: Registry
    instance: str

    async def all(self) -> Sequence[dict[str, Any]]:
        """Every breaker that is known, by name."""
        return [self._shown(breaker) for _, breaker in sorted(self.registry.breakers().items())]

    async def one(self, name: str) -> dict[str, Any] | None:
        """One breaker; None where there is none of that name."""
        breaker = self.registry.breakers().get(self.registry.full_name(name))
        return None if breaker is None else self._shown(breaker)

    async def reset(self, name: str, reason: str) -> Sequence[dict[str, Any]]:
        """Close the named breaker, or all of a bare service. Empty where there is none."""
        meant = self._meant(name)
        for breaker in meant:
            breaker.reset(reason)
        return [self._shown(breaker) for breaker in meant]

    async def force_open(self, name: str, reason: str) -> Sequence[dict[str, Any]]:
        """Refuse every new call until a reset. Empty where there is none of that name."""
        known = self.registry.breakers().get(self.registry.full_name(name))
        if known is None:
            return []
        known.force_open(reason)
        return [self._shown(known)]

    def _meant(self, name: str) -> list[CircuitBreaker]:
        known = self.registry.breakers()
        name = name.strip().lower()
        if ":" in name:
            return [known[name]] if name in known else []
        return [breaker for full, breaker in known.items() if full.partition(":")[0] == name]

    def _shown(self, breaker: CircuitBreaker) -> dict[str, Any]:
        service, _, operation = breaker.name.partition(":")
        state = {
            "state": breaker.state.value,
            "retry_after": breaker.retry_after(),
            "reason": breaker.reason or None,
            "statistics": asdict(breaker.statistics()),
        }
        shown = {"name": breaker.name, "service": service, "operation": operation or None, **state}
        return {**shown, "instances": [{"instance": self.instance, **state}]}
