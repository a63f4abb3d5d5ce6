"""Shows an operator the circuit breakers of all processes, and resets or opens them everywhere."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from synccash.payments.causes import action_for
from synccash.payments.document import moment
from synccash.resilience.circuit_breaker import CircuitBreaker
from synccash.resilience.ports import Cluster, Peer
from synccash.resilience.registry import Registry

_BY_SEVERITY = ("closed", "half_open", "open", "forced_open")
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
_MAXIMA = ("in_a_row", "rounds", "version")


@dataclass(frozen=True, slots=True)
class ClusterBreakers:
    """Names match in any case; a bare service means its collect breaker, and for a reset all its breakers.

    State and reason are those of the worst live process; the last failure is the latest of all. Counts are
    summed; of `in_a_row`, `rounds` and `version` the greatest is shown. A peer that has not reported since
    the last reset or force-open is listed, but its former state is not used. Without a `cluster`, or while
    it is unreachable, only this process is shown.
    """

    registry: Registry
    instance: str
    cluster: Cluster | None = None

    @property
    def live(self) -> int:
        """The number of processes that share the breakers, including this one."""
        return 1 if self.cluster is None else self.cluster.live

    async def all(self) -> Sequence[dict[str, Any]]:
        """Return all breakers, sorted by name."""
        return await self._shown([breaker for _, breaker in sorted(self.registry.breakers().items())])

    async def one(self, name: str) -> dict[str, Any] | None:
        """Return one breaker; None when none has this name."""
        breaker = self.registry.breakers().get(self.registry.full_name(name))
        return None if breaker is None else (await self._shown([breaker]))[0]

    async def reset(self, name: str, reason: str) -> Sequence[dict[str, Any]]:
        """Close the named breaker everywhere, or all of a bare service. Empty when none matches."""
        matching = self._matching(name)
        for breaker in matching:
            breaker.reset(reason)
            self._publish(breaker)
        return await self._shown(matching)

    async def force_open(self, name: str, reason: str) -> Sequence[dict[str, Any]]:
        """Refuse every new call in all processes until a reset. Empty when no breaker has this name."""
        known = self.registry.breakers().get(self.registry.full_name(name))
        if known is None:
            return []
        known.force_open(reason)
        self._publish(known)
        return await self._shown([known])

    def _publish(self, breaker: CircuitBreaker) -> None:
        if self.cluster is not None:
            self.cluster.acted(breaker.name)

    def _matching(self, name: str) -> list[CircuitBreaker]:
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
            shown.append({**name, **_combined(instances), "instances": instances})
        return shown


def _instance(instance: str, age_s: float, report: Mapping[str, Any]) -> dict[str, Any]:
    state = getattr(report["state"], "value", report["state"])
    return {
        "instance": instance,
        "age_s": round(age_s, 3),
        "state": state,
        "retry_after": report["retry_after"],
        "reason": report["reason"] or None,
        "statistics": {**report, "state": state, "last_failure": _shown_failure(report["last_failure"])},
    }


def _shown_failure(failure: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return a failure with its time as the API writes times, and what to do about its cause."""
    if failure is None:
        return None
    at = moment(datetime.fromtimestamp(failure["at"], UTC))
    return {
        "type": failure["type"],
        "message": failure["message"],
        "at": at,
        "action": action_for(failure["type"]),
    }


def _combined(instances: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    newest = max(one["statistics"]["version"] for one in instances)
    current = [one for one in instances if one["statistics"]["version"] == newest]
    worst = max(current, key=lambda one: (_BY_SEVERITY.index(one["state"]), one["retry_after"] or 0.0))
    reports = [one["statistics"] for one in instances]
    failures = [one["last_failure"] for one in reports if one["last_failure"] is not None]
    statistics = {
        **worst["statistics"],
        "last_failure": max(failures, key=lambda one: one["at"], default=None),
        **{field: sum(_values(reports, field)) for field in _SUMMED},
        **{field: max(_values(reports, field)) for field in _MAXIMA},
        "durations": [sum(counts) for counts in zip(*(one["durations"] for one in reports), strict=True)],
    }
    return {
        "state": worst["state"],
        "retry_after": worst["retry_after"],
        "reason": worst["reason"],
        "statistics": statistics,
    }


def _values(reports: Iterable[Mapping[str, Any]], field: str) -> list[Any]:
    return [one[field] for one in reports]
