"""Shares circuit breaker states between processes over Valkey. Each process still decides by itself.

No call waits for this module. A lost or late message only delays the sharing: without Valkey each process
uses its own breakers alone.
"""

# redis-py leaves its keyword arguments untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportGeneralTypeIssues=false

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, Literal

import msgspec
import structlog

from synccash.resilience.circuit_breaker import BreakerState, CircuitBreaker, Statistics, Transition
from synccash.resilience.ports import Peer
from synccash.resilience.registry import Registry
from synccash.stores.supervised_loops import SupervisedLoop, end_loops
from synccash.stores.valkey.breakers import scripts as script
from synccash.stores.valkey.breakers.probe_lease import START_S, ProbeLease
from synccash.stores.valkey.channel import RECONNECT_S, ChannelSubscription
from synccash.stores.valkey.client import UNREACHABLE
from synccash.stores.valkey.presence import BREAKERS
from synccash.stores.valkey.session import ValkeySession

log = structlog.get_logger("synccash.breakers")

_REPORT_S = 1.0
_HEARTBEAT_S = 10.0
# How long before the end of the open time the probe lease is requested, if calls were refused meanwhile.
_EARLY_S = 0.05
_PROBE_LOOK_S = 0.25
_STATISTICS = {field.name for field in fields(Statistics)}
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, LookupError, TypeError, ValueError)
News = dict[str, Any]


