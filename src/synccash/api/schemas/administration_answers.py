"""The schemas of answers under `/admin`, `/operators` and `/approvals`."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from synccash.api.schemas.answers import (
    ApprovalShown,
    Attempts,
    BalanceShown,
    EntryShown,
    FailureShown,
    NextActionShown,
    PayeeShown,
    PayerShown,
    RoutingShown,
)
from synccash.api.schemas.fields import (
    CurrencyCode,
    HasMore,
    Livemode,
    MerchantId,
    Moment,
    PaymentId,
    PayoutId,
    RefundId,
    StatusReason,
    described,
)
from synccash.payments.access import AccessScope
from synccash.payments.failure import FailureCode
from synccash.payments.history import GoalResult
from synccash.payments.money import AMOUNT_MAX
from synccash.payments.operator import OperatorName
from synccash.payments.payer import Network
from synccash.payments.payment import OutgoingStatus, PaymentStatus, RefundStatus

_ApiKeyId = Annotated[str, Meta(pattern="^key_[0-9a-z]+$")]
_OperatorId = Annotated[str, Meta(pattern="^op_[0-9a-z]+$")]
_TokenId = Annotated[str, Meta(pattern="^ot_[0-9a-z]+$")]
_OrderId = Annotated[str, Meta(pattern="^(?:pay|re|po)_[0-9a-z]+$")]
_Merchant = Annotated[MerchantId, described("The merchant")]
_Rail = Annotated[str | None, described("The id of the rail; null: none yet")]
_Reference = Annotated[
    str | None, described("The merchant's own reference; null: it was erased or cannot be decrypted")
]
_Msisdn = Annotated[
    str | None,
    described("The mobile number as 233241234567; null: it was erased or cannot be decrypted"),
]
_AttemptCount = Annotated[int, Meta(ge=0, description="The number of attempts")]
_Created = Annotated[Moment, described("When it was created")]
_MadeBy = Annotated[str | None, described("The API key or operator that created it; null: not recorded")]
_MadeByRequest = Annotated[str | None, described("The Request-Id that created it; null: not recorded")]
_KeyRole = Annotated[Literal["merchant", "admin"], described("Whose key it is")]
_KeyMerchant = Annotated[MerchantId | None, described("The merchant; null: an admin key")]
_KeyName = Annotated[str, described("What the key is for")]
_Scopes = Annotated[list[AccessScope], described("What the key may do")]
_AllowedIps = Annotated[list[str], described("Networks that may use the key; empty: all")]
_KeySecret = Annotated[str, described("The key itself, which is shown only now")]
_True = Annotated[Literal[True], described("Always true")]
_TokenExpires = Annotated[Moment, described("From then on the token is refused")]


class MerchantShown(msgspec.Struct):
    """A merchant."""

    id: Annotated[MerchantId, described("The id of the merchant")]
    name: Annotated[str, described("The name of the merchant")]
    created_at: Annotated[Moment, described("When the merchant was added")]
    suspended_since: Annotated[Moment | None, described("When it was suspended; null: it is not")]
    suspended_for: Annotated[str | None, described("Why it is suspended; null: it is not")]


class MerchantList(msgspec.Struct):
    """All merchants."""

    data: Annotated[list[MerchantShown], described("The merchants, oldest first")]


class NewMerchantShown(msgspec.Struct):
    """A merchant that was added."""

    id: Annotated[MerchantId, described("The id of the merchant")]
    name: Annotated[str, described("The name of the merchant")]


class SuspensionShown(msgspec.Struct):
    """Whether a merchant is suspended now."""

    id: Annotated[MerchantId, described("The id of the merchant")]
    suspended: Annotated[bool, described("true: new orders of the merchant are refused")]
    reason: Annotated[str, described("Why the operator suspended or resumed it")]


class InquiryShown(msgspec.Struct):
    """The order about which the rail is asked now."""

    id: Annotated[_OrderId, described("The id of the order")]
    status: Annotated[PaymentStatus, described("Its status before the inquiry")]
    status_detail: StatusReason


class ApiKeyShown(msgspec.Struct):
    """An API key, without its secret."""

    id: Annotated[_ApiKeyId, described("The id of the key")]
    role: _KeyRole
    merchant_id: _KeyMerchant
    livemode: Livemode
    name: _KeyName
    scopes: _Scopes
    allowed_ips: _AllowedIps
    created_at: Annotated[Moment, described("When the key was created")]
    last_used_at: Annotated[Moment | None, described("When it was last used, to the minute; null: never")]
    expires_at: Annotated[Moment | None, described("From then on it is refused; null: never")]
    revoked_at: Annotated[Moment | None, described("When it was revoked; null: it was not")]
    replaced_by: Annotated[_ApiKeyId | None, described("The key that it was rotated to; null: none")]


class ApiKeyList(msgspec.Struct):
    """All API keys."""

    data: Annotated[list[ApiKeyShown], described("The keys, oldest first")]


class NewApiKeyShown(msgspec.Struct):
    """An API key that was created."""

    id: Annotated[_ApiKeyId, described("The id of the key")]
    role: _KeyRole
    merchant_id: _KeyMerchant
    name: _KeyName
    scopes: _Scopes
    allowed_ips: _AllowedIps
    expires_in_s: Annotated[float | None, described("Seconds until it is refused; null: it never is")]
    secret: _KeySecret


class RotatedApiKeyShown(msgspec.Struct):
    """The API key that replaces another one."""

    former_id: Annotated[_ApiKeyId, described("The id of the key that is replaced")]
    former_expires_at: Annotated[Moment, described("From then on the key that is replaced is refused")]
    id: Annotated[_ApiKeyId, described("The id of the new key")]
    role: _KeyRole
    merchant_id: _KeyMerchant
    livemode: Livemode
    name: _KeyName
    scopes: _Scopes
    allowed_ips: _AllowedIps
    expires_at: Annotated[Moment | None, described("From then on the new key is refused; null: never")]
    secret: _KeySecret


class RevokedApiKeyShown(msgspec.Struct):
    """An API key that was revoked. It may pass for 5 s more."""

    id: Annotated[_ApiKeyId, described("The id of the key")]
    revoked: _True


class BalanceList(msgspec.Struct):
    """Merchants' balances."""

    data: Annotated[list[BalanceShown], described("The balances that have entries")]


