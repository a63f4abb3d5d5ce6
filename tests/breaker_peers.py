"""Peers that share circuit breakers through Valkey: one event loop, a Valkey session each."""

import asyncio
import contextlib
import time
from dataclasses import replace

from synccash.observability.cluster_breakers import ClusterBreakers
from synccash.resilience.breaker_settings import BreakerSettings
from synccash.resilience.errors import CircuitOpenError
from synccash.resilience.profiles import PAYMENT_PROVIDER
from synccash.resilience.registry import Registry
from synccash.resilience.verdict import Outcome
from synccash.stores.valkey.breakers.shared import SharedBreakers
from synccash.stores.valkey.session import open_session

NAME = "rail:collect"
FAILURES = 4
WAIT_S = 30.0


class OffsetClock:
    """The monotonic clock plus an offset that a test sets."""

    ahead_s = 0.0

    def __call__(self):
        return time.monotonic() + self.ahead_s


class BreakerPeer:
    def __init__(self, session, **options):
        self.clock = OffsetClock()
        rules = BreakerSettings(failures=FAILURES, open_s=60.0, probe_hold_s=20.0)
        profiles = {"*": replace(PAYMENT_PROVIDER, breaker=rules)}
        self.registry = Registry(profiles, clock=self.clock, random=lambda: 0.0)
        self.breaker = self.registry.breaker(NAME)
        self.session = session
        self.shared = SharedBreakers(session, self.registry, clock=self.clock, **options)
        self.view = ClusterBreakers(self.registry, session.instance, self.shared)

    @property
    def state(self):
        return self.breaker.state.value

    def fail(self, times=FAILURES):
        for _ in range(times):
            self.breaker.observe(Outcome.FAILED, 0.1, error="down")

    def enter(self):
        try:
            return self.breaker.acquire()
        except CircuitOpenError:
            return None


@contextlib.asynccontextmanager
async def breaker_peer(url, instance, *, deadline_s=1.0, sleep=asyncio.sleep, **options):
    """Open one peer; it shares nothing until `shared.start()`."""
    # On a busy machine Valkey is slower than the deadline that the service sets by default.
    async with open_session(url, instance, deadline_s=deadline_s, sleep=sleep) as session:
        found = BreakerPeer(session, sleep=sleep, **options)
        try:
            yield found
        finally:
            await found.shared.close()


@contextlib.asynccontextmanager
async def breaker_peers(url, number=2, *, name="p", **options):
    """Open `number` peers and wait until each is subscribed."""
    async with contextlib.AsyncExitStack() as stack:
        found = [
            await stack.enter_async_context(breaker_peer(url, f"{name}{i}", **options)) for i in range(number)
        ]
        for one in found:
            one.shared.start()
        await until(lambda: all(one.shared.connected for one in found))
        yield found


async def until(true):
    """Poll what another task, or a server, brings about: there is nothing of ours to wait on."""
    async with asyncio.timeout(WAIT_S):
        while not (found := true()):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    return found


async def all_are(found, state):
    await until(lambda: {member.state for member in found} == {state})
