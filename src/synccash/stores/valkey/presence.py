"""Registers this process in Valkey, and knows which other processes are live.

Processes are registered in groups, because not all of them do the same work: a rate limit, for example, is
divided among the API processes only. One heartbeat keeps this process registered in all groups that it
has joined.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from synccash.stores.supervised_loops import LoopSupervisor, SupervisedLoop
from synccash.stores.valkey.client import UNREACHABLE
from synccash.stores.valkey.connection import Argument, ValkeyConnection
from synccash.stores.valkey.limits.script import TAG

HEARTBEAT_S = 2.0
"""Pause between two heartbeats, in seconds: three may be lost before another process removes this one."""
# Registers a process by Valkey's clock, removes the expired ones, and returns the live ones.
# KEYS group; ARGV instance, live ms, "1" when the key expires with its members.
_HEARTBEAT = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
if ARGV[3] == '1' then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return redis.call('ZRANGE', KEYS[1], 0, -1)
"""
# KEYS group; ARGV ms. Counts the processes whose latest heartbeat is not older.
_COUNT = """
local t = redis.call('TIME')
return redis.call('ZCOUNT', KEYS[1], t[1] * 1000 + math.floor(t[2] / 1000) - ARGV[1], '+inf')
"""
SILENT_S = 6.5
"""A watched process whose latest heartbeat is older than this has missed three of them, in seconds."""
_GONE_S = 4.0
_STALE_S = 5.0


@dataclass(frozen=True, slots=True)
class Group:
    """Processes that register under one key. One without a heartbeat for `live_s` seconds is removed."""

    key: str
    live_s: float
    expires: bool = False


API_PROCESSES = Group(f"{TAG}:fleet", live_s=15.0, expires=True)
"""The processes that divide the rate limits among them while Valkey is unreachable."""
INQUIRERS = Group(f"{TAG}:inquirers", live_s=15.0, expires=True)
"""The processes that divide the rails' inquiry rates among them: the workers."""
RAIL_HEALTH = Group("synccash:rail_health:instances", live_s=10.0)
"""The processes that share rail health samples."""
BREAKERS = Group("synccash:breakers:instances", live_s=30.0)
"""The processes that share circuit breaker states."""


class Presence:
    """Sends the heartbeats of this process between `start` and `close`. Does not close the connection."""

    def __init__(
        self,
        line: ValkeyConnection,
        instance: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        supervisor: LoopSupervisor | None = None,
    ) -> None:
        self._line = line
        self._instance = instance
        self._clock = clock
        self._supervisor = supervisor or LoopSupervisor()
        self._loop: SupervisedLoop | None = None
        self._joined: list[Membership] = []
        self._watched: list[GroupWatch] = []
        self._changed = asyncio.Event()
        # Otherwise a heartbeat that is under way could register again a process that has just left.
        self._writing = asyncio.Lock()

    def membership(self, group: Group, *, assumed: int = 1) -> "Membership":
        """Return the membership of this process in a group, not yet joined. `assumed` is the group's size
        before the first heartbeat."""
        return Membership(self, group, assumed)

    def watch(self, group: Group) -> "GroupWatch":
        """Return a watch of a group that this process need not have joined; each heartbeat reads it."""
        watched = GroupWatch(group, self._clock)
        self._watched.append(watched)
        return watched

    def start(self) -> None:
        """Start the heartbeat in the background. Valkey may be unreachable."""
        self._loop = self._supervisor.start("presence", self._run)

    async def close(self) -> None:
        """Stop the heartbeat and leave all groups."""
        if self._loop is not None:
            await self._loop.end()
        for membership in list(self._joined):
            await membership.leave()

    async def beat(self) -> None:
        """Send one heartbeat to all joined groups. Raises one of client.UNREACHABLE."""
        async with self._writing:
            joined, watched = list(self._joined), list(self._watched)
            if not joined and not watched:
                return
            # One script per key: in a cluster, the keys of a script must be on one node.
            replies: list[Any] = await asyncio.gather(
                *(self._line.call(b"EVAL", *self._heartbeat(one.group)) for one in joined),
                *(self._line.call(b"EVAL", *_count(one.group)) for one in watched),
                return_exceptions=True,
            )
        now = self._clock()
        failures: list[Exception] = []
        for one, reply in zip((*joined, *watched), replies, strict=True):
            if isinstance(reply, UNREACHABLE):
                failures.append(reply)
            elif isinstance(reply, BaseException):
                raise reply
            elif isinstance(one, GroupWatch):
                one.record(reply, now)
            else:
                one.record([name.decode() for name in reply], now)
        if failures:
            raise failures[0]

    def _heartbeat(self, group: Group) -> tuple[Argument, ...]:
        return _HEARTBEAT, 1, group.key, self._instance, round(group.live_s * 1_000), int(group.expires)

    def join(self, membership: "Membership") -> None:
        """Register this process in a group from the next heartbeat on, which follows at once."""
        if membership not in self._joined:
            self._joined.append(membership)
            self._changed.set()

    async def leave(self, membership: "Membership") -> None:
        """Remove this process from a group. If Valkey is unreachable, the others remove it after `live_s`."""
        if membership not in self._joined:
            return
        self._joined.remove(membership)
        async with self._writing:
            with contextlib.suppress(*UNREACHABLE):
                await self._line.call(b"ZREM", membership.group.key, self._instance)

    async def _run(self) -> None:
        while True:
            self._changed.clear()
            with contextlib.suppress(*UNREACHABLE):
                await self.beat()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._changed.wait()


