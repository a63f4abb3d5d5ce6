"""Settings of the engine: deadlines, leases, inquiry schedule and limits. Times in seconds."""

from dataclasses import dataclass
from typing import Literal

from synccash.payments.inquiry_schedule import PRODUCTION, InquirySchedule


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """Settings of the engine.

    `request_deadline_s`: how long a request waits for the outcome; after that the reply says that the work
    goes on.
    `attempt_timeout_s`: the timeout of one exchange with a rail.
    `lease_s`: how long a lease lasts without renewal before another worker takes over. `heartbeat_s`: how
    often leases are renewed.
    `settle_s`: how long after the last possible send a rail's "not found" is trusted enough to send the same
    reference again. Each further pause is twice as long, at most `resend_pause_max_s`. `sends_max`: the most
    sends of one reference. `resend_within_s`: the greatest age of an attempt for a re-send, since a rail may
    forget old references. `not_founds_min`: how many answers in a row must be "not found" before an attempt
    ends by it, at a rail whose "not found" is final.
    `otp_tries_max`: the most one-time passwords that are submitted for one payment.
    `recheck_ages_s`: the ages of a closed attempt, in seconds, at which its rail is asked whether money moved
    after all, although no callback came.
    `surplus_refund`: `auto` refunds surplus money without a request; `manual` waits for an operator.
    `queue_retry_s`: how long an order that no rail accepted waits before the next try; a refund waits at
    least as long as the inquiry schedule says.
    `refund_review_after_s`: the age at which a refund that its rail has not accepted goes under review;
    retries continue.
    `poll_s`: how often a worker looks for due orders without a signal. `gather_s`: the least time between two
    looks of a worker, so that orders that become due shortly after each other are leased by one statement.
    `recovery_depth`: after a recovery, how many attempts of an order beyond the last known one the rails are
    asked about.
    """

    public_url: str
    request_deadline_s: float = 8.0
    attempt_timeout_s: float = 5.0
    lease_s: float = 15.0
    heartbeat_s: float = 5.0
    settle_s: float = 60.0
    resend_pause_max_s: float = 300.0
    sends_max: int = 8
    not_founds_min: int = 3
    otp_tries_max: int = 5
    recheck_ages_s: tuple[float, ...] = (900.0, 7_200.0, 86_400.0, 259_200.0)
    resend_within_s: float = 259_200.0
    queue_retry_s: float = 5.0
    refund_review_after_s: float = 900.0
    recovery_depth: int = 8
    surplus_refund: Literal["auto", "manual"] = "auto"
    schedule: InquirySchedule = PRODUCTION
    poll_s: float = 0.2
    gather_s: float = 0.01
    worker_concurrency: int = 64

    def __post_init__(self) -> None:
        if not 0 < self.heartbeat_s < self.lease_s / 2:
            raise ValueError(
                "heartbeat_s must be positive and less than half of lease_s, so that a lease outlives one "
                "missed heartbeat"
            )