class GrantedCreditShown(BalanceShown):
    """The balance after a credit was granted."""

    granted: Annotated[
        int, described("Pesewas that this request granted; 0: its `key` was used for the same credit before")
    ]


class ListedPaymentShown(msgspec.Struct):
    """A payment of any merchant, as lists have it."""

    id: Annotated[PaymentId, described("The id of the payment")]
    merchant_id: _Merchant
    livemode: Livemode
    status: Annotated[PaymentStatus, described("A final status never changes")]
    status_detail: StatusReason
    amount: Annotated[int, Meta(ge=1, le=AMOUNT_MAX, description="Pesewas to collect")]
    currency: CurrencyCode
    payer_msisdn: _Msisdn
    amount_received: Annotated[int, Meta(ge=0, description="Pesewas that the payer has paid")]
    amount_refunded: Annotated[int, Meta(ge=0, description="Pesewas of all refunds that did not fail")]
    rail: _Rail
    reference: _Reference
    attempt_count: _AttemptCount
    created_at: _Created
    api_key_id: _MadeBy
    request_id: _MadeByRequest


class ListedPayoutShown(msgspec.Struct):
    """A payout of any merchant, as lists have it."""

    id: Annotated[PayoutId, described("The id of the payout")]
    merchant_id: _Merchant
    livemode: Livemode
    status: Annotated[OutgoingStatus, described("A final status never changes")]
    status_detail: StatusReason
    amount: Annotated[int, Meta(ge=1, le=AMOUNT_MAX, description="Pesewas to send")]
    currency: CurrencyCode
    payee_msisdn: _Msisdn
    rail: _Rail
    reference: _Reference
    attempt_count: _AttemptCount
    created_at: _Created
    api_key_id: _MadeBy
    request_id: _MadeByRequest


class ListedRefundShown(msgspec.Struct):
    """A refund, as its payment has it."""

    id: Annotated[RefundId, described("The id of the refund")]
    status: Annotated[RefundStatus, described("A final status never changes")]
    status_detail: StatusReason
    amount: Annotated[int, Meta(ge=1, le=AMOUNT_MAX, description="Pesewas to send back")]
    currency: CurrencyCode
    rail: _Rail
    reason: Annotated[str | None, described("Why the money is returned")]
    surplus: Annotated[bool, described("true: an operator returns money that was received in excess")]
    created_at: _Created
    api_key_id: _MadeBy
    request_id: _MadeByRequest


