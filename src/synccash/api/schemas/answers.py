"""The schemas of answers to merchants, and of health and problems. Every property has a description."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from synccash.api.schemas.fields import (
    AttemptId,
    CurrencyCode,
    EndpointId,
    EventId,
    HasMore,
    Livemode,
    MerchantId,
    Moment,
    Next,
    PaymentId,
    PayoutId,
    RailId,
    RefundId,
    StatusReason,
    described,
)
from synccash.payments.access import AccessScope
from synccash.payments.failure import FailureCode
from synccash.payments.money import AMOUNT_MAX
from synccash.payments.payer import Network
from synccash.payments.payment import OutgoingStatus, PaymentStatus, RefundStatus
from synccash.payments.webhook import ENDPOINT_VERIFICATION, EVENT_TYPES
from synccash.resilience.evidence import Evidence


class FailureShown(msgspec.Struct):
    """The reason of a failure: switch on `code`."""

    code: Annotated[FailureCode, described("A closed list")]
    category: Annotated[str, described("The kind of failure in one word")]
    message: Annotated[str, described("One sentence for people")]
    whose_problem: Annotated[
        Literal["payer", "merchant", "provider", "us"], described("The party that can act on the failure")
    ]
    provider_code: Annotated[str | None, described("The rail's own code, for questions to the provider")]


class AttemptShown(msgspec.Struct):
    """One try at one rail, under a reference of its own."""

    id: Annotated[AttemptId, described("The id of the attempt")]
    object: Annotated[Literal["attempt"], described("The type of this object")]
    rail: RailId
    operation: Annotated[Literal["collect", "refund", "payout"], described("What the rail was asked to do")]
    reference: Annotated[str, described("The reference that the rail knows the attempt by")]
    state: Annotated[
        Literal["prepared", "acknowledged", "succeeded", "declined", "not_sent", "unknown"],
        described("What is known about the attempt"),
    ]
    evidence: Annotated[
        Evidence | None, described("The most dangerous result of all sends; null: none has ended")
    ]
    started_at: Annotated[Moment, described("When the attempt was opened")]
    latency_ms: Annotated[int | None, described("Milliseconds until the rail answered the latest send")]
    provider_code: Annotated[str | None, described("The rail's own code of its latest answer")]
    error: Annotated[FailureShown | None, described("Why the attempt failed; null: it did not")]
    retry_decision: Annotated[str | None, described("What the engine did next, such as another_rail")]


Attempts = Annotated[list[AttemptShown], described("All attempts, oldest first")]


class PayerShown(msgspec.Struct):
    """The payer."""

    msisdn: Annotated[str, Meta(pattern="^233[0-9]{9}$", description="The mobile number as 233241234567")]
    network: Annotated[Network | None, described("The network that the number most likely uses")]


class NextActionShown(msgspec.Struct):
    """The next action of the payer."""

    type: Annotated[
        Literal["approve_on_phone", "submit_otp", "dial_ussd"], described("What the payer has to do")
    ]
    display_text: Annotated[str | None, described("The rail's words for the payer")]


class ConsideredRailShown(msgspec.Struct):
    """One rail that routing considered."""

    rail: RailId
    score: Annotated[float, Meta(ge=0, le=1, description="From 0 to 1; the greatest is chosen")]
    skipped: Annotated[
        str | UnsetType, described("Why the rail cannot take the order now; absent: it can")
    ] = UNSET


class RoutingShown(msgspec.Struct):
    """The latest routing decision."""

    chosen: Annotated[str | None, described("The id of the rail; null: none can take the order now")]
    considered: Annotated[list[ConsideredRailShown], described("All rails, the available ones first")]
    reason: Annotated[str, described("Why this rail, such as best_score, only_able, pinned or split")]


class PaymentShown(msgspec.Struct):
    """A payment. Act on `status`; no answer never means failed."""

    id: Annotated[PaymentId, described("The id of the payment")]
    object: Annotated[Literal["payment"], described("The type of this object")]
    merchant_id: Annotated[MerchantId, described("The merchant that collects")]
    reference: Annotated[str, described("The merchant's own reference")]
    amount: Annotated[int, Meta(ge=1, le=AMOUNT_MAX, description="Pesewas to collect")]
    currency: CurrencyCode
    status: Annotated[PaymentStatus, described("What to act on; a final status never changes")]
    status_detail: StatusReason
    amount_received: Annotated[int, Meta(ge=0, description="Pesewas that the payer has paid")]
    amount_refunded: Annotated[
        int, Meta(ge=0, description="Pesewas of all refunds that did not fail, open ones included")
    ]
    payer: PayerShown
    rail: Annotated[str | None, described("The id of the rail of the latest attempt")]
    provider_transaction_id: Annotated[
        str | None, described("The provider's own id, as on its statement and in its SMS")
    ]
    routing: Annotated[RoutingShown | None, described("Why this rail; null: not routed yet")]
    next_action: Annotated[
        NextActionShown | None, described("What the payer has to do while status is requires_action")
    ]
    last_error: Annotated[FailureShown | None, described("Why the latest attempt or the payment failed")]
    attempt_count: Annotated[int, Meta(ge=0, description="The number of attempts")]
    attempts: Attempts
    description: Annotated[str | None, described("The merchant's text for people")]
    expires_at: Annotated[Moment, described("From then on nothing new is sent")]
    created_at: Annotated[Moment, described("When the payment was created")]
    updated_at: Annotated[Moment, described("When the payment last changed")]
    version: Annotated[int, Meta(ge=1, description="Grows with each change; an event has it too")]
    metadata: Annotated[dict[str, str], described("The merchant's own data, as it was sent")]
    livemode: Livemode


class RefundShown(msgspec.Struct):
    """A refund: money sent back to the payer."""

    id: Annotated[RefundId, described("The id of the refund")]
    object: Annotated[Literal["refund"], described("The type of this object")]
    merchant_id: Annotated[MerchantId, described("The merchant that refunds")]
    payment_id: Annotated[PaymentId, described("The payment that is refunded")]
    amount: Annotated[int, Meta(ge=1, le=AMOUNT_MAX, description="Pesewas to send back")]
    currency: CurrencyCode
    status: Annotated[RefundStatus, described("What to act on; a final status never changes")]
    status_detail: StatusReason
    reason: Annotated[str | None, described("Why the money is returned, as the merchant said")]
    rail: Annotated[str | None, described("The id of the rail, which is that of the debit")]
    attempts: Attempts
    last_error: Annotated[FailureShown | None, described("Why the latest attempt or the refund failed")]
    created_at: Annotated[Moment, described("When the refund was created")]
    updated_at: Annotated[Moment, described("When the refund last changed")]
    version: Annotated[int, Meta(ge=1, description="Grows with each change; an event has it too")]
    livemode: Livemode


class PayeeShown(msgspec.Struct):
    """The payee."""

    msisdn: Annotated[str, Meta(pattern="^233[0-9]{9}$", description="The mobile number as 233241234567")]
    network: Annotated[Network | None, described("The network that the number most likely uses")]
    name: Annotated[str | None, described("The holder of the wallet, as the merchant said")]


class PayoutShown(msgspec.Struct):
    """A payout: money sent to a wallet. Act on `status`; no answer never means failed."""

    id: Annotated[PayoutId, described("The id of the payout")]
    object: Annotated[Literal["payout"], described("The type of this object")]
    merchant_id: Annotated[MerchantId, described("The merchant that pays out")]
    reference: Annotated[str, described("The merchant's own reference")]
    amount: Annotated[int, Meta(ge=1, le=AMOUNT_MAX, description="Pesewas to send")]
    currency: CurrencyCode
    status: Annotated[OutgoingStatus, described("What to act on; a final status never changes")]
    status_detail: StatusReason
    payee: PayeeShown
    rail: Annotated[str | None, described("The id of the rail of the latest attempt")]
    provider_transaction_id: Annotated[
        str | None, described("The provider's own id, as on its statement and in its SMS")
    ]
    routing: Annotated[RoutingShown | None, described("Why this rail; null: not routed yet")]
    last_error: Annotated[FailureShown | None, described("Why the latest attempt or the payout failed")]
    attempts: Attempts
    description: Annotated[str | None, described("The merchant's text for people")]
    expires_at: Annotated[Moment, described("From then on nothing new is sent")]
    created_at: Annotated[Moment, described("When the payout was created")]
    updated_at: Annotated[Moment, described("When the payout last changed")]
    version: Annotated[int, Meta(ge=1, description="Grows with each change; an event has it too")]
    metadata: Annotated[dict[str, str], described("The merchant's own data, as it was sent")]
    livemode: Livemode


class BalanceShown(msgspec.Struct):
    """A merchant's money in one mode and currency, in pesewas. `available` is `collected` + `credit` -
    `refunded` - `paid_out` - `reserved` - `fees`."""

    object: Annotated[Literal["balance"], described("The type of this object")]
    merchant_id: Annotated[MerchantId, described("The merchant")]
    livemode: Livemode
    currency: CurrencyCode
    available: Annotated[int, described("Pesewas that refunds and payouts may send now; it can be negative")]
    reserved: Annotated[int, described("Pesewas of open refunds and payouts, also of those under review")]
    collected: Annotated[int, described("Pesewas of succeeded payments")]
    refunded: Annotated[int, described("Pesewas of succeeded refunds")]
    paid_out: Annotated[int, described("Pesewas of succeeded payouts")]
    credit: Annotated[int, described("Pesewas that the operator has granted")]
    fees: Annotated[int, described("Pesewas of the operator's fees")]


class PaymentPage(msgspec.Struct):
    """One page of payments, newest first."""

    data: Annotated[list[PaymentShown], described("The payments of this page")]
    has_more: HasMore
    next: Next
    unreadable: Annotated[
        list[PaymentId], described("Ids of payments of this page that this version cannot show")
    ]


class RefundPage(msgspec.Struct):
    """Refunds of one payment."""

    data: Annotated[list[RefundShown], described("The refunds")]
    has_more: HasMore
    next: Next


class EntryShown(msgspec.Struct):
    """One entry of a timeline; further members depend on its kind.

    Where a risk check or a person decided, `reasons` holds values of a closed list: `possible_duplicate`,
    `limit_exceeded`, `risk_policy`, `operator_decision`.
    """

    at: Annotated[Moment, described("When it happened")]
    kind: Annotated[str, described("What happened, such as routed, sent, rail_answered or resolved")]


class TimelineShown(msgspec.Struct):
    """Everything that was decided about a payment and its refunds, oldest first."""

    data: Annotated[list[EntryShown], described("The entries, oldest first")]
    has_more: HasMore
    next: Next


class EventShown(msgspec.Struct):
    """An event; `data.object` is the object as it was when the event happened."""

    id: Annotated[EventId, described("The id of the event: ignore one that you have handled")]
    object: Annotated[Literal["event"], described("The type of this object")]
    type: Annotated[
        str,
        Meta(extra_json_schema={"enum": [*EVENT_TYPES, ENDPOINT_VERIFICATION]}, description="What happened"),
    ]
    created_at: Annotated[Moment, described("When it happened")]
    object_version: Annotated[
        int, Meta(ge=1, description="The version of the object: ignore an older one than you have seen")
    ]
    data: Annotated[
        dict[str, Any],
        Meta(
            description="`object` is the object as it was; see the webhook of this type",
            extra_json_schema={
                "properties": {"object": {"type": "object", "description": "The object as it was"}},
                "required": ["object"],
            },
        ),
    ]


class EventPage(msgspec.Struct):
    """One page of events, oldest first."""

    data: Annotated[list[EventShown], described("The events of this page")]
    has_more: HasMore
    next: Next


class RailShown(msgspec.Struct):
    """The public status of one operation of a rail, as events have it."""

    id: Annotated[str, described("rail:operation, such as mtn_momo:collect")]
    object: Annotated[Literal["rail"], described("The type of this object")]
    rail: RailId
    operation: Annotated[Literal["collect", "refund", "payout"], described("The operation")]
    status: Annotated[Literal["healthy", "degraded"], described("The new status")]
    reason: Annotated[Literal["breaker_open", "health"], described("What the status follows from")]
    networks: Annotated[dict[str, float], described("Health from 0 to 1 for each network")]
    since: Annotated[Moment, described("When the status changed")]
    version: Annotated[int, Meta(ge=1, description="Grows with each change of the status")]


class ChallengedEndpointShown(msgspec.Struct):
    """A webhook endpoint that has to prove its ownership, as the event has it."""

    id: Annotated[EndpointId, described("The id of the endpoint")]
    object: Annotated[Literal["webhook_endpoint"], described("The type of this object")]
    status: Annotated[Literal["pending"], described("Events are kept until it is verified")]
    challenge: Annotated[str, described('Answer 200 with {"challenge": "…"}, the same text')]


class ApprovalShown(msgspec.Struct):
    """An operator's action that waits, or waited, for a second operator."""

    object: Annotated[Literal["approval"], described("The type of this object")]
    id: Annotated[str, Meta(pattern="^[a-z]+_[0-9a-z]+$", description="The id of the approval")]
    status: Annotated[
        Literal["pending", "approved", "executed", "failed", "declined", "expired"],
        described("executed: the action is done"),
    ]
    action: Annotated[str, described("The name of the action")]
    target: Annotated[str, described("The id of what it is about")]
    parameters: Annotated[dict[str, Any], described("The parameters of the action")]
    reason: Annotated[str, described("Why the first operator wants it")]
    requested_by: Annotated[str, described("The first operator")]
    requested_at: Annotated[Moment, described("When it was requested")]
    expires_at: Annotated[Moment, described("From then on it cannot be approved")]
    decided_by: Annotated[str | None, described("The second operator; null: undecided")]
    decided_at: Annotated[Moment | None, described("When it was decided; null: undecided")]
    decision_reason: Annotated[str | None, described("Why it was decided so")]
    failure: Annotated[str | None, described("Why the action failed; null: it did not")]
    enrolment_code_half: Annotated[
        str | UnsetType, described("Half of the code; only in the answer to a request for an operator")
    ] = UNSET


