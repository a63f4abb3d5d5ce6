"""What one result says: about the far side, and about trying again."""

from dataclasses import dataclass
from enum import Enum

from synccash.resilience.evidence import Evidence


class Outcome(Enum):
    """What a result says about the far side's health."""

    OK = "ok"
    FAILED = "failed"
    IGNORED = "ignored"
    """Says nothing about it: our own limits, a caller who gave up."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement of one result or exception.

    `retry`: the same call may be made again. `retry_after`: the far side's wish, in seconds. `evidence`: what
    the call may have done; an AMBIGUOUS one is repeated only where the policy was told that it is idempotent.
    """

    outcome: Outcome
    retry: bool = False
    retry_after: float | None = None
    evidence: Evidence | None = None
