"""What goes wrong at a simulated rail, what left for it, and what it holds in its book."""

from dataclasses import dataclass, field

from synccash.payments.failure import Failure
from synccash.payments.rail import RailStatus, SendOrder


@dataclass(frozen=True, kw_only=True)
class Faults:
    """How often each thing goes wrong (0 to 1) until `until_s`. `down`: windows of refused connections."""

    lost_request: float = 0.0
    lost_answer: float = 0.0
    slow_answer: float = 0.0
    refused_later: float = 0.0
    refused_final: float = 0.0
    fails: float = 0.0
    payer_declines: float = 0.0
    hidden: float = 0.0
    """Not found for a while, though it was accepted."""
    hidden_s: float = 8.0
    """For how long at most."""
    mute_inquiry: float = 0.0
    callback_lost: float = 0.0
    callback_twice: float = 0.0
    callback_forged: float = 0.0
    slow_payer: float = 0.0
    asks_password: float = 0.0
    late_success: float = 0.0
    """What the rail called failed moves money all the same, some time later."""
    late_unsaid: float = 0.0
    """The same, but no callback tells of it, and it may take days."""
    other_amount: float = 0.0
    no_amount: float = 0.0
    """A success is reported, of no money at all."""
    other_currency: float = 0.0
    other_reference: float = 0.0
    """An inquiry is answered with the status of another order."""
    forgotten: float = 0.0
    """Found, then not found for a while."""
    reverses: float = 0.0
    """What succeeded is taken back some time later."""
    float_low: float = 0.0
    """Our own account there holds too little for a payout: refused at once, or accepted and then failed."""
    reports: float = 0.0
    """A callback of failure says so in its body."""
    false_reports: float = 0.0
    """A callback says that it failed, while it has not ended or has succeeded."""
    refuses_locally: float = 0.0
    """The connector refuses an order before any byte leaves, whenever it is asked to send it."""
    no_turn: float = 0.0
    """An inquiry gets no turn under the rail's rate limit."""
    reversal_told: float = 0.0
    """A callback tells that a success was taken back."""
    down: tuple[tuple[float, float], ...] = ()
    errors: tuple[tuple[float, float], ...] = ()
    """Windows in which every send ends in an error that says nothing, and books nothing."""
    shut: tuple[tuple[float, float], ...] = ()
    """Windows in which connections for sends are refused, while inquiries are answered."""
    until_s: float = 120.0


@dataclass(frozen=True, kw_only=True)
class Sending:
    """What left a node for a rail: a send, or a password. `step` orders it among the commits of the run."""

    step: int
    at: float
    by: str | None
    reference: str
    order: SendOrder | None = None
    """None: a password."""


@dataclass(kw_only=True)
class Booked:
    """What the rail holds under one reference, or one arrival where it does not deduplicate."""

    order: SendOrder
    ends_at: float
    failure: Failure | None
    hidden_until: float
    amount: int
    currency: str
    forgotten: tuple[float, float] = (0.0, 0.0)
    """Cannot be found from the first until the second."""
    done: bool = False
    """Its end has come: debited where `failure` is None."""
    waits: bool = False
    """For the payer's password."""
    comes_late: bool = False
    came_late: bool = False
    """The rail went back on its word."""
    comes_unsaid: bool = False
    has_told: bool = False
    """Its callback of that was taken."""
    late_at: float = 0.0
    reverses: bool = False
    is_reversed: bool = False
    tells_reversal: bool = False
    has_told_reversal: bool = False
    """The callback of that was taken."""
    is_misreported: bool = False
    """A callback called it failed, and it had not."""
    told: set[RailStatus] = field(default_factory=set[RailStatus])
    """What inquiries were answered."""
    told_waiting: int = 0
    """How many of them that it waits for a password."""

    @property
    def is_whole(self) -> bool:
        """True when it is of the amount and in the currency that was asked for."""
        return (self.amount, self.currency) == (self.order.amount, self.order.currency)

    @property
    def has_moved(self) -> bool:
        """True when its money has moved, though it was called failed before, and was not taken back."""
        return self.done and self.failure is None

    @property
    def is_busy(self) -> bool:
        """True while anything may still happen to it."""
        owes_callback = self.tells_reversal and not self.has_told_reversal
        return not self.done or owes_callback or ((self.comes_late or self.came_late) and not self.has_told)
