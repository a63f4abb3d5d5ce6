"""Wraps a dispatch and records each rail's outcome and latency as health samples."""

from dataclasses import dataclass

from synccash.engine.dispatch.rail_float import RailFloats
from synccash.engine.dispatch.rail_health import Key, RailHealth
from synccash.engine.ports import Dispatch, Rail, SendResult
from synccash.payments.attempt import Attempt
from synccash.payments.failure import FailureCode
from synccash.payments.health import HealthAspect, failure_weight
from synccash.payments.rail import (
    NO_ATTEMPT_DETAILS,
    AttemptDetails,
    Operation,
    RailStatus,
    SendAnswer,
    SendOrder,
    StatusAnswer,
)
from synccash.resilience.evidence import Evidence


@dataclass(frozen=True, slots=True)
class HealthRecordingDispatch:
    """Satisfies Dispatch: passes every call on, and records its result in rail health and floats."""

    inner: Dispatch
    health: RailHealth
    floats: RailFloats

    async def send(
        self, rail: Rail, order: SendOrder, *, with_retries: bool, breaker_may_refuse: bool, within_s: float
    ) -> SendResult:
        """Send, and record whether the rail accepted the order and how long it took."""
        key = (rail.name, order.network.value if order.network else "", order.operation.value)
        with self.health.waiting(key):
            sent = await self.inner.send(
                rail,
                order,
                with_retries=with_retries,
                breaker_may_refuse=breaker_may_refuse,
                within_s=within_s,
            )
        self._record_send(key, sent)
        if order.operation is not Operation.COLLECT and sent.tries > 0:
            self._record_float(rail.name, order, sent)
        return sent

    def _record_float(self, rail: str, order: SendOrder, sent: SendResult) -> None:
        """Record what has left the rail's float, or the amount that the float could not cover."""
        failure = sent.answer.failure
        if failure is not None and failure.code is FailureCode.FLOAT_TOO_LOW:
            self.floats.refused(rail, order.network, order.amount)
        elif sent.worst in (Evidence.ACCEPTED, Evidence.AMBIGUOUS):
            self.floats.sent(rail, order.network, order.amount)

    def _record_send(self, key: Key, sent: SendResult) -> None:
        """Record a send. No tries give no sample; of several tries, all but the last have failed."""
        if sent.tries == 0:
            return
        answer, before = sent.answer, float(sent.tries - 1)
        if answer.refused_locally:
            if before:
                self.health.record(key, HealthAspect.SEND, bad=before)
            return
        refused = answer.evidence is Evidence.REFUSED_FINAL
        is_good = answer.evidence is Evidence.ACCEPTED or (refused and not failure_weight(answer.failure).bad)
        self.health.record(key, HealthAspect.SEND, good=float(is_good), bad=before + (not is_good))
        if sent.tries == 1 and answer.evidence is not Evidence.NOT_SENT:
            slow = self.health.settings.slowness(sent.latency_ms / 1000)
            self.health.record(key, HealthAspect.PACE, good=1.0 - slow, bad=slow)

    async def inquire(
        self, rail: Rail, attempt: Attempt, details: AttemptDetails = NO_ATTEMPT_DETAILS
    ) -> StatusAnswer:
        """Ask, and record how long the answer took. An answer without information, or "not found" for what
        the rail had accepted, counts as bad."""
        began = self.health.now()
        answer = await self.inner.inquire(rail, attempt, details)
        if answer.refused_locally:
            return answer
        took_s = self.health.now() - began - answer.paced_s
        is_unknown = answer.status_at_rail is RailStatus.NOT_FOUND or answer.unknown_reference
        if is_unknown:
            is_uninformative = attempt.evidence is Evidence.ACCEPTED
        else:
            is_uninformative = answer.status_at_rail is RailStatus.NO_INFORMATION
        slow = 1.0 if is_uninformative else self.health.settings.slowness(took_s)
        key = (rail.name, "", attempt.operation.value)
        self.health.record(key, HealthAspect.INQUIRY, good=1.0 - slow, bad=slow)
        return answer

    async def submit_otp(self, rail: Rail, attempt: Attempt, otp: str) -> SendAnswer:
        """Submit a one-time password. Records nothing: the result tells about the payer, not the rail."""
        return await self.inner.submit_otp(rail, attempt, otp)

    def open_for_s(self, rail: str, operation: Operation) -> float | None:
        """The seconds for which the rail's breaker still refuses new attempts; None when it admits them."""
        return self.inner.open_for_s(rail, operation)