def _count(group: Group) -> tuple[Argument, ...]:
    return _COUNT, 1, group.key, round(SILENT_S * 1_000)


class Membership:
    """The membership of one process in a group, and the other members that it knows."""

    __slots__ = ("_members", "_presence", "_samples", "_size", "group")

    def __init__(self, presence: Presence, group: Group, assumed: int) -> None:
        self.group = group
        self._presence = presence
        self._size = assumed
        self._members: Sequence[str] = ()
        self._samples = deque[tuple[float, int]]()

    def join(self) -> None:
        """Join the group in the background. Valkey may be unreachable."""
        self._presence.join(self)

    async def leave(self) -> None:
        """Leave the group."""
        await self._presence.leave(self)

    def members(self) -> Sequence[str]:
        """Return the live processes at the last heartbeat, this one included; empty before the first."""
        return self._members

    def size(self) -> int:
        """Return the greatest number of live processes at the heartbeats of the last `live_s` seconds.

        It is the maximum, because a Valkey that lost its data has a full count only after some time. Before
        the first heartbeat it is `assumed`.
        """
        return self._size

    def record(self, members: Sequence[str], now: float) -> None:
        """Record the answer to a heartbeat."""
        self._members = members
        self._samples.append((now, len(members)))
        # Prune only on a new sample, so the last size survives an outage of Valkey.
        while self._samples[0][0] <= now - self.group.live_s:
            self._samples.popleft()
        self._size = max(size for _, size in self._samples)


class GroupWatch:
    """For how long no process of a group has sent a heartbeat, as far as this process knows."""

    __slots__ = ("_clock", "_read_at", "_seen_at", "count", "group")

    def __init__(self, group: Group, clock: Callable[[], float]) -> None:
        self.group = group
        self._clock = clock
        self._read_at: float | None = None
        self._seen_at = 0.0
        self.count = 0

    def record(self, count: int, now: float) -> None:
        """Record how many processes of the group are live."""
        if self._read_at is None:
            # A process that starts at the same time as this one has as long as one that restarts.
            self._seen_at = now + SILENT_S
        if count:
            self._seen_at = now
        self.count, self._read_at = count, now

    def missing_s(self) -> float | None:
        """Return for how long no process has been live; None while one is, for the first seconds, and while
        Valkey does not answer."""
        now = self._clock()
        if self.count or self._read_at is None or now - self._read_at > _STALE_S:
            return None
        gone_s = now - self._seen_at
        return gone_s + SILENT_S if gone_s >= _GONE_S else None
