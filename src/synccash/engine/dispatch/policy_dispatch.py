"""Calls rails under their policies: decides what is retried and what counts as a failure for the breaker."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import structlog

from synccash.engine.ports import FloatRail, OtpRail, Rail, SendResult
from synccash.payments.attempt import Attempt
from synccash.payments.causes import Cause, CauseCode
from synccash.payments.errors import InternalError
from synccash.payments.failure import Failure, FailureCode
from synccash.payments.ports import Clock
from synccash.payments.rail import (
    NO_ATTEMPT_DETAILS,
    AttemptDetails,
    FloatAnswer,
    Operation,
    RailStatus,
    SendAnswer,
    SendOrder,
    StatusAnswer,
    cause_of,
    is_other_wallet,
)
from synccash.resilience.budget import RetryBudget
from synccash.resilience.circuit_breaker import CircuitBreaker
from synccash.resilience.deadline import deadline, remaining
from synccash.resilience.errors import CircuitOpenError, DeadlineExceededError
from synccash.resilience.events import EventHook
from synccash.resilience.evidence import Evidence
from synccash.resilience.policy import Policy
from synccash.resilience.profiles import Profile
from synccash.resilience.verdict import Classifier, FailureCause, Outcome, Verdict

log = structlog.get_logger("synccash.dispatch")

_CONNECTOR_ERROR = "connector_error"
_RAISED = Cause(CauseCode.CONNECTOR_ERROR)
_OTHER_REFERENCE = "other_reference"


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchSettings:
    """Timeouts for one exchange with a rail, in seconds."""

    attempt_timeout_s: float = 5.0
    inquiry_timeout_s: float = 5.0


def judge_send(result: SendAnswer | BaseException) -> Verdict:
    """Return whether a send counts for or against the rail, and whether it may be retried there at once.

    Only a send that provably did nothing is retried; everything else is left to inquiries. A refusal because
    of the payer or the merchant is a healthy answer.
    """
    if isinstance(result, BaseException):
        return Verdict(Outcome.FAILED, cause=_RAISED.for_breaker)
    evidence, failure = result.evidence, result.failure
    if result.refused_locally:
        # The connector would refuse the same order again, and the rail was not contacted.
        return Verdict(Outcome.IGNORED, evidence=evidence)
    if evidence is Evidence.ACCEPTED:
        return Verdict(Outcome.OK)
    if evidence is Evidence.REFUSED_FINAL:
        is_healthy = failure is not None and not failure.counts_against_rail
        return Verdict(Outcome.OK) if is_healthy else Verdict(Outcome.FAILED, cause=_breaker_cause(result))
    cause = _breaker_cause(result)
    if evidence is Evidence.AMBIGUOUS:
        return Verdict(Outcome.FAILED, evidence=evidence, cause=cause)
    # A retry does not help against wrong credentials.
    is_blocked = failure is not None and failure.code is FailureCode.PROVIDER_ACCOUNT_BLOCKED
    return Verdict(
        Outcome.FAILED,
        retry=not is_blocked,
        retry_after=result.retry_after_s,
        evidence=evidence,
        cause=cause,
    )


def judge_inquiry(result: StatusAnswer | BaseException) -> Verdict:
    """Return the verdict on an inquiry: any readable answer counts as healthy, whatever the attempt's status.
    An inquiry that never left is ignored."""
    if not isinstance(result, BaseException) and result.refused_locally:
        return Verdict(Outcome.IGNORED)
    if not isinstance(result, BaseException) and (
        result.went_back or result.unknown_reference or result.status_at_rail is not RailStatus.NO_INFORMATION
    ):
        return Verdict(Outcome.OK)
    return Verdict(Outcome.FAILED, cause=_breaker_cause(result))


def judge_otp(result: SendAnswer | BaseException) -> Verdict:
    """Return the verdict on a one-time password: a refusal by the rail counts as healthy. Never retried."""
    if not isinstance(result, BaseException) and result.refused_locally:
        return Verdict(Outcome.IGNORED)
    is_unanswered = isinstance(result, BaseException) or result.evidence in (
        Evidence.AMBIGUOUS,
        Evidence.NOT_SENT,
    )
    return Verdict(Outcome.FAILED, cause=_breaker_cause(result)) if is_unanswered else Verdict(Outcome.OK)


def judge_float(result: FloatAnswer | BaseException) -> Verdict:
    """Return the verdict on a float reading. An account that may not read its balance, or an answer that is
    not understood, is ignored: it tells nothing about the rail's inquiries."""
    if isinstance(result, BaseException) or result.is_fault:
        return Verdict(Outcome.FAILED, cause=_breaker_cause(result))
    return Verdict(Outcome.IGNORED if result.available is None else Outcome.OK)


def _breaker_cause(result: SendAnswer | StatusAnswer | FloatAnswer | BaseException) -> FailureCause | None:
    cause = _RAISED if isinstance(result, BaseException) else cause_of(result)
    return None if cause is None else cause.for_breaker


