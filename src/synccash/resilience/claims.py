"""Doing a thing once for each key: who may act, what a repeat is told, when another may take over. Pure.

A claim is a lease with a fence. The fence counts the holders, so that one who slept past his lease and wakes
up can complete nothing. An expired lease never means "it did not happen": who takes over is told so, and has
to find out what the former holder did before he acts.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from hmac import compare_digest
from typing import Protocol


class ClaimState(StrEnum):
    """How the work under a key stands."""

    PROCESSING = "processing"
    COMPLETED = "completed"
    """It has an answer, which every repeat gets."""
    FAILED = "failed"
    """Its holder gave it back without an answer: the next request under the key may try again at once."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What every repeat is told. `body` is None where it was too large to keep: then only `headers` help."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What a store keeps under one key of one scope. Times in seconds of the store's own clock."""

    fingerprint: bytes
    state: ClaimState
    fence: int
    lease_until: float
    answer: Answer | None = None


@dataclass(frozen=True, slots=True)
class Granted:
    """The caller holds the key. `taken_over`: another held it before and may have acted."""

    fence: int
    taken_over: bool


@dataclass(frozen=True, slots=True)
class Replayed:
    """The work is done; this is its answer."""

    answer: Answer


@dataclass(frozen=True, slots=True)
class Reused:
    """The key stands for another payload."""


@dataclass(frozen=True, slots=True)
class InProgress:
    """Somebody holds the key for at most `retry_after` seconds more."""

    retry_after: float


Decision = Granted | Replayed | Reused | InProgress


def claim(
    record: Record | None, fingerprint: bytes, *, now: float, lease_s: float
) -> tuple[Decision, Record | None]:
    """Decide about a request and return the record as it must be kept; None where nothing changes."""
    if record is None:
        granted = Granted(1, taken_over=False)
        return granted, Record(
            fingerprint=fingerprint, state=ClaimState.PROCESSING, fence=1, lease_until=now + lease_s
        )
    if not compare_digest(record.fingerprint, fingerprint):
        return Reused(), None
    if record.answer is not None:
        return Replayed(record.answer), None
    if record.state is ClaimState.PROCESSING and now < record.lease_until:
        return InProgress(record.lease_until - now), None
    fence = record.fence + 1
    taken = replace(record, state=ClaimState.PROCESSING, fence=fence, lease_until=now + lease_s)
    return Granted(fence, taken_over=True), taken


def renew(record: Record, fence: int, *, now: float, lease_s: float) -> Record | None:
    """Keep a claim for `lease_s` more seconds; None where it was lost or is over."""
    if record.fence != fence or record.state is not ClaimState.PROCESSING:
        return None
    return replace(record, lease_until=now + lease_s)


def complete(record: Record, fence: int, answer: Answer) -> Record | None:
    """Keep the answer for every repeat; None where another took over or the work is over already.

    A lease that ran out does no harm as long as nobody took over.
    """
    if record.fence != fence or record.state is not ClaimState.PROCESSING:
        return None
    return replace(record, state=ClaimState.COMPLETED, answer=answer)


def give_back(record: Record, fence: int) -> Record | None:
    """End the holder's work without an answer; None where another took over or the work is over already."""
    if record.fence != fence or record.state is not ClaimState.PROCESSING:
        return None
    return replace(record, state=ClaimState.FAILED)


class ClaimStore(Protocol):
    """Keeps records durably. Each method is one atomic step by the store's clock."""

    async def claim(self, scope: str, key: str, fingerprint: bytes, *, lease_s: float) -> Decision: ...
    async def renew(self, scope: str, key: str, fence: int, *, lease_s: float) -> bool: ...
    async def complete(self, scope: str, key: str, fence: int, answer: Answer) -> bool: ...
    async def give_back(self, scope: str, key: str, fence: int) -> bool: ...
