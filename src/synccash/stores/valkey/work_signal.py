"""A work signal for all processes that share a Valkey: pub/sub on top of the local signal.

Signals to other processes are lost while Valkey is unreachable; within a process none is lost.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog

from synccash.stores.local_work_signal import LocalWorkSignal
from synccash.stores.supervised_loops import SupervisedLoop
from synccash.stores.valkey.channel import ChannelSubscription
from synccash.stores.valkey.client import UNREACHABLE, failure_state
from synccash.stores.valkey.session import ValkeySession

log = structlog.get_logger("synccash.work_signal")

WORK = "synccash:doorbell"
"""The channel of orders that are due."""
DELIVERIES = "synccash:deliveries"
"""The channel of events that are due at an endpoint."""
# Signals within this gap are sent as one: a worker looks for due orders no more often
# (`EngineSettings.gather_s`).
_GAP_S = 0.01


class ValkeyWorkSignal:
    """Signals new work to all processes. Before `start` and after `close` it signals only its own process.

    A process that only signals, and waits for nothing, calls `start` with `listens=False`.
    """

    __slots__ = (
        "_away",
        "_channel",
        "_is_started",
        "_local",
        "_publisher",
        "_session",
        "_sleep",
        "_source",
        "_subscription",
        "_unpublished",
    )

    def __init__(
        self,
        session: ValkeySession,
        *,
        channel: str = WORK,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._session = session
        self._channel = channel
        self._is_started = False
        self._source = session.instance.encode()
        self._sleep = sleep
        self._local = LocalWorkSignal()
        self._unpublished = False
        self._away = False
        self._subscription: ChannelSubscription | None = None
        self._publisher: SupervisedLoop | None = None

    def start(self, *, listens: bool = True) -> None:
        """Start publishing, and listening in the background. Valkey may be unreachable."""
        self._is_started = True
        if not listens:
            return
        self._subscription = self._session.channels.subscribe(
            self._channel,
            self._receive,
            name=f"{self._channel.partition(':')[2]}_listener",
            connected=self._connected,
            lost=self._lost,
        )

    async def close(self) -> None:
        """Stop listening and publishing. Does not close the session."""
        self._is_started = False
        subscription, self._subscription = self._subscription, None
        publisher, self._publisher = self._publisher, None
        if subscription is not None:
            await subscription.close()
        if publisher is not None:
            await publisher.end()

    def notify(self) -> None:
        """Wake the waiting tasks of this process at once, and those of the others soon. Never raises."""
        self._local.notify()
        self._unpublished = True
        if self._is_started and (self._publisher is None or self._publisher.task.done()):
            name = f"{self._channel.partition(':')[2]}_publisher"
            self._publisher = self._session.supervisor.start(name, self._publish)

    async def wait(self, timeout_s: float) -> None:
        """Return at the next signal, at the latest after `timeout_s` seconds."""
        await self._local.wait(timeout_s)

    async def _publish(self) -> None:
        while self._unpublished:
            self._unpublished = False
            # A lost signal delays work by one poll period.
            with contextlib.suppress(*UNREACHABLE):
                await self._session.publish(self._channel, self._source)
            await self._sleep(_GAP_S)

    def _receive(self, source: bytes) -> None:
        if source != self._source:
            self._local.notify()

    def _connected(self) -> None:
        if self._away:
            log.info("work_signal_reconnected")
            self._away = False
        # Signals may have been missed before the subscription.
        self._local.notify()

    def _lost(self, error: Exception) -> None:
        log.warning(
            "work_signal_disconnected", valkey=failure_state(error).value, reason=type(error).__name__
        )
        self._away = True