class ApprovalPage(msgspec.Struct):
    """The newest approvals, newest first."""

    data: Annotated[list[ApprovalShown], described("The approvals")]
    has_more: HasMore
    next: Next


class DisabledEndpointShown(msgspec.Struct):
    """A webhook endpoint that the service has disabled, as the event has it."""

    id: Annotated[EndpointId, described("The id of the endpoint")]
    object: Annotated[Literal["webhook_endpoint"], described("The type of this object")]
    status: Annotated[Literal["disabled"], described("Nothing more is sent to it")]
    disabled_reason: Annotated[str, described("Why it was disabled")]


class RedeliveryShown(msgspec.Struct):
    """The number of endpoints to which an event is sent again."""

    id: Annotated[EventId, described("The id of the event")]
    endpoints: Annotated[int, Meta(ge=0, description="The number of enabled endpoints")]


class EndpointShown(msgspec.Struct):
    """A webhook endpoint."""

    id: Annotated[EndpointId, described("The id of the endpoint")]
    object: Annotated[Literal["webhook_endpoint"], described("The type of this object")]
    url: Annotated[str, described("Where events are sent")]
    types: Annotated[list[str] | None, described("The event types that are sent; null: all types")]
    status: Annotated[
        Literal["pending", "enabled", "disabled"],
        described("pending: it has not answered its challenge yet; events are sent when it is enabled"),
    ]
    disabled_reason: Annotated[str | None, described("Why the endpoint is or was disabled")]
    created_at: Annotated[Moment, described("When the endpoint was created")]
    updated_at: Annotated[Moment, described("When the endpoint last changed")]
    livemode: Annotated[bool, described("The mode whose events are sent; false: test mode")]
    secret: Annotated[
        str | None, described("The signing secret, shown once: when it is created or rotated; else null")
    ]


