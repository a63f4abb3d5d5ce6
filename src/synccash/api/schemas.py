"""The schemas of requests and responses. Requests are strict: members that are not named here are refused."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from synccash.payments.access import AccessScope
from synccash.payments.balance import CREDIT_MAX
from synccash.payments.failure import FailureCode
from synccash.payments.money import AMOUNT_MAX
from synccash.payments.operator import PASSWORD_MAX, PASSWORD_MIN, OperatorName
from synccash.payments.payer import Network
from synccash.payments.payment import OutgoingStatus, PaymentStatus, RefundStatus, StatusDetail

# `$` alone would let one line feed pass at the end (Python's re); the look-ahead does not.
_TEXT = r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]*$(?!\n)"
_PRINTABLE = r"^[^\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]+$(?!\n)"
_GAP = r"[ \-\u00a0\u2009\u202f]*"
_MSISDN = rf"^{_GAP}(?:(?:\+{_GAP})?2{_GAP}3{_GAP}3|0){_GAP}[25](?:{_GAP}[0-9])" + "{8}" + rf"{_GAP}$(?!\n)"


def _expected(text: str) -> dict[str, str]:
    return {"expected": text}


Amount = Annotated[
    int,
    Meta(
        ge=1,
        le=AMOUNT_MAX,
        description="Pesewas (1 GHS = 100 pesewas)",
        extra=_expected(f"a whole number of pesewas from 1 to {AMOUNT_MAX}"),
    ),
]
Currency = Annotated[Literal["GHS"], Meta(extra=_expected("GHS"))]
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
        description="The holder of the wallet, for rails that require a name",
        extra=_expected("1 to 100 printable characters"),
    ),
]
Description = Annotated[
    str,
    Meta(max_length=255, pattern=_TEXT, extra=_expected("at most 255 characters without control characters")),
]
_MetadataKey = Annotated[str, Meta(min_length=1, max_length=40, pattern=_PRINTABLE)]
_MetadataValue = Annotated[str, Meta(max_length=500, pattern=_TEXT)]
Metadata = Annotated[
    dict[_MetadataKey, _MetadataValue],
    Meta(
        max_length=20,
        extra=_expected(
            "at most 20 texts of at most 500 characters under names of 1 to 40, without control characters"
        ),
    ),
]
ExpiresIn = Annotated[
    int,
    Meta(
        ge=30, le=86_400, description="Seconds", extra=_expected("a whole number of seconds from 30 to 86400")
    ),
]
RailName = Annotated[
    str, Meta(pattern=r"^[a-z_]{1,32}$(?!\n)", extra=_expected("the id of a rail such as mtn_momo"))
]
Password = Annotated[
    str,
    Meta(pattern=r"^[0-9A-Za-z]{3,12}$(?!\n)", extra=_expected("3 to 12 letters and digits")),
]
Reason = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=500,
        pattern=_TEXT,
        extra=_expected("1 to 500 characters, no control characters"),
    ),
]

BlockedFor = Annotated[int, Meta(ge=1, le=2_592_000, extra=_expected("1 to 2,592,000 seconds"))]


class PayerBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The payer."""

    msisdn: PhoneNumber
    network: Network | None = None


class PaymentBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Collect money. `rail` pins one rail: no other is tried."""

    amount: Amount
    currency: Currency
    payer: PayerBody
    reference: Reference
    description: Description | None = None
    metadata: Metadata = {}
    expires_in: ExpiresIn = 900
    rail: RailName | None = None


class PayeeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The payee."""

    msisdn: PhoneNumber
    network: Network | None = None
    name: PayeeName | None = None


class PayoutBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Send money. `rail` pins one rail: no other is tried."""

    amount: Amount
    currency: Currency
    payee: PayeeBody
    reference: Reference
    description: Description | None = None
    metadata: Metadata = {}
    expires_in: ExpiresIn = 86_400
    rail: RailName | None = None


class RefundBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Refund a payment; without an amount, all that is left to refund."""

    amount: Amount | None = None
    reason: Description | None = None


class PasswordBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The one-time password that the payer received."""

    otp: Password


class DecisionBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The reason of an operator's decision."""

    reason: Reason


class ReasonBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The optional reason of an operator's action."""

    reason: Reason | None = None


class BlockBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For how many seconds a key is blocked, and why."""

    duration: BlockedFor
    reason: Reason


class ResolutionBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The outcome that was found at the rail, with its evidence. `rail` names the rail of a successful
    attempt that the database has lost."""

    outcome: Annotated[Literal["succeeded", "failed"], Meta(extra=_expected("succeeded or failed"))]
    evidence: Reason
    rail: RailName | None = None


class PaymentResolutionBody(ResolutionBody, frozen=True, forbid_unknown_fields=True):
    """The outcome that was found at the rail. `amount_received` is given if it differs from the amount."""

    amount_received: Amount | None = None


_TotpCode = Annotated[str, Meta(pattern=r"^[0-9]{6}$(?!\n)", extra=_expected("6 digits"))]
_GivenPassword = Annotated[str, Meta(min_length=1, max_length=PASSWORD_MAX)]
_NewPassword = Annotated[
    str,
    Meta(
        min_length=PASSWORD_MIN,
        max_length=PASSWORD_MAX,
        extra=_expected(f"{PASSWORD_MIN} to {PASSWORD_MAX} characters"),
    ),
]
_Role = Annotated[Literal["viewer", "operator", "admin"], Meta(extra=_expected("viewer, operator or admin"))]


class SignInBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An operator's name, password and present TOTP code."""

    name: OperatorName
    password: _GivenPassword
    totp: _TotpCode


class EnrolBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The enrolment code of an operator, and the password that the operator chooses."""

    name: OperatorName
    code: Annotated[str, Meta(min_length=1, max_length=100)]
    password: _NewPassword


class PasswordChangeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The present password and TOTP code of the caller, and the new password."""

    password: _GivenPassword
    totp: _TotpCode
    new_password: _NewPassword


class OperatorBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new operator."""

    name: OperatorName
    role: _Role
    reason: Reason


class OperatorRoleBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another role of an operator."""

    role: _Role
    reason: Reason


class OperatorTokenBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new API token: what it is for, and for how many days it is valid."""

    name: Annotated[str, Meta(min_length=1, max_length=100, pattern=_PRINTABLE)]
    days: Annotated[int, Meta(ge=1, le=365, extra=_expected("1 to 365 days"))]


class MerchantBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new merchant."""

    name: Annotated[str, Meta(min_length=1, max_length=100, pattern=_PRINTABLE)]


class ApiKeyBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new API key: of a merchant, or an admin key if `merchant_id` is null. Without `scopes` it has the
    default ones of its kind."""

    merchant_id: Annotated[str, Meta(min_length=1, max_length=64, pattern=_PRINTABLE)] | None
    livemode: bool
    name: Annotated[str, Meta(max_length=100, pattern=_TEXT)] = ""
    scopes: Annotated[list[AccessScope], Meta(min_length=1, max_length=20)] | None = None
    allowed_ips: Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(max_length=100)] = []
    expires_in_s: (
        Annotated[int, Meta(ge=1, le=315_360_000, extra=_expected("1 second to 10 years"))] | None
    ) = None


class KeyRotationBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For how many seconds the former key stays valid."""

    overlap_s: Annotated[int, Meta(ge=0, le=7_776_000, extra=_expected("0 seconds to 90 days"))] = 86_400


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
    str, Meta(min_length=1, max_length=200, pattern=_PRINTABLE, extra=_expected("1 to 200 characters"))
]
_MerchantId = Annotated[str, Meta(min_length=1, max_length=64, pattern=_PRINTABLE)]


class CreditBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A credit for a merchant. A repeat with the same `key` grants nothing more."""

    merchant_id: _MerchantId
    livemode: bool
    currency: Currency
    amount: _CreditAmount
    reason: _AuditReason
    key: Annotated[str, Meta(min_length=1, max_length=200, pattern=_PRINTABLE)] | None = None


class CreditConfirmationBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The credit that replaces the provisional one of an upgrade, in pesewas."""

    merchant_id: _MerchantId
    livemode: bool
    currency: Currency
    credit: Annotated[int, Meta(ge=0, le=CREDIT_MAX, extra=_expected(f"0 to {CREDIT_MAX} pesewas"))]
    reason: _AuditReason


class EndpointBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A URL that gets events of these types; without `types`, of all types."""

    url: Annotated[str, Meta(min_length=1, max_length=2_000)]
    types: Annotated[list[str], Meta(min_length=1, max_length=50)] | None = None


class EndpointChangeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Changes of an endpoint; members that are absent change nothing. `rotate_secret` creates a new signing
    secret."""

    url: Annotated[str, Meta(min_length=1, max_length=2_000)] | None = None
    types: Annotated[list[str], Meta(min_length=1, max_length=50)] | None = None
    status: Literal["enabled", "disabled"] | None = None
    rotate_secret: bool = False


class FailureShown(msgspec.Struct):
    """The reason of a failure: switch on `code`."""

    code: FailureCode
    category: str
    message: str
    whose_problem: Literal["payer", "merchant", "provider", "us"]
    provider_code: str | None


class AttemptShown(msgspec.Struct):
    """One try at one rail, under a reference of its own."""

    id: str
    object: Literal["attempt"]
    rail: str
    operation: Literal["collect", "refund", "payout"]
    reference: str
    state: Literal["prepared", "acknowledged", "succeeded", "declined", "not_sent", "unknown"]
    evidence: str | None
    started_at: str
    latency_ms: int | None
    provider_code: str | None
    error: FailureShown | None
    retry_decision: str | None


class PayerShown(msgspec.Struct):
    """The payer."""

    msisdn: str
    network: Network | None


class NextActionShown(msgspec.Struct):
    """The next action of the payer."""

    type: Literal["approve_on_phone", "submit_otp", "dial_ussd"]
    display_text: str | None


class PaymentShown(msgspec.Struct):
    """A payment. Act on `status`; no answer never means failed."""

    id: str
    object: Literal["payment"]
    merchant_id: str
    reference: str
    amount: int
    currency: str
    status: PaymentStatus
    status_detail: StatusDetail | None
    amount_received: int
    amount_refunded: int
    payer: PayerShown
    rail: str | None
    provider_transaction_id: str | None
    routing: dict[str, Any] | None
    next_action: NextActionShown | None
    last_error: FailureShown | None
    attempt_count: int
    attempts: list[AttemptShown]
    description: str | None
    expires_at: str
    created_at: str
    updated_at: str
    version: int
    metadata: dict[str, str]
    livemode: bool


class RefundShown(msgspec.Struct):
    """A refund: money sent back to the payer."""

    id: str
    object: Literal["refund"]
    merchant_id: str
    payment_id: str
    amount: int
    currency: str
    status: RefundStatus
    status_detail: StatusDetail | None
    reason: str | None
    rail: str | None
    attempts: list[AttemptShown]
    last_error: FailureShown | None
    created_at: str
    updated_at: str
    version: int
    livemode: bool


class PayeeShown(msgspec.Struct):
    """The payee."""

    msisdn: str
    network: Network | None
    name: str | None


