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
    # A payer's approval can overtake the rail's own expiry: the money moves after FAILED was reported.
    State.FAILED: frozenset({State.SUCCEEDED}),
    # A rail can reverse a success; the money returns to the wallet that it came from.
    State.SUCCEEDED: frozenset({State.REVERSED}),
    State.REVERSED: frozenset[State](),
}


class Pace(StrEnum):
    """When an accepted request ends: as set by the faults, before the answer leaves, after the rail's long
    delay, with the prompt window (it waits for a payer who does not come), or not at all."""

    NORMAL = "normal"
    AT_ONCE = "at_once"
    DELAYED = "delayed"
    WINDOW = "window"
    NEVER = "never"


class ScriptedOutcome(msgspec.Struct, frozen=True):
    """How a request will end; `reason` is the rail's code for why no money moves, or None."""

    reason: str | None = None
    pace: Pace = Pace.NORMAL


APPROVES = ScriptedOutcome()


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One money request that a rail accepted under the caller's reference.

    Amounts are integers in minor units (pesewas), times are Unix seconds. `details` holds what only the
    rail's own wire format needs to answer for it later. `booked_as` is how the book names it where the rail
    gives its requests names of its own. `ended_at` is when the money moved or the order failed, and stays so
    when a success is reversed at `reversed_at`.
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
        """When the order changes its state next; None if it stays as it is."""
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
            ValueError: if `state` cannot follow the order's present state.
        """
        if state not in _MOVES[self.state]:
            raise ValueError(f"order {self.reference} is {self.state}; it cannot become {state}")
        if state is State.REVERSED:
            return msgspec.structs.replace(self, state=state, reversed_at=at, called_back=False)
        return msgspec.structs.replace(self, state=state, reason=reason, ended_at=at, called_back=False)
