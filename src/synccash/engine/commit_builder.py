"""Builds commits: the id, events, timeline entries and stored response of each."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import msgspec

from synccash.payments.attempt import Attempt
from synccash.payments.case import (
    Case,
    Commit,
    Entry,
    Event,
    KeepLease,
    Order,
    ReleaseLease,
    StoredAnswer,
)
from synccash.payments.document import order_document
from synccash.payments.errors import InternalError, StateConflictError
from synccash.payments.payment import PaymentStatus, StatusDetail
from synccash.payments.ports import Clock, Identities

_OPEN_OUTCOMES = frozenset(
    {StatusDetail.OUTCOME_UNKNOWN, StatusDetail.QUEUED, StatusDetail.UNDER_REVIEW, StatusDetail.RISK_REVIEW}
)
_C = TypeVar("_C", bound=Case)
_encode = msgspec.json.Encoder().encode


def render(order: Order, attempts: tuple[Attempt, ...]) -> bytes:
    """Return the order as JSON."""
    return _encode(order_document(order, attempts))


def answer_for(order: Order, attempts: tuple[Attempt, ...]) -> StoredAnswer:
    """Return the response to the request that opened the order: 201, or 202 while the outcome is unknown."""
    return _answer(order, attempts, render(order, attempts))


def _answer(order: Order, attempts: tuple[Attempt, ...], body: bytes) -> StoredAnswer:
    unknown = order.status is PaymentStatus.CREATED or order.status_detail in _OPEN_OUTCOMES
    # Without attempts, the fraud service or a recovery still decides whether anything is sent.
    unknown |= not order.status.is_final and not attempts
    return StoredAnswer(202 if unknown else 201, body)


def merged(attempts: tuple[Attempt, ...], changed: tuple[Attempt, ...]) -> tuple[Attempt, ...]:
    """Return the attempts in sequence, with the changed ones replaced and the new ones added."""
    by_id = {attempt.id: attempt for attempt in attempts} | {attempt.id: attempt for attempt in changed}
    return tuple(sorted(by_id.values(), key=lambda attempt: attempt.sequence))


def committed_case(case: _C, commit: Commit) -> _C:
    """Return the case as it is after the commit."""
    if commit.order.kind is not case.order.kind:
        raise InternalError(f"the commit {commit.id} would change the kind of {case.order.id}")
    attempts = merged(case.attempts, commit.attempts)
    return replace(case, order=commit.order, attempts=attempts, answer=commit.answer)


@dataclass(frozen=True, slots=True)
class CommitBuilder:
    """Turns a decision about an order into one commit."""

    clock: Clock
    identities: Identities

    def entry(self, kind: str, data: Mapping[str, Any] | None = None) -> Entry:
        """Return a timeline entry with the present time."""
        return Entry(at=self.clock.now(), kind=kind, data=data or {})

    def event(self, kind: str, order: Order, attempts: tuple[Attempt, ...]) -> Event:
        """Return an event that carries the order in its new state."""
        return self._event(kind, order, render(order, attempts))

    def _event(self, kind: str, order: Order, document: bytes) -> Event:
        return Event(
            id=self.identities.new("evt"),
            merchant_id=order.merchant_id,
            livemode=order.livemode,
            type=kind,
            created_at=self.clock.now(),
            object_id=order.id,
            object_version=order.version,
            data=document,
        )

    def commit(
        self,
        case: Case,
        order: Order,
        *changed: Attempt,
        lease: KeepLease | ReleaseLease,
        timeline: tuple[Entry, ...],
        refuse_if_expired: bool = False,
        refuse_in_recovery: bool = False,
        searched: int | None = None,
        contradiction: str | None = None,
    ) -> Commit:
        """Return the commit that changes the order of `case` to `order`, with the changed attempts."""
        before = case.order
        attempts = merged(case.attempts, changed)
        kinds, is_released = _event_kinds(before, order, contradiction), isinstance(lease, ReleaseLease)
        document = render(order, attempts) if kinds or is_released else b""
        return Commit(
            id=self.identities.new("mv"),
            order=order,
            expected_version=before.version,
            expected_fence=before.fence,
            lease=lease,
            attempts=changed,
            events=tuple([self._event(kind, order, document) for kind in kinds]),
            timeline=timeline,
            answer=_answer(order, attempts, document) if is_released else None,
            refuse_if_expired=refuse_if_expired,
            refuse_in_recovery=refuse_in_recovery,
            searched=searched,
            contradiction=contradiction,
        )

    def commit_to_send(
        self, case: Case, order: Order, *changed: Attempt, lease_s: float, timeline: tuple[Entry, ...]
    ) -> Commit:
        """Return the commit before a send, where the order exists already: before each next attempt, repeated
        send or one-time password. The first attempt may be part of the opening instead, which needs none of
        these checks except that of the recovery, and the order store makes that one.

        Raises StateConflictError where sending is not allowed: once money is known to have moved for the
        order, while a callback on a closed attempt is unchecked, and while the database may lack attempts of
        the order after a recovery.
        """
        if case.money_moved:
            raise StateConflictError(
                f"money is known to have moved for {order.id}, so nothing more is sent for it"
            )
        if case.is_callback_unchecked:
            raise StateConflictError(
                f"a callback arrived for a closed attempt of {order.id}, and its rail has not yet confirmed "
                "whether money has moved, so nothing is sent now; try again later"
            )
        if not case.may_send:
            raise StateConflictError(
                f"the database is being recovered, so nothing is sent for {order.id} until every rail has "
                "been asked about it; try again later"
            )
        return self.commit(
            case,
            order,
            *changed,
            lease=KeepLease(lease_s),
            timeline=timeline,
            refuse_if_expired=case.expires_at is not None,
            refuse_in_recovery=True,
        )


def _event_kinds(before: Order, order: Order, contradiction: str | None) -> list[str]:
    """Return the types of the events that a commit reports."""
    kinds: list[str] = []
    if order.status is not before.status:
        kinds.append(f"{order.kind.value}.{order.status.value}")
    if contradiction is not None:
        kinds.append(f"{order.kind.value}.contradiction")
    return kinds
