"""What happened when in a drill: faults, breakers, requests and orders, in seconds from its start."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import aiohttp

from synccash.drill.records import FINAL, OrderRecord

_POLL_S = 1.0
CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class FaultSpan:
    """One fault: what it hit, and from when to when. A kill has no length."""

    target: str
    what: str
    begins_s: float
    ends_s: float


@dataclass(frozen=True, slots=True)
class BreakerSpan:
    """A time for which a breaker had one state, the worst of all processes."""

    name: str
    state: str
    begins_s: float
    ends_s: float


@dataclass(frozen=True, slots=True)
class RequestSample:
    """One order that a merchant requested. `seconds`: until the API accepted it, with all repeats; None when
    it never did."""

    at_s: float
    seconds: float | None


@dataclass(frozen=True, slots=True)
class OrderSample:
    """One order of the database. `end_after_s`: seconds from its creation to its end; None without one."""

    at_s: float
    kind: str
    status: str
    end_after_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillTimeline:
    """Everything on the time axis of a drill that took `seconds`."""

    seconds: float = 0.0
    faults: tuple[FaultSpan, ...] = ()
    breakers: tuple[BreakerSpan, ...] = ()
    requests: tuple[RequestSample, ...] = ()
    orders: tuple[OrderSample, ...] = ()


@dataclass(frozen=True, slots=True)
class Summary:
    """The numbers of a drill that a reader compares: shares from 0 to 1, seconds, None without samples."""

    payments: int
    succeeded: float | None
    accepted_p50_s: float | None
    accepted_p95_s: float | None
    accepted_max_s: float | None
    ended_p50_s: float | None
    ended_p95_s: float | None
    ended_max_s: float | None


def summary_of(timeline: DrillTimeline) -> Summary:
    """Return the numbers of a drill."""
    payments = [one for one in timeline.orders if one.kind == "payment"]
    accepted = sorted(one.seconds for one in timeline.requests if one.seconds is not None)
    ended = sorted(one.end_after_s for one in payments if one.end_after_s is not None)
    good = sum(one.status == "succeeded" for one in payments)
    return Summary(
        payments=len(payments),
        succeeded=good / len(payments) if payments else None,
        accepted_p50_s=percentile(accepted, 0.5),
        accepted_p95_s=percentile(accepted, 0.95),
        accepted_max_s=percentile(accepted, 1.0),
        ended_p50_s=percentile(ended, 0.5),
        ended_p95_s=percentile(ended, 0.95),
        ended_max_s=percentile(ended, 1.0),
    )


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """Return a percentile of sorted values by the nearest rank; None of no values."""
    if not ordered:
        return None
    rank = max(1, -(-len(ordered) * round(share * 1000) // 1000))
    return ordered[min(rank, len(ordered)) - 1]


def order_samples(orders: Sequence[OrderRecord], began_at: datetime) -> tuple[OrderSample, ...]:
    """Return the orders with their times; without those that have no time of creation."""
    return tuple(
        OrderSample(
            at_s=(order.created_at - began_at).total_seconds(),
            kind=order.kind,
            status=order.status if order.status in FINAL else "open",
            end_after_s=(
                None if order.ended_at is None else (order.ended_at - order.created_at).total_seconds()
            ),
        )
        for order in orders
        if order.created_at is not None
    )


def breaker_spans(
    readings: Sequence[tuple[float, Mapping[str, str]]], ends_s: float
) -> tuple[BreakerSpan, ...]:
    """Return the states of breakers as spans, from readings of them. A breaker that was never seen in another
    state than closed has one span."""
    spans: list[BreakerSpan] = []
    current: dict[str, tuple[str, float]] = {}
    for at_s, states in readings:
        for name, state in states.items():
            before = current.get(name)
            if before is None:
                current[name] = (state, 0.0 if state == CLOSED else at_s)
            elif before[0] != state:
                spans.append(BreakerSpan(name, before[0], before[1], at_s))
                current[name] = (state, at_s)
    spans += [BreakerSpan(name, state, since_s, ends_s) for name, (state, since_s) in current.items()]
    return tuple(sorted(spans, key=lambda one: (one.name, one.begins_s)))


@dataclass(slots=True)
class BreakerWatch:
    """Reads the states of all breakers once a second. Live: one for each drill.

    `now_s` returns the seconds from the start of the drill. While the API is away there is no reading.
    """

    session: aiohttp.ClientSession
    api: str
    admin_key: str
    now_s: Callable[[], float]
    readings: list[tuple[float, Mapping[str, str]]] = field(
        default_factory=list[tuple[float, Mapping[str, str]]]
    )

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, ValueError, KeyError):
                self.readings.append((self.now_s(), await self._states()))
            await asyncio.sleep(_POLL_S)

    async def _states(self) -> Mapping[str, str]:
        url = f"{self.api}/resilience/circuit-breakers"
        headers = {"Authorization": f"Bearer {self.admin_key}"}
        async with self.session.get(url, headers=headers, timeout=aiohttp.ClientTimeout(total=5)) as reply:
            reply.raise_for_status()
            answer: Any = await reply.json(content_type=None)
            return {one["name"]: one["state"] for one in answer["data"]}


@dataclass(slots=True)
class FaultLog:
    """The faults of a drill with their begins and ends. Live."""

    began: float = field(default_factory=time.monotonic)
    spans: list[FaultSpan] = field(default_factory=list[FaultSpan])
    _open: dict[str, tuple[str, float]] = field(default_factory=dict[str, tuple[str, float]])

    def now_s(self) -> float:
        """Return the seconds from the start."""
        return time.monotonic() - self.began

    def begin(self, target: str, what: str) -> None:
        """Record that a fault begins; it ends the former one of its target."""
        self.end(target)
        self._open[target] = (what, self.now_s())

    def end(self, target: str) -> None:
        """Record the end of a target's fault, if it has one."""
        begun = self._open.pop(target, None)
        if begun is not None:
            self.spans.append(FaultSpan(target, begun[0], begun[1], self.now_s()))

    def instant(self, target: str, what: str) -> None:
        """Record a fault without a length."""
        now_s = self.now_s()
        self.spans.append(FaultSpan(target, what, now_s, now_s))
