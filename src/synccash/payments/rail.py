"""What a rail can do, and what it answers: the words between the engine and the connectors."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

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
    """Where a rail takes the address it calls back."""

    PER_REQUEST = "per_request"
    PER_ACCOUNT = "per_account"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationCapability:
    """What a rail promises for one operation.

    `dedup_by_reference`: the rail executes a reference once, so sending the same again is safe.
    `lookup_by_reference`: it can be asked by our own reference.
    `failure_is_reported`: its inquiry has a word for failure (Hubtel's has none).
    `prompt_window_s`: how long a payer has to approve, in seconds; None where nobody is asked.
    `otp`: it may ask the payer for a one-time password; the connector then also fits `engine.ports.OtpRail`.
    `inquiry_from_s`: how old an attempt is, in seconds, before an inquiry without a callback makes sense.
    `not_found_is_final`: the rail documents that a reference which it cannot find will never move money.
    """

    dedup_by_reference: bool
    lookup_by_reference: bool
    failure_is_reported: bool = True
    prompt_window_s: float | None = None
    otp: bool = False
    inquiry_from_s: float = 0.0
    not_found_is_final: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a rail can do at all."""

    networks: frozenset[Network]
    operations: dict[Operation, OperationCapability]
    callback_address: CallbackAddress = CallbackAddress.NONE
    signed_callbacks: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RailAccount:
    """The account and address an attempt was sent through. Inquiries and re-sends use the very same.

    MTN answers a status only on the platform that took the request, so the address is part of the truth.
    `account` is the operator's label. `identity` names the credentials without being one: MTN's API user,
    Hubtel's merchant account, a hash of the secret key elsewhere. None for attempts of former versions.
    """

    rail: str
    account: str
    base_url: str
    target_environment: str
    identity: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedAccount:
    """One identity of a rail account, as PostgreSQL records it.

    `confirmed`: it is one of its label's business, by the operator's word or because it was the first.
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
    """What is known after one send. `retry_after_s` is the rail's own wish, in seconds.

    `refused_locally`: the connector refused the order before any byte left; the rail's health is not touched.
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


class RailStatus(StrEnum):
    """How an attempt stands by the rail's own answer to an inquiry."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    NOT_FOUND = "not_found"
    NO_INFORMATION = "no_information"
    """The rail did not answer, or what it said cannot be read. Never a ground for anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusAnswer:
    """The rail's own answer about one reference. Amounts in pesewas; None where the rail names none.

    `currency` and `reference` are what the answer itself names, for comparison with what was asked.
    `wallet`: the number that pays or is paid, as far as the answer names it: its last digits, with X for each
    that is hidden. `other_wallet`: it is another than the one that was asked about.
    `paced_s`: for how many seconds the inquiry waited for its turn here, before it left.
    `refused_locally`: the connector asked nothing; the rail's health is not touched.
    `went_back`: the money had come, and it was returned; `perhaps_refunded`: a refund of ours would make the
    rail say the same.
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
    went_back: bool = False
    perhaps_refunded: bool = False


def is_other_wallet(named: str | None, msisdn: str | None) -> bool:
    """True where a digit of `named` that is not hidden differs from the one at the same place of `msisdn`."""
    if named is None or msisdn is None:
        return False
    pairs = zip(reversed(named), reversed(msisdn), strict=False)
    return any(digit not in ("X", asked) for digit, asked in pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatAnswer:
    """What a rail says its account can pay out: pesewas by network, None for all other networks.

    `available` is None where it said nothing to go by; `is_fault`: it did not answer, or with an error of its
    own.
    """

    available: Mapping[Network | None, int] | None = None
    provider_code: str | None = None
    is_fault: bool = False


class InquiryPriority(IntEnum):
    """Which inquiries go first where a rail limits their rate: the lower number."""

    HINTED = 0
    """A callback came, so that an answer is likely."""
    SCHEDULED = 1
    LOOK_BACK = 2
    """The order has ended or the attempt is closed; shed first when the rate is used up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptDetails:
    """What is known of an attempt beside its reference, for rails that cannot be asked by that alone.

    `amount` in pesewas. `transaction_id`: the rail's own name for the attempt, where it gave one.
    For a refund `original_reference` and `original_transaction_id` name the debit that it returns.
    `msisdn`: the wallet that pays or is paid, as 233…
    `password_untold`: the payer's password was handed over, and nobody knows whether the rail has it.
    """

    amount: int | None = None
    msisdn: str | None = field(default=None, repr=False)
    transaction_id: str | None = None
    original_reference: str | None = None
    original_transaction_id: str | None = None
    password_untold: bool = False
    priority: InquiryPriority = InquiryPriority.SCHEDULED


NO_TRACES = AttemptDetails()


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackNote:
    """What a callback claims. It is a hint: it names whom to ask about, and decides nothing by itself.

    `reference`: our own, where the body names it; None leaves it to the token. `failure`: why it says that
    the attempt failed; it is kept for rails whose inquiry has no word for failure.
    """

    reference: str | None = None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SendOrder:
    """All that a connector needs to send one attempt. `amount` in pesewas.

    `msisdn` is the wallet that pays, or, for a refund or a payout, is paid; `name` is its holder's, where it
    is known. For a refund `original_reference` and `original_transaction_id` name the debit that is returned.
    `livemode` is the mode of the order: only an account of its environment is sent it.
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