class SharedBreakers:
    """Live: one per process, between `start` and `close`. Satisfies `Cluster`.

    `peer_open`: "adopt" opens when a peer opens, "hint" halves the number of failures that open it.
    """

    def __init__(
        self,
        session: ValkeySession,
        registry: Registry,
        *,
        peer_open: Literal["adopt", "hint"] = "adopt",
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._session = session
        self._client = session.client
        self._registry = registry
        self._instance = session.instance
        self._membership = session.presence.membership(BREAKERS)
        self._subscription: ChannelSubscription | None = None
        self._adopting = peer_open == "adopt"
        self._clock = clock
        self._sleep = sleep
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loops: list[SupervisedLoop] = []
        self._asking: set[asyncio.Task[None]] = set()
        self._leases: dict[str, ProbeLease] = {}
        self._blocked: dict[str, int] = {}
        self._acts: dict[str, tuple[str, str]] = {}
        self._moves: dict[str, str] = {}
        self._wake = asyncio.Event()
        self._manual: dict[str, News] = {}
        self._open: dict[str, News] = {}
        self._numbers: dict[str, int] = {}
        self._number = 0
        self._offset_ms = 0.0
        self._reported: dict[str, bytes] = {}
        self._reported_at = -_HEARTBEAT_S

    @property
    def connected(self) -> bool:
        """Whether this process receives the messages of the others, as far as it knows."""
        return self._subscription is not None and self._subscription.connected

    @property
    def live(self) -> int:
        """The number of processes that share the breakers, this one included."""
        return max(1, len(self._membership.members())) if self.connected else 1

    def start(self) -> None:
        """Start listening and publishing in the background. Valkey may be unreachable."""
        self._loop = asyncio.get_running_loop()
        self._registry.watch(self._attach)
        self._membership.join()
        self._subscription = self._session.channels.subscribe(
            script.CHANNEL,
            self._believe,
            name="breakers_listener",
            # Messages from the subscription on are received; earlier state is read from the stored hashes.
            prepare=self._synchronise,
            connected=self._shared_again,
            lost=self._lost,
        )
        self._loops = [
            self._session.supervisor.start(f"breakers_{name}", run)
            for name, run in (("teller", self._tell), ("reporter", self._report_on))
        ]

    async def close(self) -> None:
        """Stop sharing; the breakers continue locally. Does not close the session."""
        self._registry.unwatch(self._attach)
        for breaker in self._registry.breakers().values():
            breaker.unlisten(self._heard)
            breaker.guard(None)
        if self._subscription is not None:
            await self._subscription.close()
        await end_loops([*self._loops, *map(SupervisedLoop, self._asking)])
        await self._membership.leave()
        with contextlib.suppress(*UNREACHABLE):
            await self._client.delete(script.instance_key(self._instance))

    def acted(self, name: str) -> None:
        """Publish that an operator has just reset or forced open this breaker in this process."""
        breaker = self._registry.breakers()[name]
        forced = breaker.state is BreakerState.FORCED_OPEN
        self._acts[name] = ("forced", breaker.reason) if forced else ("reset", "reset by hand")
        self._wake.set()

    async def peers(self) -> Sequence[Peer]:
        """The other live processes. Empty while Valkey is unreachable."""
        if not self.connected:
            return []
        try:
            seen: Any = await self._client.zrange(BREAKERS.key, 0, -1, withscores=True)
            found: dict[str, float] = {key.decode(): at for key, at in seen if key.decode() != self._instance}
            async with self._client.pipeline(transaction=False) as pipe:
                for instance in found:
                    pipe.hgetall(script.instance_key(instance))
                reports = await pipe.execute() if found else []
        except UNREACHABLE:
            return []
        now = self._now_ms()
        return [
            Peer(instance, max(0.0, now - at) / 1_000, _reports(kept, now))
            for (instance, at), kept in zip(found.items(), reports, strict=True)
            if kept
        ]

    # Events of this process.

    def _attach(self, breaker: CircuitBreaker) -> None:
        name = breaker.name
        lease = ProbeLease(lambda: self._soon(self._ask, name), lambda: not self.connected, self._clock)
        self._leases[name] = lease
        breaker.listen(self._heard)
        breaker.guard(lease)
        for known in (self._manual.get(name), self._open.get(name)):
            if known is not None:
                self._apply(known)

    def _soon(self, call: Callable[..., None], *arguments: Any) -> None:
        """Run a call in the event loop, from any thread; does nothing after the loop has ended."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call, *arguments)

    def _heard(self, transition: Transition) -> None:
        self._soon(self._noted, transition)

    def _noted(self, transition: Transition) -> None:
        name, after = transition.name, transition.after
        if after is not BreakerState.HALF_OPEN:
            self._leases[name].forget()
        if transition.by == "person":
            forced = after is BreakerState.FORCED_OPEN
            self._acts[name] = ("forced" if forced else "reset", transition.reason)
        elif transition.by == "breaker" and after in (BreakerState.OPEN, BreakerState.CLOSED):
            self._moves[name] = "open" if after is BreakerState.OPEN else "closed"
        if after is BreakerState.OPEN and self._loop is not None:
            self._blocked[name] = self._registry.breaker(name).statistics().blocked
            self._loop.call_later(max(0.0, (transition.open_s or 0.0) - _EARLY_S), self._ask_early, name)
        self._wake.set()

    # Probe leases.

    def _ask_early(self, name: str) -> None:
        breaker, lease = self._registry.breaker(name), self._leases[name]
        wanted = breaker.statistics().blocked > self._blocked.get(name, 0)
        if wanted and self.connected and not lease.asking and breaker.state is not BreakerState.CLOSED:
            lease.asking = True
            self._ask(name)

    def _ask(self, name: str) -> None:
        task = asyncio.create_task(self._asked(name), name=f"probe lease {name}")
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _asked(self, name: str) -> None:
        lease, breaker = self._leases[name], self._registry.breaker(name)
        held_ms = round((START_S + breaker.settings.probe_hold_s) * 1_000)
        try:
            left = await self._client.eval(script.LEASE, 1, script.lease_key(name), self._instance, held_ms)
        except UNREACHABLE:
            lease.granted(shared=False)
            return
        finally:
            lease.asking = False
        if left:
            lease.denied()
            return
        lease.granted()
        await self._sleep(START_S)
        held_until = self._clock() + breaker.settings.probe_hold_s
        while breaker.statistics().probes_running and self._clock() < held_until:
            await self._sleep(_PROBE_LOOK_S)
        if breaker.state is BreakerState.CLOSED:
            return
        # No probe ran, or its result was inconclusive: another process may have calls to probe with.
        if lease.used:
            lease.forget()
        else:
            lease.lapse()
        with contextlib.suppress(*UNREACHABLE):
            await self._client.eval(script.RELEASE, 1, script.lease_key(name), self._instance)

    # Outgoing.

    async def _tell(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._flush()
            except UNREACHABLE:
                await self._sleep(RECONNECT_S)
                self._wake.set()
            except Exception:
                # The supervisor restarts this loop, which then publishes what is left.
                self._wake.set()
                raise

    async def _flush(self) -> None:
        for name, act in list(self._acts.items()):
            breaker = self._registry.breaker(name)
            version = await self._act(name, breaker.version, *act, "new")
            if self._acts.get(name) != act:
                # A newer manual action came while this one was published: publish it next.
                self._wake.set()
                continue
            del self._acts[name]
            self._apply(
                {
                    "kind": act[0],
                    "name": name,
                    "version": version,
                    "reason": act[1],
                    "instance": self._instance,
                }
            )
        for name, kind in list(self._moves.items()):
            await self._told(name, kind)
            if self._moves.get(name) == kind:
                del self._moves[name]

    async def _act(self, name: str, version: int, kind: str, reason: str, how: str) -> int:
        keys = (script.MANUAL, script.OPEN, script.lease_key(name))
        return int(
            await self._client.eval(script.ACT, 3, *keys, name, version, kind, reason, self._instance, how)
        )

    async def _told(self, name: str, kind: str) -> None:
        """Publish a breaker's new state, if it still has it."""
        now = self._registry.breaker(name).statistics()
        if (now.state is BreakerState.OPEN) != (kind == "open"):
            return
        if kind == "closed" and now.state is not BreakerState.CLOSED:
            return
        self._number += 1
        keys = (script.MANUAL, script.OPEN, script.lease_key(name))
        left_ms = round((now.retry_after or 0.0) * 1_000)
        said = (name, now.version, kind, now.reason, self._instance, self._number, left_ms, now.rounds)
        await self._client.eval(script.TELL, 3, *keys, *said)

    async def _report_on(self) -> None:
        while True:
            with contextlib.suppress(*UNREACHABLE):
                await self._report()
            await self._sleep(_REPORT_S)

    async def _report(self) -> None:
        """Publish the changed breakers, and at each heartbeat all of them."""
        now = self._clock()
        beat = now - self._reported_at >= _HEARTBEAT_S
        if beat:
            await self._synchronise()
        changed: dict[str, bytes] = {}
        fields: dict[str | bytes, bytes] = {}
        for name, breaker in self._registry.breakers().items():
            statistics = asdict(breaker.statistics())
            left_s = statistics.pop("retry_after")
            seen = msgspec.json.encode(statistics)
            if beat or self._reported.get(name) != seen:
                till = None if left_s is None else self._now_ms() + left_s * 1_000
                changed[name] = seen
                fields[name] = msgspec.json.encode({**statistics, "till_ms": till})
        if fields:
            key = script.instance_key(self._instance)
            async with self._client.pipeline(transaction=True) as pipe:
                pipe.hset(key, mapping={**fields})
                pipe.pexpire(key, round(BREAKERS.live_s * 1_000))
                await pipe.execute()
        self._reported.update(changed)
        if beat:
            self._reported_at = now

    # Incoming.

    def _now_ms(self) -> float:
        """Return the estimated time of Valkey's clock, in milliseconds."""
        return self._clock() * 1_000 + self._offset_ms

    def _shared_again(self) -> None:
        log.info("breakers_shared")
        self._wake.set()

    def _lost(self, error: Exception) -> None:
        log.warning("breakers_alone", reason=type(error).__name__)

    async def _synchronise(self) -> None:
        """Read the stored state, and restore manual actions that Valkey has lost."""
        async with self._client.pipeline(transaction=False) as pipe:
            pipe.time()
            pipe.hgetall(script.MANUAL)
            pipe.hgetall(script.OPEN)
            (seconds, micros), manual, opened = await pipe.execute()
        self._offset_ms = seconds * 1_000 + micros / 1_000 - self._clock() * 1_000
        kept = {name.decode(): _version(news) for name, news in manual.items()}
        for name, known in list(self._manual.items()):
            if known["version"] > kept.get(name, 0):
                await self._act(name, known["version"], known["kind"], known["reason"], "again")
        for news in (*manual.values(), *opened.values()):
            self._believe(news)

    def _believe(self, text: Any) -> None:
        """Apply a message of another process; one that cannot be decoded, as from another version, is
        skipped."""
        try:
            self._apply(_read(text))
        except _UNREADABLE as error:
            log.warning("breakers_news_unreadable", reason=f"{type(error).__name__}: {error}")

    def _apply(self, news: News) -> None:
        """Apply a message, unless it is older than the known state."""
        name, kind, version = news["name"], news["kind"], int(news["version"])
        breaker = self._registry.breakers().get(name)
        if kind in ("forced", "reset"):
            if version >= self._manual.get(name, {"version": 0})["version"]:
                self._manual[name] = news
                self._open.pop(name, None)
            if breaker is not None and version > breaker.version:
                move = breaker.force_open if kind == "forced" else breaker.reset
                move(news["reason"], version=version)
            return
        if news["instance"] == self._instance:
            return
        if kind == "open":
            self._open[name] = news
        else:
            self._open.pop(name, None)
        number = int(news["number"])
        late = number < self._numbers.get(news["instance"], 0)
        if breaker is None or late or version < breaker.version:
            return
        self._numbers[news["instance"]] = number
        if kind == "closed":
            breaker.recover(f"recovered in {news['instance']}")
            return
        left_s = (news["till_ms"] - self._now_ms()) / 1_000
        if left_s > 0 and self._adopting:
            breaker.adopt(left_s, f"{news['instance']}: {news['reason']}", rounds=int(news["rounds"]))
        elif left_s > 0:
            breaker.hint(left_s)


def _reports(kept: Mapping[bytes, bytes], now_ms: float) -> Mapping[str, News]:
    """Return a process's reports by breaker, without those that cannot be decoded."""
    found: dict[str, News] = {}
    for name, text in kept.items():
        with contextlib.suppress(*_UNREADABLE):
            report = _read(text)
            till = report.pop("till_ms")
            report["retry_after"] = None if till is None else max(0.0, till - now_ms) / 1_000
            if report.keys() >= _STATISTICS:
                found[name.decode()] = report
    return found


def _version(text: Any) -> int:
    """Return the version of a manual action; 0, which is older than any, when it cannot be decoded."""
    try:
        return int(_read(text)["version"])
    except _UNREADABLE:
        return 0


def _read(text: Any) -> News:
    return msgspec.json.decode(text, type=News)
