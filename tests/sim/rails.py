"""Simulated rails. Each keeps its own book of real debits, and that book is what the judge believes.

What happens on the wire and at the rail happens outside every node: a caller that dies stops nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from sim.loop import NODE, NOWHERE, VirtualLoop, checkpoint
from synccash.payments.failure import Failure, FailureCode
from synccash.payments.payer import Network
from synccash.payments.rail import (
    NO_TRACES,
    CallbackAddress,
    Capabilities,
    NextAction,
    NextActionType,
    Operation,
    OperationCapability,
    RailAccount,
    SendAnswer,
    SendOrder,
    Standing,
    StatusAnswer,
    Traces,
)
from synccash.resilience.evidence import Evidence

_REFUSED_CONNECTION = SendAnswer(
    evidence=Evidence.NOT_SENT, failure=Failure(FailureCode.PROVIDER_UNAVAILABLE, reroute=True)
)
_SILENCE = SendAnswer(evidence=Evidence.AMBIGUOUS)
_BUSY = SendAnswer(
    evidence=Evidence.REFUSED_LATER, failure=Failure(FailureCode.PROVIDER_UNAVAILABLE, reroute=True)
)
_ERROR = Failure(FailureCode.PROVIDER_ERROR, reroute=True)
_NO_FUNDS = Failure(FailureCode.INSUFFICIENT_FUNDS)
_NO_PASSWORD = Failure(FailureCode.PAYER_TIMEOUT)
_PASSWORD = NextAction(NextActionType.SUBMIT_OTP)
_PASSWORD_WINDOW_S = 60.0
PASSWORD = "123456"
"""The one that every rail takes."""


@dataclass(frozen=True, kw_only=True)
class Faults:
    """How often each thing goes wrong (0 to 1) until `until_s`. `down`: windows of refused connections."""

    lost_request: float = 0.0
    lost_answer: float = 0.0
    slow_answer: float = 0.0
    refused_later: float = 0.0
    refused_final: float = 0.0
    fails: float = 0.0
    payer_declines: float = 0.0
    hidden: float = 0.0
    """Not found for a while, though it was accepted."""
    mute_inquiry: float = 0.0
    callback_lost: float = 0.0
    callback_twice: float = 0.0
    callback_forged: float = 0.0
    slow_payer: float = 0.0
    asks_password: float = 0.0
    late_success: float = 0.0
    """What the rail called failed moves money all the same, some time later."""
    down: tuple[tuple[float, float], ...] = ()
    until_s: float = 120.0


@dataclass(frozen=True, kw_only=True)
class Sending:
    """What left a node for a rail: a send, or a password. `step` orders it among the commits of the run."""

    step: int
    at: float
    by: str | None
    reference: str
    order: SendOrder | None = None
    """None: a password."""


@dataclass(kw_only=True)
class Booked:
    """What the rail holds under one reference, or one arrival where it does not deduplicate."""

    order: SendOrder
    ends_at: float
    failure: Failure | None
    hidden_until: float
    done: bool = False
    """Its end has come: debited where `failure` is None."""
    waits: bool = False
    """For the payer's password."""
    comes_late: bool = False
    came_late: bool = False
    """The rail went back on its word."""
    has_told: bool = False
    """Its callback of that was taken."""

    @property
    def is_busy(self) -> bool:
        """True while anything may still happen to it."""
        return not self.done or (self.comes_late and not self.has_told)


