"""Writes the hints of callbacks to the order store, at most one a second for each attempt."""

import asyncio
from dataclasses import dataclass, field
from uuid import UUID

import structlog

from synccash.engine.leases import HeldLeases
from synccash.engine.ports import OrderStore
from synccash.payments.errors import StoreUnavailableError
from synccash.payments.failure import Failure
from synccash.payments.ports import Clock, WorkSignal
from synccash.resilience.rate_limiter import Demand, Limit, MemoryLimiter

log = structlog.get_logger("synccash.callbacks")

_AT_ONCE = 32
_WAITING_MAX = 10_000
_TRIES = 30

HINT_LIMIT = Limit(name="callback_hint", scope="endpoint", quota=1, period_s=1, burst=4)
"""How many callbacks of one attempt are written at once; rails repeat a callback a few times at most."""
JOIN_S = 1.0
"""How long a callback beyond the limit waits, in seconds. All that come meanwhile are written together."""


@dataclass(frozen=True, slots=True)
class CallbackHint:
    """What a callback names: an attempt by its token, or by its reference at a rail that has one address for
    the whole account. `signed`: only this installation can have made the token."""

    rail: str
    token: str
    signed: bool
    reference: UUID | None = None

    @property
    def key(self) -> str:
        """What is limited. The body of a callback cannot change it where the token names the attempt."""
        return self.token if self.signed else f"{self.rail}:{self.token}:{self.reference}"


@dataclass(slots=True)
class _Waiting:
    """The callbacks of one attempt that wait to be written together; `is_new`: more came since the last
    writing."""

    failure: Failure | None
    is_new: bool = True


@dataclass(slots=True)
class CallbackHints:
    """Live: one per process. A flood of callbacks to one address, which a client may have read in a log of
    the rail, must not cost a query each.

    Beyond the limit a callback is answered at once and written within JOIN_S seconds, with all others of its
    attempt. No hint is lost unless the process dies in this second, or PostgreSQL is away for the _TRIES
    seconds after it; the order is then inquired about on its schedule. `joined` counts these callbacks.
    """

    order_store: OrderStore
    work_signal: WorkSignal
    leases: HeldLeases
    clock: Clock
    joined: int = 0
    _limiter: MemoryLimiter = field(init=False)
    _waiting: dict[str, _Waiting] = field(default_factory=dict[str, _Waiting])
    # The callback endpoint is public. The slots make a flood of callbacks wait for itself, and keep the store
    # free for payments.
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))

    def __post_init__(self) -> None:
        self._limiter = MemoryLimiter(clock_us=lambda: int(self.clock.monotonic() * 1_000_000))

    async def take(self, hint: CallbackHint, failure: Failure | None, *, is_ours: bool) -> bool:
        """Make the order of an attempt due now, or within JOIN_S seconds. Returns False when there is none.

        `is_ours`: the token was made by this installation or is that of a rail account. Any other counts
        only once it was found, because look-ups that find nothing are limited elsewhere.
        """
        key = hint.key
        waiting = self._waiting.get(key)
        if waiting is not None:
            self.joined += 1
            waiting.failure, waiting.is_new = failure or waiting.failure, True
            return True
        if not self._has_room(key, takes=is_ours) and len(self._waiting) < _WAITING_MAX:
            self.joined += 1
            self._waiting[key] = waiting = _Waiting(failure)
            self.leases.run_in_background(self._write_later(hint, waiting), "callback hint")
            return True
        is_known = await self._write(hint, failure)
        if is_known and not is_ours:
            self._limiter.hit(HINT_LIMIT, key)
        return is_known

    def _has_room(self, key: str, *, takes: bool) -> bool:
        """Tell whether one more callback of the attempt may be written now. `takes`: count it, too."""
        if takes:
            return self._limiter.hit(HINT_LIMIT, key) == 0
        return self._limiter.check([Demand(HINT_LIMIT, key, 0)]).statuses[0].remaining > 0

    async def _write_later(self, hint: CallbackHint, waiting: _Waiting) -> None:
        failed = 0
        try:
            while waiting.is_new and failed < _TRIES:
                await self.clock.sleep(JOIN_S)
                waiting.is_new = False
                self._limiter.hit(HINT_LIMIT, hint.key)
                try:
                    await self._write(hint, waiting.failure)
                except StoreUnavailableError:
                    failed, waiting.is_new = failed + 1, True
                else:
                    failed = 0
        except Exception:
            log.exception("callback_hint_failed", rail=hint.rail)
        finally:
            del self._waiting[hint.key]
        if failed:
            log.warning("callback_hint_lost", rail=hint.rail)

    async def _write(self, hint: CallbackHint, failure: Failure | None) -> bool:
        async with self._slots:
            is_known = await self.order_store.hint(hint.token, failure)
            if not is_known and hint.reference is not None:
                is_known = await self.order_store.hint_reference(hint.rail, str(hint.reference), failure)
        if is_known:
            self.work_signal.notify()
        return is_known


def reference_of(text: str | None) -> UUID | None:
    """Read a reference of ours; None when it is none."""
    try:
        return None if text is None else UUID(text)
    except ValueError:
        return None