class ListedPaymentPage(msgspec.Struct):
    """One page of payments of all merchants, newest first."""

    data: Annotated[list[ListedPaymentShown], described("The payments of this page")]
    has_more: HasMore
    next: Annotated[PaymentId | None, described("The `after` of the next page; null: this is the last page")]


class ListedPayoutPage(msgspec.Struct):
    """One page of payouts of all merchants, newest first."""

    data: Annotated[list[ListedPayoutShown], described("The payouts of this page")]
    has_more: HasMore
    next: Annotated[PayoutId | None, described("The `after` of the next page; null: this is the last page")]


class WaitingShown(msgspec.Struct):
    """An order that waits for an operator's decision, or money that was not returned."""

    kind: Annotated[Literal["payment", "refund", "payout"], described("The kind of the order")]
    id: Annotated[_OrderId, described("The id of the order")]
    why: Annotated[
        Literal["under_review", "risk_review", "unreadable", "surplus", "currency_differs"],
        described(
            "unreadable: this version cannot read the order; surplus: more was received than asked for; "
            "currency_differs: the money came in another currency"
        ),
    ]
    amount: Annotated[
        int | None, described("Pesewas of the order or of the surplus; of another currency, its minor units")
    ]
    currency: CurrencyCode
    rail: _Rail
    merchant_id: _Merchant
    livemode: Livemode
    since: Annotated[Moment, described("Since when it waits")]
    next_look_at: Annotated[Moment | None, described("When the rail is asked again; null: it is not")]
    code: Annotated[str | None, described("The rail's latest code, or why the rail was not asked")]


class WaitingList(msgspec.Struct):
    """What waits for a decision."""

    data: Annotated[list[WaitingShown], described("The entries, longest waiting first")]


class ContradictionShown(msgspec.Struct):
    """A report of a rail that contradicts what it had said before about an order."""

    kind: Annotated[Literal["payment", "refund", "payout"], described("The kind of the order")]
    id: Annotated[_OrderId, described("The id of the order")]
    contradiction: Annotated[
        str,
        described("second_success, late_success, reversed, found_twice, amount_differs or currency_differs"),
    ]
    since: Annotated[Moment, described("When it was recorded")]
    status: Annotated[PaymentStatus, described("The present status of the order")]
    status_detail: StatusReason
    amount: Annotated[int, described("Pesewas of the order")]
    currency: CurrencyCode
    rail: _Rail
    merchant_id: _Merchant
    livemode: Livemode


class ContradictionList(msgspec.Struct):
    """Contradictions that no operator has closed, of the last 90 days."""

    data: Annotated[list[ContradictionShown], described("The contradictions, oldest first")]


class ListedReconciliationShown(msgspec.Struct):
    """The counts of one run of `synccash reconcile`."""

    id: Annotated[str, Meta(pattern="^rec_[0-9a-z]+$", description="The id of the run")]
    at: Annotated[Moment, described("When it ended")]
    rail: Annotated[str, described("The rail of the statement")]
    file: Annotated[str, described("The name of the statement's file")]
    actor: Annotated[str, described("The database role that ran it")]
    is_clean: Annotated[bool, described("true: nothing differs, and all rows were read")]
    counts: Annotated[
        dict[str, int | str | None],
        described("Rows by verdict, such as matched and missing; the period from and to"),
    ]


class ReconciliationList(msgspec.Struct):
    """The latest runs of `synccash reconcile`."""

    data: Annotated[list[ListedReconciliationShown], described("The runs, newest first")]


class FindingShown(msgspec.Struct):
    """One difference between a rail's statement and our attempts."""

    verdict: Annotated[str, described("missing, surplus, amount_differs, double, not_succeeded or broken")]
    line: Annotated[int | None, described("The line of the statement")]
    direction: Annotated[Literal["in", "out"] | None, described("The direction of the money")]
    stated: Annotated[str | None, described("The amount of the statement, in cedis")]
    ours: Annotated[str | None, described("Our amount, in cedis")]
    reference: Annotated[str | None, described("The reference at the rail, without numbers")]
    provider_id: Annotated[str | None, described("The provider's transaction id")]
    order_id: Annotated[str | None, described("The order of our attempt")]
    attempt_id: Annotated[str | None, described("Our attempt")]
    detail: Annotated[str | None, described("More about it")]


