"""One simulated rail: accepts requests, waits for the payer, books the money, and sends callbacks.

The code is independent of the provider, which the wire implements. The steps of a money request are always:
latency, faults, the wire's decision, the journal, an early callback, the response. There is no await between
decision and journal, so of two concurrent requests with one reference only one is accepted.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import msgspec

from synccash.sandbox import status_faults
from synccash.sandbox.book import book
from synccash.sandbox.callbacks import CallbackSender
from synccash.sandbox.faults import (
    UNTOUCHED,
    Answer,
    Callbacks,
    Faults,
    Script,
    Step,
    Treatment,
    treat_money,
)
from synccash.sandbox.floats import FloatWire
from synccash.sandbox.journal import (
    Accepted,
    CalledBack,
    Ended,
    Event,
    FaultOccurred,
    FaultsSet,
    Journal,
    Learned,
    PendingSeen,
    Requested,
    ScriptSet,
)
from synccash.sandbox.orders import Order, Pace, ScriptedOutcome, Side, State
from synccash.sandbox.wire import (
    EMPTY_500,
    GATEWAY_REFUSAL,
    MAINTENANCE,
    Call,
    Outcome,
    RefusedError,
    Reply,
    Wire,
)

Clock = Callable[[], float]


class Timings(msgspec.Struct, frozen=True):
    """Delays of the simulation that are not settings of faults, in seconds."""

    delayed_s: float = 10.0
    """A request with a "delayed" test number ends after this. MTN's own was observed to take 4 to 45 s."""
    late_callback_s: float = 5.0
    early_callback_s: float = 2.0
    """A response waits at most this long for its early callback."""
    credit_s: float = 0.3
    """A credit is booked after at most this, because it needs no approval by a payer."""


