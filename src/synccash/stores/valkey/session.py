"""What all parts of a process share to reach Valkey: its connections, one channel listener, one presence."""

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
from synccash.stores.valkey.connection import ValkeyConnection
from synccash.stores.valkey.presence import Presence


@dataclass(frozen=True, slots=True)
class ValkeySession:
    """The connections of a process to Valkey, and what is built on them. `instance` is its unique name.

    `line` is for the commands of each request: it sends those of one event-loop iteration together, and costs
    a fifth of `client`, which is for all others. The heartbeat of API and worker uses it too, which a server
    refuses that is no longer the primary: so their line does not stay with one that takes messages and passes
    them to nobody.
    """

    client: Redis
    line: ValkeyConnection
    instance: str
    channels: ChannelListener
    presence: Presence
    supervisor: LoopSupervisor

    async def publish(self, channel: str, message: bytes) -> None:
        """Send a message to all processes that listen to a channel. Raises one of client.UNREACHABLE."""
        await self.line.call(b"PUBLISH", channel, message)


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
        line = ValkeyConnection(url, deadline_s=deadline_s)
        stack.push_async_callback(line.aclose)
        channels = ChannelListener(client, sleep=sleep, supervisor=supervisor)
        presence = Presence(line, instance, clock=clock, supervisor=supervisor)
        stack.push_async_callback(presence.close)
        stack.push_async_callback(channels.close)
        channels.start()
        presence.start()
        yield ValkeySession(client, line, instance, channels, presence, supervisor)
