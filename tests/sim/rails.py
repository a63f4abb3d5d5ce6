"""Simulated rails. Each keeps its own book of real debits, and that book is what the judge believes.

What happens on the wire and at the rail happens outside every node: a caller that dies stops nothing.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any
from uuid import UUID

from sim.book import Booked, Faults, Sending
from sim.loop import NODE, NOWHERE, VirtualLoop, checkpoint
from synccash.payments.failure import Failure, FailureCode
from synccash.payments.payer import Network
from synccash.payments.rail import (
    NO_ATTEMPT_DETAILS,
    AttemptDetails,
    CallbackAddress,
    CallbackNote,
    Capabilities,
    Environment,
    NextAction,
    NextActionType,
    Operation,
    OperationCapability,
    RailAccount,
    RailStatus,
    SendAnswer,
    SendOrder,
    StatusAnswer,
)
from synccash.rails.answers import no_turn
from synccash.resilience.evidence import Evidence

_REFUSED_CONNECTION = SendAnswer(
    evidence=Evidence.NOT_SENT, failure=Failure(FailureCode.PROVIDER_UNAVAILABLE, reroute=True)
)
_TOO_LATE = SendAnswer(evidence=Evidence.NOT_SENT)
_SILENCE = SendAnswer(evidence=Evidence.AMBIGUOUS)
_BUSY = SendAnswer(
    evidence=Evidence.REFUSED_LATER, failure=Failure(FailureCode.PROVIDER_UNAVAILABLE, reroute=True)
)
_ERROR = Failure(FailureCode.PROVIDER_ERROR, reroute=True)
_NO_FUNDS = Failure(FailureCode.INSUFFICIENT_FUNDS)
_SHORT = Failure(FailureCode.FLOAT_TOO_LOW, reroute=True)
_NO_PASSWORD = Failure(FailureCode.PAYER_TIMEOUT)
_REFUSED_LOCALLY = SendAnswer(
    evidence=Evidence.NOT_SENT,
    failure=Failure(FailureCode.INVALID_PAYER),
    provider_code="network_not_served",
    refused_locally=True,
)
_SERVER_ERROR = SendAnswer(evidence=Evidence.AMBIGUOUS, provider_code="500", http_status=500)
_REPORTED = b"failed"
_OTHER_CURRENCY = "XOF"
_DAY_S = 86_400.0
_PASSWORD = NextAction(NextActionType.SUBMIT_OTP)
_PASSWORD_WINDOW_S = 60.0
PASSWORD = "123456"
"""The one that every rail takes."""


@dataclass(eq=False)
class SimRail:
    """One rail with one account. `calls` counts, by reference, what may have got through to it."""

    name: str
    loop: VirtualLoop
    random: Random
    faults: Faults
    call_back: Callable[[str, str, bytes], Awaitable[Any]]
    dedup: bool = True
    names_failure: bool = True
    not_found_is_final: bool = False
    window_s: float | None = None
    """How long a payer has to approve, by its documents."""
    occurrences: Counter[str] = field(default_factory=Counter[str])
    """How often each of the rarer faults met live traffic."""
    book: list[Booked] = field(default_factory=list)
    calls: dict[str, int] = field(default_factory=dict)
    begun: list[Sending] = field(default_factory=list)
    refused_locally: set[str] = field(default_factory=set[str])
    """The references that the connector refused to send."""
    _served: dict[tuple[Operation, str], bool] = field(default_factory=dict[tuple[Operation, str], bool])
    """By operation and merchant's reference: whether the connector sends it at all."""

    def __post_init__(self) -> None:
        able = OperationCapability(
            dedup_by_reference=self.dedup,
            failure_is_reported=self.names_failure,
            prompt_window_s=self.window_s,
            not_found_is_final=self.not_found_is_final,
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
        self.environment = Environment.TEST
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

    def booked(self, reference: str) -> Booked | None:
        """What it holds under the reference: first of all, where it does not deduplicate."""
        return self._find(reference)

    def _done(self, operation: Operation) -> list[SendOrder]:
        moved = (b for b in self.book if b.has_moved and not b.came_late)
        return [booked.order for booked in moved if booked.order.operation is operation]

    async def send(self, order: SendOrder, *, timeout_s: float) -> SendAnswer:
        if self.faults.refuses_locally and not self._serves(order):
            self.refused_locally.add(order.reference)
            self.occurrences["refused_locally"] += 1
            return _REFUSED_LOCALLY
        self._begin(order.reference, order)
        began = self.loop.time()
        await checkpoint
        # As the transport does: a process that was suspended writes nothing when its time is over. Only this
        # keeps a final "not found" true; elsewhere what arrives late stands for a network that holds it back.
        if self.not_found_is_final and self.loop.time() - began >= timeout_s:
            return _TOO_LATE
        if self._within_any(self.faults.shut):
            self.occurrences["shut"] += 1
            return _REFUSED_CONNECTION
        if self._down():
            return _REFUSED_CONNECTION
        answer: asyncio.Future[SendAnswer] = self.loop.create_future()
        if self._within_any(self.faults.errors):
            self._count(order)
            self.occurrences["errors"] += 1
            self.loop.call_later(0.05, _give_up, answer, _SERVER_ERROR, context=NOWHERE)
            return await answer
        slow = self._happens(self.faults.slow_answer)
        takes_s = timeout_s * (0.8 + self.random.random() * 2) if slow else 0.05 + self.random.random() * 0.2
        if self._happens(self.faults.lost_request):
            self._count(order)
        else:
            self.loop.call_later(takes_s, self._arrive, order, answer, context=NOWHERE)
        return await self._within(answer, timeout_s, _SILENCE)

    def _serves(self, order: SendOrder) -> bool:
        """A connector that cannot send an order never can."""
        named = (order.operation, order.merchant_reference)
        if named not in self._served:
            self._served[named] = not self._happens(self.faults.refuses_locally)
        return self._served[named]

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
        if order.operation is Operation.PAYOUT and self._happens(self.faults.float_low / 2):
            self.occurrences["float_low"] += 1
            return SendAnswer(evidence=Evidence.REFUSED_FINAL, failure=_SHORT)
        booked = self._book(order)
        return SendAnswer(evidence=Evidence.ACCEPTED, next_action=_PASSWORD if booked.waits else None)

    def _book(self, order: SendOrder) -> Booked:
        now = self.loop.time()
        failure = _ERROR if self._happens(self.faults.fails) else None
        if failure is None and self._happens(self.faults.payer_declines):
            failure = _NO_FUNDS
        if failure is None and order.operation is Operation.PAYOUT and self._happens(self.faults.float_low):
            failure = _SHORT
            self.occurrences["float_low"] += 1
        wait_s = self.random.random() * (90 if self._happens(self.faults.slow_payer) else 5)
        hidden_s = self.random.random() * self.faults.hidden_s if self._happens(self.faults.hidden) else 0.0
        booked = Booked(
            order=order,
            ends_at=now + wait_s,
            failure=failure,
            hidden_until=now + hidden_s,
            amount=self._amount(order),
            currency=_OTHER_CURRENCY if self._happens(self.faults.other_currency) else order.currency,
        )
        self.book.append(booked)
        booked.comes_late = failure is not None and self._happens(self.faults.late_success)
        booked.comes_unsaid = failure is _ERROR and self._happens(self.faults.late_unsaid)
        booked.reverses = failure is None and self._happens(self.faults.reverses)
        if self._happens(self.faults.forgotten):
            begins = now + 1 + self.random.random() * 20
            booked.forgotten = (begins, begins + 5 + self.random.random() * 40)
        # No rail without a word for failure asks for a password: its prompt begins with the send.
        asks = order.operation is Operation.COLLECT and self._happens(self.faults.asks_password)
        booked.waits = asks and self.names_failure
        ends_at = now + _PASSWORD_WINDOW_S if booked.waits else booked.ends_at
        self.loop.call_at(ends_at, self._end, booked, context=NOWHERE)
        if self._happens(self.faults.callback_forged):
            self._call_back(order, self.random.random() * 3)
        if failure is None and self._happens(self.faults.false_reports):
            booked.is_misreported = True
            self._call_back(order, self.random.random() * 40, _REPORTED)
        return booked

    def _end(self, booked: Booked) -> None:
        if booked.done:
            return
        if booked.waits:
            booked.failure = booked.failure or _NO_PASSWORD
        booked.done = True
        if booked.comes_late or booked.comes_unsaid:
            self.loop.call_later(self._late_by_s(booked), self._come_late, booked, context=NOWHERE)
        if booked.failure is None and booked.reverses:
            self.loop.call_later(1 + self.random.random() * 60, self._reverse, booked, context=NOWHERE)
        if self._is_after_window(booked):
            self._come_late(booked)
        elif not self._happens(self.faults.callback_lost):
            reports = booked.failure is not None and self._happens(self.faults.reports)
            times = 2 if self._happens(self.faults.callback_twice) else 1
            for _ in range(times):
                self._call_back(booked.order, self.random.random() * 2, _REPORTED if reports else b"")

    def _late_by_s(self, booked: Booked) -> float:
        if not booked.comes_unsaid:
            return 5 + self.random.random() * 60
        most = self.random.choice((600.0, 7_000.0, _DAY_S, 3 * _DAY_S))
        return most * self.random.random()

    def _is_after_window(self, booked: Booked) -> bool:
        """True for an approval past the prompt's time, after a callback had called it failed: by the rail's
        documents that was its end, so it goes back on its word."""
        late = self.window_s is not None and self.loop.time() >= booked.ends_at and booked.failure is None
        return late and booked.is_misreported and self._age_s(booked) >= (self.window_s or 0.0)

    def _age_s(self, booked: Booked) -> float:
        return self.loop.time() - next(b.at for b in self.begun if b.reference == booked.order.reference)

    def _reverse(self, booked: Booked) -> None:
        booked.failure, booked.is_reversed = _ERROR, True
        self.occurrences["reversed"] += RailStatus.SUCCEEDED in booked.told
        if self._happens(self.faults.reversal_told):
            booked.tells_reversal = True
            self.loop.start(self._tell_reversal(booked))

    async def _tell_reversal(self, booked: Booked) -> None:
        """As the callback of a late success, it is never lost."""
        assert booked.order.callback_url is not None
        await asyncio.sleep(self.random.random() * 2)
        self.occurrences["reversal_told"] += RailStatus.SUCCEEDED in booked.told
        await self.call_back(self.name, booked.order.callback_url.rpartition("/")[2], b"")
        booked.has_told_reversal = True

    def _come_late(self, booked: Booked) -> None:
        """The callback of it is never lost, unless the rail sends none: rechecks have to find it."""
        booked.failure, booked.came_late, booked.late_at = None, True, self.loop.time()
        if booked.comes_unsaid:
            booked.has_told = True
            self.occurrences["late_unsaid"] += RailStatus.FAILED in booked.told
            return
        self.loop.start(self._tell_late(booked))

    async def _tell_late(self, booked: Booked) -> None:
        assert booked.order.callback_url is not None
        await asyncio.sleep(self.random.random() * 2)
        await self.call_back(self.name, booked.order.callback_url.rpartition("/")[2], b"")
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

    def _call_back(self, order: SendOrder, after_s: float, body: bytes = b"") -> None:
        if order.callback_url is not None:
            token = order.callback_url.rpartition("/")[2]
            self.loop.call_later(after_s, self._ring, token, body, context=NOWHERE)

    def _ring(self, token: str, body: bytes) -> None:
        self.loop.start(self.call_back(self.name, token, body))

    def read_callback(self, token: str, headers: Mapping[str, str], body: bytes) -> CallbackNote | None:
        """Read what a callback says. Most say nothing."""
        del headers
        if body != _REPORTED:
            return None
        named = (b for b in self.book if (b.order.callback_url or "").endswith(token))
        is_false = any(b.is_misreported for b in named)
        self.occurrences["false_reports" if is_false else "reports"] += 1
        return CallbackNote(failure=_ERROR)

    async def inquire(
        self,
        account: RailAccount,
        operation: Operation,
        reference: str,
        *,
        timeout_s: float,
        details: AttemptDetails = NO_ATTEMPT_DETAILS,
    ) -> StatusAnswer:
        assert account == self.account, "asked at another account than it was sent through"
        await checkpoint
        if self.faults.no_turn and self._happens(self.faults.no_turn):
            self.occurrences["no_turn"] += 1
            return no_turn("status_cap", again_in_s=timeout_s)
        silent = StatusAnswer(status_at_rail=RailStatus.NO_INFORMATION)
        if self._down():
            return silent
        answer: asyncio.Future[StatusAnswer] = self.loop.create_future()
        if not self._happens(self.faults.mute_inquiry):
            self.loop.call_later(
                0.05 + self.random.random() * 0.1, self._say, reference, answer, context=NOWHERE
            )
        return await self._within(answer, timeout_s, silent)

    def _say(self, reference: str, answer: asyncio.Future[StatusAnswer]) -> None:
        if answer.done():
            return
        if self._happens(self.faults.other_reference):
            self.occurrences["other_reference"] += 1
            answer.set_result(self._of_another())
            return
        booked = self._find(reference)
        told = self._standing(booked)
        if booked is not None:
            self._note(booked, told)
        # A rail that may mix answers up names what it answers about.
        answer.set_result(replace(told, reference=reference) if self.faults.other_reference else told)

    def _of_another(self) -> StatusAnswer:
        """The status of an order that nobody asked about: what a proxy or a cache may answer."""
        other = str(UUID(int=self.random.getrandbits(128), version=4))
        if self.random.random() < 0.5:
            return StatusAnswer(status_at_rail=RailStatus.FAILED, failure=_ERROR, reference=other)
        return StatusAnswer(status_at_rail=RailStatus.SUCCEEDED, reference=other)

    def _note(self, booked: Booked, told: StatusAnswer) -> None:
        """Count what the inquirer really heard, and remember it."""
        found = {RailStatus.PENDING, RailStatus.SUCCEEDED, RailStatus.FAILED}
        if told.status_at_rail is RailStatus.NOT_FOUND and booked.told & found:
            self.occurrences["forgotten"] += 1
        if told.status_at_rail is RailStatus.SUCCEEDED:
            self.occurrences["other_amount"] += booked.amount != booked.order.amount
            self.occurrences["other_currency"] += booked.currency != booked.order.currency
        booked.told.add(told.status_at_rail)
        booked.told_waiting += told.next_action is not None

    def _standing(self, booked: Booked | None) -> StatusAnswer:
        now = self.loop.time()
        if booked is None or now < booked.hidden_until or booked.forgotten[0] <= now < booked.forgotten[1]:
            return StatusAnswer(status_at_rail=RailStatus.NOT_FOUND)
        if not booked.done or (booked.failure is not None and not self.names_failure):
            action = _PASSWORD if booked.waits and not booked.done else None
            return StatusAnswer(status_at_rail=RailStatus.PENDING, next_action=action)
        if booked.failure is not None:
            return StatusAnswer(status_at_rail=RailStatus.FAILED, failure=booked.failure)
        return StatusAnswer(
            status_at_rail=RailStatus.SUCCEEDED, amount=booked.amount, currency=booked.currency
        )

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
        return self._within_any(self.faults.down)

    def _within_any(self, windows: tuple[tuple[float, float], ...]) -> bool:
        now = self.loop.time()
        return any(begin <= now < end for begin, end in windows)

    def _amount(self, order: SendOrder) -> int:
        if self._happens(self.faults.no_amount):
            return 0
        return order.amount // 2 if self._happens(self.faults.other_amount) else order.amount

    def _happens(self, rate: float) -> bool:
        return rate > 0 and self.loop.time() < self.faults.until_s and self.random.random() < rate


def _give_up(answer: asyncio.Future[Any], otherwise: Any) -> None:
    if not answer.done():
        answer.set_result(otherwise)
