"""Calls rails under their policies: what is tried again, what trips a breaker, and what leaves it alone."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import structlog

from synccash.engine.ports import FloatRail, OtpRail, Rail, Sent
from synccash.payments.attempt import Attempt
from synccash.payments.failure import Failure, FailureCode
from synccash.payments.ports import Clock
from synccash.payments.rail import (
    NO_TRACES,
    AttemptDetails,
    FloatAnswer,
    Operation,
    RailStatus,
    SendAnswer,
    SendOrder,
    StatusAnswer,
    is_other_wallet,
)
from synccash.resilience._core.retry_decision import Classify
from synccash.resilience.budget import RetryBudget
from synccash.resilience.circuit_breaker import CircuitBreaker
from synccash.resilience.deadline import deadline, remaining
from synccash.resilience.errors import CircuitOpenError, DeadlineExceededError
from synccash.resilience.evidence import Evidence
from synccash.resilience.policy import Policy
from synccash.resilience.profiles import Profile
from synccash.resilience.verdict import Outcome, Verdict

log = structlog.get_logger("synccash.dispatch")

_SHUT_OUT = "circuit_open"
_TOO_LATE = "too_late"
_CONNECTOR_ERROR = "connector_error"
_OTHER_REFERENCE = "other_reference"


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchSettings:
    """How long one exchange with a rail may take, in seconds."""

    attempt_timeout_s: float = 5.0
    inquiry_timeout_s: float = 5.0


def judge_send(result: SendAnswer | BaseException) -> Verdict:
    """What a send says about the rail, and whether the same rail may be tried again at once.

    Only what provably did nothing is tried again; everything else is a matter for inquiries. A payer's or a
    merchant's own refusal is a healthy answer.
    """
    if isinstance(result, BaseException):
        return Verdict(Outcome.FAILED)
    evidence, failure = result.evidence, result.failure
    if result.refused_locally:
        # The connector would refuse the same order again, and the rail has not heard of it.
        return Verdict(Outcome.IGNORED, evidence=evidence)
    if evidence is Evidence.ACCEPTED:
        return Verdict(Outcome.OK)
    if evidence is Evidence.REFUSED_FINAL:
        innocent = failure is not None and not failure.counts_against_rail
        return Verdict(Outcome.OK if innocent else Outcome.FAILED)
    if evidence is Evidence.AMBIGUOUS:
        return Verdict(Outcome.FAILED, evidence=evidence)
    # Credentials that are wrong now are wrong in two seconds.
    hopeless = failure is not None and failure.code is FailureCode.PROVIDER_ACCOUNT_BLOCKED
    return Verdict(Outcome.FAILED, retry=not hopeless, retry_after=result.retry_after_s, evidence=evidence)


def judge_inquiry(result: StatusAnswer | BaseException) -> Verdict:
    """Any readable answer, good news or bad, is a healthy rail. An inquiry that never left says nothing."""
    if not isinstance(result, BaseException) and result.refused_locally:
        return Verdict(Outcome.IGNORED)
    silent = isinstance(result, BaseException) or result.status_at_rail is RailStatus.NO_INFORMATION
    return Verdict(Outcome.FAILED if silent else Outcome.OK)


def judge_password(result: SendAnswer | BaseException) -> Verdict:
    """A password that the rail refuses is a healthy rail; it is never handed over again by itself."""
    if not isinstance(result, BaseException) and result.refused_locally:
        return Verdict(Outcome.IGNORED)
    silent = isinstance(result, BaseException) or result.evidence in (Evidence.AMBIGUOUS, Evidence.NOT_SENT)
    return Verdict(Outcome.FAILED if silent else Outcome.OK)


def judge_float(result: FloatAnswer | BaseException) -> Verdict:
    """An account that may not be asked for its balance, or whose answer is not understood, says nothing of
    the rail's inquiries."""
    if isinstance(result, BaseException) or result.is_fault:
        return Verdict(Outcome.FAILED)
    return Verdict(Outcome.IGNORED if result.available is None else Outcome.OK)


@dataclass(frozen=True, slots=True)
class _Manner:
    """How one send goes about it: with retries or without, under the breaker's say or past it."""

    patient: bool
    gated: bool


