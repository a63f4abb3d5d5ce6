"""Receives the messages of all pub/sub channels of a process on one connection to Valkey.

One task reads the connection and only queues the messages. Each channel has a task of its own that handles
them, so that a channel whose messages take long delays no other channel.
"""

# redis-py leaves its keyword arguments untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as LostError

from synccash.stores.supervised_loops import LoopSupervisor, SupervisedLoop
from synccash.stores.valkey.client import UNREACHABLE

log = structlog.get_logger("synccash.channels")

Sleep = Callable[[float], Awaitable[None]]

RECONNECT_S = 0.25
"""Pause before the next attempt to connect, or to prepare a channel, in seconds."""
# A silently dead connection is noticed after twice this time.
_QUIET_S = 5.0
# How long one task may handle messages before the other tasks of the process get a turn.
_TURN_S = 0.001
MAX_QUEUED = 1_000
"""How many messages of a channel may wait. When there are more, all are dropped, and the channel is prepared
again as after a lost connection."""


async def _nothing() -> None:
    """Prepare nothing."""


class ChannelListener:
    """Receives the messages of all channels of a process over one connection. One per process.

    Connects once there is a channel to subscribe to. Does not close the client.
    """

    def __init__(
        self, client: Redis, *, sleep: Sleep = asyncio.sleep, supervisor: LoopSupervisor | None = None
    ) -> None:
        self._client = client
        self._sleep = sleep
        self._supervisor = supervisor or LoopSupervisor()
        self._loop: SupervisedLoop | None = None
        self._subscriptions: dict[bytes, ChannelSubscription] = {}
        self._changed = asyncio.Event()
        self._reading: asyncio.Timeout | None = None

    def start(self) -> None:
        """Start listening in the background. Valkey may be unreachable."""
        self._loop = self._supervisor.start("channel_listener", self._listen)

    async def close(self) -> None:
        """Stop listening, and handling messages."""
        if self._loop is not None:
            await self._loop.end()
        for subscription in list(self._subscriptions.values()):
            await subscription.close()

    def subscribe(
        self,
        channel: str,
        receive: Callable[[bytes], None],
        *,
        name: str,
        prepare: Callable[[], Awaitable[None]] = _nothing,
        connected: Callable[[], None] = lambda: None,
        lost: Callable[[Exception], None] = lambda _: None,
    ) -> "ChannelSubscription":
        """Subscribe to a channel in the background; handle its messages in a supervised loop `name`.

        `receive` is called with each message. Before the first one after each subscription, when messages may
        have been missed, `prepare` is awaited, again after each of client.UNREACHABLE that it raises, and
        then `connected` is called. `lost` is called once per outage, with its reason.
        Raises ValueError if the process is already subscribed to the channel.
        """
        key = channel.encode()
        if key in self._subscriptions:
            raise ValueError(f"the process is already subscribed to the channel {channel}")
        subscription = ChannelSubscription(channel, receive, prepare, connected, lost, self._sleep)
        subscription.start(self._supervisor.start(name, subscription.run), self._removed)
        self._subscriptions[key] = subscription
        self._changed.set()
        # Interrupts the read, so that the loop that reads also subscribes.
        if self._reading is not None and not self._reading.expired():
            self._reading.reschedule(asyncio.get_running_loop().time())
        return subscription

    def _removed(self, channel: str) -> None:
        # Messages of a channel without a subscription are ignored until the connection ends.
        self._subscriptions.pop(channel.encode(), None)

    async def _listen(self) -> None:
        while True:
            if not self._subscriptions:
                self._changed.clear()
                await self._changed.wait()
            try:
                await self._connect_and_read()
            except UNREACHABLE as error:
                self._lost(error)
            except Exception as error:
                self._lost(error)
                raise
            await self._sleep(RECONNECT_S)

    def _lost(self, error: Exception) -> None:
        for subscription in self._subscriptions.values():
            subscription.lose(error)

    async def _connect_and_read(self) -> None:
        """Read messages until the connection is lost. Raises one of UNREACHABLE."""
        # Not redis-py's PubSub: it reconnects by itself, and messages would be missed unnoticed.
        connection: AbstractConnection = self._client.connection_pool.make_connection()
        try:
            await connection.connect()
            await self._read(connection)
        finally:
            await connection.disconnect(nowait=True)

    async def _read(self, connection: AbstractConnection) -> None:
        loop = asyncio.get_running_loop()
        requested: set[ChannelSubscription] = set()
        pinged = False
        turn_ends = loop.time() + _TURN_S
        while True:
            self._changed.clear()
            while new := set(self._subscriptions.values()) - requested:
                await connection.send_command("SUBSCRIBE", *(one.channel for one in new))
                requested |= new
            try:
                async with asyncio.timeout(_QUIET_S) as self._reading:
                    message = await connection.read_response(
                        timeout=math.inf, disconnect_on_error=False, push_request=True
                    )
            except TimeoutError:
                if self._changed.is_set():
                    continue
                if pinged:
                    raise
                await connection.send_command("PING")
                pinged = True
                continue
            finally:
                self._reading = None
            if message is None:
                # redis-py takes a time-out of the transport (ETIMEDOUT) for its own.
                raise LostError("the connection to Valkey timed out")
            pinged = False
            self._dispatch(message)
            if loop.time() >= turn_ends:
                await asyncio.sleep(0)
                turn_ends = loop.time() + _TURN_S

    def _dispatch(self, message: Any) -> None:
        # The answer to PING is not a list in every version of the protocol.
        if not isinstance(message, list) or len(message) < 3:
            return
        kind, channel, payload = message[:3]
        subscription = self._subscriptions.get(channel)
        if subscription is None:
            return
        if kind == b"subscribe":
            subscription.begin()
        elif kind == b"message":
            subscription.queue(payload)


