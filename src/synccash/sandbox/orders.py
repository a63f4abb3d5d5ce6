"""The money requests that a simulated rail accepted, and their states."""

from enum import StrEnum
from typing import Any

import msgspec


class Side(StrEnum):
    """A debit takes money from a payer's wallet, a credit sends or returns money to a wallet."""

    DEBIT = "debit"
    CREDIT = "credit"


class State(StrEnum):
    """The state of an accepted request."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REVERSED = "reversed"


_MOVES = {
    State.PENDING: frozenset({State.SUCCEEDED, State.FAILED}),
    # A payer can approve while the rail expires the request: then the money moves after FAILED was reported.
    State.FAILED: frozenset({State.SUCCEEDED}),
    # A rail can reverse a success: the money returns to where it came from.
    State.SUCCEEDED: frozenset({State.REVERSED}),
    State.REVERSED: frozenset[State](),
}


class Pace(StrEnum):
    """When an accepted request ends: as set by the faults, before the response is sent, after the long delay
    `Timings.delayed_s`, when the prompt expires without the payer's approval, or never."""

    NORMAL = "normal"
    AT_ONCE = "at_once"
    DELAYED = "delayed"
    WINDOW = "window"
    NEVER = "never"


class ScriptedOutcome(msgspec.Struct, frozen=True):
    """How a request will end; `reason` is the rail's failure code, or None for a success."""

    reason: str | None = None
    pace: Pace = Pace.NORMAL


APPROVES = ScriptedOutcome()


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One money request that a rail accepted under the caller's reference.

    Amounts are integers in minor units (pesewas), times are Unix seconds. `details` has the values that only
    the rail's wire format needs for later responses. `booked_as` is the reference in the book if the rail
    assigns its own references. `ended_at` is the time when the money moved or the order failed; a later
    reversal at `reversed_at` does not change it.
    """

    reference: str
    operation: str
    side: Side
    msisdn: str
    amount: int
    details: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    callback_url: str | None = None
    fate: ScriptedOutcome = APPROVES
    accepted_at: float = 0.0
    visible_at: float = 0.0
    ends_at: float | None = None
    late_success_at: float | None = None
    state: State = State.PENDING
    reason: str | None = None
    ended_at: float | None = None
    called_back: bool = False
    booked_as: str | None = None
    late_success_is_silent: bool = False
    reverse_after_s: float | None = None
    reversed_at: float | None = None

    @property
    def due_at(self) -> float | None:
        """The time of the next change of state; None if the state is final."""
        match self.state:
            case State.PENDING:
                return self.ends_at
            case State.FAILED:
                return self.late_success_at
            case State.SUCCEEDED if self.reverse_after_s is not None and self.ended_at is not None:
                return self.ended_at + self.reverse_after_s
            case _:
                return None

    def ended(self, state: State, reason: str | None, at: float) -> "Order":
        """Return the order in its new state.

        Raises:
            ValueError: if `state` cannot follow the order's current state.
        """
        if state not in _MOVES[self.state]:
            raise ValueError(f"order {self.reference} is {self.state}; it cannot become {state}")
        if state is State.REVERSED:
            return msgspec.structs.replace(self, state=state, reversed_at=at, called_back=False)
        return msgspec.structs.replace(self, state=state, reason=reason, ended_at=at, called_back=False)
