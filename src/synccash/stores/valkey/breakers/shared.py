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
from synccash.stores.valkey.client import UNREACHABLE, failure_state
from synccash.stores.valkey.presence import BREAKERS
from synccash.stores.valkey.session import ValkeySession

log = structlog.get_logger("synccash.breakers")

_REPORT_S = 1.0
_HEARTBEAT_S = 10.0
# How long before the end of the open time the probe lease is requested, if calls were refused meanwhile.
_EARLY_S = 0.05
_PROBE_POLL_S = 0.25
_STATISTICS = {field.name for field in fields(Statistics)}
_DECODE_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, LookupError, TypeError, ValueError)
BreakerMessage = dict[str, Any]
"""A change of one breaker, as `scripts` encodes it, with three numbers:
`version` counts the operators' actions on the breaker, over all processes. A change from before the latest
action is ignored.
`number` counts the changes that the process `instance` has published. A change with a lower number than an
earlier message of the process had is late, and is ignored.
`rounds` counts how often the breaker has opened since it was last closed: it stays open longer each time.
"""


class SharedBreakers:
    """Shares breaker states with the other processes between `start` and `close`. Implements `Cluster`.

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
        self._adopts = peer_open == "adopt"
        self._clock = clock
        self._sleep = sleep
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loops: list[SupervisedLoop] = []
        self._lease_tasks: set[asyncio.Task[None]] = set()
        self._leases: dict[str, ProbeLease] = {}
        self._blocked_calls: dict[str, int] = {}
        self._manual_actions: dict[str, tuple[str, str]] = {}
        self._state_changes: dict[str, str] = {}
        self._wake = asyncio.Event()
        self._manual: dict[str, BreakerMessage] = {}
        self._open: dict[str, BreakerMessage] = {}
        self._last_numbers: dict[str, int] = {}
        self._last_number = 0
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
            self._receive,
            name="breakers_listener",
            # Messages from the subscription on are received; earlier state is read from the stored hashes.
            prepare=self._synchronise,
            connected=self._on_connected,
            lost=self._on_lost,
        )
        self._loops = [
            self._session.supervisor.start(f"breakers_{name}", run)
            for name, run in (("teller", self._publish_changes), ("reporter", self._report_repeatedly))
        ]

    async def close(self) -> None:
        """Stop sharing; the breakers continue locally. Does not close the session."""
        self._registry.unwatch(self._attach)
        for breaker in self._registry.breakers().values():
            breaker.unlisten(self._on_transition)
            breaker.guard(None)
        if self._subscription is not None:
            await self._subscription.close()
        await end_loops([*self._loops, *map(SupervisedLoop, self._lease_tasks)])
        await self._membership.leave()
        with contextlib.suppress(*UNREACHABLE):
            await self._client.delete(script.instance_key(self._instance))

    def acted(self, name: str) -> None:
        """Publish that an operator has just reset or forced open this breaker in this process."""
        breaker = self._registry.breakers()[name]
        forced = breaker.state is BreakerState.FORCED_OPEN
        self._manual_actions[name] = ("forced", breaker.reason) if forced else ("reset", "reset by hand")
        self._wake.set()

    async def peers(self) -> Sequence[Peer]:
        """Return the other live processes. Empty while Valkey is unreachable."""
        if not self.connected:
            return []
        try:
            members: Any = await self._client.zrange(BREAKERS.key, 0, -1, withscores=True)
            found: dict[str, float] = {
                key.decode(): at for key, at in members if key.decode() != self._instance
            }
            async with self._client.pipeline(transaction=False) as pipe:
                for instance in found:
                    pipe.hgetall(script.instance_key(instance))
                reports = await pipe.execute() if found else []
        except UNREACHABLE:
            return []
        now = self._now_ms()
        return [
            Peer(instance, max(0.0, now - at) / 1_000, _reports(fields, now))
            for (instance, at), fields in zip(found.items(), reports, strict=True)
            if fields
        ]

    # Events of this process.

    def _attach(self, breaker: CircuitBreaker) -> None:
        name = breaker.name
        lease = ProbeLease(
            lambda: self._call_soon(self._request_lease, name), lambda: not self.connected, self._clock
        )
        self._leases[name] = lease
        breaker.listen(self._on_transition)
        breaker.guard(lease)
        for known in (self._manual.get(name), self._open.get(name)):
            if known is not None:
                self._apply(known)

    def _call_soon(self, call: Callable[..., None], *arguments: Any) -> None:
        """Run a call in the event loop, from any thread; does nothing after the loop has ended."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call, *arguments)

    def _on_transition(self, transition: Transition) -> None:
        self._call_soon(self._record_transition, transition)

    def _record_transition(self, transition: Transition) -> None:
        name, after = transition.name, transition.after
        if after is not BreakerState.HALF_OPEN:
            self._leases[name].reset()
        if transition.by == "person":
            forced = after is BreakerState.FORCED_OPEN
            self._manual_actions[name] = ("forced" if forced else "reset", transition.reason)
        elif transition.by == "breaker" and after in (BreakerState.OPEN, BreakerState.CLOSED):
            self._state_changes[name] = "open" if after is BreakerState.OPEN else "closed"
        if after is BreakerState.OPEN and self._loop is not None:
            self._blocked_calls[name] = self._registry.breaker(name).statistics().blocked
            self._loop.call_later(
                max(0.0, (transition.open_s or 0.0) - _EARLY_S), self._request_lease_early, name
            )
        self._wake.set()

    # Probe leases.

    def _request_lease_early(self, name: str) -> None:
        breaker, lease = self._registry.breaker(name), self._leases[name]
        wanted = breaker.statistics().blocked > self._blocked_calls.get(name, 0)
        if wanted and self.connected and not lease.requested and breaker.state is not BreakerState.CLOSED:
            lease.requested = True
            self._request_lease(name)

    def _request_lease(self, name: str) -> None:
        task = asyncio.create_task(self._hold_lease(name), name=f"probe lease {name}")
        self._lease_tasks.add(task)
        task.add_done_callback(self._lease_tasks.discard)

    async def _hold_lease(self, name: str) -> None:
        lease, breaker = self._leases[name], self._registry.breaker(name)
        held_ms = round((START_S + breaker.settings.probe_hold_s) * 1_000)
        try:
            left = await self._client.eval(
                script.ACQUIRE_LEASE, 1, script.lease_key(name), self._instance, held_ms
            )
        except UNREACHABLE:
            lease.granted(shared=False)
            return
        finally:
            lease.requested = False
        if left:
            lease.denied()
            return
        lease.granted()
        await self._sleep(START_S)
        held_until = self._clock() + breaker.settings.probe_hold_s
        while breaker.statistics().probes_running and self._clock() < held_until:
            await self._sleep(_PROBE_POLL_S)
        if breaker.state is BreakerState.CLOSED:
            return
        # No probe ran, or its result was inconclusive: another process may have calls to probe with.
        if lease.used:
            lease.reset()
        else:
            lease.lapse()
        with contextlib.suppress(*UNREACHABLE):
            await self._client.eval(script.RELEASE_LEASE, 1, script.lease_key(name), self._instance)

    # Outgoing.

    async def _publish_changes(self) -> None:
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
        for name, action in list(self._manual_actions.items()):
            breaker = self._registry.breaker(name)
            version = await self._publish_manual_action(name, breaker.version, *action, "new")
            if self._manual_actions.get(name) != action:
                # A newer manual action came while this one was published: publish it next.
                self._wake.set()
                continue
            del self._manual_actions[name]
            self._apply(
                {
                    "kind": action[0],
                    "name": name,
                    "version": version,
                    "reason": action[1],
                    "instance": self._instance,
                }
            )
        for name, kind in list(self._state_changes.items()):
            await self._publish_state(name, kind)
            if self._state_changes.get(name) == kind:
                del self._state_changes[name]

    async def _publish_manual_action(self, name: str, version: int, kind: str, reason: str, how: str) -> int:
        keys = (script.MANUAL, script.OPEN, script.lease_key(name))
        return int(
            await self._client.eval(
                script.PUBLISH_MANUAL_ACTION, 3, *keys, name, version, kind, reason, self._instance, how
            )
        )

    async def _publish_state(self, name: str, kind: str) -> None:
        """Publish a breaker's new state, if it still has it."""
        now = self._registry.breaker(name).statistics()
        if (now.state is BreakerState.OPEN) != (kind == "open"):
            return
        if kind == "closed" and now.state is not BreakerState.CLOSED:
            return
        self._last_number += 1
        keys = (script.MANUAL, script.OPEN, script.lease_key(name))
        left_ms = round((now.retry_after or 0.0) * 1_000)
        arguments = (
            name,
            now.version,
            kind,
            now.reason,
            self._instance,
            self._last_number,
            left_ms,
            now.rounds,
        )
        await self._client.eval(script.PUBLISH_STATE, 3, *keys, *arguments)

    async def _report_repeatedly(self) -> None:
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
            encoded = msgspec.json.encode(statistics)
            if beat or self._reported.get(name) != encoded:
                till = None if left_s is None else self._now_ms() + left_s * 1_000
                changed[name] = encoded
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

    def _on_connected(self) -> None:
        log.info("breakers_shared")
        self._wake.set()

    def _on_lost(self, error: Exception) -> None:
        log.warning("breakers_alone", valkey=failure_state(error).value, reason=type(error).__name__)

    async def _synchronise(self) -> None:
        """Read the stored state, and restore manual actions that Valkey has lost."""
        async with self._client.pipeline(transaction=False) as pipe:
            pipe.time()
            pipe.hgetall(script.MANUAL)
            pipe.hgetall(script.OPEN)
            (seconds, micros), manual, opened = await pipe.execute()
        self._offset_ms = seconds * 1_000 + micros / 1_000 - self._clock() * 1_000
        stored = {name.decode(): _version(message) for name, message in manual.items()}
        for name, known in list(self._manual.items()):
            if known["version"] > stored.get(name, 0):
                await self._publish_manual_action(
                    name, known["version"], known["kind"], known["reason"], "again"
                )
        for message in (*manual.values(), *opened.values()):
            self._receive(message)

    def _receive(self, text: Any) -> None:
        """Apply a message of another process; one that cannot be decoded, as from another version, is
        skipped."""
        try:
            self._apply(_decoded(text))
        except _DECODE_ERRORS as error:
            log.warning("breaker_message_unreadable", reason=f"{type(error).__name__}: {error}")

    def _apply(self, message: BreakerMessage) -> None:
        """Apply a message, unless it is older than the known state."""
        name, kind, version = message["name"], message["kind"], int(message["version"])
        breaker = self._registry.breakers().get(name)
        if kind in ("forced", "reset"):
            if version >= self._manual.get(name, {"version": 0})["version"]:
                self._manual[name] = message
                self._open.pop(name, None)
            if breaker is not None and version > breaker.version:
                apply = breaker.force_open if kind == "forced" else breaker.reset
                apply(message["reason"], version=version)
            return
        if message["instance"] == self._instance:
            return
        if kind == "open":
            self._open[name] = message
        else:
            self._open.pop(name, None)
        number = int(message["number"])
        late = number < self._last_numbers.get(message["instance"], 0)
        if breaker is None or late or version < breaker.version:
            return
        self._last_numbers[message["instance"]] = number
        if kind == "closed":
            breaker.recover("another process has recovered")
            return
        left_s = (message["till_ms"] - self._now_ms()) / 1_000
        if left_s > 0 and self._adopts:
            breaker.adopt(left_s, f"{message['reason']} (in another process)", rounds=int(message["rounds"]))
        elif left_s > 0:
            breaker.hint(left_s)


def _reports(fields: Mapping[bytes, bytes], now_ms: float) -> Mapping[str, BreakerMessage]:
    """Return a process's reports by breaker, without those that cannot be decoded."""
    found: dict[str, BreakerMessage] = {}
    for name, text in fields.items():
        with contextlib.suppress(*_DECODE_ERRORS):
            report = _decoded(text)
            till = report.pop("till_ms")
            report["retry_after"] = None if till is None else max(0.0, till - now_ms) / 1_000
            if report.keys() >= _STATISTICS:
                found[name.decode()] = report
    return found


def _version(text: Any) -> int:
    """Return the version of a manual action; 0, which is older than any, when it cannot be decoded."""
    try:
        return int(_decoded(text)["version"])
    except _DECODE_ERRORS:
        return 0


def _decoded(text: Any) -> BreakerMessage:
    return msgspec.json.decode(text, type=BreakerMessage)
