"""What the risk rules of one process decide, told to those of the others over Valkey's pub/sub.

Each process decides at once, by what it knows, and tells afterwards. What is lost on the way costs only
knowledge: without Valkey each process counts for itself.
"""

# redis-py leaves its keyword arguments untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable

import msgspec
import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from synccash.payments.rail import Operation
from synccash.payments.risk import RiskDecision, RiskInput
from synccash.stores.supervised_loops import LoopSupervisor, SupervisedLoop, end_loops
from synccash.stores.valkey.client import UNREACHABLE

log = structlog.get_logger("synccash.risk")

_CHANNEL = "synccash:risk"
_TOGETHER = 200
# Kept while Valkey is away; older ones are of no use by the time it is back.
_WAITING = 5_000
_RECONNECT_S = 0.25
# A connection that died without a word is noticed after twice this long.
_QUIET_S = 5.0


class _Told(msgspec.Struct, array_like=True):
    """`payouts` stand apart, and what was not opened after all behind them: a process of a version that knows
    nothing of them leaves them unread."""

    source: str
    seen: list[tuple[RiskInput, RiskDecision]]
    payouts: list[tuple[RiskInput, RiskDecision]] = []
    not_opened: list[RiskInput] = []


_News = tuple[RiskInput, RiskDecision | None]
"""What was decided; None: the order was not opened after all."""


def _told(source: str, together: list[_News]) -> _Told:
    """What became of these orders in the end: one may be decided on, not be opened, and be decided on again.
    A listener reads what was not opened first."""
    decided: dict[RiskInput, RiskDecision] = {}
    not_opened: dict[RiskInput, None] = {}
    for seen, said in together:
        if said is not None:
            decided[seen] = said
        elif decided.pop(seen, None) is None:
            not_opened[seen] = None
    by_payouts: dict[bool, list[tuple[RiskInput, RiskDecision]]] = {False: [], True: []}
    for seen, said in decided.items():
        by_payouts[seen.operation is Operation.PAYOUT].append((seen, said))
    return _Told(source, by_payouts[False], by_payouts[True], list(not_opened))


_decode = msgspec.msgpack.Decoder(_Told).decode
_encode = msgspec.msgpack.Encoder().encode


class SharedRiskInputs:
    """Live: one per process that takes payments, between `start` and `close`. The client stays open."""

    def __init__(
        self,
        client: Redis,
        instance: str,
        heard: Callable[[RiskInput, RiskDecision], None],
        heard_not_opened: Callable[[RiskInput], None],
        *,
        supervisor: LoopSupervisor | None = None,
    ) -> None:
        self._client = client
        self._instance = instance
        self._heard = heard
        self._heard_not_opened = heard_not_opened
        self._waiting = deque[_News](maxlen=_WAITING)
        self._news = asyncio.Event()
        self._supervisor = supervisor or LoopSupervisor()
        self._loops: tuple[SupervisedLoop, ...] = ()

    def start(self) -> None:
        """Begin, in the background. Valkey may be away."""
        self._loops = (
            self._supervisor.start("risk_listener", self._listen),
            self._supervisor.start("risk_teller", self._publish),
        )

    async def close(self) -> None:
        """Stop telling and hearing."""
        await end_loops(self._loops)

    def tell(self, sighting: RiskInput, decision: RiskDecision) -> None:
        """Tell the others soon. Never waits, never raises."""
        self._waiting.append((sighting, decision))
        self._news.set()

    def take_back(self, sighting: RiskInput) -> None:
        """Tell the others soon that it was not opened after all. Never waits, never raises."""
        self._waiting.append((sighting, None))
        self._news.set()

    async def _publish(self) -> None:
        while True:
            while self._waiting:
                together = [self._waiting.popleft() for _ in range(min(_TOGETHER, len(self._waiting)))]
                try:
                    await self._client.publish(_CHANNEL, _encode(_told(self._instance, together)))
                except UNREACHABLE:
                    self._put_back(together)
                    await asyncio.sleep(_RECONNECT_S)
            await self._news.wait()
            self._news.clear()

    def _put_back(self, together: list[_News]) -> None:
        """Told twice is known once; what is new has the room."""
        self._waiting.extendleft(reversed(together[: _WAITING - len(self._waiting)]))

    async def _listen(self) -> None:
        away = False
        while True:
            try:
                async with self._client.pubsub() as channel:
                    await channel.subscribe(_CHANNEL)
                    away = False
                    await self._hear(channel)
            except UNREACHABLE as error:
                if not away:
                    log.warning("risk_counts_alone", reason=type(error).__name__)
                    away = True
            await asyncio.sleep(_RECONNECT_S)

    async def _hear(self, channel: PubSub) -> None:
        """Take in what others tell until the connection is lost. Raises one of UNREACHABLE."""
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
            payload = message["data"]
            if message["type"] != "message" or not isinstance(payload, bytes):
                continue
            # A process of another version may write otherwise; what cannot be read is not known.
            with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
                told = _decode(payload)
                if told.source != self._instance:
                    for sighting in told.not_opened:
                        self._heard_not_opened(sighting)
                    for sighting, decision in (*told.seen, *told.payouts):
                        self._heard(sighting, decision)
