"""Failure codes of orders: a closed list, with the category, message and responsible party of each."""

from dataclasses import dataclass
from enum import StrEnum


class WhoseProblem(StrEnum):
    """The party that can act on a failure."""

    PAYER = "payer"
    MERCHANT = "merchant"
    PROVIDER = "provider"
    US = "us"


class FailureCode(StrEnum):
    """The closed list of codes that a merchant's program can switch on."""

    INSUFFICIENT_FUNDS = "insufficient_funds"
    PAYER_TIMEOUT = "payer_timeout"
    PAYER_DECLINED = "payer_declined"
    OTP_REFUSED = "otp_refused"
    INVALID_PAYER = "invalid_payer"
    PAYER_LIMIT_REACHED = "payer_limit_reached"
    PAYER_ACCOUNT_BLOCKED = "payer_account_blocked"
    MERCHANT_ACCOUNT_BLOCKED = "merchant_account_blocked"
    PROVIDER_ACCOUNT_BLOCKED = "provider_account_blocked"
    PROVIDER_UNAVAILABLE = "provider_unavailable"
    PROVIDER_ERROR = "provider_error"
    RISK_DECLINED = "risk_declined"
    EXPIRED = "expired"
    NO_RAIL_AVAILABLE = "no_rail_available"
    AMOUNT_NOT_ALLOWED = "amount_not_allowed"
    FLOAT_TOO_LOW = "float_too_low"


@dataclass(frozen=True, slots=True)
class _Meaning:
    category: str
    whose_problem: WhoseProblem
    message: str


_P, _M, _R, _U = WhoseProblem.PAYER, WhoseProblem.MERCHANT, WhoseProblem.PROVIDER, WhoseProblem.US
_MEANINGS: dict[FailureCode, _Meaning] = {
    FailureCode.INSUFFICIENT_FUNDS: _Meaning("payer", _P, "The wallet does not hold enough money."),
    FailureCode.PAYER_TIMEOUT: _Meaning("payer", _P, "The payer did not approve in time."),
    FailureCode.PAYER_DECLINED: _Meaning("payer", _P, "The payer refused the payment."),
    FailureCode.OTP_REFUSED: _Meaning(
        "payer", _P, "The provider refused the one-time password; the payer can give another."
    ),
    FailureCode.INVALID_PAYER: _Meaning("payer", _P, "The number has no wallet on this network."),
    FailureCode.PAYER_LIMIT_REACHED: _Meaning(
        "payer", _P, "The payment exceeds a limit of the payer's wallet."
    ),
    FailureCode.PAYER_ACCOUNT_BLOCKED: _Meaning("payer", _P, "The payer's wallet is blocked."),
    FailureCode.MERCHANT_ACCOUNT_BLOCKED: _Meaning(
        "configuration", _M, "The merchant's account may not do this."
    ),
    FailureCode.PROVIDER_ACCOUNT_BLOCKED: _Meaning(
        "configuration", _U, "The provider refuses our credentials or set-up; the operator must fix it."
    ),
    FailureCode.PROVIDER_UNAVAILABLE: _Meaning("provider", _R, "The provider did not accept the request."),
    FailureCode.PROVIDER_ERROR: _Meaning(
        "provider", _R, "The provider ended the request with an error of its own."
    ),
    FailureCode.RISK_DECLINED: _Meaning("risk", _M, "A risk rule declined the payment."),
    FailureCode.EXPIRED: _Meaning(
        "expiry", _U, "No rail could take the payment before it expired; no money moved."
    ),
    FailureCode.NO_RAIL_AVAILABLE: _Meaning("routing", _U, "No rail is set up for this payer's network."),
    FailureCode.FLOAT_TOO_LOW: _Meaning(
        "configuration", _U, "The operator's account with the provider does not hold enough money."
    ),
    FailureCode.AMOUNT_NOT_ALLOWED: _Meaning("merchant", _M, "The rail does not accept this amount."),
}


@dataclass(frozen=True, slots=True)
class Failure:
    """One failure as shown to a merchant.

    `reroute`: another rail may be tried once this attempt is proven dead. It is False for the payer's own
    refusals: the same wallet would refuse again.
    """

    code: FailureCode
    reroute: bool = False
    provider_code: str | None = None

    @property
    def category(self) -> str:
        """The kind of failure in one word."""
        return _MEANINGS[self.code].category

    @property
    def whose_problem(self) -> WhoseProblem:
        """The party that can act on the failure."""
        return _MEANINGS[self.code].whose_problem

    @property
    def counts_against_rail(self) -> bool:
        """False for failures that the payer or the merchant caused, and for a float too low for one amount:
        the rail works, and can pay a smaller amount."""
        not_the_rail = self.whose_problem in (WhoseProblem.PAYER, WhoseProblem.MERCHANT)
        return not not_the_rail and self.code is not FailureCode.FLOAT_TOO_LOW

    @property
    def message(self) -> str:
        """One sentence for people. It contains nothing that the provider sent."""
        return _MEANINGS[self.code].message
