"""What all parts of a process share to reach Valkey: one client, one channel listener, one presence."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass

from redis.asyncio import Redis

from synccash.settings.secret import Secret
from synccash.stores.supervised_loops import LoopSupervisor
from synccash.stores.valkey.channel import ChannelListener
from synccash.stores.valkey.client import build_client
from synccash.stores.valkey.presence import Presence


@dataclass(frozen=True, slots=True)
class ValkeySession:
    """The Valkey client of a process, and what is built on it. `instance` is the process's unique name."""

    client: Redis
    instance: str
    channels: ChannelListener
    presence: Presence
    supervisor: LoopSupervisor


@contextlib.asynccontextmanager
async def open_session(
    url: Secret | str,
    instance: str,
    *,
    deadline_s: float = 0.05,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    supervisor: LoopSupervisor | None = None,
) -> AsyncGenerator[ValkeySession]:
    """Connect a process to Valkey, which may be unreachable; close everything at the end.

    Raises ValueError for a URL that `build_client` refuses.
    """
    supervisor = supervisor or LoopSupervisor()
    async with contextlib.AsyncExitStack() as stack:
        client = build_client(url, deadline_s=deadline_s)
        stack.push_async_callback(client.aclose)
        channels = ChannelListener(client, sleep=sleep, supervisor=supervisor)
        presence = Presence(client, instance, clock=clock, supervisor=supervisor)
        stack.push_async_callback(presence.close)
        stack.push_async_callback(channels.close)
        channels.start()
        presence.start()
        yield ValkeySession(client, instance, channels, presence, supervisor)
