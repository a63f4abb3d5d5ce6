"""pawaPay's failure codes with their HTTP status, test numbers, providers, and the simulation's settings."""

import re

import msgspec

from synccash.sandbox.orders import APPROVES, Pace, ScriptedOutcome, Side

ERRORS: dict[str, tuple[int, str]] = {
    "NO_AUTHENTICATION": (401, "We did not find the API token in the request headers."),
    "AUTHENTICATION_ERROR": (403, "The API token is not valid."),
    "INVALID_INPUT": (400, "We were unable to parse the payload of the request."),
    "MISSING_PARAMETER": (400, "A mandatory parameter is missing."),
    "INVALID_PARAMETER": (400, "The value of a parameter is invalid."),
    "DUPLICATE_METADATA_FIELD": (400, "A field of the metadata is named twice."),
    "INVALID_AMOUNT": (200, "The amount is not in the format of this provider."),
    "AMOUNT_OUT_OF_BOUNDS": (200, "The amount is outside of the transaction limits."),
    "INVALID_PHONE_NUMBER": (200, "The phone number is not one of this country."),
    "INVALID_CURRENCY": (200, "The currency is not supported by this provider."),
    "INVALID_PROVIDER": (200, "The provider is not known or not enabled."),
    "PROVIDER_TEMPORARILY_UNAVAILABLE": (200, "The provider does not process payments at the moment."),
    "NOT_FOUND": (200, "The transaction was not found."),
    "INVALID_STATE": (200, "The transaction is not in the state for this."),
    "AMOUNT_TOO_LARGE": (200, "The refund is more than what is left of the deposit."),
    "DEPOSIT_ALREADY_REFUNDED": (200, "The deposit has been refunded."),
    "UNKNOWN_ERROR": (500, "Something went wrong on our side."),
}
PROVIDERS = {"MTN_MOMO_GHA": "59", "VODAFONE_GHA": "50", "AIRTELTIGO_GHA": "27"}
"""The providers of Ghana, and how their test numbers begin after 233."""

_PREFIXES = {
    "MTN_MOMO_GHA": ("24", "25", "53", "54", "55", "59"),
    "VODAFONE_GHA": ("20", "50"),
    "AIRTELTIGO_GHA": ("23", "26", "27", "56", "57"),
}
# Which of the failing endings each provider of Ghana has differs; here all of them fail on every provider.
_DEPOSITS = {
    "019": ScriptedOutcome("PAYER_LIMIT_REACHED"),
    "029": ScriptedOutcome("PAYER_NOT_FOUND"),
    "039": ScriptedOutcome("PAYMENT_NOT_APPROVED"),
    "049": ScriptedOutcome("INSUFFICIENT_BALANCE"),
    "069": ScriptedOutcome("UNSPECIFIED_FAILURE"),
    "129": ScriptedOutcome(pace=Pace.NEVER),
}
_PAYOUTS = {
    "089": ScriptedOutcome("RECIPIENT_NOT_FOUND"),
    "119": ScriptedOutcome("UNSPECIFIED_FAILURE"),
    "129": ScriptedOutcome(pace=Pace.NEVER),
}
_TEST_NUMBER = re.compile(r"233(?:59|50|27)3456(\d{3})", re.ASCII)
GHANA = re.compile(r"233[25]\d{8}", re.ASCII)
OPENING_BALANCE = 100_000_000
"""Pesewas: what a new account can pay out, so that payouts need no deposit first."""
MINIMUM, MAXIMUM = 100, 1_500_000
"""Pesewas of one transaction. A real account's limits are in its active configuration; these are ours."""


def outcome_of(msisdn: str, side: Side) -> ScriptedOutcome:
    """Return the outcome of a request for this number."""
    found = _TEST_NUMBER.fullmatch(msisdn)
    outcomes = _DEPOSITS if side is Side.DEBIT else _PAYOUTS
    return outcomes.get(found[1], APPROVES) if found else APPROVES


def predicted(msisdn: str) -> str | None:
    """Return the provider to which a number's prefix was first given."""
    return next((name for name, prefixes in _PREFIXES.items() if msisdn[3:5] in prefixes), None)


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An account's set-up, as its owner makes it in pawaPay's dashboard.

    Without a token any is good that does not begin with "invalid".
    """

    token: str | None = None
    deposit_callback_url: str | None = None
    payout_callback_url: str | None = None
    refund_callback_url: str | None = None
    closed_providers: tuple[str, ...] = ()
