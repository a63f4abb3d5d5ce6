"""Paystack's providers, test numbers and reasons. All numbers but 0551234987 are ours, not Paystack's."""

import re

from synccash.sandbox.orders import APPROVES, Pace, ScriptedOutcome

TEST_OTP = "123456"
"""The one password that `/charge/submit_otp` accepts; Paystack's test password of other channels."""
FAILING_OTP = "999999"
"""The password that ends a charge; ours, Paystack publishes none. After any other the payer may try again."""
OWN_CURRENCY = "GHS"
"""The currency of the account, which a charge without one is in."""
PROVIDERS = {"mtn": "MTN Mobile Money", "vod": "Telecel Cash", "atl": "AirtelTigo Money"}
TELCOS = {"MTN": "MTN", "VOD": "Telecel", "ATL": "AirtelTigo"}
WAITS_FOR_OTP = "vod"
OPENING_BALANCE = 100_000_000
"""Pesewas: a float of one million cedis, so that transfers need no collection first."""
PROMPT = "Please complete authorization process on your mobile phone"
VOUCHER = "Please dial *110# to generate a voucher, then enter it here"

ABANDONED = "ABANDONED"
OTP_DECLINED = "OTP_DECLINED"
REASONS = {
    "INSUFFICIENT_FUNDS": "Insufficient Funds",
    "DECLINED": "Declined by customer",
    "TIMED_OUT": "Transaction timed out",
    "NOT_REGISTERED": "Account holder not found",
    "LIMIT_REACHED": "Transaction limit exceeded",
    OTP_DECLINED: "Declined: the OTP is not valid",
    ABANDONED: "The transaction was not completed",
}
"""What `gateway_response` says for a reason; the texts are our choice, Paystack publishes none."""
_OUTCOMES: dict[str, ScriptedOutcome] = {
    "001": ScriptedOutcome("INSUFFICIENT_FUNDS"),
    "002": ScriptedOutcome("DECLINED"),
    "003": ScriptedOutcome("TIMED_OUT"),
    "004": ScriptedOutcome("NOT_REGISTERED"),
    "005": ScriptedOutcome("LIMIT_REACHED"),
    "006": ScriptedOutcome(pace=Pace.NEVER),
    "007": ScriptedOutcome(pace=Pace.DELAYED),
    "008": ScriptedOutcome(ABANDONED),
}
_TEST_NUMBER = re.compile(r"0(?:55|50|27)1234(\d{3})")


def outcome_of(phone: str) -> ScriptedOutcome:
    """Return the outcome for a number: 0551234001 to 008 (050, 027 too) have outcomes of their own."""
    found = _TEST_NUMBER.fullmatch(phone)
    return _OUTCOMES.get(found[1], APPROVES) if found else APPROVES
