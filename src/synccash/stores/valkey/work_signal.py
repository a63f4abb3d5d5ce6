"""A work signal for all processes that share a Valkey: pub/sub on top of the local signal.

Signals to other processes are lost while Valkey is unreachable; within a process none is lost.
"""

# redis-py leaves its keyword arguments untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from synccash.stores.local_work_signal import LocalWorkSignal
from synccash.stores.supervised_loops import LoopSupervisor, SupervisedLoop, end_loops
from synccash.stores.valkey.client import UNREACHABLE

log = structlog.get_logger("synccash.doorbell")

_CHANNEL = "synccash:doorbell"
# Signals within this gap are sent as one; more would not speed up the workers.
_GAP_S = 0.005
_RECONNECT_S = 0.25
# A silently dead connection is noticed after twice this time.
_QUIET_S = 5.0


class ValkeyWorkSignal:
    """Live: one per process. Before `start` and after `close` it signals only its own process."""

    __slots__ = (
        "_client",
        "_listener",
        "_local",
        "_publisher",
        "_rung",
        "_sleep",
        "_source",
        "_started",
        "_supervisor",
    )

    def __init__(
        self,
        client: Redis,
        *,
        source: str | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        supervisor: LoopSupervisor | None = None,
    ) -> None:
        self._client = client
        self._source = (source or secrets.token_hex(8)).encode()
        self._sleep = sleep
        self._local = LocalWorkSignal()
        self._rung = False
        self._started = False
        self._supervisor = supervisor or LoopSupervisor()
        self._listener: SupervisedLoop | None = None
        self._publisher: SupervisedLoop | None = None

    async def start(self) -> None:
        """Start listening in the background. Valkey may be unreachable."""
        self._started = True
        self._listener = self._supervisor.start("doorbell_listener", self._listen)

    async def close(self) -> None:
        """Stop listening and publishing. Does not close the client."""
        self._started = False
        await end_loops(loop for loop in (self._listener, self._publisher) if loop is not None)
        self._listener = self._publisher = None

    def ring(self) -> None:
        """Wake the waiting tasks of this process at once, and those of the others soon. Never raises."""
        self._local.ring()
        self._rung = True
        if self._started and (self._publisher is None or self._publisher.task.done()):
            self._publisher = self._supervisor.start("doorbell_publisher", self._publish)

    async def wait(self, timeout_s: float) -> None:
        """Return at the next signal, at the latest after `timeout_s` seconds."""
        await self._local.wait(timeout_s)

    async def _publish(self) -> None:
        while self._rung:
            self._rung = False
            # A lost signal delays work by one poll period.
            with contextlib.suppress(*UNREACHABLE):
                await self._client.publish(_CHANNEL, self._source)
            await self._sleep(_GAP_S)

    async def _listen(self) -> None:
        away = False
        while True:
            try:
                async with self._client.pubsub() as channel:
                    await channel.subscribe(_CHANNEL)
                    if away:
                        log.info("doorbell_reconnected")
                        away = False
                    # Signals may have been missed before the subscription.
                    self._local.ring()
                    await self._hear(channel)
            except UNREACHABLE as error:
                if not away:
                    log.warning("doorbell_disconnected", reason=type(error).__name__)
                    away = True
            await self._sleep(_RECONNECT_S)

    async def _hear(self, channel: PubSub) -> None:
        """Forward signals until the connection is lost. Raises one of UNREACHABLE."""
        asked = False
        while True:
            message = await channel.get_message(timeout=_QUIET_S)
            if message is None:
                if asked:
                    raise TimeoutError
                await channel.ping()
                asked = True
                continue
            asked = False
            if message["type"] == "message" and message["data"] != self._source:
                self._local.ring()
