"""The schemas of requests and answers. Requests are strict: members that are not named here are refused.

Every property has a description; `openapi/docs.py` builds the OpenAPI document from these types.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from synccash.payments.access import AccessScope
from synccash.payments.balance import CREDIT_MAX
from synccash.payments.failure import FailureCode
from synccash.payments.money import AMOUNT_MAX
from synccash.payments.operator import PASSWORD_MAX, PASSWORD_MIN, NewOperatorName, OperatorName
from synccash.payments.payer import Network
from synccash.payments.payment import OutgoingStatus, PaymentStatus, RefundStatus, StatusDetail
from synccash.payments.webhook import ENDPOINT_VERIFICATION, EVENT_TYPES
from synccash.resilience.evidence import Evidence

# `$` alone would let one line feed pass at the end (Python's re); the look-ahead does not.
_TEXT = r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]*$(?!\n)"
_PRINTABLE = r"^[^\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]+$(?!\n)"
_GAP = r"[ \-\u00a0\u2009\u202f]*"
_MSISDN = rf"^{_GAP}(?:(?:\+{_GAP})?2{_GAP}3{_GAP}3|0){_GAP}[25](?:{_GAP}[0-9])" + "{8}" + rf"{_GAP}$(?!\n)"


def _expected(text: str) -> dict[str, str]:
    return {"expected": text}


def described(text: str) -> Meta:
    """Return the annotation that describes a property in the OpenAPI document."""
    return Meta(description=text)


Moment = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
"""A time as RFC 3339, in UTC."""
_ULID = "[0-9a-hjkmnp-tv-z]{26}"
PaymentId = Annotated[str, Meta(pattern=f"^pay_{_ULID}$")]
RefundId = Annotated[str, Meta(pattern=f"^re_{_ULID}$")]
PayoutId = Annotated[str, Meta(pattern=f"^po_{_ULID}$")]
AttemptId = Annotated[str, Meta(pattern=f"^att_{_ULID}$")]
EndpointId = Annotated[str, Meta(pattern=f"^we_{_ULID}$")]
# Events about a rail have the MD5 of what happened instead of a ULID.
EventId = Annotated[str, Meta(pattern=rf"^evt_(?:{_ULID}|[0-9a-f]{{32}})$")]
MerchantId = Annotated[str, Meta(pattern="^mer_[0-9a-z_]+$")]


Amount = Annotated[
    int,
    Meta(
        ge=1,
        le=AMOUNT_MAX,
        description="Pesewas (1 GHS = 100 pesewas)",
        extra=_expected(f"a whole number of pesewas from 1 to {AMOUNT_MAX}"),
    ),
]
Currency = Annotated[
    Literal["GHS"], Meta(description="ISO 4217; only GHS is supported", extra=_expected("GHS"))
]
PhoneNumber = Annotated[
    str,
    Meta(
        max_length=40,
        pattern=_MSISDN,
        description="A Ghanaian mobile number: 0241234567, 233241234567, +233 24 123 4567",
        extra=_expected("a Ghanaian mobile number such as 0241234567 or +233241234567"),
    ),
]
Reference = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=64,
        pattern=_PRINTABLE,
        description="The merchant's own reference of the order; unique per merchant",
        extra=_expected("1 to 64 printable characters"),
    ),
]
PayeeName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=100,
        pattern=_PRINTABLE,
        extra=_expected("1 to 100 printable characters"),
    ),
]
Description = Annotated[
    str,
    Meta(
        max_length=255,
        pattern=_TEXT,
        extra=_expected("at most 255 characters without control characters"),
    ),
]
_MetadataKey = Annotated[str, Meta(min_length=1, max_length=40, pattern=_PRINTABLE)]
_MetadataValue = Annotated[str, Meta(max_length=500, pattern=_TEXT)]
Metadata = Annotated[
    dict[_MetadataKey, _MetadataValue],
    Meta(
        max_length=20,
        description="The merchant's own data, returned as it was sent",
        extra=_expected(
            "at most 20 texts of at most 500 characters under names of 1 to 40, without control characters"
        ),
    ),
]
ExpiresIn = Annotated[
    int,
    Meta(
        ge=30,
        le=86_400,
        description="Seconds from now until nothing new is sent for the order",
        extra=_expected("a whole number of seconds from 30 to 86400"),
    ),
]
RailName = Annotated[
    str,
    Meta(
        pattern=r"^[a-z_]{1,32}$(?!\n)",
        extra=_expected("the id of a rail such as mtn_momo"),
    ),
]
Password = Annotated[
    str,
    Meta(
        pattern=r"^[0-9A-Za-z]{3,12}$(?!\n)",
        description="The one-time password",
        extra=_expected("3 to 12 letters and digits"),
    ),
]
Reason = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=500,
        pattern=_TEXT,
        description="The reason, for the audit log",
        extra=_expected("1 to 500 characters, no control characters"),
    ),
]

BlockedFor = Annotated[
    int, Meta(ge=1, le=2_592_000, description="Seconds", extra=_expected("1 to 2,592,000 seconds"))
]
_RequestedNetwork = Annotated[
    Network | None, described("The network of the number, where it is known; null: by the number's prefix")
]
EndpointUrl = Annotated[
    str, Meta(min_length=1, max_length=2_000, description="Where events are sent; https in production")
]
EndpointTypes = Annotated[list[str], Meta(min_length=1, max_length=50)]


class PayerBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The payer."""

    msisdn: PhoneNumber
    network: _RequestedNetwork = None


class PaymentBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Collect money. `rail` pins one rail: no other is tried."""

    amount: Amount
    currency: Currency
    payer: PayerBody
    reference: Reference
    description: Annotated[Description | None, described("A text for people, such as what was bought")] = None
    metadata: Metadata = {}
    expires_in: ExpiresIn = 900
    rail: Annotated[RailName | None, described("Pins this rail, such as mtn_momo: no other is tried")] = None


class PayeeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The payee."""

    msisdn: PhoneNumber
    network: _RequestedNetwork = None
    name: Annotated[
        PayeeName | None, described("The holder of the wallet, for rails that require a name")
    ] = None


class PayoutBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Send money. `rail` pins one rail: no other is tried."""

    amount: Amount
    currency: Currency
    payee: PayeeBody
    reference: Reference
    description: Annotated[Description | None, described("A text for people, such as what was bought")] = None
    metadata: Metadata = {}
    expires_in: ExpiresIn = 86_400
    rail: Annotated[RailName | None, described("Pins this rail, such as mtn_momo: no other is tried")] = None


class RefundBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Refund a payment; without an amount, all that is left to refund."""

    amount: Annotated[Amount | None, described("Pesewas; null: all that is left to refund")] = None
    reason: Annotated[Description | None, described("Why the money is returned, for people")] = None


class PasswordBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The one-time password that the payer received."""

    otp: Password


class DecisionBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The reason of an operator's decision."""

    reason: Reason


class ReasonBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The optional reason of an operator's action."""

    reason: Annotated[Reason | None, described("The reason, for the audit log")] = None


class BlockBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For how many seconds a key is blocked, and why."""

    duration: BlockedFor
    reason: Reason


class ResolutionBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The outcome that was found at the rail, with its evidence. `rail` names the rail of a successful
    attempt that the database has lost."""

    outcome: Annotated[
        Literal["succeeded", "failed"],
        Meta(description="The outcome at the rail", extra=_expected("succeeded or failed")),
    ]
    evidence: Annotated[Reason, described("Where the outcome was found, for the audit log")]
    rail: Annotated[RailName | None, described("The rail of a successful attempt that was lost")] = None


class PaymentResolutionBody(ResolutionBody, frozen=True, forbid_unknown_fields=True):
    """The outcome that was found at the rail. `amount_received` is given if it differs from the amount."""

    amount_received: Annotated[
        Amount | None, described("Pesewas that the rail collected; null: the payment's amount")
    ] = None


_TotpCode = Annotated[
    str, Meta(pattern=r"^[0-9]{6}$(?!\n)", description="The present TOTP code", extra=_expected("6 digits"))
]
_GivenPassword = Annotated[
    str, Meta(min_length=1, max_length=PASSWORD_MAX, description="The present password")
]
_OperatorName = Annotated[OperatorName, described("The name of the operator")]
_NewPassword = Annotated[
    str,
    Meta(
        min_length=PASSWORD_MIN,
        max_length=PASSWORD_MAX,
        description="The new password",
        extra=_expected(f"{PASSWORD_MIN} to {PASSWORD_MAX} characters"),
    ),
]
_Role = Annotated[
    Literal["viewer", "operator", "admin"],
    Meta(description="What the operator may do", extra=_expected("viewer, operator or admin")),
]


class SignInBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An operator's name, password and present TOTP code."""

    name: _OperatorName
    password: _GivenPassword
    totp: _TotpCode


class EnrolBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The enrolment code of an operator, and the password that the operator chooses."""

    name: _OperatorName
    code: Annotated[str, Meta(min_length=1, max_length=100, description="The enrolment code")]
    password: _NewPassword


class PasswordChangeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The present password and TOTP code of the caller, and the new password."""

    password: _GivenPassword
    totp: _TotpCode
    new_password: _NewPassword


class OperatorBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new operator."""

    name: Annotated[NewOperatorName, described("The name of the operator")]
    role: _Role
    reason: Reason


class OperatorRoleBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another role of an operator."""

    role: _Role
    reason: Reason


class OperatorTokenBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new API token: what it is for, and for how many days it is valid."""

    name: Annotated[
        str, Meta(min_length=1, max_length=100, pattern=_PRINTABLE, description="What the token is for")
    ]
    days: Annotated[int, Meta(ge=1, le=365, description="Days", extra=_expected("1 to 365 days"))]


class MerchantBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new merchant."""

    name: Annotated[
        str, Meta(min_length=1, max_length=100, pattern=_PRINTABLE, description="The name of the merchant")
    ]


class ApiKeyBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new API key: of a merchant, or an admin key if `merchant_id` is null. Without `scopes` it has the
    default ones of its kind."""

    merchant_id: Annotated[
        Annotated[str, Meta(min_length=1, max_length=64, pattern=_PRINTABLE)] | None,
        described("The merchant; null: an admin key"),
    ]
    livemode: Annotated[bool, described("false: test mode, no real money")]
    name: Annotated[str, Meta(max_length=100, pattern=_TEXT, description="What the key is for")] = ""
    scopes: Annotated[
        Annotated[list[AccessScope], Meta(min_length=1, max_length=20)] | None,
        described("What the key may do; null: the default of its kind"),
    ] = None
    allowed_ips: Annotated[
        list[Annotated[str, Meta(max_length=64)]],
        Meta(max_length=100, description="Addresses and networks that may use the key; empty: all"),
    ] = []
    expires_in_s: Annotated[
        Annotated[int, Meta(ge=1, le=315_360_000, extra=_expected("1 second to 10 years"))] | None,
        described("Seconds until the key expires; null: never"),
    ] = None


class KeyRotationBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For how many seconds the former key stays valid."""

    overlap_s: Annotated[
        int,
        Meta(ge=0, le=7_776_000, description="Seconds", extra=_expected("0 seconds to 90 days")),
    ] = 86_400


_CreditAmount = Annotated[
    int,
    Meta(
        ge=-CREDIT_MAX,
        le=CREDIT_MAX,
        description="Pesewas; a negative amount takes credit back",
        extra=_expected(f"a whole number of pesewas from -{CREDIT_MAX} to {CREDIT_MAX}"),
    ),
]
_AuditReason = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=200,
        pattern=_PRINTABLE,
        description="The reason, for the audit log",
        extra=_expected("1 to 200 characters"),
    ),
]
_MerchantId = Annotated[
    str, Meta(min_length=1, max_length=64, pattern=_PRINTABLE, description="The id of a merchant")
]


class CreditBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A credit for a merchant. A repeat with the same `key` grants nothing more."""

    merchant_id: _MerchantId
    livemode: Annotated[bool, described("false: test mode, no real money")]
    currency: Currency
    amount: _CreditAmount
    reason: _AuditReason
    key: Annotated[
        Annotated[str, Meta(min_length=1, max_length=200, pattern=_PRINTABLE)] | None,
        described("Names this credit, so that a repeat grants nothing more"),
    ] = None


class CreditConfirmationBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The credit that replaces the provisional one of an upgrade, in pesewas."""

    merchant_id: _MerchantId
    livemode: Annotated[bool, described("false: test mode, no real money")]
    currency: Currency
    credit: Annotated[
        int, Meta(ge=0, le=CREDIT_MAX, description="Pesewas", extra=_expected(f"0 to {CREDIT_MAX} pesewas"))
    ]
    reason: _AuditReason


class EndpointBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A URL that gets events of these types; without `types`, of all types."""

    url: EndpointUrl
    types: Annotated[EndpointTypes | None, described("The event types that are sent; null: all types")] = None


class EndpointChangeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Changes of an endpoint; members that are absent change nothing. `rotate_secret` creates a new signing
    secret."""

    url: Annotated[EndpointUrl | None, described("Where events are sent; null: as it is")] = None
    types: Annotated[EndpointTypes | None, described("The event types that are sent; null: all types")] = None
    status: Annotated[
        Literal["enabled", "disabled"] | None, described("Whether events are sent to the endpoint")
    ] = None
    rotate_secret: Annotated[
        bool, described("true: create a new signing secret; the former one still signs for 24 hours")
    ] = False


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
    rail: Annotated[str, described("The id of the rail")]
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

    rail: Annotated[str, described("The id of the rail")]
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
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$", description="ISO 4217")]
    status: Annotated[PaymentStatus, described("What to act on; a final status never changes")]
    status_detail: Annotated[StatusDetail | None, described("The reason for the status")]
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
    attempts: Annotated[list[AttemptShown], described("All attempts, oldest first")]
    description: Annotated[str | None, described("The merchant's text for people")]
    expires_at: Annotated[Moment, described("From then on nothing new is sent")]
    created_at: Annotated[Moment, described("When the payment was created")]
    updated_at: Annotated[Moment, described("When the payment last changed")]
    version: Annotated[int, Meta(ge=1, description="Grows with each change; an event has it too")]
    metadata: Annotated[dict[str, str], described("The merchant's own data, as it was sent")]
    livemode: Annotated[bool, described("false: test mode, no real money")]


class RefundShown(msgspec.Struct):
    """A refund: money sent back to the payer."""

    id: Annotated[RefundId, described("The id of the refund")]
    object: Annotated[Literal["refund"], described("The type of this object")]
    merchant_id: Annotated[MerchantId, described("The merchant that refunds")]
    payment_id: Annotated[PaymentId, described("The payment that is refunded")]
    amount: Annotated[int, Meta(ge=1, le=AMOUNT_MAX, description="Pesewas to send back")]
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$", description="ISO 4217")]
    status: Annotated[RefundStatus, described("What to act on; a final status never changes")]
    status_detail: Annotated[StatusDetail | None, described("The reason for the status")]
    reason: Annotated[str | None, described("Why the money is returned, as the merchant said")]
    rail: Annotated[str | None, described("The id of the rail, which is that of the debit")]
    attempts: Annotated[list[AttemptShown], described("All attempts, oldest first")]
    last_error: Annotated[FailureShown | None, described("Why the latest attempt or the refund failed")]
    created_at: Annotated[Moment, described("When the refund was created")]
    updated_at: Annotated[Moment, described("When the refund last changed")]
    version: Annotated[int, Meta(ge=1, description="Grows with each change; an event has it too")]
    livemode: Annotated[bool, described("false: test mode, no real money")]


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
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$", description="ISO 4217")]
    status: Annotated[OutgoingStatus, described("What to act on; a final status never changes")]
    status_detail: Annotated[StatusDetail | None, described("The reason for the status")]
    payee: PayeeShown
    rail: Annotated[str | None, described("The id of the rail of the latest attempt")]
    provider_transaction_id: Annotated[
        str | None, described("The provider's own id, as on its statement and in its SMS")
    ]
    routing: Annotated[RoutingShown | None, described("Why this rail; null: not routed yet")]
    last_error: Annotated[FailureShown | None, described("Why the latest attempt or the payout failed")]
    attempts: Annotated[list[AttemptShown], described("All attempts, oldest first")]
    description: Annotated[str | None, described("The merchant's text for people")]
    expires_at: Annotated[Moment, described("From then on nothing new is sent")]
    created_at: Annotated[Moment, described("When the payout was created")]
    updated_at: Annotated[Moment, described("When the payout last changed")]
    version: Annotated[int, Meta(ge=1, description="Grows with each change; an event has it too")]
    metadata: Annotated[dict[str, str], described("The merchant's own data, as it was sent")]
    livemode: Annotated[bool, described("false: test mode, no real money")]


class BalanceShown(msgspec.Struct):
    """A merchant's money in one mode and currency, in pesewas. `available` is `collected` + `credit` -
    `refunded` - `paid_out` - `reserved` - `fees`."""

    object: Annotated[Literal["balance"], described("The type of this object")]
    merchant_id: Annotated[MerchantId, described("The merchant")]
    livemode: Annotated[bool, described("false: test mode, no real money")]
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$", description="ISO 4217")]
    available: Annotated[int, described("Pesewas that refunds and payouts may send now; it can be negative")]
    reserved: Annotated[int, described("Pesewas of open refunds and payouts, also of those under review")]
    collected: Annotated[int, described("Pesewas of succeeded payments")]
    refunded: Annotated[int, described("Pesewas of succeeded refunds")]
    paid_out: Annotated[int, described("Pesewas of succeeded payouts")]
    credit: Annotated[int, described("Pesewas that the operator has granted")]
    fees: Annotated[int, described("Pesewas of the operator's fees")]


HasMore = Annotated[bool, described("true: there is a next page")]
Next = Annotated[str | None, described("The `after` of the next page; null: this is the last page")]


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
    rail: Annotated[str, described("The id of the rail")]
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
