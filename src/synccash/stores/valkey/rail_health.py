"""Shares rail health samples between processes over Valkey, about once a second.

Each process publishes its own samples and adds up those of the others. This module decides nothing: without
Valkey each process uses its own samples only.
"""

# redis-py leaves its keyword arguments untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import structlog

from synccash.payments.health import ASPECTS, Signals
from synccash.stores.valkey.client import UNREACHABLE, failure_state
from synccash.stores.valkey.presence import RAIL_HEALTH, Membership
from synccash.stores.valkey.session import ValkeySession

log = structlog.get_logger("synccash.rails")

Key = tuple[str, str, str]
_PERIOD_S = 1.0
# Many processes publish less often, so that the reads per second grow linearly and not with the square.
_PERIOD_PER_PEER_S = 0.05
_TTL_MS = 10_000


class _HealthReport(msgspec.Struct):
    """The report of one process: weights by `rail:network:operation`, and for how many seconds each of its
    open breakers still refuses."""

    signals: dict[str, list[float]]
    shut: dict[str, float]


_decoder = msgspec.json.Decoder(_HealthReport)


@dataclass(slots=True)
class SharedRailHealth:
    """Publishes this process's samples and open breakers, and receives those of the other processes.

    `on_peer_samples` gets the sum of the other processes' samples, and the number of live processes.
    """

    session: ValkeySession
    own_samples: Callable[[], Mapping[Key, Signals]]
    open_breakers: Callable[[], Mapping[str, float]]
    on_peer_samples: Callable[[Mapping[Key, Signals], int], None]
    now: Callable[[], float]
    _alone: bool = field(default=False)
    _membership: Membership = field(init=False)

    def __post_init__(self) -> None:
        self._membership = self.session.presence.membership(RAIL_HEALTH)

    async def run(self) -> None:
        """Exchange reports until cancelled."""
        while True:
            live = await self.exchange()
            await asyncio.sleep(max(_PERIOD_S, _PERIOD_PER_PEER_S * live))

    async def exchange(self) -> int:
        """Publish and read once; return the number of live processes. Joins their group the first time."""
        self._membership.join()
        try:
            reports, live = await self._publish_and_read()
        except UNREACHABLE as error:
            if not self._alone:
                log.warning(
                    "rail_health_alone", valkey=failure_state(error).value, reason=type(error).__name__
                )
            self._alone = True
            self.on_peer_samples({}, 1)
            return 1
        self._alone = False
        self.on_peer_samples(_summed(reports, self.now()), live)
        return live

    async def close(self) -> None:
        """Remove the report of this process. Does not close the session."""
        await self._membership.leave()
        with contextlib.suppress(*UNREACHABLE):
            await self.session.client.delete(_instance_key(self.session.instance))

    async def _publish_and_read(self) -> tuple[list[_HealthReport], int]:
        """Publish the report of this process; return those of the others, and the number of processes."""
        instance = self.session.instance
        peers = [name for name in self._membership.members() if name != instance]
        signals = {":".join(key): _rounded(one) for key, one in self.own_samples().items()}
        payload = msgspec.json.encode(_HealthReport(signals, dict(self.open_breakers())))
        async with self.session.client.pipeline(transaction=False) as pipe:
            pipe.set(_instance_key(instance), payload, px=_TTL_MS)
            if peers:
                pipe.mget([_instance_key(name) for name in peers])
            replies: list[Any] = await pipe.execute()
        return _decoded(replies[1] if peers else []), len(peers) + 1


def _decoded(found: Iterable[bytes | None]) -> list[_HealthReport]:
    reports: list[_HealthReport] = []
    for payload in found:
        # A process of another version may use another format: skip what cannot be decoded.
        with contextlib.suppress(msgspec.DecodeError):
            if payload is not None:
                reports.append(_decoder.decode(payload))
    return reports


def _summed(reports: list[_HealthReport], now: float) -> dict[Key, Signals]:
    sums: dict[Key, Signals] = {}
    for one in reports:
        for name, weights in one.signals.items():
            rail, _, rest = name.partition(":")
            network, _, operation = rest.partition(":")
            if len(weights) != 2 * len(ASPECTS):
                continue
            key, sample = (rail, network, operation), Signals(now, tuple(weights))
            sums[key] = sums[key].combined_with(sample, 1.0) if key in sums else sample
    return sums


def _rounded(signals: Signals) -> list[float]:
    return [round(weight, 4) for weight in signals.weights]


def _instance_key(instance: str) -> str:
    return f"synccash:rail_health:instance:{instance}"
