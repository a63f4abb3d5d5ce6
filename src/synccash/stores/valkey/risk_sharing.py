"""Shares risk decisions between processes over Valkey pub/sub, so that velocity limits hold for all of them.

Each process decides at once, by its own counters, and publishes afterwards. Messages may be lost: without
Valkey each process counts alone. They are encrypted, because they name payers.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable

import msgspec
import structlog

from synccash.payments.rail import Operation
from synccash.payments.risk import RiskDecision, RiskInput
from synccash.stores.encryption import DecryptionError, Encryption
from synccash.stores.supervised_loops import SupervisedLoop
from synccash.stores.valkey.channel import RECONNECT_S, ChannelSubscription
from synccash.stores.valkey.client import UNREACHABLE, failure_state
from synccash.stores.valkey.session import ValkeySession

log = structlog.get_logger("synccash.risk")

_CHANNEL = "synccash:risk"
_BATCH_SIZE = 200
# Queued during an outage of Valkey; older ones are outdated by the time it is back.
_MAX_QUEUED = 5_000


class _RiskMessage(msgspec.Struct, array_like=True):
    """One message. `payouts` and `not_opened` are fields of their own at the end, so that processes of
    versions without them ignore them."""

    source: str
    seen: list[tuple[RiskInput, RiskDecision]]
    payouts: list[tuple[RiskInput, RiskDecision]] = []
    not_opened: list[RiskInput] = []


_Update = tuple[RiskInput, RiskDecision | None]
"""An order and its decision; None: the order was not opened after all."""


def _message(source: str, updates: list[_Update]) -> _RiskMessage:
    """Return a message with the final state of each order: one may be decided, not opened, and decided again.
    A receiver applies `not_opened` first."""
    decided: dict[RiskInput, RiskDecision] = {}
    not_opened: dict[RiskInput, None] = {}
    for risk_input, decision in updates:
        if decision is not None:
            decided[risk_input] = decision
        elif decided.pop(risk_input, None) is None:
            not_opened[risk_input] = None
    by_payouts: dict[bool, list[tuple[RiskInput, RiskDecision]]] = {False: [], True: []}
    for risk_input, decision in decided.items():
        by_payouts[risk_input.operation is Operation.PAYOUT].append((risk_input, decision))
    return _RiskMessage(source, by_payouts[False], by_payouts[True], list(not_opened))


_decode = msgspec.msgpack.Decoder(_RiskMessage).decode
_encode = msgspec.msgpack.Encoder().encode


class SharedRiskInputs:
    """Shares risk decisions between `start` and `close`. One per API process. Does not close the session."""

    def __init__(
        self,
        session: ValkeySession,
        on_decision: Callable[[RiskInput, RiskDecision], None],
        on_not_opened: Callable[[RiskInput], None],
        *,
        encryption: Encryption | None = None,
    ) -> None:
        self._encryption = encryption
        self._session = session
        self._on_decision = on_decision
        self._on_not_opened = on_not_opened
        self._queue = deque[_Update](maxlen=_MAX_QUEUED)
        self._queued = asyncio.Event()
        self._subscription: ChannelSubscription | None = None
        self._publisher: SupervisedLoop | None = None

    def start(self) -> None:
        """Start listening and publishing in the background. Valkey may be unreachable."""
        self._subscription = self._session.channels.subscribe(
            _CHANNEL, self._receive, name="risk_listener", lost=self._lost
        )
        self._publisher = self._session.supervisor.start("risk_teller", self._publish)

    async def close(self) -> None:
        """Stop listening and publishing."""
        if self._subscription is not None:
            await self._subscription.close()
        if self._publisher is not None:
            await self._publisher.end()

    def publish(self, risk_input: RiskInput, decision: RiskDecision) -> None:
        """Queue a decision for the other processes. Never waits, never raises."""
        self._queue.append((risk_input, decision))
        self._queued.set()

    def publish_not_opened(self, risk_input: RiskInput) -> None:
        """Queue that an order was not opened after all. Never waits, never raises."""
        self._queue.append((risk_input, None))
        self._queued.set()

    async def _publish(self) -> None:
        while True:
            while self._queue:
                batch = [self._queue.popleft() for _ in range(min(_BATCH_SIZE, len(self._queue)))]
                try:
                    await self._session.publish(
                        _CHANNEL, self._sealed(_encode(_message(self._session.instance, batch)))
                    )
                except UNREACHABLE:
                    self._put_back(batch)
                    await asyncio.sleep(RECONNECT_S)
            await self._queued.wait()
            self._queued.clear()

    def _sealed(self, message: bytes) -> bytes:
        return message if self._encryption is None else self._encryption.seal(_CHANNEL, message)

    def _opened(self, payload: bytes) -> bytes:
        return payload if self._encryption is None else self._encryption.open(_CHANNEL, payload)

    def _put_back(self, batch: list[_Update]) -> None:
        """Queue unsent updates again, as long as there is room. Receivers ignore duplicates."""
        self._queue.extendleft(reversed(batch[: _MAX_QUEUED - len(self._queue)]))

    def _receive(self, payload: bytes) -> None:
        # A process of another version may use another format, or other keys: skip what cannot be read.
        with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError, DecryptionError):
            received = _decode(self._opened(payload))
            if received.source != self._session.instance:
                for risk_input in received.not_opened:
                    self._on_not_opened(risk_input)
                for risk_input, decision in (*received.seen, *received.payouts):
                    self._on_decision(risk_input, decision)

    def _lost(self, error: Exception) -> None:
        log.warning("risk_counts_alone", valkey=failure_state(error).value, reason=type(error).__name__)