class EndpointPage(msgspec.Struct):
    """All webhook endpoints, oldest first."""

    data: Annotated[list[EndpointShown], described("The endpoints, oldest first")]
    has_more: HasMore
    next: Next


class HealthShown(msgspec.Struct):
    """Whether the service accepts payments, and which parts are degraded."""

    status: Annotated[
        Literal["ok", "degraded", "unavailable"], described("unavailable: no request is accepted")
    ]
    degraded: Annotated[list[str], described("The parts that fail or wait for an operator")]
    rails: Annotated[dict[str, str], described("For each rail ok, or why it takes no orders now")]
    warnings: Annotated[dict[str, str], described("What an operator has to do, by part of the service")]


class LiveShown(msgspec.Struct):
    """The process is running."""

    status: Annotated[Literal["ok"], described("Always ok")]


class FieldError(msgspec.Struct):
    """One invalid field."""

    field: Annotated[str, described("The dotted path of the field; empty: the whole body")]
    message: Annotated[str, described("What was expected")]


class ProblemShown(msgspec.Struct):
    """An error (RFC 9457): switch on `code`. The members after `errors` come with some codes only."""

    type: Annotated[str, described("urn:synccash:problem: and the code")]
    title: Annotated[str, described("The name of the HTTP status")]
    status: Annotated[int, Meta(ge=400, le=599, description="The HTTP status")]
    detail: Annotated[str, described("What happened and what to do, for people")]
    instance: Annotated[str, described("The path of the request")]
    code: Annotated[str, described("A closed list for each status")]
    doc_url: Annotated[str, described("The cause and the remedy of the code: an address at this service")]
    retryable: Annotated[
        bool, described("true: the same request may succeed later, with the same Idempotency-Key")
    ]
    retry_after: Annotated[int | None, described("Seconds to wait before a retry, as in Retry-After")]
    request_id: Annotated[str | None, described("Quote it in questions to support")]
    errors: Annotated[list[FieldError], described("All invalid fields")]
    payment_id: Annotated[PaymentId | UnsetType, described("The payment that has the reference")] = UNSET
    refund_id: Annotated[RefundId | UnsetType, described("The refund that has the key")] = UNSET
    payout_id: Annotated[PayoutId | UnsetType, described("The payout that has the reference")] = UNSET
    approval_id: Annotated[
        Annotated[str, Meta(pattern="^[a-z]+_[0-9a-z]+$")] | UnsetType,
        described("The approval that waits for a second operator"),
    ] = UNSET
    available: Annotated[int | UnsetType, described("Pesewas of the available balance")] = UNSET
    needed: Annotated[int | UnsetType, described("Pesewas that the request needs")] = UNSET
    required_scope: Annotated[AccessScope | UnsetType, described("The scope that the call needs")] = UNSET
    violated_policies: Annotated[list[str] | UnsetType, described("The limits that are exceeded")] = UNSET
    blocked_until: Annotated[
        Moment | UnsetType | None, described("When the block ends; null: not blocked")
    ] = UNSET
