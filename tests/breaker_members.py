"""Processes that share breakers, as seen by Valkey: in one event loop, each with a client of its own."""

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
from synccash.stores.valkey.client import build_client

NAME = "rail:collect"
FAILURES = 4
WAIT_S = 15.0


class Leaping:
    """The real time, and what a test adds to it."""

    ahead_s = 0.0

    def __call__(self):
        return time.monotonic() + self.ahead_s


class Member:
    def __init__(self, url, instance, *, deadline_s=1.0, **options):
        self.clock = Leaping()
        rules = BreakerSettings(failures=FAILURES, open_s=60.0, probe_hold_s=20.0)
        profiles = {"*": replace(PAYMENT_PROVIDER, breaker=rules)}
        self.registry = Registry(profiles, clock=self.clock, random=lambda: 0.0)
        self.breaker = self.registry.breaker(NAME)
        # A crowded machine is slower than the service's deadline, and that is not the matter here.
        self.client = build_client(url, deadline_s=deadline_s)
        self.shared = SharedBreakers(self.client, self.registry, instance, clock=self.clock, **options)
        self.view = ClusterBreakers(self.registry, instance, self.shared)

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

    async def end(self):
        await self.shared.close()
        await self.client.aclose()


@contextlib.asynccontextmanager
async def members(url, number=2, *, name="p", **options):
    """So many members who all hear what is told."""
    async with contextlib.AsyncExitStack() as stack:
        found = [Member(url, f"{name}{i}", **options) for i in range(number)]
        for member in found:
            stack.push_async_callback(member.end)
            await member.shared.start()
        await until(lambda: all(member.shared.connected for member in found))
        yield found


async def until(true):
    """Poll what another task, or a server, brings about: there is nothing of ours to wait on."""
    async with asyncio.timeout(WAIT_S):
        while not (found := true()):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    return found


async def all_are(found, state):
    await until(lambda: {member.state for member in found} == {state})