class ReconciliationShown(ListedReconciliationShown):
    """One run of `synccash reconcile` with its differences."""

    findings: Annotated[list[FindingShown], described("The first 1,000 differences")]


class ClosedContradictionsShown(msgspec.Struct):
    """How many contradictions of an order were closed."""

    id: Annotated[_OrderId, described("The id of the order")]
    closed: Annotated[int, Meta(ge=1, description="The number of contradictions")]


class WebhookRecoveryShown(msgspec.Struct):
    """How many deliveries of a merchant are sent again."""

    merchant_id: _Merchant
    livemode: Livemode
    deliveries: Annotated[int, Meta(ge=0, description="The number of deliveries that are due now")]
    has_more: Annotated[bool, described("true: there are more; repeat the call")]
    looked_since: Annotated[
        Moment | None,
        described("Older events were not looked at, because there are too many; null: all since the time"),
    ]


class EndedOrdersShown(msgspec.Struct):
    """The orders that ended in one period with the same labels."""

    at: Annotated[Moment, described("When the period begins")]
    livemode: Livemode
    kind: Annotated[Literal["payment", "refund", "payout"], described("The kind of the orders")]
    rail: _Rail
    network: Annotated[Network | None, described("The wallet's network; null: not known")]
    status: Annotated[Literal["succeeded", "failed", "canceled"], described("How they ended")]
    failure_code: Annotated[FailureCode | None, described("Why they failed; null: they did not")]
    result: Annotated[
        GoalResult,
        described("How they count towards the goal; excluded: the payer or the merchant ended them"),
    ]
    orders: Annotated[int, Meta(ge=1, description="How many orders")]
    seconds: Annotated[float, described("The sum of the times from creation to end")]
    durations: Annotated[list[int], described("How many of them took how long, by the buckets of `bounds_s`")]


class HistoryShown(msgspec.Struct):
    """The orders that ended in a time, by period."""

    start: Annotated[Moment, described("The first period begins here")]
    end: Annotated[Moment, described("The last period ends before this")]
    step_s: Annotated[int, described("The length of a period in seconds")]
    goal: Annotated[float, described("The share met / (met + missed) that the service should reach")]
    bounds_s: Annotated[list[float], described("Upper bounds of the buckets in seconds; the last has none")]
    data: Annotated[list[EndedOrdersShown], described("By period and labels, oldest first")]


class OrderShown(msgspec.Struct):
    """A payment, refund or payout with everything that is stored about it. `object` tells which it is, and
    so which of the members after `timeline` it has."""

    id: Annotated[_OrderId, described("The id of the order")]
    object: Annotated[Literal["payment", "refund", "payout"], described("The kind of the order")]
    merchant_id: _Merchant
    amount: Annotated[int, Meta(ge=1, le=AMOUNT_MAX, description="Pesewas of the order")]
    currency: CurrencyCode
    status: Annotated[PaymentStatus, described("A final status never changes")]
    status_detail: StatusReason
    rail: _Rail
    attempts: Attempts
    last_error: Annotated[FailureShown | None, described("Why the latest attempt or the order failed")]
    created_at: _Created
    updated_at: Annotated[Moment, described("When the order last changed")]
    version: Annotated[int, Meta(ge=1, description="Grows with each change")]
    livemode: Livemode
    api_key_id: _MadeBy
    request_id: _MadeByRequest
    timeline: Annotated[
        list[EntryShown], described("Everything that was decided, oldest first, with operators' notes")
    ]
    reference: Annotated[str | UnsetType, described("The merchant's own reference")] = UNSET
    provider_transaction_id: Annotated[
        str | UnsetType | None, described("The provider's own id, as on its statement and in its SMS")
    ] = UNSET
    routing: Annotated[RoutingShown | UnsetType | None, described("Why this rail; null: not routed yet")] = (
        UNSET
    )
    description: Annotated[str | UnsetType | None, described("The merchant's text for people")] = UNSET
    expires_at: Annotated[Moment | UnsetType, described("From then on nothing new is sent")] = UNSET
    metadata: Annotated[dict[str, str] | UnsetType, described("The merchant's own data, as it was sent")] = (
        UNSET
    )
    payer: Annotated[PayerShown | UnsetType, described("The payer of a payment")] = UNSET
    amount_received: Annotated[
        Annotated[int, Meta(ge=0)] | UnsetType, described("Pesewas that the payer of a payment has paid")
    ] = UNSET
    amount_refunded: Annotated[
        Annotated[int, Meta(ge=0)] | UnsetType, described("Pesewas of a payment's refunds that did not fail")
    ] = UNSET
    next_action: Annotated[
        NextActionShown | UnsetType | None, described("What the payer of a payment has to do")
    ] = UNSET
    attempt_count: Annotated[
        Annotated[int, Meta(ge=0)] | UnsetType, described("The number of attempts of a payment")
    ] = UNSET
    refunds: Annotated[
        list[ListedRefundShown] | UnsetType, described("The refunds of a payment, oldest first")
    ] = UNSET
    payee: Annotated[PayeeShown | UnsetType, described("The payee of a payout")] = UNSET
    payment_id: Annotated[PaymentId | UnsetType, described("The payment of a refund")] = UNSET
    reason: Annotated[str | UnsetType | None, described("Why the money of a refund is returned")] = UNSET