class ChannelSubscription:
    """One channel of a ChannelListener, and the queue of its messages."""

    __slots__ = (
        "_away",
        "_connected",
        "_loop",
        "_lost",
        "_messages",
        "_on_closed",
        "_prepare",
        "_prepared",
        "_receive",
        "_sleep",
        "_subscribed",
        "_wake",
        "channel",
    )

    def __init__(
        self,
        channel: str,
        receive: Callable[[bytes], None],
        prepare: Callable[[], Awaitable[None]],
        connected: Callable[[], None],
        lost: Callable[[Exception], None],
        sleep: Sleep,
    ) -> None:
        self.channel = channel
        self._receive = receive
        self._prepare = prepare
        self._connected = connected
        self._lost = lost
        self._sleep = sleep
        self._messages = deque[bytes]()
        self._wake = asyncio.Event()
        # A new object for each subscription that was confirmed, so that a loss during `prepare` is noticed.
        self._subscribed: object | None = None
        self._prepared: object | None = None
        self._away = False
        self._loop: SupervisedLoop | None = None
        self._on_closed: Callable[[str], None] = lambda _: None

    @property
    def connected(self) -> bool:
        """Whether the messages of other processes are received, as far as this process knows."""
        return self._subscribed is not None and self._prepared is self._subscribed

    def start(self, loop: SupervisedLoop, on_closed: Callable[[str], None]) -> None:
        """Record the loop that handles the messages, and what to call at the end."""
        self._loop, self._on_closed = loop, on_closed

    async def close(self) -> None:
        """Stop handling messages."""
        if self._loop is not None:
            await self._loop.end()
        self._subscribed = None
        self._on_closed(self.channel)

    def begin(self) -> None:
        """Valkey has confirmed the subscription."""
        self._messages.clear()
        self._missed_messages()

    def queue(self, message: bytes) -> None:
        """Queue a message to be handled."""
        if len(self._messages) >= MAX_QUEUED:
            log.warning("channel_overflowed", channel=self.channel, dropped=len(self._messages))
            self.begin()
        self._messages.append(message)
        self._wake.set()

    def lose(self, error: Exception) -> None:
        """The connection was lost, or could not be made. Queued messages are still handled."""
        if not self.connected:
            self._messages.clear()
        self._subscribed = None
        self._report_loss(error)

    async def run(self) -> None:
        """Handle messages until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._handle()
            except Exception:
                # The supervisor restarts this loop; the message that raised counts as missed.
                if self._subscribed is not None:
                    self._missed_messages()
                self._wake.set()
                raise

    async def _handle(self) -> None:
        loop = asyncio.get_running_loop()
        turn_ends = loop.time() + _TURN_S
        while True:
            if self._subscribed is not None and not self.connected:
                await self._prepare_messages(self._subscribed)
            elif self._messages:
                self._receive(self._messages.popleft())
            else:
                return
            if loop.time() >= turn_ends:
                await asyncio.sleep(0)
                turn_ends = loop.time() + _TURN_S

    async def _prepare_messages(self, subscribed: object) -> None:
        try:
            await self._prepare()
        except Exception as error:
            if subscribed is self._subscribed:
                self._report_loss(error)
            if not isinstance(error, UNREACHABLE):
                raise
            await self._sleep(RECONNECT_S)
            return
        if subscribed is self._subscribed:
            self._prepared = subscribed
            self._away = False
            self._connected()

    def _missed_messages(self) -> None:
        self._subscribed = object()
        self._wake.set()

    def _report_loss(self, error: Exception) -> None:
        if not self._away:
            self._away = True
            self._lost(error)