@dataclass(eq=False)
class SimRail:
    """One rail with one account. `calls` counts, by reference, what may have got through to it."""

    name: str
    loop: VirtualLoop
    random: Random
    faults: Faults
    call_back: Callable[[str, str], Awaitable[Any]]
    dedup: bool = True
    names_failure: bool = True
    book: list[Booked] = field(default_factory=list)
    calls: dict[str, int] = field(default_factory=dict)
    begun: list[Sending] = field(default_factory=list)

    def __post_init__(self) -> None:
        able = OperationCapability(
            dedup_by_reference=self.dedup,
            lookup_by_reference=True,
            failure_is_reported=self.names_failure,
        )
        self.capabilities = Capabilities(
            networks=frozenset(Network),
            operations={
                Operation.COLLECT: replace(able, otp=True),
                Operation.REFUND: able,
                Operation.PAYOUT: able,
            },
            callback_address=CallbackAddress.PER_REQUEST,
        )
        self.account = RailAccount(
            rail=self.name, account="main", base_url=f"http://{self.name}", target_environment="sim"
        )

    def sent_at(self, operation: Operation) -> list[float]:
        """When each send of this kind left for the rail."""
        return [s.at for s in self.begun if s.order is not None and s.order.operation is operation]

    def debits(self) -> list[SendOrder]:
        """Every debit that really happened."""
        return self._done(Operation.COLLECT)

    def credits(self) -> list[SendOrder]:
        """Every refund that really went out."""
        return self._done(Operation.REFUND)

    def payouts(self) -> list[SendOrder]:
        """Every payout that really went out, but those of which the rail had said that they did not."""
        return self._done(Operation.PAYOUT)

    def late(self) -> list[SendOrder]:
        """Whatever moved after the rail had called it failed."""
        return [booked.order for booked in self.book if booked.came_late]

    def _done(self, operation: Operation) -> list[SendOrder]:
        moved = (b for b in self.book if b.done and b.failure is None and not b.came_late)
        return [booked.order for booked in moved if booked.order.operation is operation]

    async def send(self, order: SendOrder, *, timeout_s: float) -> SendAnswer:
        self._begin(order.reference, order)
        await checkpoint
        if self._down():
            return _REFUSED_CONNECTION
        answer: asyncio.Future[SendAnswer] = self.loop.create_future()
        slow = self._happens(self.faults.slow_answer)
        takes_s = timeout_s * (0.8 + self.random.random() * 2) if slow else 0.05 + self.random.random() * 0.2
        if self._happens(self.faults.lost_request):
            self._count(order)
        else:
            self.loop.call_later(takes_s, self._arrive, order, answer, context=NOWHERE)
        return await self._within(answer, timeout_s, _SILENCE)

    def _begin(self, reference: str, order: SendOrder | None = None) -> None:
        node = NODE.get(None)
        self.begun.append(
            Sending(
                step=self.loop.steps,
                at=self.loop.time(),
                by=node.name if node else None,
                reference=reference,
                order=order,
            )
        )

    def _arrive(self, order: SendOrder, answer: asyncio.Future[SendAnswer]) -> None:
        told = self._take(order)
        if told.evidence is Evidence.ACCEPTED:
            self._count(order)
        if self._happens(self.faults.lost_answer):
            return
        if not answer.done():
            answer.set_result(told)

    def _take(self, order: SendOrder) -> SendAnswer:
        if self.dedup and self._find(order.reference) is not None:
            return SendAnswer(evidence=Evidence.ACCEPTED, duplicate=True)
        if self._happens(self.faults.refused_later):
            return _BUSY
        if self._happens(self.faults.refused_final):
            return SendAnswer(evidence=Evidence.REFUSED_FINAL, failure=_ERROR)
        if self._happens(self.faults.payer_declines):
            return SendAnswer(evidence=Evidence.REFUSED_FINAL, failure=_NO_FUNDS)
        booked = self._book(order)
        return SendAnswer(evidence=Evidence.ACCEPTED, next_action=_PASSWORD if booked.waits else None)

    def _book(self, order: SendOrder) -> Booked:
        now = self.loop.time()
        failure = _ERROR if self._happens(self.faults.fails) else None
        if failure is None and self._happens(self.faults.payer_declines):
            failure = _NO_FUNDS
        wait_s = self.random.random() * (90 if self._happens(self.faults.slow_payer) else 5)
        hidden_s = self.random.random() * 8 if self._happens(self.faults.hidden) else 0.0
        booked = Booked(order=order, ends_at=now + wait_s, failure=failure, hidden_until=now + hidden_s)
        self.book.append(booked)
        booked.comes_late = failure is not None and self._happens(self.faults.late_success)
        booked.waits = order.operation is Operation.COLLECT and self._happens(self.faults.asks_password)
        ends_at = now + _PASSWORD_WINDOW_S if booked.waits else booked.ends_at
        self.loop.call_at(ends_at, self._end, booked, context=NOWHERE)
        if self._happens(self.faults.callback_forged):
            self._call_back(order, self.random.random() * 3)
        return booked

    def _end(self, booked: Booked) -> None:
        if booked.done:
            return
        if booked.waits:
            booked.failure = booked.failure or _NO_PASSWORD
        booked.done = True
        if booked.comes_late:
            self.loop.call_later(5 + self.random.random() * 60, self._come_late, booked, context=NOWHERE)
        if not self._happens(self.faults.callback_lost):
            times = 2 if self._happens(self.faults.callback_twice) else 1
            for _ in range(times):
                self._call_back(booked.order, self.random.random() * 2)

    def _come_late(self, booked: Booked) -> None:
        """The word of it is never lost: of the others nobody could ever know."""
        booked.failure, booked.came_late = None, True
        self.loop.start(self._tell_late(booked))

    async def _tell_late(self, booked: Booked) -> None:
        assert booked.order.callback_url is not None
        await asyncio.sleep(self.random.random() * 2)
        await self.call_back(self.name, booked.order.callback_url.rpartition("/")[2])
        booked.has_told = True

    async def submit_otp(
        self, account: RailAccount, reference: str, otp: str, *, timeout_s: float
    ) -> SendAnswer:
        assert account == self.account, "a password for another account than the one that asked"
        self._begin(reference)
        await checkpoint
        if self._down():
            return _REFUSED_CONNECTION
        answer: asyncio.Future[SendAnswer] = self.loop.create_future()
        if not self._happens(self.faults.lost_request):
            takes_s = 0.05 + self.random.random() * 0.2
            self.loop.call_later(takes_s, self._hear_password, reference, otp, answer, context=NOWHERE)
        return await self._within(answer, timeout_s, _SILENCE)

    def _hear_password(self, reference: str, otp: str, answer: asyncio.Future[SendAnswer]) -> None:
        booked = self._find(reference)
        is_taken = booked is not None and booked.waits and not booked.done and otp == PASSWORD
        if booked is not None and is_taken:
            booked.waits = False
            self.loop.call_later(self.random.random() * 5, self._end, booked, context=NOWHERE)
        if not answer.done() and not self._happens(self.faults.lost_answer):
            evidence = Evidence.ACCEPTED if is_taken else Evidence.REFUSED_FINAL
            answer.set_result(SendAnswer(evidence=evidence))

    def _call_back(self, order: SendOrder, after_s: float) -> None:
        if order.callback_url is not None:
            token = order.callback_url.rpartition("/")[2]
            self.loop.call_later(after_s, self._ring, token, context=NOWHERE)

    def _ring(self, token: str) -> None:
        self.loop.start(self.call_back(self.name, token))

    async def inquire(
        self,
        account: RailAccount,
        operation: Operation,
        reference: str,
        *,
        timeout_s: float,
        traces: Traces = NO_TRACES,
    ) -> StatusAnswer:
        assert account == self.account, "asked at another account than it was sent through"
        await checkpoint
        silent = StatusAnswer(standing=Standing.NO_INFORMATION)
        if self._down():
            return silent
        answer: asyncio.Future[StatusAnswer] = self.loop.create_future()
        if not self._happens(self.faults.mute_inquiry):
            self.loop.call_later(
                0.05 + self.random.random() * 0.1, self._say, reference, answer, context=NOWHERE
            )
        return await self._within(answer, timeout_s, silent)

    def _say(self, reference: str, answer: asyncio.Future[StatusAnswer]) -> None:
        if not answer.done():
            answer.set_result(self._standing(reference))

    def _standing(self, reference: str) -> StatusAnswer:
        booked = self._find(reference)
        if booked is None or self.loop.time() < booked.hidden_until:
            return StatusAnswer(standing=Standing.NOT_FOUND)
        if not booked.done or (booked.failure is not None and not self.names_failure):
            action = _PASSWORD if booked.waits and not booked.done else None
            return StatusAnswer(standing=Standing.PENDING, next_action=action)
        if booked.failure is not None:
            return StatusAnswer(standing=Standing.FAILED, failure=booked.failure)
        return StatusAnswer(standing=Standing.SUCCEEDED, amount=booked.order.amount)

    async def _within(self, answer: asyncio.Future[Any], timeout_s: float, otherwise: Any) -> Any:
        timer = self.loop.call_later(timeout_s, _give_up, answer, otherwise, context=NOWHERE)
        try:
            return await answer
        finally:
            timer.cancel()

    def _find(self, reference: str) -> Booked | None:
        return next((b for b in self.book if b.order.reference == reference), None)

    def _count(self, order: SendOrder) -> None:
        self.calls[order.reference] = self.calls.get(order.reference, 0) + 1

    def _down(self) -> bool:
        now = self.loop.time()
        return any(begin <= now < end for begin, end in self.faults.down)

    def _happens(self, rate: float) -> bool:
        return rate > 0 and self.loop.time() < self.faults.until_s and self.random.random() < rate


def _give_up(answer: asyncio.Future[Any], otherwise: Any) -> None:
    if not answer.done():
        answer.set_result(otherwise)