class PayoutShown(msgspec.Struct):
    """A payout: money sent to a wallet. Act on `status`; no answer never means failed."""

    id: str
    object: Literal["payout"]
    merchant_id: str
    reference: str
    amount: int
    currency: str
    status: OutgoingStatus
    status_detail: StatusDetail | None
    payee: PayeeShown
    rail: str | None
    provider_transaction_id: str | None
    routing: dict[str, Any] | None
    last_error: FailureShown | None
    attempts: list[AttemptShown]
    description: str | None
    expires_at: str
    created_at: str
    updated_at: str
    version: int
    metadata: dict[str, str]
    livemode: bool


class BalanceShown(msgspec.Struct):
    """A merchant's money in one mode and currency, in pesewas. `available` is `collected` + `credit` -
    `refunded` - `paid_out` - `reserved` - `fees`. `reserved`: open refunds and payouts, also those under
    review. `credit`: granted by the operator."""

    object: Literal["balance"]
    merchant_id: str
    livemode: bool
    currency: str
    available: int
    reserved: int
    collected: int
    refunded: int
    paid_out: int
    credit: int
    fees: int


class PaymentPage(msgspec.Struct):
    """One page of payments, newest first; `unreadable` has the ids of those that cannot be shown now."""

    data: list[PaymentShown]
    has_more: bool
    next: str | None
    unreadable: list[str]


class RefundPage(msgspec.Struct):
    """Refunds of one payment."""

    data: list[RefundShown]
    has_more: bool
    next: str | None


class EntryShown(msgspec.Struct):
    """One entry of a timeline; further members depend on its kind.

    Where a risk check or a person decided, `reasons` holds values of a closed list: `possible_duplicate`,
    `limit_exceeded`, `risk_policy`, `operator_decision`.
    """

    at: str
    kind: str


class TimelineShown(msgspec.Struct):
    """Everything that was decided about a payment and its refunds, oldest first."""

    data: list[EntryShown]
    has_more: bool
    next: str | None


class EventShown(msgspec.Struct):
    """An event; `data.object` is the object as it was when the event happened."""

    id: str
    object: Literal["event"]
    type: str
    created_at: str
    object_version: int
    data: dict[str, Any]


class EventPage(msgspec.Struct):
    """One page of events, oldest first."""

    data: list[EventShown]
    has_more: bool
    next: str | None


class RedeliveryShown(msgspec.Struct):
    """The number of endpoints to which an event is sent again."""

    id: str
    endpoints: int


class EndpointShown(msgspec.Struct):
    """A webhook endpoint. `secret` is shown once, when it is created or rotated. A `pending` endpoint has not
    answered its challenge yet."""

    id: str
    object: Literal["webhook_endpoint"]
    url: str
    types: list[str] | None
    status: Literal["pending", "enabled", "disabled"]
    disabled_reason: str | None
    created_at: str
    updated_at: str
    livemode: bool
    secret: str | None = None


class EndpointPage(msgspec.Struct):
    """All webhook endpoints, oldest first."""

    data: list[EndpointShown]
    has_more: bool
    next: str | None


class HealthShown(msgspec.Struct):
    """Whether the service accepts payments, and which parts are degraded."""

    status: Literal["ok", "degraded", "unavailable"]
    degraded: list[str]
    rails: dict[str, str]
    warnings: dict[str, str]


class LiveShown(msgspec.Struct):
    """The process is running."""

    status: Literal["ok"]


class FieldError(msgspec.Struct):
    """One invalid field, by its dotted path."""

    field: str
    message: str


class ProblemShown(msgspec.Struct):
    """An error (RFC 9457): switch on `code`. `retryable`: the same request, under the same Idempotency-Key,
    can succeed later."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    retryable: bool
    retry_after: int | None
    request_id: str | None
    errors: list[FieldError]


STRICT = (
    BlockBody,
    PayerBody,
    PaymentBody,
    PayeeBody,
    PayoutBody,
    RefundBody,
    DecisionBody,
    BlockBody,
    ResolutionBody,
    PaymentResolutionBody,
    PasswordBody,
    EndpointBody,
    EndpointChangeBody,
)
"""The schemas that allow no other members."""
