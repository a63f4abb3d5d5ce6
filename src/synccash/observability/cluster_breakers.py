"""The circuit breakers of all processes, as an operator sees and moves them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from synccash.resilience.circuit_breaker import CircuitBreaker
from synccash.resilience.ports import Cluster, Peer
from synccash.resilience.registry import Registry

_BY_WEIGHT = ("closed", "half_open", "open", "forced_open")
_SUMMED = (
    "successes",
    "failures",
    "ignored",
    "blocked",
    "window_calls",
    "window_failures",
    "window_slow",
    "opened",
    "probes_running",
    "probes_succeeded",
    "seconds",
)
_GREATEST = ("in_a_row", "rounds", "version")


@dataclass(frozen=True, slots=True)
class ClusterBreakers:
    """Names are read in any case; a bare service means its collect breaker, and all of them for a reset.

    State, reason and last failure are the worst live process'; counts are summed, `in_a_row`, `rounds` and
    `version` are the greatest. A peer that has not reported since the last reset or force-open is listed,
    and its former state is not counted. Without a `cluster`, or while it is away, this process is all.
    """

    registry: Registry
    instance: str
    cluster: Cluster | None = None

    @property
    def live(self) -> int:
        """How many processes share the breakers, this one among them."""
        return 1 if self.cluster is None else self.cluster.live

    async def all(self) -> Sequence[dict[str, Any]]:
        """Every breaker that is known, by name."""
        return await self._shown([breaker for _, breaker in sorted(self.registry.breakers().items())])

    async def one(self, name: str) -> dict[str, Any] | None:
        """One breaker; None where there is none of that name."""
        breaker = self.registry.breakers().get(self.registry.full_name(name))
        return None if breaker is None else (await self._shown([breaker]))[0]

    async def reset(self, name: str, reason: str) -> Sequence[dict[str, Any]]:
        """Close the named breaker everywhere, or all of a bare service. Empty where there is none."""
        meant = self._meant(name)
        for breaker in meant:
            breaker.reset(reason)
            self._acted(breaker)
        return await self._shown(meant)

    async def force_open(self, name: str, reason: str) -> Sequence[dict[str, Any]]:
        """Refuse every new call everywhere until a reset. Empty where there is none of that name."""
        known = self.registry.breakers().get(self.registry.full_name(name))
        if known is None:
            return []
        known.force_open(reason)
        self._acted(known)
        return await self._shown([known])

    def _acted(self, breaker: CircuitBreaker) -> None:
        if self.cluster is not None:
            self.cluster.acted(breaker.name)

    def _meant(self, name: str) -> list[CircuitBreaker]:
        known = self.registry.breakers()
        name = name.strip().lower()
        if ":" in name:
            return [known[name]] if name in known else []
        return [breaker for full, breaker in known.items() if full.partition(":")[0] == name]

    async def _shown(self, breakers: Sequence[CircuitBreaker]) -> list[dict[str, Any]]:
        peers: Sequence[Peer] = ()
        if self.cluster is not None and breakers:
            peers = await self.cluster.peers()
        shown: list[dict[str, Any]] = []
        for breaker in breakers:
            instances = [_instance(self.instance, 0.0, asdict(breaker.statistics()))]
            instances += [
                _instance(peer.instance, peer.age_s, peer.reports[breaker.name])
                for peer in peers
                if breaker.name in peer.reports
            ]
            service, _, operation = breaker.name.partition(":")
            name = {"name": breaker.name, "service": service, "operation": operation or None}
            shown.append({**name, **_together(instances), "instances": instances})
        return shown


def _instance(instance: str, age_s: float, report: Mapping[str, Any]) -> dict[str, Any]:
    state = getattr(report["state"], "value", report["state"])
    return {
        "instance": instance,
        "age_s": round(age_s, 3),
        "state": state,
        "retry_after": report["retry_after"],
        "reason": report["reason"] or None,
        "statistics": {**report, "state": state},
    }


def _together(instances: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    newest = max(one["statistics"]["version"] for one in instances)
    current = [one for one in instances if one["statistics"]["version"] == newest]
    worst = max(current, key=lambda one: (_BY_WEIGHT.index(one["state"]), one["retry_after"] or 0.0))
    told = [one["statistics"] for one in instances]
    statistics = {
        **worst["statistics"],
        **{field: sum(_each(told, field)) for field in _SUMMED},
        **{field: max(_each(told, field)) for field in _GREATEST},
        "durations": [sum(counts) for counts in zip(*(one["durations"] for one in told), strict=True)],
    }
    return {
        "state": worst["state"],
        "retry_after": worst["retry_after"],
        "reason": worst["reason"],
        "statistics": statistics,
    }


def _each(told: Iterable[Mapping[str, Any]], field: str) -> list[Any]:
    return [one[field] for one in told]