@dataclass(frozen=True, slots=True)
class _SendMode:
    """The options of a send. See engine.ports.Dispatch."""

    with_retries: bool
    breaker_may_refuse: bool


@dataclass(slots=True)
class PolicyDispatch:
    """Calls rails through policies that share one breaker for each rail and operation.

    `breaker_of` returns the live breaker of a name such as `mtn_momo:collect`, `budget_of` its retry budget,
    `profile_of` its profile. A profile's retry applies only to sends `with_retries`, which no other rail can
    take over; its `total_timeout` bounds a send including all waits. `on_event` gets the events of the
    policies.
    """

    breaker_of: Callable[[str], CircuitBreaker]
    profile_of: Callable[[str], Profile]
    clock: Clock
    settings: DispatchSettings
    random: Callable[[], float]
    budget_of: Callable[[str], RetryBudget] = RetryBudget
    on_event: EventHook | None = None
    _send_policies: dict[tuple[str, Operation, _SendMode], Policy] = field(
        default_factory=dict[tuple[str, Operation, _SendMode], Policy]
    )
    _inquiry_policies: dict[tuple[str, str], Policy] = field(default_factory=dict[tuple[str, str], Policy])

    async def send(
        self, rail: Rail, order: SendOrder, *, with_retries: bool, breaker_may_refuse: bool, within_s: float
    ) -> SendResult:
        """Send under the rail's policy. See engine.ports.Dispatch."""
        began = self.clock.monotonic()
        tries = _Tries(rail, order, self.settings.attempt_timeout_s, self.clock)
        policy = self._send_policy(rail.name, order.operation, _SendMode(with_retries, breaker_may_refuse))
        try:
            with deadline(within_s, clock=self.clock.monotonic):
                answer = await policy.call(tries.send)
        except CircuitOpenError as refused:
            answer = tries.last or _unsent(CauseCode.BREAKER_OPEN, refused.retry_after)
        except DeadlineExceededError:
            answer = tries.last or _unsent(CauseCode.TOO_LATE, None)
        return SendResult(
            answer=answer,
            worst=tries.worst,
            tries=tries.count,
            latency_ms=round((self.clock.monotonic() - began) * 1000),
        )

    async def submit_otp(self, rail: Rail, attempt: Attempt, otp: str) -> SendAnswer:
        """Submit a one-time password once. An unknown result is left to inquiries.

        Raises InternalError if the rail takes no one-time passwords.
        """
        if not isinstance(rail, OtpRail):
            raise InternalError(f"{rail.name} asked for a one-time password but has no submit_otp")
        began = self.clock.monotonic()
        try:
            answer = await self._inquiry_policy(f"{rail.name}:{attempt.operation.value}", judge_otp).call(
                rail.submit_otp,
                attempt.account,
                attempt.reference,
                otp,
                timeout_s=self.settings.attempt_timeout_s,
            )
        except Exception:
            log.exception("connector_failed", rail=rail.name, operation="submit_otp")
            answer = SendAnswer(evidence=Evidence.AMBIGUOUS, provider_code=_CONNECTOR_ERROR, cause=_RAISED)
        if judge_otp(answer).outcome is Outcome.FAILED:
            self._log_failure(rail.name, "submit_otp", answer, began, attempt.order_id)
        return answer

    async def inquire(
        self, rail: Rail, attempt: Attempt, details: AttemptDetails = NO_ATTEMPT_DETAILS
    ) -> StatusAnswer:
        """Ask about an attempt. The breaker never refuses an inquiry, since the outcome must become known."""
        began = self.clock.monotonic()
        try:
            answer = await self._inquiry_policy(f"{rail.name}:status", judge_inquiry).call(
                self._checked_inquiry, rail, attempt, details
            )
        except Exception:
            log.exception("connector_failed", rail=rail.name, operation="inquire")
            answer = StatusAnswer(
                status_at_rail=RailStatus.NO_INFORMATION, provider_code=_CONNECTOR_ERROR, cause=_RAISED
            )
        if judge_inquiry(answer).outcome is Outcome.FAILED:
            self._log_failure(rail.name, "inquire", answer, began + answer.paced_s, attempt.order_id)
        return answer

    async def read_float(self, rail: FloatRail) -> FloatAnswer:
        """Ask for the float of the rail's account, under its inquiry policy. Never raises."""
        began = self.clock.monotonic()
        try:
            # "float" selects a separate policy with its own verdicts; the breaker is that of inquiries.
            answer = await self._inquiry_policy(f"{rail.name}:status", judge_float, "float").call(
                rail.read_float, rail.account, timeout_s=self.settings.inquiry_timeout_s
            )
        except Exception:
            log.exception("connector_failed", rail=rail.name, operation="read_float")
            answer = FloatAnswer(provider_code=_CONNECTOR_ERROR, is_fault=True, cause=_RAISED)
        if judge_float(answer).outcome is Outcome.FAILED:
            self._log_failure(rail.name, "read_float", answer, began, None)
        return answer

    def _log_failure(
        self,
        rail: str,
        operation: str,
        answer: SendAnswer | StatusAnswer | FloatAnswer,
        began: float,
        order_id: str | None,
    ) -> None:
        log_failed_call(rail, operation, cause_of(answer), self.clock.monotonic() - began, order_id)

    async def _checked_inquiry(self, rail: Rail, attempt: Attempt, details: AttemptDetails) -> StatusAnswer:
        """Ask, and replace an answer that names another reference than the attempt's by NO_INFORMATION."""
        answer = await rail.inquire(
            attempt.account,
            attempt.operation,
            attempt.reference,
            timeout_s=self.settings.inquiry_timeout_s,
            details=details,
        )
        if answer.reference in (None, attempt.reference):
            other = is_other_wallet(answer.wallet, details.msisdn)
            return replace(answer, other_wallet=True) if other else answer
        log.warning(
            "inquiry_answered_for_another",
            rail=rail.name,
            operation=attempt.operation.value,
            reference=attempt.reference,
            answered_for=answer.reference,
        )
        return StatusAnswer(
            status_at_rail=RailStatus.NO_INFORMATION,
            provider_code=_OTHER_REFERENCE,
            cause=Cause(CauseCode.OTHER_REFERENCE),
            reference=answer.reference,
            retry_after_s=answer.retry_after_s,
            paced_s=answer.paced_s,
        )

    def open_for_s(self, rail: str, operation: Operation) -> float | None:
        """The seconds for which the rail's breaker still refuses new attempts; None when it admits them."""
        return self.breaker_of(f"{rail}:{operation.value}").retry_after()

    def _send_policy(self, rail: str, operation: Operation, mode: _SendMode) -> Policy:
        key = (rail, operation, mode)
        policy = self._send_policies.get(key)
        if policy is None:
            name = f"{rail}:{operation.value}"
            profile = self.profile_of(name)
            policy = self._send_policies[key] = Policy(
                name,
                retry=profile.retry if mode.with_retries else None,
                breaker=self.breaker_of(name),
                budget=self.budget_of(name),
                gated=mode.breaker_may_refuse,
                total_timeout=profile.total_timeout,
                interrupt=False,
                classify=judge_send,
                on_event=self.on_event,
                clock=self.clock.monotonic,
                sleep=self.clock.sleep,
                random=self.random,
            )
        return policy

    def _inquiry_policy(self, name: str, classify: Classifier, about: str = "attempt") -> Policy:
        """Return the policy of calls that start no movement of money: the breaker never refuses them, but
        counts their results."""
        policy = self._inquiry_policies.get((name, about))
        if policy is None:
            policy = self._inquiry_policies[name, about] = Policy(
                name,
                breaker=self.breaker_of(name),
                budget=self.budget_of(name),
                gated=False,
                classify=classify,
                on_event=self.on_event,
                clock=self.clock.monotonic,
                sleep=self.clock.sleep,
                random=self.random,
            )
        return policy


