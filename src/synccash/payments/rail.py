"""The values that the engine and the rail connectors exchange: capabilities, orders and answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from synccash.payments.causes import Cause, CauseCode, cause_with
from synccash.payments.failure import Failure
from synccash.payments.payer import Network
from synccash.resilience.evidence import Evidence


class Operation(StrEnum):
    """What one attempt asks a rail to do."""

    COLLECT = "collect"
    REFUND = "refund"
    PAYOUT = "payout"


class Environment(StrEnum):
    """Whether an account moves real money. The operator declares it for each rail account."""

    LIVE = "live"
    TEST = "test"

    @classmethod
    def of_mode(cls, *, livemode: bool) -> "Environment":
        """The environment of the accounts that orders of this mode may use."""
        return cls.LIVE if livemode else cls.TEST


class CallbackAddress(StrEnum):
    """How a rail learns the callback address."""

    PER_REQUEST = "per_request"
    PER_ACCOUNT = "per_account"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationCapability:
    """The guarantees of a rail for one operation.

    `dedup_by_reference`: the rail executes a reference once, so a repeated send is safe.
    `failure_is_reported`: its inquiry reports failures (Hubtel's does not).
    `prompt_window_s`: how long a payer has to approve, in seconds; None when the payer is not prompted.
    `otp`: it may ask the payer for a one-time password; the connector then also fits `engine.ports.OtpRail`.
    `inquiry_from_s`: how old an attempt is, in seconds, before an inquiry without a callback makes sense.
    `not_found_is_final`: the rail documents that a reference which it cannot find will never move money.
    """

    dedup_by_reference: bool
    failure_is_reported: bool = True
    prompt_window_s: float | None = None
    otp: bool = False
    inquiry_from_s: float = 0.0
    not_found_is_final: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """The networks, operations and callbacks of a rail."""

    networks: frozenset[Network]
    operations: dict[Operation, OperationCapability]
    callback_address: CallbackAddress = CallbackAddress.NONE
    signed_callbacks: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RailAccount:
    """The account and address that an attempt was sent through. Inquiries and re-sends use the same.

    MTN answers a status only on the platform that took the request, so the address identifies the attempt
    too. `account` is the operator's label. `identity` identifies the credentials and is no secret: MTN's API
    user, Hubtel's merchant account, a hash of the secret key elsewhere. None for attempts of former versions.
    """

    rail: str
    account: str
    base_url: str
    target_environment: str
    identity: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedAccount:
    """One identity of a rail account, as PostgreSQL records it.

    `confirmed`: it belongs to the label's account: the operator confirmed it, or it was the first.
    """

    rail: str
    label: str
    identity: str
    environment: Environment
    confirmed: bool


class NextActionType(StrEnum):
    """What the payer has to do next."""

    APPROVE_ON_PHONE = "approve_on_phone"
    SUBMIT_OTP = "submit_otp"
    DIAL_USSD = "dial_ussd"


@dataclass(frozen=True, slots=True)
class NextAction:
    """What the payer has to do, with the words to show."""

    type: NextActionType
    display_text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SendAnswer:
    """What is known after one send. `retry_after_s` is the wait that the rail asks for, in seconds.

    `refused_locally`: the connector refused the order before any byte left; the rail's health is not touched.
    `cause`: why the rail did not accept it, in the words of the operator; None where it did, or where the
    payer or the merchant is the reason.
    """

    evidence: Evidence
    failure: Failure | None = None
    provider_code: str | None = None
    provider_transaction_id: str | None = None
    next_action: NextAction | None = None
    retry_after_s: float | None = None
    duplicate: bool = False
    http_status: int | None = None
    refused_locally: bool = False
    cause: Cause | None = field(default=None, compare=False)


class RailStatus(StrEnum):
    """The status of an attempt in the rail's answer to an inquiry."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    NOT_FOUND = "not_found"
    NO_INFORMATION = "no_information"
    """The rail did not answer, or its answer cannot be read. It proves nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusAnswer:
    """The rail's own answer about one reference. Amounts in pesewas; None where the rail names none.

    `currency` and `reference` are what the answer itself names, for comparison with what was asked.
    `wallet`: the number that pays or is paid, as far as the answer shows it: its last digits, with X for each
    hidden one. `other_wallet`: it differs from the wallet of the inquiry.
    `paced_s`: how long the inquiry waited for the rate limit before it was sent, in seconds.
    `refused_locally`: the connector sent no inquiry; the rail's health is not touched. `deferred`: it sent
    none because the rail's rate limit left no turn in time, and the inquiry is to be repeated.
    `cause`: why the answer gives no information.
    `unknown_reference`: the rail answered in its own form that it does not know the reference, and does not
    document that as proof: the answer is NO_INFORMATION about the money, and no failure of the rail.
    `went_back`: the money arrived and was returned; `perhaps_refunded`: our own refund may be the reason for
    that answer.
    """

    status_at_rail: RailStatus
    failure: Failure | None = None
    provider_code: str | None = None
    provider_transaction_id: str | None = None
    amount: int | None = None
    currency: str | None = None
    reference: str | None = None
    wallet: str | None = field(default=None, repr=False)
    other_wallet: bool = False
    retry_after_s: float | None = None
    next_action: NextAction | None = None
    paced_s: float = 0.0
    refused_locally: bool = False
    deferred: bool = False
    went_back: bool = False
    perhaps_refunded: bool = False
    unknown_reference: bool = False
    cause: Cause | None = field(default=None, compare=False)


def is_other_wallet(named: str | None, msisdn: str | None) -> bool:
    """Return True when a visible digit of `named` differs from the digit of `msisdn` at the same position."""
    if named is None or msisdn is None:
        return False
    pairs = zip(reversed(named), reversed(msisdn), strict=False)
    return any(digit not in ("X", asked) for digit, asked in pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatAnswer:
    """The balance that a rail's account can pay out: pesewas by network, None for all other networks.

    `available` is None when the answer shows no balance; `is_fault`: the rail did not answer, or answered
    with an error of its own, for the reason `cause`.
    """

    available: Mapping[Network | None, int] | None = None
    provider_code: str | None = None
    is_fault: bool = False
    cause: Cause | None = field(default=None, compare=False)


def cause_of(answer: SendAnswer | StatusAnswer | FloatAnswer) -> Cause | None:
    """Return why an answer is a failure; None for one that is none.

    Without a cause of the connector's own, it follows from what the answer proves. That money went back, or
    that a reference is unknown, is understood, although it proves no status.
    """
    if isinstance(answer, StatusAnswer) and (answer.went_back or answer.unknown_reference):
        return None
    if answer.cause is not None:
        return answer.cause
    match answer:
        case SendAnswer(refused_locally=True) | StatusAnswer(refused_locally=True):
            return cause_with(CauseCode.NOT_ALLOWED_HERE, answer.provider_code)
        case SendAnswer(evidence=Evidence.ACCEPTED):
            return None
        case SendAnswer(evidence=Evidence.REFUSED_FINAL, failure=Failure() as failure) if (
            not failure.counts_against_rail
        ):
            return None
        case SendAnswer(evidence=Evidence.AMBIGUOUS) | StatusAnswer(status_at_rail=RailStatus.NO_INFORMATION):
            return cause_with(CauseCode.UNREADABLE, answer.provider_code)
        case SendAnswer():
            return cause_with(CauseCode.REJECTED, answer.provider_code)
        case FloatAnswer(is_fault=True):
            return cause_with(CauseCode.SERVER_ERROR, answer.provider_code)
        case _:
            return None


def cause_facts(answer: SendAnswer | StatusAnswer | FloatAnswer) -> dict[str, str]:
    """Return code and sentence of an answer's cause for an entry of a timeline; nothing without a cause."""
    cause = cause_of(answer)
    return {} if cause is None else {"cause": cause.code.value, "message": cause.message}


class InquiryPriority(IntEnum):
    """The priority of an inquiry when a rail limits the rate: lower numbers go first."""

    HINTED = 0
    """A callback came, so the rail probably has an answer."""
    SCHEDULED = 1
    AFTER_END = 2
    """A recheck after the order ended or the attempt was closed; shed first when the rate is used up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptDetails:
    """Details of an attempt besides its reference, for rails whose inquiry needs more than the reference.

    `amount` in pesewas. `transaction_id`: the rail's id of the attempt, if it gave one.
    For a refund `original_reference` and `original_transaction_id` identify the debit that is returned.
    `msisdn`: the wallet that pays or is paid, as 233…
    `otp_outcome_unknown`: the payer's password was submitted, and it is unknown whether the rail received it.
    `priority`, `merchant_id` and `order_created_at` (seconds since 1970) decide whose turn it is at a rail
    with a rate limit.
    """

    amount: int | None = None
    msisdn: str | None = field(default=None, repr=False)
    transaction_id: str | None = None
    original_reference: str | None = None
    original_transaction_id: str | None = None
    otp_outcome_unknown: bool = False
    priority: InquiryPriority = InquiryPriority.SCHEDULED
    merchant_id: str = ""
    order_created_at: float = 0.0


NO_ATTEMPT_DETAILS = AttemptDetails()


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackNote:
    """The content of a callback. It is a hint: it triggers an inquiry, and decides nothing by itself.

    `reference`: our own, if the body names it; when None, the callback token identifies the attempt.
    `failure`: the reported reason of a failure; it is stored for rails whose inquiry does not report
    failures.
    """

    reference: str | None = None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SendOrder:
    """All that a connector needs to send one attempt. `amount` in pesewas.

    `msisdn` is the wallet that pays, or, for a refund or a payout, is paid; `name` is its holder's, where it
    is known. For a refund `original_reference` and `original_transaction_id` identify the debit that is
    returned. `livemode` is the mode of the order: only an account of the same environment may send it.
    `order_id` is for the log only, and never sent.
    """

    operation: Operation
    account: RailAccount
    reference: str
    amount: int
    currency: str
    msisdn: str = field(repr=False)
    network: Network | None
    note: str
    merchant_reference: str
    name: str | None = field(default=None, repr=False)
    callback_url: str | None = field(default=None, repr=False)
    original_reference: str | None = None
    original_transaction_id: str | None = None
    livemode: bool = False
    order_id: str | None = field(default=None, compare=False)