class Rail:
    """The state of one rail, restored from its journal, with the timers of its pending approvals."""

    def __init__(
        self,
        wire: Wire,
        journal: Journal,
        callback_sender: CallbackSender,
        *,
        clock: Clock,
        rng: Random,
        timings: Timings,
    ) -> None:
        self.wire = wire
        self.faults = Faults()
        self.script = Script()
        self.orders: dict[str, Order] = {}
        self.occurred: Counter[tuple[str, str]] = Counter()
        """How often a fault changed an order, by the name of the fault and the order's reference."""
        self._requests = 0
        self._pending_seen: set[str] = set()
        self._journal = journal
        self._callback_sender = callback_sender
        self._clock = clock
        self._rng = rng
        self._timings = timings
        self._timers: dict[str, asyncio.TimerHandle] = {}

    # Every change of the state is an event, which is written to the journal before it is applied.

    def start(self) -> None:
        """Restore the state from the journal; schedule pending approvals and callbacks that were not sent."""
        for event in self._journal.events():
            self._apply(event)
        for order in list(self.orders.values()):
            self._schedule_end(order)
            if order.state is not State.PENDING and not order.called_back:
                self._schedule_callback(order)

    def _record(self, *events: Event) -> None:
        self._journal.append(*events)
        for event in events:
            self._apply(event)

    def _apply(self, event: Event) -> None:
        match event:
            case Accepted(order):
                self.orders[order.reference] = order
            case Ended(reference, state, reason, at, amount):
                ended = self.orders[reference].ended(state, reason, at)
                self.orders[reference] = ended if amount is None else _with_amount(ended, amount)
            case FaultOccurred(name, reference):
                self.occurred[name, reference] += 1
            case PendingSeen(reference):
                self._pending_seen.add(reference)
            case CalledBack(reference):
                order = self.orders[reference]
                self.orders[reference] = msgspec.structs.replace(order, called_back=True)
            case Requested():
                self._requests += 1
            case FaultsSet(faults):
                self.faults = faults
            case ScriptSet(script):
                self.script = script
            case Learned({"float": opening}) if isinstance(self.wire, FloatWire):
                self.wire.float.opening = opening
            case Learned(fact):
                self.wire.learn(fact)

    def book(self) -> dict[str, Any]:
        """Return the book; see `synccash.sandbox.book.book`."""
        faults: Counter[str] = Counter()
        for (name, _), occurrences in self.occurred.items():
            faults[name] += occurrences
        return book(self.orders.values(), self._requests, faults)

    def set_faults(self, faults: Faults) -> None:
        """Change the standing faults; pending approvals keep their times."""
        self._record(FaultsSet(faults))

    def set_script(self, script: Script) -> None:
        """Set the script for the next requests."""
        self._record(ScriptSet(script))

    def learn(self, facts: tuple[dict[str, Any], ...]) -> None:
        """Record facts of the wire."""
        self._record(*(Learned(fact) for fact in facts))

    def set_float(self, wire: FloatWire, pesewas: int) -> None:
        """Set the amount that the account can pay out now."""
        self.learn(({"float": wire.float.opening_for(pesewas, self.orders.values())},))

    def reset(self) -> None:
        """Remove the orders, faults, script and pending approvals; credentials stay."""
        self.stop()
        self.orders.clear()
        self.occurred.clear()
        self._pending_seen.clear()
        self._requests = 0
        self.faults = Faults()
        self.script = Script()
        if isinstance(self.wire, FloatWire):
            self.wire.float.reset()
        self._journal.restart(*(Learned(fact) for fact in self.wire.reset()))

    def stop(self) -> None:
        """Cancel all timers; `start` restores them from the journal."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def has_work_within(self, seconds: float) -> bool:
        """Return whether a callback is being sent, or an end or a callback is due within this time."""
        until = asyncio.get_running_loop().time() + seconds
        return self._callback_sender.is_busy or any(timer.when() < until for timer in self._timers.values())

    # Handling of one request:

    async def serve(self, call: Call) -> Reply | None:
        """Return the response to one request; None: close its connection without a response."""
        kind = self.wire.kind(call)
        step = self._take_step(kind)
        latency_ms = self.faults.latency_ms + (0 if step is None else step.latency_ms)
        if latency_ms:
            await asyncio.sleep(latency_ms / 1000)
        if self.faults.down:
            return None
        if kind == "money":
            self._record(Requested())
            treatment = treat_money(self.faults, step, self._rng)
        else:
            treatment = UNTOUCHED if step is None else Treatment(commit=True, answer=step.answer)
        if not treatment.commit:
            return self._reply_as(treatment.answer, EMPTY_500)
        outcome = self._answer(call, self.orders)
        if kind == "inquiry" and treatment is UNTOUCHED:
            outcome = msgspec.structs.replace(outcome, reply=self._status_reply(call, outcome.reply))
        reply = await self._commit(outcome, step)
        return self._reply_as(treatment.answer, reply)

    def _answer(self, call: Call, orders: Mapping[str, Order]) -> Outcome:
        try:
            return self.wire.answer(call, orders, self._clock())
        except RefusedError as refused:
            return Outcome(refused.reply)

    def _status_reply(self, call: Call, proper: Reply) -> Reply:
        """Return a status response with the standing faults applied."""
        reference = self.wire.inquired(call)
        order = self.orders.get(reference)
        if order is None or proper.status != 200 or order.visible_at > self._clock():
            return proper
        if self._hits(status_faults.NOT_FOUND_AFTER_FOUND, reference):
            if reference in self._pending_seen:
                if self.occurred[status_faults.NOT_FOUND_AFTER_FOUND, reference] < status_faults.REPEATS:
                    self._record(FaultOccurred(status_faults.NOT_FOUND_AFTER_FOUND, reference))
                    return self._answer(call, {}).reply
            elif order.state is State.PENDING:
                self._record(PendingSeen(reference))
        reply = proper
        if self._hits(status_faults.OTHER_CURRENCY, reference):
            reply = self._changed(
                status_faults.OTHER_CURRENCY, reference, reply, status_faults.with_other_currency(reply)
            )
        wrong_answers = self.occurred[status_faults.OTHER_REFERENCE, reference]
        if wrong_answers < status_faults.REPEATS and self._hits(status_faults.OTHER_REFERENCE, reference):
            reply = self._changed(
                status_faults.OTHER_REFERENCE, reference, reply, status_faults.with_other_reference(reply)
            )
        return reply

    def _changed(self, name: str, reference: str, before: Reply, after: Reply) -> Reply:
        if after != before:
            self._record(FaultOccurred(name, reference))
        return after

    def _hits(self, name: str, reference: str) -> bool:
        return status_faults.is_hit(name, reference, getattr(self.faults, f"{name}_rate"))

    def _take_step(self, kind: str) -> Step | None:
        if kind != "money" and kind != "inquiry":
            return None
        step, rest = self.script.take(kind)
        if step is not None:
            self._record(ScriptSet(rest))
        return step

    async def _commit(self, outcome: Outcome, step: Step | None) -> Reply:
        self.learn(outcome.facts)
        if outcome.message is not None and self.faults.callbacks is not Callbacks.LOST:
            self._callback_sender.send(outcome.message)
        if outcome.order is None:
            return outcome.reply
        order = self._planned(outcome.order, step or Step())
        self._record(Accepted(order))
        if order.fate.pace is Pace.AT_ONCE:
            self.end(order.reference)
            return outcome.reply
        if self.faults.callbacks is Callbacks.EARLY and order.ends_at is not None:
            sent = self.end(order.reference)
            if sent is not None:
                await asyncio.wait([sent], timeout=self._timings.early_callback_s)
            return outcome.reply
        self._schedule_end(order)
        if self._hits(status_faults.CALLBACK_FAILURE, order.reference):
            self._send_false_failure(order)
        if self.faults.callbacks is Callbacks.FORGED:
            self._at(self._clock(), f"forgery {order.reference}", self._forge, order.reference)
        return outcome.reply

    def _reply_as(self, answer: Answer, proper: Reply) -> Reply | None:
        match answer:
            case Answer.NORMAL:
                return proper
            case Answer.DROP:
                return None
            case Answer.HTTP_500:
                return EMPTY_500
            case Answer.HTTP_503:
                return self.wire.unavailable()
            case Answer.HTTP_429:
                return self.wire.throttled()
            case Answer.HTML_403:
                return GATEWAY_REFUSAL
            case Answer.MAINTENANCE_200:
                return MAINTENANCE

    # Accepted requests: their ends, reversals and callbacks.

    def _planned(self, order: Order, step: Step) -> Order:
        """Plan the end of an accepted order: by the script, else its test number, else the faults."""
        now = self._clock()
        fate = order.fate if step.end is None else _scripted(step.end)
        approval_ms = self.faults.approve_after_ms if step.approve_after_ms is None else step.approve_after_ms
        delay = approval_ms / 1000
        if fate.pace is Pace.DELAYED:
            delay = self._timings.delayed_s
        elif fate.pace is Pace.WINDOW:
            delay, fate = self.wire.prompt_window_s, ScriptedOutcome(reason=self.wire.expired_reason)
        elif order.side is Side.CREDIT and step.approve_after_ms is None:
            delay = min(delay, self._timings.credit_s)
        elif delay > self.wire.prompt_window_s:
            delay, fate = self.wire.prompt_window_s, ScriptedOutcome(reason=self.wire.expired_reason)
        ends_at = None if fate.pace is Pace.NEVER else now + delay
        late, silent = step.then_success_after_ms, False
        turns = fate == ScriptedOutcome() and self._hits(status_faults.FAILED_THEN_SUCCESS, order.reference)
        if turns and ends_at is not None:
            fate = ScriptedOutcome(reason=self.wire.expired_reason)
            late, silent = self.faults.late_success_after_ms, True
        return msgspec.structs.replace(
            order,
            fate=fate,
            accepted_at=now,
            visible_at=now + step.visible_after_ms / 1000,
            ends_at=ends_at,
            late_success_at=None if late is None or ends_at is None else ends_at + late / 1000,
            late_success_is_silent=silent,
            reverse_after_s=self._reverse_after_s(order),
        )

    def _reverse_after_s(self, order: Order) -> float | None:
        applies = self._hits(status_faults.REVERSED, order.reference)
        if not applies or not self.wire.reversible(order, self.orders):
            return None
        return self.faults.reverse_after_ms / 1000

    def _schedule_end(self, order: Order) -> None:
        former = self._timers.pop(order.reference, None)
        if former is not None:
            former.cancel()
        if order.due_at is not None:
            action = self._reverse if order.state is State.SUCCEEDED else self.end
            self._at(order.due_at, order.reference, action, order.reference)

    def end(self, reference: str) -> asyncio.Task[None] | None:
        """End an order now, or apply its late success. Returns the task of a callback sent at once."""
        order = self.orders[reference]
        timer = self._timers.pop(reference, None)
        if timer is not None:
            timer.cancel()
        fails = order.state is State.PENDING and order.fate.reason is not None
        state = State.FAILED if fails else State.SUCCEEDED
        reason = order.fate.reason if fails else None
        amount = None
        if state is State.SUCCEEDED and self._hits(status_faults.OTHER_AMOUNT, reference):
            amount = order.amount + status_faults.EXCESS
            self._record(FaultOccurred(status_faults.OTHER_AMOUNT, reference))
        is_silent = state is State.SUCCEEDED and order.late_success_is_silent
        self._record(Ended(reference, state, reason, self._clock(), amount))
        if is_silent:
            self._record(FaultOccurred(status_faults.FAILED_THEN_SUCCESS, reference), CalledBack(reference))
        order = self.orders[reference]
        self._schedule_end(order)
        return None if is_silent else self._schedule_callback(order)

    def _reverse(self, reference: str) -> None:
        """Reverse a success if it is still reversible: a refund may have returned the money meanwhile."""
        order = self.orders[reference]
        self._timers.pop(reference, None)
        if not self.wire.reversible(order, self.orders):
            return
        self._record(
            Ended(reference, State.REVERSED, None, self._clock()),
            FaultOccurred(status_faults.REVERSED, reference),
        )
        self._schedule_callback(self.orders[reference])

    def _schedule_callback(self, order: Order) -> asyncio.Task[None] | None:
        if self.faults.callbacks is Callbacks.LATE:
            ended_at = order.accepted_at if order.ended_at is None else order.ended_at
            due = (order.reversed_at or ended_at) + self._timings.late_callback_s
            self._at(due, f"callback {order.reference}", self._call_back, order.reference)
            return None
        return self._call_back(order.reference)

    def _call_back(self, reference: str) -> asyncio.Task[None] | None:
        """Send the callback of an end. It is recorded first, so a kill may lose it but does not repeat it."""
        order = self.orders[reference]
        mode = self.faults.callbacks
        self._timers.pop(f"callback {reference}", None)
        self._record(CalledBack(reference))
        if mode is Callbacks.LOST:
            return None
        forged = mode is Callbacks.FORGED and order.state is State.FAILED
        message = self.wire.callback(order, forged=forged)
        if message is None:
            return None
        if mode is Callbacks.DUPLICATE:
            self._callback_sender.send(message)
        return self._callback_sender.send(message)

    def _send_false_failure(self, order: Order) -> None:
        """Send a failure callback for an order that is still pending. Some rails have no such callback."""
        failed = msgspec.structs.replace(order, state=State.FAILED, reason=self.wire.expired_reason)
        message = self.wire.callback(failed, forged=False)
        if message is not None:
            self._record(FaultOccurred(status_faults.CALLBACK_FAILURE, order.reference))
            self._callback_sender.send(message)

    def _forge(self, reference: str) -> None:
        """Send a success callback before the payer has decided."""
        self._timers.pop(f"forgery {reference}", None)
        message = self.wire.callback(self.orders[reference], forged=True)
        if message is not None:
            self._callback_sender.send(message)

    def _at(self, due: float, name: str, action: Callable[[str], object], reference: str) -> None:
        delay = max(0.0, due - self._clock())
        former = self._timers.pop(name, None)
        if former is not None:
            former.cancel()
        self._timers[name] = asyncio.get_running_loop().call_later(delay, action, reference)


def _with_amount(order: Order, amount: int) -> Order:
    details = status_faults.details_of_amount(order.details, amount)
    return msgspec.structs.replace(order, amount=amount, details=details)


def _scripted(end: str) -> ScriptedOutcome:
    if end == "SUCCESSFUL":
        return ScriptedOutcome()
    return ScriptedOutcome(pace=Pace.NEVER) if end == "NEVER" else ScriptedOutcome(reason=end)
