"""Webhooks: event types, endpoints, deliveries, and the retry schedule."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from synccash.payments.case import Event

EVENT_TYPES = (
    "payment.processing",
    "payment.requires_action",
    "payment.succeeded",
    "payment.failed",
    "payment.canceled",
    "payment.contradiction",
    "refund.processing",
    "refund.succeeded",
    "refund.failed",
    "refund.contradiction",
    "payout.processing",
    "payout.succeeded",
    "payout.failed",
    "payout.contradiction",
    "rail.degraded",
    "rail.recovered",
    "webhook_endpoint.disabled",
)
"""All event types that an endpoint can subscribe to."""

ENDPOINT_VERIFICATION = "endpoint.verification"
"""The type of the event that asks an endpoint to prove its ownership: a 2xx response has to repeat the
challenge. It goes to a pending endpoint only, whichever types that subscribes to."""
VERIFICATION_DELAY_S = 1.0
"""How long the first challenge waits, so that a program that creates an endpoint can store its secret."""

_RETRY_WAITS_S = (5, 30, 120, 300, 900, 1_800, 3_600, 7_200, 14_400, 28_800)
GIVE_UP_AFTER = timedelta(hours=72)
"""How long a delivery is retried, and how long an endpoint may fail without one success."""
ROTATION = timedelta(hours=24)
"""How long a former secret still signs together with the new one."""

DISABLED_BY_MERCHANT = "disabled by the merchant"
"""The `disabled_reason` of an endpoint that its merchant disabled. Its deliveries stay due for GIVE_UP_AFTER;
those of any other disabled endpoint end."""

MAX_ENDPOINTS = 16
"""The maximum number of endpoints of a merchant in each mode, disabled ones included; PostgreSQL enforces
it."""


class EndpointStatus(StrEnum):
    """Whether events are sent to an endpoint. Those of a pending one are kept until it is verified."""

    PENDING = "pending"
    ENABLED = "enabled"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class WebhookSecret:
    """A signing secret: `whsec_` and base64. `until`: when a former secret stops signing; None = current."""

    text: str = field(repr=False)
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookEndpoint:
    """A merchant's webhook endpoint. `types`: the event types that it subscribes to; None = all of them."""

    id: str
    merchant_id: str
    livemode: bool
    url: str
    types: tuple[str, ...] | None
    secrets: tuple[WebhookSecret, ...]
    status: EndpointStatus
    created_at: datetime
    updated_at: datetime
    disabled_reason: str | None = None
    failing_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Challenge:
    """What an endpoint has to repeat to prove its ownership, and the id of the event that asks for it."""

    event_id: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event to deliver to one endpoint, leased by the dispatcher that took it.

    `tries` includes this one. `age_s` is the time by the store's clock since the delivery was first due:
    since its event, the verification of its endpoint, or the latest redelivery. `failing_s` is how long the
    endpoint has failed without a success.
    """

    endpoint: WebhookEndpoint
    event: Event
    fence: int
    tries: int
    age_s: float
    failing_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MerchantShare:
    """How many deliveries of a merchant in one mode may begin now, and how many are under way in the process
    that asks."""

    room: int
    under_way: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FailingEndpoint:
    """An endpoint to which deliveries fail: for how long, why, and how many events wait for it.

    `endpoints`: how many endpoints fail in all.
    """

    id: str
    merchant_id: str
    livemode: bool
    failing_s: float
    reason: str | None
    waiting: int
    endpoints: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryResult:
    """The result of one try: an HTTP status, or the reason why there is none. `body` has the first bytes of
    the response."""

    status: int | None = None
    error: str | None = None
    retry_after_s: float | None = None
    body: bytes = field(default=b"", repr=False)

    @property
    def delivered(self) -> bool:
        """True for any 2xx."""
        return self.status is not None and 200 <= self.status < 300


def next_try_s(tries: int, age_s: float, chance: float, retry_after_s: float | None = None) -> float | None:
    """Return the wait after `tries` failed tries of a delivery of the age `age_s`; None = give up.

    `chance` (0 to 1) adds a jitter of up to 20 %, so that deliveries that failed together are not retried
    together. `retry_after_s` is the endpoint's Retry-After, in seconds.
    """
    wait_s = _RETRY_WAITS_S[min(tries, len(_RETRY_WAITS_S)) - 1] * (1 + chance / 5)
    wait_s = max(wait_s, retry_after_s or 0.0)
    return wait_s if age_s + wait_s <= GIVE_UP_AFTER.total_seconds() else None