class ApprovedShown(msgspec.Struct):
    """An action that a second operator has approved, and its result."""

    approval: Annotated[ApprovalShown | None, described("The approval after the action was executed")]
    result: Annotated[dict[str, Any], described("What the call of the action answers when nothing waits")]


class OperatorShown(msgspec.Struct):
    """An operator."""

    id: Annotated[_OperatorId, described("The id of the operator")]
    name: OperatorName
    role: Annotated[Literal["viewer", "operator", "admin"], described("What the operator may do")]
    enrolled: Annotated[bool, described("true: the operator has a password and a TOTP secret")]
    failed_sign_ins: Annotated[int, Meta(ge=0, description="Failed sign-ins since the latest successful one")]
    signed_in_at: Annotated[Moment | None, described("The latest sign-in; null: none")]
    disabled_at: Annotated[Moment | None, described("When it was disabled; null: it is not")]
    created_at: Annotated[Moment, described("When the operator was added")]
    created_by: Annotated[str, described("Who added the operator, as the audit log names it")]


class OperatorList(msgspec.Struct):
    """All operators."""

    data: Annotated[list[OperatorShown], described("The operators, oldest first")]


class EnrolmentShown(msgspec.Struct):
    """The enrolment code of a new operator, or of one that was reset."""

    name: OperatorName
    enrolment_code: Annotated[str, described("The code to enrol with, which is shown only now")]
    expires_at: Annotated[Moment, described("From then on the code is refused")]


class TotpSecretShown(msgspec.Struct):
    """The TOTP secret of an operator who has enrolled."""

    name: OperatorName
    totp_secret: Annotated[str, described("The secret in base 32, which is shown only now")]
    totp_uri: Annotated[str, described("The same as otpauth:// URI, for the QR code of an app")]


class SignedInShown(msgspec.Struct):
    """A session of an operator."""

    id: Annotated[_TokenId, described("The id of the token")]
    token: Annotated[str, described("The bearer token, which is shown only now")]
    expires_at: _TokenExpires
    operator: Annotated[OperatorShown, described("The operator")]
    failed_before: Annotated[int, Meta(ge=0, description="Failed sign-ins since the one before")]


class SignedOutShown(msgspec.Struct):
    """The token of the request is revoked."""

    signed_out: _True


class PasswordChangedShown(msgspec.Struct):
    """The password is changed."""

    changed: _True


class OperatorTokenShown(msgspec.Struct):
    """A session or an API token of an operator, without its secret."""

    id: Annotated[_TokenId, described("The id of the token")]
    kind: Annotated[Literal["session", "api"], described("session: made by a sign-in")]
    name: Annotated[str, described("What the token is for")]
    created_at: Annotated[Moment, described("When it was created")]
    expires_at: _TokenExpires
    last_used_at: Annotated[Moment | None, described("When it was last used, to the minute; null: never")]


class OperatorTokenList(msgspec.Struct):
    """The valid tokens of an operator."""

    data: Annotated[list[OperatorTokenShown], described("The tokens, oldest first")]


class NewOperatorTokenShown(msgspec.Struct):
    """An API token that was created."""

    id: Annotated[_TokenId, described("The id of the token")]
    token: Annotated[str, described("The bearer token, which is shown only now")]
    expires_at: _TokenExpires
    name: Annotated[str, described("What the token is for")]


class RevokedTokenShown(msgspec.Struct):
    """A token that was revoked. It may pass for 5 s more."""

    id: Annotated[_TokenId, described("The id of the token")]
    revoked: _True