@dataclass(slots=True)
class _Tries:
    """All tries of one send, and their evidence together (`worst`)."""

    rail: Rail
    order: SendOrder
    attempt_timeout_s: float
    clock: Clock
    count: int = 0
    last: SendAnswer | None = None
    worst: Evidence = Evidence.NOT_SENT

    async def send(self) -> SendAnswer:
        """Send once more. When the connector raises, the order may have been sent: AMBIGUOUS."""
        self.count += 1
        left_s = remaining()
        timeout_s = self.attempt_timeout_s if left_s is None else min(self.attempt_timeout_s, left_s)
        began = self.clock.monotonic()
        try:
            answer = await self.rail.send(self.order, timeout_s=timeout_s)
        except Exception:
            log.exception("connector_failed", rail=self.rail.name, operation=self.order.operation.value)
            answer = SendAnswer(
                evidence=Evidence.AMBIGUOUS,
                failure=Failure(FailureCode.PROVIDER_ERROR),
                provider_code=_CONNECTOR_ERROR,
                cause=_RAISED,
            )
        if answer.evidence is not Evidence.ACCEPTED and judge_send(answer).outcome is Outcome.FAILED:
            took_s = self.clock.monotonic() - began
            operation = self.order.operation.value
            log_failed_call(self.rail.name, operation, cause_of(answer), took_s, self.order.order_id)
        self.last, self.worst = answer, self.worst.worst(answer.evidence)
        return answer


def log_failed_call(
    rail: str, operation: str, cause: Cause | None, took_s: float, order_id: str | None
) -> None:
    """Write the one line of a failed call to a rail."""
    log.warning(
        "rail_call_failed",
        rail=rail,
        operation=operation,
        cause=None if cause is None else cause.code.value,
        message=None if cause is None else cause.message,
        latency_ms=round(took_s * 1_000),
        order_id=order_id,
    )


def _unsent(code: CauseCode, retry_after_s: float | None) -> SendAnswer:
    return SendAnswer(
        evidence=Evidence.NOT_SENT,
        failure=Failure(FailureCode.PROVIDER_UNAVAILABLE, reroute=True),
        provider_code=code.value,
        retry_after_s=retry_after_s,
        cause=Cause(code),
    )
