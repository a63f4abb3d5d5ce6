"""What the processes of a fleet know of their rails, put together over Valkey once a second.

Each process publishes what it saw itself and adds up what the others published. Nothing is decided here, and
what is lost costs only knowledge: without Valkey each process goes by what it sees.
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
# A large fleet tells more rarely, so that what it reads a second grows with its size and not with the square.
_PERIOD_PER_PEER_S = 0.05
_TTL_MS = 10_000

# KEYS instances, own; ARGV instance, what it knows, TTL in ms. All times are Valkey's.
_PUBLISH = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[3])
return redis.call('ZRANGE', KEYS[1], 0, -1)
"""


class _Told(msgspec.Struct):
    """What one process publishes: weights by `rail:network:operation`, and for how long which breaker of its
    own still refuses, in seconds."""

    signals: dict[str, list[float]]
    shut: dict[str, float]


_decoder = msgspec.json.Decoder(_Told)


@dataclass(slots=True)
class SharedRailHealth:
    """Live: one per process. `known` and `shut` are asked before each publication; `heard` is told what all
    the others know together, and how many processes there are."""

    client: Redis
    instance: str
    known: Callable[[], Mapping[Key, Signals]]
    shut: Callable[[], Mapping[str, float]]
    heard: Callable[[Mapping[Key, Signals], int], None]
    now: Callable[[], float]
    _alone: bool = field(default=False)

    async def run(self) -> None:
        """Tell and hear until cancelled."""
        while True:
            live = await self.exchange()
            await asyncio.sleep(max(_PERIOD_S, _PERIOD_PER_PEER_S * live))

    async def exchange(self) -> int:
        """Tell and hear once; return how many processes there are."""
        try:
            instances = await self._publish()
            peers = [name for name in instances if name != self.instance]
            told = await _read(self.client, peers)
        except UNREACHABLE as error:
            if not self._alone:
                log.warning("rail_health_alone", reason=type(error).__name__)
            self._alone = True
            self.heard({}, 1)
            return 1
        self._alone = False
        self.heard(_together(told, self.now()), len(peers) + 1)
        return len(peers) + 1

    async def close(self) -> None:
        """Take back what this process has told. The client stays open."""
        with contextlib.suppress(*UNREACHABLE):
            await self.client.zrem(INSTANCES, self.instance)
            await self.client.delete(_instance_key(self.instance))

    async def _publish(self) -> list[str]:
        signals = {":".join(key): _rounded(one) for key, one in self.known().items()}
        payload = msgspec.json.encode(_Told(signals, dict(self.shut())))
        seen: Any = await self.client.eval(
            _PUBLISH, 2, INSTANCES, _instance_key(self.instance), self.instance, payload, _TTL_MS
        )
        return [name.decode() for name in seen]


async def look(client: Redis, now: float) -> tuple[Mapping[Key, Signals], Mapping[str, float], int]:
    """What the whole fleet knows, the breakers that refuse in any process, and how many processes there are.

    Raises one of UNREACHABLE.
    """
    seen: Any = await client.zrange(INSTANCES, 0, -1)
    told = await _read(client, [name.decode() for name in seen])
    shut: dict[str, float] = {}
    for one in told:
        for name, left_s in one.shut.items():
            shut[name] = max(left_s, shut.get(name, 0.0))
    return _together(told, now), shut, len(told)


async def _read(client: Redis, instances: list[str]) -> list[_Told]:
    if not instances:
        return []
    found: Any = await client.mget([_instance_key(name) for name in instances])
    told: list[_Told] = []
    for payload in found:
        # A process of another version may write otherwise; what cannot be read is not known.
        with contextlib.suppress(msgspec.DecodeError):
            if payload is not None:
                told.append(_decoder.decode(payload))
    return told


def _together(told: list[_Told], now: float) -> dict[Key, Signals]:
    together: dict[Key, Signals] = {}
    for one in told:
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
