"""The engine's numbers. Times in seconds."""

from dataclasses import dataclass
from typing import Literal

from synccash.payments.inquiry_schedule import PRODUCTION, InquirySchedule


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """How patient the engine is.

    `request_deadline_s`: how long a caller waits before he is told that it goes on without him.
    `attempt_timeout_s`: how long one exchange with a rail may take.
    `lease_s` / `heartbeat_s`: how long a holder may be silent before another takes over; how often he speaks.
    `settle_s`: how long after the last possible send a rail's "not found" is believed enough to send the
    same reference again; each further pause is twice as long, at most `resend_pause_max_s`. `sends_max`: how
    often one reference is sent at most. `resend_within_s`: how old an attempt may be for that: what a rail
    cannot find later, it may have forgotten. `not_founds_min`: how many answers in a row must not find a
    reference before a rail, whose "not found" is final, is believed.
    `look_backs_s`: how old a closed attempt is, in seconds, when its rail is asked whether money moved after
    all, although no callback came.
    `surplus_refund`: whether money that a payment has no use for goes back by itself, or only when an
    operator says so.
    `queue_retry_s`: how long an order that no rail took waits before the next try; a refund also for as long
    as the ladder says.
    `refund_told_after_s`: how old a refund is that its rail has not taken when a human is told of it; it is
    tried all the same.
    `recovery_depth`: how many attempts of an order, after the last that the ledger knows, the rails are asked
    about after a recovery.
    """

    public_url: str
    request_deadline_s: float = 8.0
    attempt_timeout_s: float = 5.0
    inquiry_timeout_s: float = 5.0
    lease_s: float = 15.0
    heartbeat_s: float = 5.0
    settle_s: float = 60.0
    resend_pause_max_s: float = 300.0
    sends_max: int = 8
    not_founds_min: int = 3
    look_backs_s: tuple[float, ...] = (900.0, 7_200.0, 86_400.0, 259_200.0)
    resend_within_s: float = 259_200.0
    queue_retry_s: float = 5.0
    refund_told_after_s: float = 900.0
    recovery_depth: int = 8
    surplus_refund: Literal["auto", "manual"] = "auto"
    schedule: InquirySchedule = PRODUCTION
    poll_s: float = 0.2
    worker_concurrency: int = 64

    def __post_init__(self) -> None:
        if not 0 < self.heartbeat_s < self.lease_s / 2:
            raise ValueError(
                "heartbeat_s must be less than half of lease_s, so that one lost beat is survived"
            )