@dataclass(slots=True)
class PolicyDispatch:
    """Live: calls rails through policies that share one breaker for each rail and operation.

    `breaker_of` gives the live breaker of a name such as `mtn_momo:collect`, `budget_of` its retry budget,
    `profile_of` its profile. A profile's retry is for the patient send, which no other rail can take over;
    its `total_timeout` bounds a send with all waits.
    """

    breaker_of: Callable[[str], CircuitBreaker]
    profile_of: Callable[[str], Profile]
    clock: Clock
    settings: DispatchSettings
    random: Callable[[], float]
    budget_of: Callable[[str], RetryBudget] = RetryBudget
    _sends: dict[tuple[str, Operation, _Manner], Policy] = field(
        default_factory=dict[tuple[str, Operation, _Manner], Policy]
    )
    _askings: dict[tuple[str, str], Policy] = field(default_factory=dict[tuple[str, str], Policy])

    async def send(
        self, rail: Rail, order: SendOrder, *, patient: bool, gated: bool, within_s: float
    ) -> Sent:
        """Send under the rail's policy. See engine.ports.Dispatch."""
        began = self.clock.monotonic()
        tries = _Tries(rail, order, self.settings.attempt_timeout_s)
        policy = self._sending(rail.name, order.operation, _Manner(patient, gated))
        try:
            with deadline(within_s, clock=self.clock.monotonic):
                answer = await policy.call(tries.send)
        except CircuitOpenError as refused:
            answer = tries.last or _unsent(_SHUT_OUT, refused.retry_after)
        except DeadlineExceededError:
            answer = tries.last or _unsent(_TOO_LATE, None)
        return Sent(
            answer=answer,
            worst=tries.worst,
            tries=tries.count,
            latency_ms=round((self.clock.monotonic() - began) * 1000),
        )

    async def submit_otp(self, rail: Rail, attempt: Attempt, otp: str) -> SendAnswer:
        """Hand a password over, once. What is not known of it afterwards is left to inquiries."""
        assert isinstance(rail, OtpRail), f"{rail.name} says that it takes a password and has no way to"
        try:
            return await self._asking(f"{rail.name}:{attempt.operation.value}", judge_password).call(
                rail.submit_otp,
                attempt.account,
                attempt.reference,
                otp,
                timeout_s=self.settings.attempt_timeout_s,
            )
        except Exception:
            log.exception("connector_failed", rail=rail.name, operation="submit_otp")
            return SendAnswer(evidence=Evidence.AMBIGUOUS, provider_code=_CONNECTOR_ERROR)

    async def inquire(self, rail: Rail, attempt: Attempt, traces: AttemptDetails = NO_TRACES) -> StatusAnswer:
        """Ask about an attempt. Never refused: what is not known now has to be asked."""
        try:
            return await self._asking(f"{rail.name}:status", judge_inquiry).call(
                self._told_of, rail, attempt, traces
            )
        except Exception:
            log.exception("connector_failed", rail=rail.name, operation="inquire")
            return StatusAnswer(status_at_rail=RailStatus.NO_INFORMATION, provider_code=_CONNECTOR_ERROR)

    async def read_float(self, rail: FloatRail) -> FloatAnswer:
        """Ask for the float of the rail's account, under the policy of its inquiries. Never raises."""
        try:
            # The name keeps the policy apart, which judges other answers; the breaker is that of inquiries.
            return await self._asking(f"{rail.name}:status", judge_float, "float").call(
                rail.read_float, rail.account, timeout_s=self.settings.inquiry_timeout_s
            )
        except Exception:
            log.exception("connector_failed", rail=rail.name, operation="read_float")
            return FloatAnswer(provider_code=_CONNECTOR_ERROR)

    async def _told_of(self, rail: Rail, attempt: Attempt, traces: AttemptDetails) -> StatusAnswer:
        """Ask, and let no answer pass that names another reference than the attempt's: it proves nothing."""
        answer = await rail.inquire(
            attempt.account,
            attempt.operation,
            attempt.reference,
            timeout_s=self.settings.inquiry_timeout_s,
            traces=traces,
        )
        if answer.reference in (None, attempt.reference):
            other = is_other_wallet(answer.wallet, traces.msisdn)
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
            reference=answer.reference,
            retry_after_s=answer.retry_after_s,
            paced_s=answer.paced_s,
        )

    def open_for_s(self, rail: str, operation: Operation) -> float | None:
        """How long the rail's breaker still refuses new attempts, in seconds; None when it lets them in."""
        return self.breaker_of(f"{rail}:{operation.value}").retry_after()

    def _sending(self, rail: str, operation: Operation, manner: _Manner) -> Policy:
        key = (rail, operation, manner)
        policy = self._sends.get(key)
        if policy is None:
            name = f"{rail}:{operation.value}"
            profile = self.profile_of(name)
            policy = self._sends[key] = Policy(
                name,
                retry=profile.retry if manner.patient else None,
                breaker=self.breaker_of(name),
                budget=self.budget_of(name),
                gated=manner.gated,
                total_timeout=profile.total_timeout,
                interrupt=False,
                classify=judge_send,
                clock=self.clock.monotonic,
                sleep=self.clock.sleep,
                random=self.random,
            )
        return policy

    def _asking(self, name: str, classify: Classify, about: str = "attempt") -> Policy:
        """For what moves no money of its own: the breaker hears of it, and never refuses it."""
        policy = self._askings.get((name, about))
        if policy is None:
            policy = self._askings[name, about] = Policy(
                name,
                breaker=self.breaker_of(name),
                budget=self.budget_of(name),
                gated=False,
                classify=classify,
                clock=self.clock.monotonic,
                sleep=self.clock.sleep,
                random=self.random,
            )
        return policy


@dataclass(slots=True)
class _Tries:
    """All sends of one dispatch, and the worst that they may have done."""

    rail: Rail
    order: SendOrder
    attempt_timeout_s: float
    count: int = 0
    last: SendAnswer | None = None
    worst: Evidence = Evidence.NOT_SENT

    async def send(self) -> SendAnswer:
        """Send once more. A connector that raises may have sent: that is the worst case."""
        self.count += 1
        left_s = remaining()
        timeout_s = self.attempt_timeout_s if left_s is None else min(self.attempt_timeout_s, left_s)
        try:
            answer = await self.rail.send(self.order, timeout_s=timeout_s)
        except Exception:
            log.exception("connector_failed", rail=self.rail.name, operation=self.order.operation.value)
            answer = SendAnswer(
                evidence=Evidence.AMBIGUOUS,
                failure=Failure(FailureCode.PROVIDER_ERROR),
                provider_code=_CONNECTOR_ERROR,
            )
        self.last, self.worst = answer, self.worst.worst(answer.evidence)
        return answer


def _unsent(code: str, retry_after_s: float | None) -> SendAnswer:
    return SendAnswer(
        evidence=Evidence.NOT_SENT,
        failure=Failure(FailureCode.PROVIDER_UNAVAILABLE, reroute=True),
        provider_code=code,
        retry_after_s=retry_after_s,
    )
