"""Every code of every rail's tables, written down a second time from the providers' own pages.

`REFUSALS`: the code answers the request itself. `ENDS`: the rail took the request and ended it with the code.
A code that a connector knows and that is not here is a missing cell, and so is one the other way round.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from synccash.payments.failure import FailureCode as Code
from synccash.payments.rail import Operation
from synccash.sandbox.hubtel.request import refusal as hubtel_refusal
from synccash.sandbox.mtn_momo.tables import ERRORS as MTN_ERRORS
from synccash.sandbox.pawapay.tables import ERRORS as PAWAPAY_ERRORS
from synccash.sandbox.paystack.request import error as paystack_error
from synccash.sandbox.wire import Reply

NEW = "SOMETHING_NEW"
"""A code that no page knows."""


@dataclass(frozen=True)
class Refused:
    """A refusal for good: the order fails with `code`, or goes to another rail where `reroute`."""

    code: Code
    reroute: bool = False


@dataclass(frozen=True)
class NotNow:
    """The rail says that it has done nothing and may do it later: a new attempt."""


@dataclass(frozen=True)
class NobodyKnows:
    """No proof of anything: the rail is asked, and told again where that is safe."""


Meaning = Refused | NotNow | NobodyKnows

_OPERATOR = Refused(Code.PROVIDER_ACCOUNT_BLOCKED, reroute=True)
_PROVIDER = Refused(Code.PROVIDER_ERROR, reroute=True)
_UNCLEAR = Refused(Code.PROVIDER_ERROR)
_SMALL = Refused(Code.AMOUNT_NOT_ALLOWED, reroute=True)

# MTN: "Common Error Codes", and the reasons of each operation.
_MTN_SET_UP = {
    "NOT_ALLOWED": _OPERATOR,
    "NOT_ALLOWED_TARGET_ENVIRONMENT": _OPERATOR,
    "INVALID_CALLBACK_URL_HOST": _OPERATOR,
    "INVALID_CURRENCY": _OPERATOR,
    "TRANSFER_TYPE_UNKNOWN": _OPERATOR,
}
_MTN_ANYWHERE = _MTN_SET_UP | {
    "SERVICE_UNAVAILABLE": Refused(Code.PROVIDER_UNAVAILABLE, reroute=True),
    "RESOURCE_NOT_FOUND": _PROVIDER,
    "INTERNAL_PROCESSING_ERROR": _UNCLEAR,
    NEW: _UNCLEAR,
}
_MTN_COLLECT_ENDS = _MTN_ANYWHERE | {
    "PAYER_NOT_FOUND": Refused(Code.INVALID_PAYER),
    "NOT_ENOUGH_FUNDS": Refused(Code.INSUFFICIENT_FUNDS),
    "PAYER_LIMIT_REACHED": Refused(Code.PAYER_LIMIT_REACHED),
    "PAYMENT_NOT_APPROVED": Refused(Code.PAYER_DECLINED),
    "APPROVAL_REJECTED": Refused(Code.PAYER_DECLINED),
    "TRANSACTION_CANCELED": Refused(Code.PAYER_DECLINED),
    "EXPIRED": Refused(Code.PAYER_TIMEOUT),
    "COULD_NOT_PERFORM_TRANSACTION": Refused(Code.PAYER_TIMEOUT),
    "PAYEE_NOT_FOUND": _OPERATOR,
    "PAYEE_NOT_ALLOWED_TO_RECEIVE": _OPERATOR,
}
_MTN_OUTGOING_ENDS = _MTN_ANYWHERE | {
    "PAYEE_NOT_FOUND": Refused(Code.INVALID_PAYER),
    "PAYEE_NOT_ALLOWED_TO_RECEIVE": Refused(Code.PAYER_ACCOUNT_BLOCKED),
    "NOT_ENOUGH_FUNDS": Refused(Code.MERCHANT_ACCOUNT_BLOCKED),
    "PAYER_LIMIT_REACHED": Refused(Code.MERCHANT_ACCOUNT_BLOCKED),
    "PAYER_NOT_FOUND": _OPERATOR,
    "PAYMENT_NOT_APPROVED": _UNCLEAR,
    "APPROVAL_REJECTED": _UNCLEAR,
    "TRANSACTION_CANCELED": _UNCLEAR,
    "EXPIRED": _UNCLEAR,
    "COULD_NOT_PERFORM_TRANSACTION": _UNCLEAR,
}
# A float that was too low for a payout may be filled up; so may the limit of our own account be raised.
_MTN_FLOAT: Mapping[str, Meaning] = {"NOT_ENOUGH_FUNDS": NotNow(), "PAYER_LIMIT_REACHED": NotNow()}
# What tells of a request that MTN took proves nothing in the answer to another.
_MTN_TAKEN = dict.fromkeys(
    (
        "PAYMENT_NOT_APPROVED",
        "APPROVAL_REJECTED",
        "TRANSACTION_CANCELED",
        "EXPIRED",
        "COULD_NOT_PERFORM_TRANSACTION",
        "ONGOING",
        "PAYER_DELAYED",
        "INTERNAL_PROCESSING_ERROR",
        NEW,
    ),
    NobodyKnows(),
)


def _mtn_refusals(ends: Mapping[str, Meaning]) -> Mapping[str, Meaning]:
    return {**ends, "BAD_REQUEST": _PROVIDER, "SERVICE_UNAVAILABLE": NotNow(), **_MTN_TAKEN}


# Paystack: "Errors", and what `gateway_response` is seen to say.
_PAYSTACK_REFUSALS: Mapping[str, Meaning] = {
    "invalid_Key": _OPERATOR,
    "missing_auth": _OPERATOR,
    "unsupported_currency": _OPERATOR,
    "insufficient_balance": Refused(Code.MERCHANT_ACCOUNT_BLOCKED, reroute=True),
    "invalid_otp": Refused(Code.PAYER_DECLINED),
    "invalid_params": _PROVIDER,
}
_PAYSTACK_COLLECT_ENDS: Mapping[str, Meaning] = {
    "INSUFFICIENT_FUNDS": Refused(Code.INSUFFICIENT_FUNDS),
    "LOW_BALANCE_OR_PAYEE_LIMIT_REACHED_OR_NOT_ALLOWED": Refused(Code.INSUFFICIENT_FUNDS),
    "DECLINED": Refused(Code.PAYER_DECLINED),
    "TIMED_OUT": Refused(Code.PAYER_TIMEOUT),
    "NOT_REGISTERED": Refused(Code.INVALID_PAYER),
    "LIMIT_REACHED": Refused(Code.PAYER_LIMIT_REACHED),
    NEW: _UNCLEAR,
}

# Hubtel: "Direct Receive Money", "Direct Send Money".
_HUBTEL_REFUSALS: Mapping[str, Meaning] = {
    "3050": Refused(Code.INVALID_PAYER),
    "4000": _PROVIDER,
    "4070": _SMALL,
    "4075": Refused(Code.MERCHANT_ACCOUNT_BLOCKED, reroute=True),
    "4101": _OPERATOR,
    "4103": _OPERATOR,
    "2001": NobodyKnows(),
    "5000": NobodyKnows(),
    "9999": NobodyKnows(),
}

# pawaPay: "Failure codes" of each operation.
_POOR = Refused(Code.FLOAT_TOO_LOW, reroute=True)
_PAWAPAY_REFUSALS: Mapping[str, Meaning] = {
    "NO_AUTHENTICATION": _OPERATOR,
    "AUTHENTICATION_ERROR": _OPERATOR,
    "AUTHORISATION_ERROR": _OPERATOR,
    "HTTP_SIGNATURE_ERROR": _OPERATOR,
    "DEPOSITS_NOT_ALLOWED": _OPERATOR,
    "PAYOUTS_NOT_ALLOWED": _OPERATOR,
    "REFUNDS_NOT_ALLOWED": _OPERATOR,
    "INVALID_CURRENCY": _OPERATOR,
    "INVALID_PROVIDER": _OPERATOR,
    "INVALID_INPUT": _PROVIDER,
    "INVALID_PARAMETER": _PROVIDER,
    "MISSING_PARAMETER": _PROVIDER,
    "UNSUPPORTED_PARAMETER": _PROVIDER,
    "DUPLICATE_METADATA_FIELD": _PROVIDER,
    "INVALID_AMOUNT": _SMALL,
    "AMOUNT_OUT_OF_BOUNDS": _SMALL,
    "AMOUNT_TOO_LARGE": Refused(Code.AMOUNT_NOT_ALLOWED),
    "INVALID_PHONE_NUMBER": Refused(Code.INVALID_PAYER),
    "PROVIDER_TEMPORARILY_UNAVAILABLE": NotNow(),
    "PAWAPAY_WALLET_OUT_OF_FUNDS": _POOR,
    "NOT_FOUND": _PROVIDER,
    "INVALID_STATE": _UNCLEAR,
    "DEPOSIT_ALREADY_REFUNDED": _UNCLEAR,
    "REFUND_IN_PROGRESS": NotNow(),
    "UNKNOWN_ERROR": NobodyKnows(),
}
_PAWAPAY_ANYWHERE: Mapping[str, Meaning] = {
    "PAWAPAY_WALLET_OUT_OF_FUNDS": _POOR,
    "PROVIDER_TEMPORARILY_UNAVAILABLE": Refused(Code.PROVIDER_UNAVAILABLE, reroute=True),
    "MANUALLY_CANCELLED": _UNCLEAR,
    "UNSPECIFIED_FAILURE": _UNCLEAR,
    "UNKNOWN_ERROR": _UNCLEAR,
    "WALLET_LIMIT_REACHED": Refused(Code.PAYER_LIMIT_REACHED),
    NEW: _UNCLEAR,
}
_PAWAPAY_OUT: Mapping[str, Meaning] = {
    **_PAWAPAY_ANYWHERE,
    "RECIPIENT_NOT_FOUND": Refused(Code.INVALID_PAYER),
    "RECIPIENT_LIMIT_REACHED": Refused(Code.PAYER_LIMIT_REACHED),
}

_OUTGOING = (Operation.REFUND, Operation.PAYOUT)
REFUSALS: Mapping[tuple[str, Operation], Mapping[str, Meaning]] = {
    ("mtn_momo", Operation.COLLECT): _mtn_refusals(_MTN_COLLECT_ENDS),
    ("mtn_momo", Operation.REFUND): _mtn_refusals(_MTN_OUTGOING_ENDS),
    ("mtn_momo", Operation.PAYOUT): _mtn_refusals(_MTN_OUTGOING_ENDS | _MTN_FLOAT),
    **{("paystack", operation): _PAYSTACK_REFUSALS for operation in Operation},
    ("paystack", Operation.PAYOUT): {**_PAYSTACK_REFUSALS, "insufficient_balance": NotNow()},
    **{("hubtel", operation): _HUBTEL_REFUSALS for operation in Operation},
    ("hubtel", Operation.PAYOUT): {**_HUBTEL_REFUSALS, "4075": NotNow()},
    **{("pawapay", operation): _PAWAPAY_REFUSALS for operation in Operation},
    ("pawapay", Operation.PAYOUT): {**_PAWAPAY_REFUSALS, "PAWAPAY_WALLET_OUT_OF_FUNDS": NotNow()},
}
ENDS: Mapping[tuple[str, Operation], Mapping[str, Meaning]] = {
    ("mtn_momo", Operation.COLLECT): _MTN_COLLECT_ENDS,
    ("mtn_momo", Operation.REFUND): _MTN_OUTGOING_ENDS,
    ("mtn_momo", Operation.PAYOUT): _MTN_OUTGOING_ENDS | _MTN_FLOAT,
    ("paystack", Operation.COLLECT): _PAYSTACK_COLLECT_ENDS,
    # The word `failed` has no reason beside it there.
    **{("paystack", operation): {NEW: _UNCLEAR} for operation in _OUTGOING},
    # A limit, no funds, a wrong PIN, no PIN: Hubtel's callback says 2001 to all of them.
    ("hubtel", Operation.COLLECT): {"WRONG_PIN": Refused(Code.PAYER_DECLINED)},
    **{("hubtel", operation): {NEW: _UNCLEAR} for operation in _OUTGOING},
    ("pawapay", Operation.COLLECT): {
        **_PAWAPAY_ANYWHERE,
        "PAYER_NOT_FOUND": Refused(Code.INVALID_PAYER),
        "PAYMENT_NOT_APPROVED": Refused(Code.PAYER_TIMEOUT),
        "INSUFFICIENT_BALANCE": Refused(Code.INSUFFICIENT_FUNDS),
        "PAYER_LIMIT_REACHED": Refused(Code.PAYER_LIMIT_REACHED),
        "PAYMENT_IN_PROGRESS": Refused(Code.PAYER_TIMEOUT),
        "TRANSACTION_ALREADY_IN_PROCESS": Refused(Code.PAYER_TIMEOUT),
    },
    ("pawapay", Operation.PAYOUT): {**_PAWAPAY_OUT, "PAWAPAY_WALLET_OUT_OF_FUNDS": NotNow()},
    ("pawapay", Operation.REFUND): {
        **_PAWAPAY_OUT,
        "DEPOSIT_ALREADY_REFUNDED": _UNCLEAR,
        "REFUND_IN_PROGRESS": _UNCLEAR,
        "AMOUNT_TOO_LARGE": Refused(Code.AMOUNT_NOT_ALLOWED),
    },
}


def _mtn(code: str) -> Reply:
    return Reply.json(MTN_ERRORS.get(code, (500, ""))[0], {"code": code, "message": "No."})


def _paystack(code: str) -> Reply:
    status = {"invalid_Key": 401, "missing_auth": 401, "unsupported_currency": 403}.get(code, 400)
    return paystack_error(status, "No.", code)


def _hubtel(code: str) -> Reply:
    status = {"0": 200, "2": 200, "5": 500}.get(code[0], 400)
    return hubtel_refusal(status, code, "No.")


def _pawapay(code: str) -> Reply:
    status = PAWAPAY_ERRORS.get(code, (200, ""))[0]
    reason = {"failureReason": {"failureCode": code, "failureMessage": "No."}}
    return Reply.json(status, reason if status >= 400 else {"status": "REJECTED"} | reason)


SAID: Mapping[str, Callable[[str], Reply]] = {
    "mtn_momo": _mtn,
    "paystack": _paystack,
    "hubtel": _hubtel,
    "pawapay": _pawapay,
}
"""A refusal in each rail's own form."""

KNOWN_5XX: Mapping[str, Reply] = {
    "mtn_momo": _mtn("INTERNAL_PROCESSING_ERROR"),
    "paystack": paystack_error(500, "An error occurred", "unknown", "api_error"),
    "hubtel": _hubtel("5000"),
    "pawapay": _pawapay("UNKNOWN_ERROR"),
}
"""Each rail's own word for trouble inside; MTN's dressed-up refusals are among the codes."""

EXPIRED: Mapping[str, str] = {
    "mtn_momo": "EXPIRED",
    "paystack": "TIMED_OUT",
    "hubtel": "USSD_TIMEOUT",
    "pawapay": "PAYMENT_NOT_APPROVED",
}
"""What each rail's book calls a payer who did not answer in time."""
