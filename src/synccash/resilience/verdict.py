"""Verdict: the classification of one result, for the circuit breaker and for the retry decision."""

import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from synccash.resilience._core.numbers import require_number
from synccash.resilience.evidence import Evidence


class Outcome(Enum):
    """What a result says about the health of the dependency."""

    OK = "ok"
    FAILED = "failed"
    IGNORED = "ignored"
    """Says nothing about its health: a local limit refused the call, or the caller cancelled it."""


@dataclass(frozen=True, slots=True)
class FailureCause:
    """Why a call failed: a short `code` for programs, and `text` for people. Neither holds personal data."""

    code: str
    text: str

    def __str__(self) -> str:
        return f"{self.code}: {self.text}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The classification of one result or exception.

    `retry`: the call may be repeated. `retry_after`: seconds that the dependency asked to wait. `evidence`:
    what the call may have done; an AMBIGUOUS call is repeated only if the policy is idempotent. `cause`: why
    it failed, for the breaker's reason and last failure; two verdicts that differ in it alone are equal.

    Raises TypeError if `outcome` is no Outcome or `retry_after` is no number, such as the text of a header.
    """

    outcome: Outcome
    retry: bool = False
    retry_after: float | None = None
    evidence: Evidence | None = None
    cause: FailureCause | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if type(self.outcome) is not Outcome:
            raise TypeError(f"outcome must be an Outcome, such as Outcome.OK, not {self.outcome!r}")
        if self.retry_after is not None:
            require_number(retry_after=self.retry_after)


Classifier = Callable[[Any], Verdict]
"""Judges a result or an exception; it must return a Verdict for every value."""

_NOT_SENT_ERRORS = (ConnectionRefusedError, socket.gaierror)
_RETRYABLE = frozenset({Evidence.NOT_SENT, Evidence.REFUSED_LATER, Evidence.AMBIGUOUS})


def classify_by_evidence(result: object) -> Verdict:
    """Classify a result or exception by its attribute `evidence`; an exception without one is AMBIGUOUS.

    `retry_after` is read from the attribute of that name, in seconds.
    """
    evidence = getattr(result, "evidence", None)
    if not isinstance(evidence, Evidence):
        if not isinstance(result, BaseException):
            return Verdict(Outcome.OK)
        evidence = Evidence.NOT_SENT if isinstance(result, _NOT_SENT_ERRORS) else Evidence.AMBIGUOUS
    if evidence not in _RETRYABLE:
        return Verdict(Outcome.OK, evidence=evidence)
    wait_s: Any = getattr(result, "retry_after", None)
    retry_after = float(wait_s) if isinstance(wait_s, int | float) else None
    return Verdict(Outcome.FAILED, retry=True, retry_after=retry_after, evidence=evidence)
