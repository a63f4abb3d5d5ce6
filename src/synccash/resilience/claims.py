"""Idempotency claims: decides which request may do the work of a key, and what repeated requests receive.

A claim is a lease with a fence number. Each new holder gets a higher fence, so that a holder whose lease
expired can no longer complete the claim. An expired lease does not prove that the work was not done: the next
holder gets `taken_over=True` and must find out what the former holder did before it acts.

The functions are pure: they take a record and the time, and return the record to store.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from hmac import compare_digest
from typing import Protocol


class ClaimState(StrEnum):
    """State of the work under a key."""

    PROCESSING = "processing"
    COMPLETED = "completed"
    """The claim has an answer, which every repeated request receives."""
    FAILED = "failed"
    """The holder gave the claim back without an answer: the next request may try again at once."""


@dataclass(frozen=True, slots=True)
class ClaimAnswer:
    """The HTTP response that repeated requests receive. `body` is None where it was too large to store."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRecord:
    """What a ClaimStore stores under one key of one scope. Times are seconds of the store's clock."""

    fingerprint: bytes
    state: ClaimState
    fence: int
    lease_until: float
    answer: ClaimAnswer | None = None


@dataclass(frozen=True, slots=True)
class Granted:
    """The caller holds the claim. `taken_over`: an earlier holder may already have done the work.

    `given_back`: the last holder ended the claim by itself with `give_back`; its lease did not expire. A
    store that does not know leaves it False.
    """

    fence: int
    taken_over: bool
    given_back: bool = False


@dataclass(frozen=True, slots=True)
class Replayed:
    """The work is done; `answer` is its stored answer."""

    answer: ClaimAnswer


@dataclass(frozen=True, slots=True)
class Reused:
    """The key was already used with a different payload."""


@dataclass(frozen=True, slots=True)
class InProgress:
    """Another request holds the claim for at most `retry_after` more seconds."""

    retry_after: float


ClaimDecision = Granted | Replayed | Reused | InProgress


def claim(
    record: ClaimRecord | None, fingerprint: bytes, *, now: float, lease_s: float
) -> tuple[ClaimDecision, ClaimRecord | None]:
    """Decide on a request. Returns the decision and the record to store; None where nothing changes."""
    if record is None:
        granted = Granted(1, taken_over=False)
        return granted, ClaimRecord(
            fingerprint=fingerprint, state=ClaimState.PROCESSING, fence=1, lease_until=now + lease_s
        )
    if not compare_digest(record.fingerprint, fingerprint):
        return Reused(), None
    if record.answer is not None:
        return Replayed(record.answer), None
    if record.state is ClaimState.PROCESSING and now < record.lease_until:
        return InProgress(record.lease_until - now), None
    fence = record.fence + 1
    taken_over_record = replace(record, state=ClaimState.PROCESSING, fence=fence, lease_until=now + lease_s)
    given_back = record.state is ClaimState.FAILED
    return Granted(fence, taken_over=True, given_back=given_back), taken_over_record


def renew(record: ClaimRecord, fence: int, *, now: float, lease_s: float) -> ClaimRecord | None:
    """Extend the lease to `now + lease_s`. Returns None where the claim was taken over or has ended."""
    if record.fence != fence or record.state is not ClaimState.PROCESSING:
        return None
    return replace(record, lease_until=now + lease_s)


def complete(record: ClaimRecord, fence: int, answer: ClaimAnswer) -> ClaimRecord | None:
    """Store the answer. Returns None where the claim was taken over or has ended.

    An expired lease can still be completed, as long as no other request took the claim over.
    """
    if record.fence != fence or record.state is not ClaimState.PROCESSING:
        return None
    return replace(record, state=ClaimState.COMPLETED, answer=answer)


def give_back(record: ClaimRecord, fence: int) -> ClaimRecord | None:
    """End the claim without an answer. Returns None where it was taken over or has already ended."""
    if record.fence != fence or record.state is not ClaimState.PROCESSING:
        return None
    return replace(record, state=ClaimState.FAILED)


class ClaimStore(Protocol):
    """Stores claims durably. Each method is one atomic step by the store's clock."""

    async def claim(self, scope: str, key: str, fingerprint: bytes, *, lease_s: float) -> ClaimDecision:
        """Claim a key for `lease_s` seconds. See the function `claim` of this module."""
        ...

    async def renew(self, scope: str, key: str, fence: int, *, lease_s: float) -> bool:
        """Extend the lease. False if the claim was taken over or has ended."""
        ...

    async def complete(self, scope: str, key: str, fence: int, answer: ClaimAnswer) -> bool:
        """Store the answer. False if the claim was taken over or has ended."""
        ...

    async def give_back(self, scope: str, key: str, fence: int) -> bool:
        """End the claim without an answer. False if it was taken over or has ended."""
        ...


# Earlier names of these classes, which importers may still use.
Answer = ClaimAnswer
Record = ClaimRecord
Decision = ClaimDecision
