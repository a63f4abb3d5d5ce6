"""Shares rail health samples between processes over Valkey, about once a second.

Each process publishes its own samples and adds up those of the others. This module decides nothing: without
Valkey each process uses its own samples only.
"""

# redis-py leaves its keyword arguments untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import structlog
from redis.asyncio import Redis

from synccash.payments.health import ASPECTS, Signals
from synccash.stores.valkey.client import UNREACHABLE

log = structlog.get_logger("synccash.rails")

Key = tuple[str, str, str]
INSTANCES = "synccash:rail_health:instances"
_PERIOD_S = 1.0
# Many processes publish less often, so that the reads per second grow linearly and not with the square.
_PERIOD_PER_PEER_S = 0.05
_TTL_MS = 10_000

# KEYS instances, own; ARGV instance, payload, TTL in ms. All times are by Valkey's clock.
_PUBLISH = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[3])
return redis.call('ZRANGE', KEYS[1], 0, -1)
"""


class _HealthReport(msgspec.Struct):
    """The report of one process: weights by `rail:network:operation`, and for how many seconds each of its
    open breakers still refuses."""

    signals: dict[str, list[float]]
    shut: dict[str, float]


_decoder = msgspec.json.Decoder(_HealthReport)


@dataclass(slots=True)
class SharedRailHealth:
    """Live: one per process. `known` and `shut` return what to publish; `heard` receives the sum of the other
    processes' samples and the number of live processes."""

    client: Redis
    instance: str
    known: Callable[[], Mapping[Key, Signals]]
    shut: Callable[[], Mapping[str, float]]
    heard: Callable[[Mapping[Key, Signals], int], None]
    now: Callable[[], float]
    _alone: bool = field(default=False)

    async def run(self) -> None:
        """Exchange reports until cancelled."""
        while True:
            live = await self.exchange()
            await asyncio.sleep(max(_PERIOD_S, _PERIOD_PER_PEER_S * live))

    async def exchange(self) -> int:
        """Publish and read once; return the number of live processes."""
        try:
            instances = await self._publish()
            peers = [name for name in instances if name != self.instance]
            reports = await _read(self.client, peers)
        except UNREACHABLE as error:
            if not self._alone:
                log.warning("rail_health_alone", reason=type(error).__name__)
            self._alone = True
            self.heard({}, 1)
            return 1
        self._alone = False
        self.heard(_summed(reports, self.now()), len(peers) + 1)
        return len(peers) + 1

    async def close(self) -> None:
        """Remove the report of this process. Does not close the client."""
        with contextlib.suppress(*UNREACHABLE):
            await self.client.zrem(INSTANCES, self.instance)
            await self.client.delete(_instance_key(self.instance))

    async def _publish(self) -> list[str]:
        signals = {":".join(key): _rounded(one) for key, one in self.known().items()}
        payload = msgspec.json.encode(_HealthReport(signals, dict(self.shut())))
        seen: Any = await self.client.eval(
            _PUBLISH, 2, INSTANCES, _instance_key(self.instance), self.instance, payload, _TTL_MS
        )
        return [name.decode() for name in seen]


async def look(client: Redis, now: float) -> tuple[Mapping[Key, Signals], Mapping[str, float], int]:
    """Return all processes' samples, the breakers that refuse in any process, and the number of processes.

    Raises one of UNREACHABLE.
    """
    seen: Any = await client.zrange(INSTANCES, 0, -1)
    reports = await _read(client, [name.decode() for name in seen])
    shut: dict[str, float] = {}
    for one in reports:
        for name, left_s in one.shut.items():
            shut[name] = max(left_s, shut.get(name, 0.0))
    return _summed(reports, now), shut, len(reports)


async def _read(client: Redis, instances: list[str]) -> list[_HealthReport]:
    if not instances:
        return []
    found: Any = await client.mget([_instance_key(name) for name in instances])
    reports: list[_HealthReport] = []
    for payload in found:
        # A process of another version may use another format: skip what cannot be decoded.
        with contextlib.suppress(msgspec.DecodeError):
            if payload is not None:
                reports.append(_decoder.decode(payload))
    return reports


def _summed(reports: list[_HealthReport], now: float) -> dict[Key, Signals]:
    together: dict[Key, Signals] = {}
    for one in reports:
        for name, weights in one.signals.items():
            rail, _, rest = name.partition(":")
            network, _, operation = rest.partition(":")
            if len(weights) != 2 * len(ASPECTS):
                continue
            key, seen = (rail, network, operation), Signals(now, tuple(weights))
            together[key] = together[key].together(seen, 1.0) if key in together else seen
    return together


def _rounded(signals: Signals) -> list[float]:
    return [round(weight, 4) for weight in signals.weights]


def _instance_key(instance: str) -> str:
    return f"synccash:rail_health:instance:{instance}"
